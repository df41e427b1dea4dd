//! Certificates that a sender publishes, for the schemes whose signatures name one.
//!
//! What makes a certificate the sender's is where it came from: a host of the sender's own, over TLS. It is not
//! followed to a root once more, as the providers' own libraries do not.

use std::sync::{Mutex, PoisonError};

use aws_lc_rs::signature::{
    RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY, RSA_PKCS1_2048_8192_SHA256, RsaParameters,
    UnparsedPublicKey,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use super::Refusal;

/// A sender uses one certificate, and two while it changes it.
const MOST: usize = 8;

/// The hash under the RSA signature (PKCS #1 v1.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hash {
    /// For senders that have nothing better.
    Sha1,
    Sha256,
}

/// The longest URL of one. Whoever posts may name it.
const LONGEST: usize = 256;

/// The public keys that are known; the newest last.
#[derive(Debug, Default)]
pub(super) struct Certificates(Mutex<Vec<Known>>);

/// A public key, and where it came from.
#[derive(Debug)]
struct Known {
    place: String,
    key: Vec<u8>,
    /// Whether a request was signed with it. Anybody can name a certificate of the sender's; only the sender can sign.
    proved: bool,
}

impl Certificates {
    /// Whether the certificate of this place is there.
    pub(super) fn has(&self, place: &str) -> bool {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.iter().any(|known| known.place == place)
    }

    /// Takes the key out of a certificate in PEM, the first of a chain. Of more than a few the oldest goes that
    /// nothing was signed with.
    ///
    /// # Errors
    /// It is no certificate.
    pub(super) fn learn(&self, place: &str, pem: &[u8]) -> Result<(), String> {
        let none = |_| "it is not a certificate in PEM".to_owned();
        let certificate = CertificateDer::from_pem_slice(pem).map_err(none)?;
        let parsed = webpki::EndEntityCert::try_from(&certificate);
        let parsed = parsed.map_err(|error| format!("the certificate cannot be read: {error}"))?;
        let key = parsed.subject_public_key_info().to_vec();
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|known| known.place != place);
        if known.len() == MOST {
            let idle = known.iter().position(|known| !known.proved);
            known.remove(idle.unwrap_or(0));
        }
        known.push(Known {
            place: place.to_owned(),
            key,
            proved: false,
        });
        Ok(())
    }

    /// Whether the key of this place made the signature.
    ///
    /// # Errors
    /// [`Refusal::Wrong`].
    pub(super) fn check(
        &self,
        place: &str,
        hash: Hash,
        signed: &[u8],
        signature: &[u8],
    ) -> Result<(), Refusal> {
        let known = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_it = |known: &&mut Known| known.place == place;
        let key = known()
            .iter_mut()
            .find(is_it)
            .map(|known| known.key.clone());
        let key = key.ok_or(Refusal::Wrong)?;
        let parameters: &'static RsaParameters = match hash {
            Hash::Sha1 => &RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY,
            Hash::Sha256 => &RSA_PKCS1_2048_8192_SHA256,
        };
        UnparsedPublicKey::new(parameters, key)
            .verify(signed, signature)
            .map_err(|_| Refusal::Wrong)?;
        if let Some(known) = known().iter_mut().find(is_it) {
            known.proved = true;
        }
        Ok(())
    }
}

/// Host and path of a short https URL that names neither user, port, query nor fragment; anything else is no place where a
/// certificate is looked for.
pub(super) fn place(url: &str) -> Option<(&str, &str)> {
    let rest = url.strip_prefix("https://")?;
    let (host, path) = rest.split_at(rest.find('/')?);
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._/".contains(&byte);
    let short = url.len() <= LONGEST && !host.is_empty();
    let good = short && url["https://".len()..].bytes().all(plain);
    // A path that climbs is no path that the sender would name.
    (good && !path.contains("..")).then_some((host, path))
}

