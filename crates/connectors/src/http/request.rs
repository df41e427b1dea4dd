//! What goes out with an event: its own bytes and headers, the configured ones, and who it is.
//!
//! Of the event's headers all are passed on but those that were about its first journey: the connection's, the
//! host's, the length, the proxies' and cookies. Signature headers are among those that stay.

use std::sync::Arc;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::ports::Delivery;
use domain::{Secret, Timestamp};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

/// Headers of one hop or of the way here: RFC 9110, section 7.6.1, and what proxies add.
const LEFT_OUT: [&str; 18] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "host",
    "content-length",
    "expect",
    "cookie",
    "accept-encoding",
    "forwarded",
    "via",
    "x-real-ip",
    "http2-settings",
];

/// Headers of the way here alone begin so, and those that only Forebay may set.
const LEFT_OUT_PREFIXES: [&str; 2] = ["x-forwarded-", "forebay-"];

/// A key of Standard Webhooks: what its `whsec_…` text stands for.
#[derive(Clone)]
pub(super) struct SigningKey(Arc<hmac::Key>);

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SigningKey(…)")
    }
}

impl SigningKey {
    /// Reads `whsec_` and base64, as the specification of Standard Webhooks writes it.
    ///
    /// # Errors
    /// What would be right; never the secret.
    pub(super) fn parse(secret: &Secret) -> Result<Self, &'static str> {
        const WRONG: &str = "must be \"whsec_\" and at least 16 bytes in base64";
        let text = secret.expose().trim().strip_prefix("whsec_").ok_or(WRONG)?;
        let bytes = STANDARD.decode(text).map_err(|_| WRONG)?;
        if bytes.len() < 16 {
            return Err(WRONG);
        }
        Ok(Self(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, &bytes))))
    }

    /// `v1,` and the signature of what is sent at `at`.
    fn sign(&self, id: &str, at: i64, body: &[u8]) -> String {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(format!("{id}.{at}.").as_bytes());
        context.update(body);
        format!("v1,{}", STANDARD.encode(context.sign()))
    }
}

/// The headers of one request.
pub(super) fn headers(
    delivery: &Delivery,
    configured: &HeaderMap,
    sign: Option<&SigningKey>,
    now: Timestamp,
) -> HeaderMap {
    let event = &delivery.stored.event;
    let mut headers = HeaderMap::new();
    // What the sender's connection was said to be about stays with it: RFC 9110, section 7.6.1.
    let connection = event.headers.get("connection").unwrap_or_default();
    let of_connection: Vec<&[u8]> = connection
        .split(|byte| *byte == b',')
        .map(<[u8]>::trim_ascii)
        .collect();
    for header in event.headers.iter() {
        let name = header.name;
        let of_connection = of_connection
            .iter()
            .any(|said| said.eq_ignore_ascii_case(name.as_bytes()));
        let of_ours = LEFT_OUT_PREFIXES
            .iter()
            .any(|prefix| name.starts_with(prefix));
        if of_connection || of_ours || LEFT_OUT.contains(&name) {
            continue;
        }
        // Both came by HTTP, so they can go by it.
        let name = HeaderName::from_bytes(name.as_bytes());
        let value = HeaderValue::from_bytes(header.value);
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    for (name, value) in configured {
        headers.insert(name.clone(), value.clone());
    }
    let id = delivery.stored.id.to_string();
    let mut own = |name: &'static str, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    };
    own("forebay-event-id", &id);
    own("forebay-attempt", &delivery.attempt.to_string());
    own("forebay-source", event.source.as_str());
    if let Some(key) = sign {
        let at = now.as_second();
        own("webhook-id", &id);
        own("webhook-timestamp", &at.to_string());
        own("webhook-signature", &key.sign(&id, at, &event.body));
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_the_one_of_the_specifications_example() {
        // https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
        let secret = Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned());
        let key = SigningKey::parse(&secret).unwrap();
        let signed = key.sign(
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            br#"{"test": 2432232314}"#,
        );
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_secret_that_is_none_is_not_quoted() {
        for text in ["hunter2", "whsec_hunter2!", "whsec_c2hvcnQ="] {
            let error = SigningKey::parse(&Secret::new(text.to_owned())).unwrap_err();
            assert!(!error.contains("hunter2"));
        }
    }
}
