//! What stands before HTTP at the ingest listener, TLS and proxies, and what has to hold of it.

use std::sync::Arc;

use domain::SystemClock;
use ingest::{ClientAuth, Proxies, Tls};

use super::document::Document;
use super::error::ConfigError;
use super::options::{File, ServerOptions};

/// Checks it, the files of TLS only if they are to be read.
pub(super) fn check(
    document: &Document<'_>,
    file: &File,
    read_files: bool,
) -> Result<(), ConfigError> {
    let server = &file.server;
    if server.proxy_protocol && server.trusted_proxies.is_empty() {
        let reason = "needs trusted_proxies: only they are believed, as in trusted_proxies = [\"10.0.0.0/8\"]";
        return Err(document.error(&["server", "proxy_protocol"], reason));
    }
    if let Some(tls) = &server.tls {
        let checked = match read_files {
            true => Tls::load(tls, &server.data_dir, Arc::new(SystemClock)).map(drop),
            false => tls.validate(),
        };
        checked.map_err(|(key, reason)| {
            let path: Vec<&str> = ["server", "tls"]
                .into_iter()
                .chain(key.split('.'))
                .collect();
            document.error(&path, reason)
        })?;
    }
    let asked = server.tls.as_ref().map(|tls| tls.client_auth);
    if matches!(asked, Some(ClientAuth::Optional | ClientAuth::Required)) {
        return Ok(());
    }
    for (name, source) in &file.sources {
        let verify = source.verify.as_ref();
        if verify.is_some_and(ingest::verify::VerifyOptions::wants_client_certificate) {
            let reason = "mtls needs a listener that asks for certificates: set server.tls.client_auth to \"optional\" or \"required\", and client_ca_file";
            return Err(document.error(&["sources", name.as_str(), "verify"], reason));
        }
    }
    Ok(())
}

/// The proxies that are believed.
pub(super) fn proxies(options: &ServerOptions) -> Proxies {
    Proxies {
        trusted: options.trusted_proxies.clone(),
        protocol: options.proxy_protocol,
        header: options.forwarded_header,
    }
}
