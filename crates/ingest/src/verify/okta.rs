//! `okta`: Okta's event hooks (developer.okta.com, "Event hooks"): a fixed value in `Authorization`, and one GET that
//! proves that the URL is ours.

use http::Method;

use crate::json::{text_at, texts};

use super::token::Token;
use super::{
    About, CannotSign, Consumed, Handshake, Identity, Received, Refusal, Reply, Sample, Scheme,
    SecretOptions, Sender, Signed, Split, Unsigned, field,
};

const CHALLENGE: &str = "x-okta-verification-challenge";

pub(super) const ABOUT: About = About {
    dedup: "`eventId` in the body; of an item, `uuid`",
    handshake: "a GET with `x-okta-verification-challenge`",
    sender: Sender::new(3, "once more at most", 6),
    guessable: false,
    sent: true,
    ..About::new(
        "okta",
        "Okta's event hooks: the authentication secret in `Authorization`. The header is not stored. `split = \"scheme\"` makes each of `data.events` an event.",
    )
};

/// The scheme.
#[derive(Debug)]
pub(super) struct Okta(Token);

impl Okta {
    pub(super) fn new(options: &SecretOptions) -> Result<Self, String> {
        Token::load("authorization", options).map(Self)
    }
}

impl Scheme for Okta {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn greets(&self) -> &'static [Method] {
        &[Method::GET]
    }

    /// Anybody may ask: what they said themselves is all that they hear.
    fn handshake(&self, request: &Received<'_>) -> Option<Handshake> {
        if request.method != "GET" {
            return None;
        }
        let challenge = field(request.headers, CHALLENGE)?;
        let answer = serde_json::json!({ "verification": challenge });
        Some(Handshake::Answer(Reply::json(&answer)))
    }

    fn verify(&self, request: &Received<'_>) -> Result<Consumed, Refusal> {
        self.0.check(request.headers)
    }

    fn identify(&self, request: &Received<'_>) -> Identity {
        let id = text_at(request.body, "/eventId");
        let event_type = text_at(request.body, "/data/events/0/eventType");
        Identity::of(id.as_deref(), event_type.as_deref())
    }

    fn identify_item(&self, item: &[u8]) -> Identity {
        let [id, event_type] = texts(item, ["uuid", "eventType"]);
        Identity::of(id.as_deref(), event_type.as_deref())
    }

    fn split(&self) -> Option<Split> {
        Some(Split::Array("/data/events".into()))
    }

    fn sign(&self, _: &Unsigned<'_>) -> Result<Signed, CannotSign> {
        Ok(Signed::with([self.0.sign()]))
    }

    fn sample(&self, id: &str, text: &str) -> Sample {
        Sample::json(&serde_json::json!({
            "eventType": "com.okta.event_hook",
            "eventId": id,
            "source": "https://example.okta.com/api/v1/eventHooks/who8",
            "data": { "events": [{
                "uuid": id,
                "eventType": "user.session.start",
                "displayMessage": text,
            }] },
        }))
    }

    fn reload(&self) -> Result<(), String> {
        self.0.reload()
    }
}

#[cfg(test)]
mod tests {
    use super::super::cases::{Case, reply, secret, signs_what_it_takes};
    use super::*;

    fn scheme(text: &str) -> Okta {
        Okta::new(&secret(text)).unwrap()
    }

    #[test]
    fn the_challenge_comes_back_as_json() {
        let asked = Case::new(&[(CHALLENGE, "a\"b")], "", 0).by("GET");
        let answer = reply(asked.handshake(&scheme("s")));
        assert_eq!(answer, r#"{"verification":"a\"b"}"#);
        let without = Case::new(&[], "", 0).by("GET");
        assert_eq!(without.handshake(&scheme("s")), None);
        // A post is an event, whatever headers it has.
        let post = Case::new(&[(CHALLENGE, "ab")], "{}", 0);
        assert_eq!(post.handshake(&scheme("s")), None);
    }

    #[test]
    fn the_secret_is_the_whole_of_the_authorization() {
        let known = scheme("Bearer of okta");
        signs_what_it_takes(&known, &scheme("other"), false);
        let case = Case::new(&[("authorization", "of okta")], "{}", 0);
        assert_eq!(case.check(&known), Err(Refusal::Wrong));
    }

    #[test]
    fn the_request_and_its_items_have_ids_of_their_own() {
        let body = r#"{"eventId":"e1","data":{"events":[{"uuid":"u1","eventType":"user.session.start"}]}}"#;
        let said = Case::new(&[], body, 0).identity(&scheme("s"));
        assert_eq!(said, Identity::of(Some("e1"), Some("user.session.start")));
        let item = scheme("s").identify_item(br#"{"uuid":"u1","eventType":"a.b"}"#);
        assert_eq!(item, Identity::of(Some("u1"), Some("a.b")));
    }
}
