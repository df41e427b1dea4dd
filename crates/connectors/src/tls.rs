//! TLS towards a server that is spoken to over a socket of ours: chain and name are verified, by the system's
//! certificates or those of a file. A server may ask its clients for a certificate, so there may be one.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use crate::options::OptionsError;
use crate::roots;

/// The files that TLS was given.
#[derive(Debug, Clone, Default)]
pub(crate) struct Files {
    pub(crate) ca: Option<PathBuf>,
    /// A certificate and its key.
    pub(crate) own: Option<(PathBuf, PathBuf)>,
}

/// A key of the section and what is wrong with it.
pub(crate) type Wrong = (&'static str, String);

impl Files {
    /// As they stand in a section; reads nothing.
    ///
    /// # Errors
    /// A certificate without its key, or a key without its certificate.
    pub(crate) fn of(
        ca: Option<&PathBuf>,
        certificate: Option<&PathBuf>,
        key: Option<&PathBuf>,
    ) -> Result<Self, OptionsError> {
        let own = match (certificate, key) {
            (Some(certificate), Some(key)) => Some((certificate.clone(), key.clone())),
            (None, None) => None,
            (Some(_), None) => {
                return Err(OptionsError::new(
                    "key_file",
                    "is missing: name the file with the key of `cert_file`",
                ));
            }
            (None, Some(_)) => {
                return Err(OptionsError::new(
                    "cert_file",
                    "is missing: name the file with the certificate of `key_file`",
                ));
            }
        };
        Ok(Self {
            ca: ca.cloned(),
            own,
        })
    }

    /// For a URL that is not TLS's: `scheme` is what it would be.
    ///
    /// # Errors
    /// There are files, which would count for nothing.
    pub(crate) fn insist_on_none(&self, scheme: &str) -> Result<(), OptionsError> {
        let key = match self {
            Self { ca: Some(_), .. } => "ca_file",
            Self { own: Some(_), .. } => "cert_file",
            _ => return Ok(()),
        };
        Err(OptionsError::new(
            key,
            format!("is for TLS: write {scheme}:// in `url`, or take it out"),
        ))
    }

    /// Makes the set-up. Blocks on files.
    ///
    /// # Errors
    /// The key, and which file cannot be used.
    pub(crate) fn config(&self) -> Result<ClientConfig, Wrong> {
        self.trusting(self.roots()?)
    }

    /// The same for a server that may insist on TLS or not: a system without certificates is no obstacle, and nobody is
    /// trusted then.
    ///
    /// # Errors
    /// The key, and which file cannot be used.
    pub(crate) fn config_if_wanted(&self) -> Result<ClientConfig, Wrong> {
        match self.roots() {
            Err(_) if self.ca.is_none() => self.trusting(RootCertStore::empty()),
            roots => self.trusting(roots?),
        }
    }

    fn trusting(&self, roots: RootCertStore) -> Result<ClientConfig, Wrong> {
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| ("url", format!("cannot set up TLS: {error}")))?;
        let builder = builder.with_root_certificates(roots);
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
