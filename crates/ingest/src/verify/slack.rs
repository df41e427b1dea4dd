//! `slack`: Slack's events, commands and interactions (docs.slack.dev, "Verifying requests from Slack", "Using the
//! Events API").

use std::borrow::Cow;

use serde::Deserialize;

use crate::json::{speaks_of, text_at};

use super::about::TIMED;
use super::keys::TimedOptions;
use super::versioned::Versioned;
use super::{
    About, CannotSign, Consumed, Handshake, Identity, Received, Refusal, Reply, Sample, Scheme,
    Sender, Signed, Unsigned,
};

pub(super) const ABOUT: About = About {
    dedup: "`event_id` in the body; commands and interactions have none",
    handshake: "`url_verification`: the `challenge` comes back",
    // Three tries that may each take 3 s, the last after 5 minutes.
    sender: Sender::new(
        3,
        "3 more tries: at once, after 1 minute, after 5 minutes",
        372,
    ),
    keys: TIMED,
    ..About::new(
        "slack",
        "Slack: `X-Slack-Signature`, an HMAC-SHA256 over `v0:timestamp:body` in hex, with the app's signing secret.",
    )
};

/// What an event says of itself: the inner type is the one that tells.
#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow)]
    event_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    event: Option<Inner<'a>>,
}

#[derive(Deserialize)]
struct Inner<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Cow<'a, str>>,
}

/// The scheme.
#[derive(Debug)]
pub(super) struct Slack(Versioned);

impl Slack {
    pub(super) fn new(options: &TimedOptions) -> Result<Self, String> {
        let timestamp = "x-slack-request-timestamp";
        Versioned::new("x-slack-signature", timestamp, options).map(Self)
    }
}

impl Scheme for Slack {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn handshake(&self, request: &Received<'_>) -> Option<Handshake> {
        const CHALLENGE: &str = "url_verification";
        if !speaks_of(request.body, CHALLENGE) || text_at(request.body, "/type")? != CHALLENGE {
            return None;
        }
        let challenge = text_at(request.body, "/challenge")?;
        Some(match self.0.check(request) {
            Ok(()) => Handshake::Answer(Reply::text(challenge)),
            Err(refusal) => Handshake::Refused(refusal),
        })
    }

    fn verify(&self, request: &Received<'_>) -> Result<Consumed, Refusal> {
        self.0.check(request)?;
        Ok(Consumed::Nothing)
    }

    fn identify(&self, request: &Received<'_>) -> Identity {
        let body: Result<Body<'_>, _> = serde_json::from_slice(request.body);
        let Ok(body) = body else {
            return Identity::default();
        };
        let inner = body.event.and_then(|event| event.kind);
        let event_type = inner.or(body.kind);
        Identity::of(body.event_id.as_deref(), event_type.as_deref())
    }

    fn sign(&self, request: &Unsigned<'_>) -> Result<Signed, CannotSign> {
        Ok(self.0.sign(request))
    }

    fn sample(&self, id: &str, text: &str) -> Sample {
        Sample::json(&serde_json::json!({
            "type": "event_callback",
            "team_id": "T123ABC456",
            "event_id": format!("Ev{id}"),
            "event": { "type": "message", "channel": "C123ABC456", "text": text },
        }))
    }

    fn reload(&self) -> Result<(), String> {
        self.0.keys.reload()
    }
}

#[cfg(test)]
mod tests {
    use super::super::cases::{Case, reply, secret, signs_what_it_takes};
    use super::*;

    fn scheme(text: &str) -> Slack {
        Slack::new(&secret(text)).unwrap()
    }

    /// docs.slack.dev, "Verifying requests from Slack".
    #[test]
    fn the_published_vector_holds_for_five_minutes() {
        let body = "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
        let headers = [
            (
                "x-slack-signature",
                "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503",
            ),
            ("x-slack-request-timestamp", "1531420618"),
        ];
        let known = scheme("8f742231b10e8888abcd99yyyzzz85a5");
        let at = |body: &str, second| Case::new(&headers, body, second).check(&known);
        assert!(at(body, 1_531_420_618).is_ok() && at(body, 1_531_420_918).is_ok());
        assert_eq!(at(body, 1_531_420_919), Err(Refusal::Stale));
        assert_eq!(at("other", 1_531_420_618), Err(Refusal::Wrong));
        // The time is looked at before anything is computed.
        assert_eq!(at("other", 1_531_420_919), Err(Refusal::Stale));
        signs_what_it_takes(&known, &scheme("other"), true);
    }

    #[test]
    fn the_challenge_comes_back_to_slack_alone() {
        let known = scheme("one");
        let body = r#"{"token":"t","challenge":"3eZb\u00e9","type":"url_verification"}"#;
        let signed = known.sign(&Unsigned::of(body.as_bytes())).unwrap();
        assert_eq!(
            reply(Case::signed(&signed, body, 0).handshake(&known)),
            "3eZbé"
        );
        let forged = Case::signed(&signed, &body.replace("3eZb", "<script>"), 0);
        let refused = Handshake::Refused(Refusal::Wrong);
        assert_eq!(forged.handshake(&known), Some(refused));
        let stale = Case::signed(&signed, body, 301).handshake(&known);
        assert_eq!(stale, Some(Handshake::Refused(Refusal::Stale)));
    }

    #[test]
    fn an_event_says_its_inner_type_and_a_command_says_nothing() {
        let body = r#"{"type":"event_callback","event_id":"Ev1","event":{"type":"app_mention"}}"#;
        let case = Case::new(&[], body, 0);
        assert_eq!(case.handshake(&scheme("s")), None);
        let said = Identity::of(Some("Ev1"), Some("app_mention"));
        assert_eq!(case.identity(&scheme("s")), said);
        let command = Case::new(&[], "token=x&command=%2Fdo", 0);
        assert_eq!(command.identity(&scheme("s")), Identity::default());
    }
}
