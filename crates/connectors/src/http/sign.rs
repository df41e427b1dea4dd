//! Signing as the Standard Webhooks specification has it: HMAC-SHA256 over `id.timestamp.body`.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::{Secret, StoredEvent, Timestamp};
use http::{HeaderMap, HeaderName, HeaderValue};

pub(super) const ID: HeaderName = HeaderName::from_static("webhook-id");
pub(super) const TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
pub(super) const SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

/// A key that requests are signed with.
#[derive(Clone)]
pub(super) struct Signer(hmac::Key);

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

impl Signer {
    /// # Errors
    /// What is wrong with the secret, without quoting it.
    pub(super) fn new(secret: &Secret) -> Result<Self, &'static str> {
        let text = secret.expose().trim();
        let key = STANDARD
            .decode(text.strip_prefix("whsec_").unwrap_or(text))
            .map_err(|_| "the secret is not base64 behind its whsec_")?;
        if key.is_empty() {
            return Err("the secret is empty behind its whsec_");
        }
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &key)))
    }

    /// Puts the three headers in, in place of any that are there. A repeat has the same id and a time of its own.
    pub(super) fn sign(&self, stored: &StoredEvent, now: Timestamp, headers: &mut HeaderMap) {
        let id = stored.id.to_string();
        let second = now.as_second().to_string();
        let mut context = hmac::Context::with_key(&self.0);
        for part in [
            id.as_bytes(),
            b".",
            second.as_bytes(),
            b".",
            &stored.event.body,
        ] {
            context.update(part);
        }
        let signature = format!("v1,{}", STANDARD.encode(context.sign()));
        for (name, value) in [(ID, id), (TIMESTAMP, second), (SIGNATURE, signature)] {
            // Digits, letters and base64 always are a header's value.
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.insert(name, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_that_is_none_is_refused_unquoted() {
        for text in ["whsec_hunter2!", "whsec_", "", "hunter2 "] {
            let error = Signer::new(&Secret::new(text.into())).unwrap_err();
            assert!(!error.contains("hunter2"), "{error}");
        }
        let good = Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n".into());
        assert_eq!(format!("{:?}", Signer::new(&good).unwrap()), "***");
    }
}
