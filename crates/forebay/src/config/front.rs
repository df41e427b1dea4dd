//! What stands before HTTP at the ingest listener, TLS and proxies, and what has to hold of it.

use std::sync::Arc;

use domain::SystemClock;
use ingest::{ClientAuth, Proxies, Tls, TlsOptions};

use super::document::Document;
use super::error::ConfigError;
use super::options::{File, ServerOptions};

/// Checks it, the files of TLS only if they are to be read. Warns of a certificate that has expired or soon will.
pub(super) fn check(
    document: &Document<'_>,
    file: &File,
    read_files: bool,
) -> Result<Vec<ConfigError>, ConfigError> {
    let server = &file.server;
    if server.proxy_protocol && server.trusted_proxies.is_empty() {
        let reason = "needs trusted_proxies: only they are believed, as in trusted_proxies = [\"10.0.0.0/8\"]";
        return Err(document.error(&["server", "proxy_protocol"], reason));
    }
    let warnings = match &server.tls {
        Some(tls) => check_tls(document, server, tls, read_files)?,
        None => Vec::new(),
    };
    let asked = server.tls.as_ref().map(|tls| tls.client_auth);
    if matches!(asked, Some(ClientAuth::Optional | ClientAuth::Required)) {
        return Ok(warnings);
    }
    for (name, source) in &file.sources {
        let verify = source.verify.as_ref();
        if verify.is_some_and(ingest::verify::VerifyOptions::wants_client_certificate) {
            let reason = "mtls needs a listener that asks for certificates: set server.tls.client_auth to \"optional\" or \"required\", and client_ca_file";
            return Err(document.error(&["sources", name.as_str(), "verify"], reason));
        }
    }
    Ok(warnings)
}

fn check_tls(
    document: &Document<'_>,
    server: &ServerOptions,
    tls: &TlsOptions,
    read_files: bool,
) -> Result<Vec<ConfigError>, ConfigError> {
    let at = |key: &str, reason: String| {
        let path: Vec<&str> = ["server", "tls"]
            .into_iter()
            .chain(key.split('.'))
            .collect();
        document.error(&path, reason)
    };
    let wrong = |(key, reason): (&str, String)| at(key, reason);
    tls.validate().map_err(wrong)?;
    if let Some(address) = tls.acme.http_address()
        && [&server.listen, &server.admin].contains(&&address.to_string())
    {
        let reason = "is the address of another listener: HTTP-01 is answered at a port of its own";
        return Err(at("acme.http_listen", reason.into()));
    }
    if !read_files {
        return Ok(Vec::new());
    }
    let tls_read = Tls::load(tls, &server.data_dir, Arc::new(SystemClock)).map_err(wrong)?;
    let warning = tls_read.warning().map(|warning| match &tls.cert_file {
        Some(file) => at(
            "cert_file",
            format!("the certificate in {} {warning}", file.display()),
        ),
        None => at(
            "acme",
            format!("the certificate that was fetched {warning}"),
        ),
    });
    Ok(warning.into_iter().collect())
}

/// The proxies that are believed.
pub(super) fn proxies(options: &ServerOptions) -> Proxies {
    Proxies {
        trusted: options.trusted_proxies.clone(),
        protocol: options.proxy_protocol,
        header: options.forwarded_header,
    }
}
