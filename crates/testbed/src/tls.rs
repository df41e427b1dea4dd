//! A client of TLS for servers on this machine: trusts one authority and shows no certificate.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::error::Doing;
use crate::{Error, Result};

/// The client.
#[derive(Debug, Clone)]
pub struct Client(Arc<ClientConfig>);

impl Client {
    /// Trusts the authority in this file, as [`crate::certificate::write`] makes it.
    ///
    /// # Errors
    /// When it cannot be read, or is no authority.
    pub fn trusting(ca: &Path) -> Result<Self> {
        let wrong =
            |error: &dyn std::fmt::Display| Error::Http(format!("{}: {error}", ca.display()));
        let ca = CertificateDer::from_pem_file(ca).map_err(|error| wrong(&error))?;
        let mut roots = RootCertStore::empty();
        roots.add(ca).map_err(|error| wrong(&error))?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider);
        let config = config.with_safe_default_protocol_versions();
        let config = config.map_err(|error| wrong(&error))?;
        let config = config.with_root_certificates(roots).with_no_client_auth();
        Ok(Self(Arc::new(config)))
    }

    /// Does the handshake on a connection, with a server that is `localhost`.
    ///
    /// # Errors
    /// When the handshake fails.
    pub async fn over(&self, stream: TcpStream) -> Result<TlsStream<TcpStream>> {
        let name =
            ServerName::try_from("localhost").map_err(|error| Error::Http(error.to_string()))?;
        let connector = TlsConnector::from(Arc::clone(&self.0));
        let stream = connector.connect(name, stream).await;
        stream.doing(|| "do the handshake of TLS")
    }
}
