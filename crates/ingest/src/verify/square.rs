//! `square`: Square's webhooks (developer.squareup.com, "Validate notifications"): the URL is signed with the body.

use crate::json::texts;

use super::signature::{Algorithm, Encoding, HmacKeys, given};
use super::{
    About, CannotSign, Consumed, Identity, Received, Refusal, Sample, Scheme, SecretOptions,
    Sender, Signed, Unsigned,
};

const HEADER: &str = "x-square-hmacsha256-signature";

pub(super) const ABOUT: About = About {
    dedup: "`event_id` in the body",
    sender: Sender {
        timeout: None,
        retries: "up to 11 more tries over 24 hours",
        window: Some(std::time::Duration::from_secs(24 * 3600)),
    },
    signs_url: true,
    ..About::new(
        "square",
        "Square: `x-square-hmacsha256-signature`, an HMAC-SHA256 over the notification URL and the body in base64. The source's `public_url` is that URL.",
    )
};

/// The scheme.
#[derive(Debug)]
pub(super) struct Square {
    keys: HmacKeys,
}

impl Square {
    pub(super) fn new(options: &SecretOptions) -> Result<Self, String> {
        let keys = HmacKeys::load(options, Algorithm::Sha256)?;
        Ok(Self { keys })
    }
}

impl Scheme for Square {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn verify(&self, request: &Received<'_>) -> Result<Consumed, Refusal> {
        let signature = given(request.headers, HEADER, "", Encoding::Base64)?;
        let url = request.url.unwrap_or_default();
        self.keys
            .check(&signature, &[url.as_bytes(), request.body])?;
        Ok(Consumed::Nothing)
    }

    fn identify(&self, request: &Received<'_>) -> Identity {
        let [id, event_type] = texts(request.body, ["event_id", "type"]);
        Identity::of(id.as_deref(), event_type.as_deref())
    }

    fn sign(&self, request: &Unsigned<'_>) -> Result<Signed, CannotSign> {
        let url = request.url.unwrap_or_default();
        let tag = self.keys.sign(&[url.as_bytes(), request.body]);
        Ok(Signed::with([(HEADER, Encoding::Base64.encode(tag))]))
    }

    fn sample(&self, id: &str, text: &str) -> Sample {
        Sample::json(&serde_json::json!({
            "merchant_id": "6SSW7HV8K2ST5",
            "type": "payment.updated",
            "event_id": id,
            "created_at": "2026-01-31T12:00:00Z",
            "data": { "type": "payment", "object": { "payment": { "note": text } } },
        }))
    }

    fn reload(&self) -> Result<(), String> {
        self.keys.reload()
    }
}

#[cfg(test)]
mod tests {
    use super::super::cases::{Case, URL, secret, signs_what_it_takes};
    use super::*;

    fn scheme(text: &str) -> Square {
        Square::new(&secret(text)).unwrap()
    }

    #[test]
    fn another_url_is_another_signature() {
        let known = scheme("one");
        signs_what_it_takes(&known, &scheme("two"), true);
        let tag = known.keys.sign(&[format!("{URL}{{}}").as_bytes()]);
        let signature = Encoding::Base64.encode(tag);
        let case = || Case::new(&[(HEADER, &signature)], "{}", 0);
        case().check(&known).unwrap();
        assert_eq!(case().at("/in/y").check(&known), Err(Refusal::Wrong));
    }

    #[test]
    fn id_and_type_are_in_the_body() {
        let case = Case::new(&[], r#"{"event_id":"e1","type":"payment.created"}"#, 0);
        let said = Identity::of(Some("e1"), Some("payment.created"));
        assert_eq!(case.identity(&scheme("s")), said);
    }
}
