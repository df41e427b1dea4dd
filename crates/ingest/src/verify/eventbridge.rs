//! `eventbridge`: an EventBridge API destination (docs.aws.amazon.com, "API destinations", "Connections"): a fixed
//! credential in a header.

use crate::json::texts;

use super::api_key::Options;
use super::token::Token;
use super::{
    About, CannotSign, Consumed, Identity, KeyDoc, Received, Refusal, Sample, Scheme, Sender,
    Signed, Unsigned,
};

pub(super) const ABOUT: About = About {
    dedup: "`id` in the body",
    sender: Sender::new(
        5,
        "up to 185 more tries over 24 hours, as the rule's retry policy says",
        24 * 3600,
    ),
    keys: &[
        KeyDoc::new(
            "header",
            "string",
            "a header's name",
            "The API key name of the connection.",
            "\"x-api-key\"",
        ),
        super::about::SECRET,
        super::about::SECRET_FILE,
    ],
    guessable: false,
    sent: true,
    ..About::new(
        "eventbridge",
        "An Amazon EventBridge API destination whose connection sends an API key. The header is not stored.",
    )
};

/// The scheme.
#[derive(Debug)]
pub(super) struct EventBridge(Token);

impl EventBridge {
    pub(super) fn new(options: &Options) -> Result<Self, String> {
        Token::load(&options.header, options).map(Self)
    }
}

impl Scheme for EventBridge {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn credential(&self) -> Option<&http::HeaderName> {
        Some(self.0.header())
    }

    fn verify(&self, request: &Received<'_>) -> Result<Consumed, Refusal> {
        self.0.check(request.headers)
    }

    fn identify(&self, request: &Received<'_>) -> Identity {
        let [id, detail_type] = texts(request.body, ["id", "detail-type"]);
        // Without a type it is not the envelope, but what a rule made of it.
        let id = id.filter(|_| detail_type.is_some());
        Identity::of(id.as_deref(), detail_type.as_deref())
    }

    fn sign(&self, _: &Unsigned<'_>) -> Result<Signed, CannotSign> {
        Ok(Signed::with([self.0.sign()]))
    }

    fn sample(&self, id: &str, text: &str) -> Sample {
        Sample::json(&serde_json::json!({
            "version": "0",
            "id": id,
            "detail-type": "v2.conversations.{id}.customer",
            "source": "aws.partner/genesys.com/cloud/example",
            "account": "123456789012",
            "time": "2026-01-31T12:00:00Z",
            "region": "us-east-1",
            "resources": [],
            "detail": { "text": text },
        }))
    }

    fn reload(&self) -> Result<(), String> {
        self.0.reload()
    }
}

#[cfg(test)]
mod tests {
    use super::super::cases::{Case, signs_what_it_takes};
    use super::*;

    fn scheme(secret: &str) -> EventBridge {
        let options = serde_json::json!({ "header": "x-forebay-key", "secrets": [secret] });
        EventBridge::new(&serde_json::from_value(options).unwrap()).unwrap()
    }

    #[test]
    fn the_connections_key_is_taken_and_the_envelope_says_id_and_type() {
        signs_what_it_takes(&scheme("one"), &scheme("two"), false);
        let body = r#"{"id":"e1","detail-type":"EC2 Instance State-change Notification"}"#;
        let case = Case::new(&[("x-forebay-key", "one")], body, 0);
        let header = http::HeaderName::from_static("x-forebay-key");
        assert_eq!(case.check(&scheme("one")), Ok(Consumed::Header(header)));
        let said = Identity::of(Some("e1"), Some("EC2 Instance State-change Notification"));
        assert_eq!(case.identity(&scheme("one")), said);
    }

    /// A rule may send a part of the event, or another text made of it: its `id` is then an order's or a user's.
    #[test]
    fn what_is_no_envelope_has_no_id() {
        let case = Case::new(&[], r#"{"id":"order-42","status":"paid"}"#, 0);
        assert_eq!(case.identity(&scheme("one")), Identity::default());
    }
}
