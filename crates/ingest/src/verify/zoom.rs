//! `zoom`: Zoom's webhooks (developers.zoom.us, "Using webhooks"): Slack's manner of signing, and a challenge whose
//! answer is an HMAC of its token.

use crate::json::{speaks_of, text_at};

use super::about::TIMED;
use super::keys::TimedOptions;
use super::versioned::Versioned;
use super::{
    About, CannotSign, Consumed, Handshake, Identity, Received, Refusal, Reply, Sample, Scheme,
    Sender, Signed, Unsigned,
};

pub(super) const ABOUT: About = About {
    handshake: "`endpoint.url_validation`: `plainToken` and its HMAC come back",
    sender: Sender::new(3, "3 more tries: after 5, 20 and 60 minutes", 85 * 60 + 12),
    keys: TIMED,
    ..About::new(
        "zoom",
        "Zoom: `x-zm-signature`, an HMAC-SHA256 over `v0:timestamp:body` in hex, with the webhook's secret token. Zoom says of no event what makes it a repeat.",
    )
};

/// The scheme.
#[derive(Debug)]
pub(super) struct Zoom(Versioned);

impl Zoom {
    pub(super) fn new(options: &TimedOptions) -> Result<Self, String> {
        Versioned::new("x-zm-signature", "x-zm-request-timestamp", options).map(Self)
    }
}

impl Scheme for Zoom {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn handshake(&self, request: &Received<'_>) -> Option<Handshake> {
        const CHALLENGE: &str = "endpoint.url_validation";
        if !speaks_of(request.body, CHALLENGE) || text_at(request.body, "/event")? != CHALLENGE {
            return None;
        }
        let plain = text_at(request.body, "/payload/plainToken")?;
        if let Err(refusal) = self.0.check(request) {
            return Some(Handshake::Refused(refusal));
        }
        let encrypted = hex::encode(self.0.keys.sign(&[plain.as_bytes()]));
        let answer = serde_json::json!({ "plainToken": plain, "encryptedToken": encrypted });
        Some(Handshake::Answer(Reply::json(&answer)))
    }

    fn verify(&self, request: &Received<'_>) -> Result<Consumed, Refusal> {
        self.0.check(request)?;
        Ok(Consumed::Nothing)
    }

    fn identify(&self, request: &Received<'_>) -> Identity {
        Identity::of(None, text_at(request.body, "/event").as_deref())
    }

    fn sign(&self, request: &Unsigned<'_>) -> Result<Signed, CannotSign> {
        Ok(self.0.sign(request))
    }

    fn sample(&self, id: &str, text: &str) -> Sample {
        Sample::json(&serde_json::json!({
            "event": "meeting.started",
            "event_ts": 1_769_860_800_000_i64,
            "payload": { "account_id": "AAAAAABBBB", "object": { "uuid": id, "topic": text } },
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

    fn scheme(text: &str) -> Zoom {
        Zoom::new(&secret(text)).unwrap()
    }

    #[test]
    fn the_challenge_is_answered_with_its_hmac_to_zoom_alone() {
        let known = scheme("one");
        signs_what_it_takes(&known, &scheme("two"), true);
        let body = r#"{"event":"endpoint.url_validation","payload":{"plainToken":"qgg8vlvZRS6UYooatFL8Aw"}}"#;
        let signed = known.sign(&Unsigned::of(body.as_bytes())).unwrap();
        // printf qgg8vlvZRS6UYooatFL8Aw | openssl dgst -sha256 -hmac one
        let expected = r#"{"encryptedToken":"2789d49f55a786fbd3a563b3ffb2c17ca1648ae8a129092ba8769250b31dddca","plainToken":"qgg8vlvZRS6UYooatFL8Aw"}"#;
        assert_eq!(
            reply(Case::signed(&signed, body, 0).handshake(&known)),
            expected
        );
        // Else anybody could have text of their choice signed with the secret.
        let forged = Case::new(&[], body, 0).handshake(&known);
        assert_eq!(forged, Some(Handshake::Refused(Refusal::Missing)));
    }

    #[test]
    fn an_event_is_no_challenge() {
        let case = Case::new(&[], r#"{"event":"meeting.ended"}"#, 0);
        assert_eq!(case.handshake(&scheme("s")), None);
        let said = Identity::of(None, Some("meeting.ended"));
        assert_eq!(case.identity(&scheme("s")), said);
    }
}
