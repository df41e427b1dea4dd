//! TLS towards the server: chain and name are verified, by the system's certificates or those of a file. A server asks
//! its clients for a certificate unless it was told not to, so there may be one.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use crate::roots;

/// The files that TLS was given.
#[derive(Debug, Clone, Default)]
pub(super) struct Files {
    pub(super) ca: Option<PathBuf>,
    /// A certificate and its key.
    pub(super) own: Option<(PathBuf, PathBuf)>,
}

/// A key of the section and what is wrong with it.
type Wrong = (&'static str, String);

impl Files {
    /// Makes the set-up. Blocks on files.
    ///
    /// # Errors
    /// The key, and which file cannot be used.
    pub(super) fn config(&self) -> Result<ClientConfig, Wrong> {
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| ("url", format!("cannot set up TLS: {error}")))?;
        let builder = builder.with_root_certificates(self.roots()?);
        let Some((certificate, key)) = &self.own else {
            return Ok(builder.with_no_client_auth());
        };
        let chain = certificates(certificate).map_err(|why| ("cert_file", why))?;
        let read = PrivateKeyDer::from_pem_file(key);
        let private = read.map_err(|error| {
            let why = format!("cannot read {} as a key in PEM: {error}", key.display());
            ("key_file", why)
        })?;
        builder.with_client_auth_cert(chain, private).map_err(|_| {
            let why = "is not the key of the certificate in `cert_file`";
            ("key_file", format!("{} {why}", key.display()))
        })
    }

    fn roots(&self) -> Result<RootCertStore, Wrong> {
        let Some(path) = &self.ca else {
            return roots::system("name a file with the server's in `ca_file`")
                .map_err(|why| ("ca_file", why));
        };
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(certificates(path).map_err(|why| ("ca_file", why))?);
        Ok(store)
    }
}

/// The certificates of a file; at least one.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let name = path.display();
    let read = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| format!("cannot read {name}: {error}"))?;
    if read.is_empty() {
        return Err(format!("{name} has no certificate in PEM"));
    }
    Ok(read)
}
