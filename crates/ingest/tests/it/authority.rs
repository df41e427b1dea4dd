//! A certificate authority of one test: what it signs, as a server's files and as a client.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use domain::SystemClock;
use ingest::{ClientAuth, Tls, TlsOptions, TlsVersion};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::ClientConfig;
use rustls::crypto::aws_lc_rs;
use rustls::version::{TLS12, TLS13};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        Self(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    /// A certificate for a name, with its key.
    fn sign(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        (params.signed_by(&key, &self.0).unwrap(), key)
    }

    /// Writes a new certificate for `localhost` with its key.
    pub(crate) fn put(&self, options: &TlsOptions) {
        let (certificate, key) = self.sign("localhost");
        let put = |file: &Option<PathBuf>, text| {
            std::fs::write(file.as_ref().unwrap(), text).unwrap();
        };
        put(&options.cert_file, certificate.pem());
        put(&options.key_file, key.serialize_pem());
    }

    /// The options of a server with a certificate of this authority.
    pub(crate) fn server(&self, directory: &Path) -> TlsOptions {
        let options = TlsOptions {
            cert_file: Some(directory.join("cert.pem")),
            key_file: Some(directory.join("key.pem")),
            ..TlsOptions::default()
        };
        self.put(&options);
        options
    }

    /// TLS with these options.
    pub(crate) fn tls(options: &TlsOptions) -> Arc<Tls> {
        let nowhere = Path::new("/nowhere");
        Tls::load(options, nowhere, Arc::new(SystemClock)).unwrap()
    }

    /// The same for a server that asks its clients, who must be of this authority.
    pub(crate) fn asking(&self, directory: &Path, client_auth: ClientAuth) -> TlsOptions {
        let file = directory.join("client-ca.pem");
        std::fs::write(&file, self.0.pem()).unwrap();
        TlsOptions {
            client_ca_file: Some(file),
            client_auth,
            ..self.server(directory)
        }
    }

    /// A client that trusts this authority.
    pub(crate) fn client(&self) -> Client {
        Client {
            trusted: self.0.der().clone(),
            shows: None,
            newest: TlsVersion::Tls13,
            protocols: Vec::new(),
        }
    }
}

/// A client of TLS.
pub(crate) struct Client {
    trusted: CertificateDer<'static>,
    shows: Option<(CertificateDer<'static>, PrivatePkcs8KeyDer<'static>)>,
    pub newest: TlsVersion,
    pub protocols: Vec<Vec<u8>>,
}

impl Client {
    /// Shows a certificate that an authority signed for this name.
    pub(crate) fn showing(mut self, of: &Authority, name: &str) -> Self {
        let (certificate, key) = of.sign(name);
        self.shows = Some((certificate.der().clone(), key.serialize_der().into()));
        self
    }

    pub(crate) fn config(&self) -> Arc<ClientConfig> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.trusted.clone()).unwrap();
        let versions: &[_] = match self.newest {
            TlsVersion::Tls12 => &[&TLS12],
            TlsVersion::Tls13 => &[&TLS13],
        };
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider);
        let builder = builder.with_protocol_versions(versions).unwrap();
        let builder = builder.with_root_certificates(roots);
        let mut config = match &self.shows {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let key = key.clone_key().into();
                let chain = vec![certificate.clone()];
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        config.alpn_protocols.clone_from(&self.protocols);
        Arc::new(config)
    }

    /// Does the handshake on a connection.
    pub(crate) async fn over(&self, stream: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
        Self::with(&self.config(), stream).await
    }

    /// The same with a configuration that was used before, and what it remembers.
    pub(crate) async fn with(
        config: &Arc<ClientConfig>,
        stream: TcpStream,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from("localhost").unwrap();
        let connector = TlsConnector::from(Arc::clone(config));
        connector.connect(name, stream).await
    }
}
