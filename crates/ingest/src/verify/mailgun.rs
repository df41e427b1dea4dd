//! `mailgun`: Mailgun's webhooks (documentation.mailgun.com, "Securing webhooks"): the signature stands in the body
//! and is over a time and a token, not over the rest of it.
//!
//! So it proves that Mailgun once made this token, and no more: whoever saw one post can send another body with it.
//! A repeat is the same token, which is why such a post counts only once.

use std::borrow::Cow;

use serde::Deserialize;

use crate::json::text_at;

use super::signature::{Algorithm, Encoding, HmacKeys, is_time};
use super::{
    About, CannotSign, Consumed, Identity, Received, Refusal, Sample, Scheme, SecretOptions,
    Sender, Signed, Unsigned,
};

pub(super) const ABOUT: About = About {
    dedup: "`signature.token` in the body",
    sender: Sender {
        timeout: None,
        retries: "7 more tries over 8 hours; 406 stops it",
        window: Some(std::time::Duration::from_secs(8 * 3600)),
    },
    ..About::new(
        "mailgun",
        "Mailgun: `signature` in the body, an HMAC-SHA256 over its `timestamp` and `token` in hex. The rest of the body is not signed.",
    )
};

/// The part of the body that is signed.
#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    signature: Proof<'a>,
}

#[derive(Deserialize)]
struct Proof<'a> {
    #[serde(borrow)]
    timestamp: Cow<'a, str>,
    #[serde(borrow)]
    token: Cow<'a, str>,
    #[serde(borrow)]
    signature: Cow<'a, str>,
}

/// The scheme.
#[derive(Debug)]
pub(super) struct Mailgun {
    keys: HmacKeys,
}

impl Mailgun {
    pub(super) fn new(options: &SecretOptions) -> Result<Self, String> {
        let keys = HmacKeys::load(options, Algorithm::Sha256)?;
        Ok(Self { keys })
    }
}

impl Scheme for Mailgun {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn verify(&self, request: &Received<'_>) -> Result<Consumed, Refusal> {
        let body: Body<'_> = serde_json::from_slice(request.body).map_err(|_| Refusal::Missing)?;
        let proof = body.signature;
        // Else whoever saw one post could move the line between the two, and each place would be another token.
        if !is_time(&proof.timestamp) || proof.token.is_empty() {
            return Err(Refusal::Malformed);
        }
        let signature = Encoding::Hex.decode(&proof.signature)?;
        let parts = [proof.timestamp.as_bytes(), proof.token.as_bytes()];
        self.keys.check(&signature, &parts)?;
        Ok(Consumed::Nothing)
    }

    fn identify(&self, request: &Received<'_>) -> Identity {
        let token = text_at(request.body, "/signature/token");
        let event = text_at(request.body, "/event-data/event");
        Identity::of(token.as_deref(), event.as_deref())
    }

    /// Puts a signature into the body, which has to be an object.
    fn sign(&self, request: &Unsigned<'_>) -> Result<Signed, CannotSign> {
        let mut body: serde_json::Map<String, serde_json::Value> =
            serde_json::from_slice(request.body).unwrap_or_default();
        let timestamp = request.now.as_second().to_string();
        let tag = self
            .keys
            .sign(&[timestamp.as_bytes(), request.id.as_bytes()]);
        body.insert(
            "signature".into(),
            serde_json::json!({
                "timestamp": timestamp,
                "token": request.id,
                "signature": hex::encode(tag),
            }),
        );
        Ok(Signed {
            body: serde_json::to_vec(&body).ok(),
            ..Signed::default()
        })
    }

    fn sample(&self, id: &str, text: &str) -> Sample {
        Sample::json(&serde_json::json!({
            "event-data": {
                "event": "delivered",
                "id": id,
                "recipient": "alice@example.com",
                "message": { "headers": { "subject": text } },
            },
        }))
    }

    fn reload(&self) -> Result<(), String> {
        self.keys.reload()
    }
}

#[cfg(test)]
mod tests {
    use super::super::cases::{Case, secret, signs_what_it_takes};
    use super::*;

    fn scheme(text: &str) -> Mailgun {
        Mailgun::new(&secret(text)).unwrap()
    }

    #[test]
    fn time_and_token_are_signed() {
        let known = scheme("key-123");
        signs_what_it_takes(&known, &scheme("other"), false);
        let signature = hex::encode(known.keys.sign(&[b"1529006854", b"a8ce0edb"]));
        let body = |time: &str, token: &str| {
            format!(
                r#"{{"signature":{{"timestamp":"{time}","token":"{token}","signature":"{signature}"}},"event-data":{{"event":"opened"}}}}"#
            )
        };
        let check = |body: &str| Case::new(&[], body, 0).check(&known);
        let good = body("1529006854", "a8ce0edb");
        assert!(check(&good).is_ok());
        assert_eq!(check(&body("1529006855", "a8ce0edb")), Err(Refusal::Wrong));
        assert_eq!(check(&body("1529006854", "a8ce0edc")), Err(Refusal::Wrong));
        assert_eq!(
            check(&good.replace(&signature, "zz")),
            Err(Refusal::Malformed)
        );
        for none in ["", "[]", "{}", r#"{"signature":1}"#] {
            assert_eq!(check(none), Err(Refusal::Missing), "{none}");
        }
        // Time and token are signed one behind the other: what is the one's is not the other's.
        for (time, token) in [
            ("1529006854a8ce0edb", ""),
            ("152900685", "4a8ce0edb"),
            ("1529006854a", "8ce0edb"),
            ("", "1529006854a8ce0edb"),
        ] {
            assert_eq!(check(&body(time, token)), Err(Refusal::Malformed), "{time}");
        }
        let said = Case::new(&[], &good, 0).identity(&known);
        assert_eq!(said, Identity::of(Some("a8ce0edb"), Some("opened")));
    }
}
