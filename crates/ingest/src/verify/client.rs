//! The certificate that a client showed when it connected, and that was verified then: whom it names. The chain, the
//! dates and the key are the listener's business; a scheme asks for names only.

use rustls_pki_types::CertificateDer;
use webpki::EndEntityCert;

use crate::der::{OID, SEQUENCE, SET, take};

/// `commonName` (2.5.4.3), as DER writes it.
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];

/// `UTF8String`, `PrintableString`, `IA5String`: all of them UTF-8 as well.
const TEXTS: [u8; 3] = [0x0c, 0x13, 0x16];

/// Whom a verified certificate names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClientCertificate {
    common_names: Vec<String>,
    dns_names: Vec<String>,
    uri_names: Vec<String>,
}

impl ClientCertificate {
    /// The names in a certificate that has been verified. One that cannot be read names nobody.
    #[must_use]
    pub fn of(verified: &CertificateDer<'_>) -> Self {
        let Ok(certificate) = EndEntityCert::try_from(verified) else {
            return Self::default();
        };
        Self {
            common_names: common_names(certificate.subject()),
            dns_names: certificate.valid_dns_names().map(Into::into).collect(),
            uri_names: certificate.valid_uri_names().map(Into::into).collect(),
        }
    }

    /// Whether it names this one: as the common name of its subject, or as one of its alternative names. Only names
    /// of the DNS are the same in capitals.
    #[must_use]
    pub fn names(&self, subject: &str) -> bool {
        let mut exact = self.common_names.iter().chain(&self.uri_names);
        let mut dns = self.dns_names.iter();
        exact.any(|name| name == subject) || dns.any(|name| name.eq_ignore_ascii_case(subject))
    }
}

/// The common names of a subject, which is what stands in the outer sequence.
fn common_names(mut subject: &[u8]) -> Vec<String> {
    let mut names = Vec::new();
    while let Some((mut set, rest)) = take(subject, &[SET]) {
        subject = rest;
        while let Some((attribute, rest)) = take(set, &[SEQUENCE]) {
            set = rest;
            let Some((COMMON_NAME, value)) = take(attribute, &[OID]) else {
                continue;
            };
            let text = take(value, &TEXTS).map(|(text, _)| std::str::from_utf8(text));
            names.extend(text.and_then(Result::ok).map(str::to_owned));
        }
    }
    names
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;

    /// A certificate with these names, verified by nobody.
    pub(crate) fn certificate(common: &str, dns: &str, uri: &str) -> ClientCertificate {
        let mut params = CertificateParams::new([dns.to_owned()]).unwrap();
        let uri = SanType::URI(uri.try_into().unwrap());
        params.subject_alt_names.push(uri);
        params
            .distinguished_name
            .push(DnType::OrganizationName, "An Organization");
        params.distinguished_name.push(DnType::CommonName, common);
        let signed = params.self_signed(&KeyPair::generate().unwrap());
        ClientCertificate::of(signed.unwrap().der())
    }

    #[test]
    fn it_names_its_subject_and_its_alternative_names_and_nobody_else() {
        let long = "n".repeat(200);
        let known = certificate(&long, "Sender.example.com", "spiffe://example.com/sender");
        assert!(known.names(&long));
        assert!(known.names("sender.EXAMPLE.com"));
        assert!(known.names("spiffe://example.com/sender"));
        for other in [
            "",
            "nnn",
            "An Organization",
            "example.com",
            "a.sender.example.com",
            "spiffe://example.com/SENDER",
        ] {
            assert!(!known.names(other), "{other}");
        }
        assert!(!ClientCertificate::of(&b"no certificate"[..].into()).names(""));
    }

    proptest! {
        #[test]
        fn no_subject_makes_it_panic(subject in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = common_names(&subject);
        }

        #[test]
        fn a_subject_cut_short_names_nobody_new(at in 0_usize..100) {
            let mut subject = vec![SET, 12, SEQUENCE, 10, OID, 3, 0x55, 4, 3, 0x0c, 3];
            subject.extend(b"one");
            subject.truncate(at);
            let expected: &[&str] = if at < 14 { &[] } else { &["one"] };
            prop_assert_eq!(common_names(&subject), expected);
        }
    }
}
