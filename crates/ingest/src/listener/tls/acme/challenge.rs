//! The answers to an authority that connects to see whether a domain is ours (TLS-ALPN-01): a certificate that says so,
//! on connections that speak `acme-tls/1` and nothing else.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rcgen::{CertificateParams, CustomExtension, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::PrivatePkcs8KeyDer;

use super::order::Error;

/// The protocol that only an authority speaks.
const PROTOCOL: &[u8] = b"acme-tls/1";

/// What is to be answered at present.
#[derive(Debug)]
pub(in crate::listener) struct Challenges {
    answers: Arc<Answers>,
    config: Arc<ServerConfig>,
}

/// Certificates by domain.
#[derive(Debug, Default)]
struct Answers(Mutex<HashMap<String, Arc<CertifiedKey>>>);

impl Answers {
    fn all(&self) -> MutexGuard<'_, HashMap<String, Arc<CertifiedKey>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ResolvesServerCert for Answers {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.all().get(hello.server_name()?).cloned()
    }
}

impl Challenges {
    pub(super) fn new() -> Result<Self, rustls::Error> {
        let answers = Arc::new(Answers::default());
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider);
        let builder = builder.with_safe_default_protocol_versions()?;
        let mut config = builder
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&answers) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        Ok(Self {
            answers,
            config: Arc::new(config),
        })
    }

    /// Whether a client asks for an answer and for nothing else.
    pub(in crate::listener) fn is_one(hello: &ClientHello<'_>) -> bool {
        let mut protocols = hello.alpn().into_iter().flatten();
        protocols.next() == Some(PROTOCOL) && protocols.next().is_none()
    }

    /// What it is answered with.
    pub(in crate::listener) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }

    /// Answers for a domain with the digest of what the authority is to find.
    pub(super) fn answer(&self, domain: &str, digest: &[u8]) -> Result<(), Error> {
        let mut params = CertificateParams::new([domain.to_owned()])?;
        let extension = CustomExtension::new_acme_identifier(digest);
        params.custom_extensions = vec![extension];
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?;
        // Not by `from_der`: it reads the certificate, and takes none that is marked as this one must be.
        let signing = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
        let signing = aws_lc_rs::sign::any_supported_type(&signing)?;
        let certified = CertifiedKey::new(vec![certificate.der().clone()], signing);
        self.answers
            .all()
            .insert(domain.into(), Arc::new(certified));
        Ok(())
    }

    /// Nothing is to be answered any more.
    pub(super) fn clear(&self) {
        self.answers.all().clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_is_answered_for_until_that_is_over() {
        let challenges = Challenges::new().unwrap();
        challenges.answer("a.example", &[7; 32]).unwrap();
        assert!(challenges.answers.all().contains_key("a.example"));
        challenges.clear();
        assert!(challenges.answers.all().is_empty());
    }
}
