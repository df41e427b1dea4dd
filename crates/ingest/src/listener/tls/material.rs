//! From the files to what a handshake is done with.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::expiry::Life;
use super::options::{ClientAuth, TlsOptions, TlsVersion};
use super::{Files, InForce};

/// What is spoken within, by ALPN: HTTP/2 rather than HTTP/1.1.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Reads the files.
///
/// # Errors
/// The key and what is wrong with its file; never what is in it.
pub(super) fn read(options: &TlsOptions, files: &Files) -> Result<InForce, (&'static str, String)> {
    let asked = asked(options)?;
    let certificates = certificates(&files.certificate).map_err(|reason| ("cert_file", reason))?;
    let life = Life::of(&certificates);
    let key = key(&files.key).map_err(|reason| ("key_file", reason))?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let versions: &[_] = match options.min_version {
        TlsVersion::Tls12 => &[&TLS13, &TLS12],
        TlsVersion::Tls13 => &[&TLS13],
    };
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder
        .with_protocol_versions(versions)
        .map_err(|error| ("min_version", error.to_string()))?;
    let builder = match asked {
        None => builder.with_no_client_auth(),
        Some(roots) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            let verifier = match options.client_auth {
                ClientAuth::Required => verifier,
                ClientAuth::None | ClientAuth::Optional => verifier.allow_unauthenticated(),
            };
            let verifier = verifier.build();
            let verifier = verifier.map_err(|error| ("client_ca_file", error.to_string()))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder
        .with_single_cert(certificates, key)
        .map_err(|error| {
            let reason = format!(
                "{} is not the key of the certificate in {}: {error}",
                files.key.display(),
                files.certificate.display()
            );
            ("key_file", reason)
        })?;
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    if options.client_auth == ClientAuth::None {
        let ticketer = aws_lc_rs::Ticketer::new();
        config.ticketer = ticketer.map_err(|error| ("key_file", error.to_string()))?;
    } else {
        // A session that is taken up again would be as good as the certificate was when it began.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    }
    Ok(InForce {
        config: Arc::new(config),
        life,
    })
}

/// The authorities of clients, if clients are asked.
pub(super) fn asked(options: &TlsOptions) -> Result<Option<RootCertStore>, (&'static str, String)> {
    let Some(file) = &options.client_ca_file else {
        return Ok(None);
    };
    let wrong = |reason| ("client_ca_file", reason);
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file).map_err(wrong)? {
        roots.add(certificate).map_err(|error| {
            wrong(format!(
                "{} has a certificate that cannot be an authority: {error}",
                file.display()
            ))
        })?;
    }
    Ok(Some(roots))
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let text = text(file)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match found {
        Ok(found) if found.is_empty() => Err(format!(
            "{} has no certificate in it: it must be PEM, with BEGIN CERTIFICATE",
            file.display()
        )),
        Ok(found) => Ok(found),
        Err(error) => Err(unreadable(file, &error)),
    }
}

fn key(file: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let text = zeroize::Zeroizing::new(text(file)?);
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| match error {
        pem::Error::NoItemsFound => format!(
            "{} has no private key in it: it must be PEM, with BEGIN PRIVATE KEY and without a passphrase",
            file.display()
        ),
        error => unreadable(file, &error),
    })
}

fn text(file: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(file).map_err(|error| format!("cannot read {}: {error}", file.display()))
}

/// Of PEM's errors only what they are: some have a line of the file in them.
fn unreadable(file: &Path, error: &pem::Error) -> String {
    let what = match error {
        pem::Error::MissingSectionEnd { .. } => "a section has no end",
        pem::Error::IllegalSectionStart { .. } => "a section does not begin as it should",
        pem::Error::Base64Decode(_) => "a section is not base64",
        _ => "it cannot be read",
    };
    format!("{} is not PEM: {what}", file.display())
}