#[cfg(test)]
pub(super) mod tests {
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::rsa::KeySize;
    use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RsaKeyPair};

    use super::*;

    /// A sender with a key and the certificate that it would publish.
    pub(crate) struct Sender {
        pair: RsaKeyPair,
        pub pem: String,
    }

    impl Sender {
        pub(crate) fn new() -> Self {
            use aws_lc_rs::encoding::AsDer;
            let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
            let pkcs8: aws_lc_rs::encoding::Pkcs8V1Der<'static> = pair.as_der().unwrap();
            let der = rustls_pki_types::PrivatePkcs8KeyDer::from(pkcs8.as_ref().to_vec());
            let key = rcgen::KeyPair::from_pkcs8_der_and_sign_algo(&der, &rcgen::PKCS_RSA_SHA256);
            let params = rcgen::CertificateParams::new(["signer.example".to_owned()]).unwrap();
            let pem = params.self_signed(&key.unwrap()).unwrap().pem();
            Self { pair, pem }
        }

        pub(crate) fn sign(&self, signed: &[u8]) -> Vec<u8> {
            let mut signature = vec![0; self.pair.public_modulus_len()];
            let random = SystemRandom::new();
            self.pair
                .sign(&RSA_PKCS1_SHA256, &random, signed, &mut signature)
                .unwrap();
            signature
        }
    }

    #[test]
    fn only_the_key_of_the_named_place_fits() {
        let (one, two) = (Sender::new(), Sender::new());
        let known = Certificates::default();
        known.learn("https://h/1", one.pem.as_bytes()).unwrap();
        known.learn("https://h/2", two.pem.as_bytes()).unwrap();
        let signature = one.sign(b"text");
        let check = |place, hash, text| known.check(place, hash, text, &signature);
        assert_eq!(check("https://h/1", Hash::Sha256, b"text"), Ok(()));
        assert_eq!(
            check("https://h/1", Hash::Sha1, b"text"),
            Err(Refusal::Wrong)
        );
        assert_eq!(
            check("https://h/1", Hash::Sha256, b"next"),
            Err(Refusal::Wrong)
        );
        assert_eq!(
            check("https://h/2", Hash::Sha256, b"text"),
            Err(Refusal::Wrong)
        );
        assert_eq!(
            check("https://h/3", Hash::Sha256, b"text"),
            Err(Refusal::Wrong)
        );
        assert!(known.learn("https://h/3", b"no certificate").is_err());
        assert!(!known.has("https://h/3"));
    }

    #[test]
    fn no_more_than_a_few_are_kept() {
        let sender = Sender::new();
        let known = Certificates::default();
        for number in 0..20 {
            let place = format!("https://h/{number}");
            known.learn(&place, sender.pem.as_bytes()).unwrap();
            assert!(known.has(&place));
        }
        assert!(!known.has("https://h/11") && known.has("https://h/12"));
    }

    #[test]
    fn a_certificate_that_proved_something_outlasts_those_that_did_not() {
        let sender = Sender::new();
        let known = Certificates::default();
        known
            .learn("https://h/good", sender.pem.as_bytes())
            .unwrap();
        let signature = sender.sign(b"text");
        known
            .check("https://h/good", Hash::Sha256, b"text", &signature)
            .unwrap();
        for number in 0..20 {
            let place = format!("https://h/{number}");
            known.learn(&place, sender.pem.as_bytes()).unwrap();
        }
        assert!(known.has("https://h/good") && known.has("https://h/19"));
        assert!(!known.has("https://h/12") && known.has("https://h/13"));
    }

    #[test]
    fn a_place_is_a_plain_https_url() {
        assert_eq!(place(&format!("https://a.b/{}", "c".repeat(300))), None);
        assert_eq!(place("https://a.b/c-1.pem"), Some(("a.b", "/c-1.pem")));
        for bad in [
            "http://a.b/c",
            "https://a.b",
            "https:///c",
            "https://u@a.b/c",
            "https://a.b:8443/c",
            "https://a.b/c?d",
            "https://a.b/c#d",
            "https://a.b/../c",
            "https://a.b\\@evil/c",
            "https://a.b/%2e",
            "",
        ] {
            assert_eq!(place(bad), None, "{bad}");
        }
    }
}
