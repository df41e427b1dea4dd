//! `zendesk`: Zendesk's webhooks (developer.zendesk.com, "Verifying webhooks"): the time and the body are signed, one
//! behind the other.
//!
//! The time is not held against ours: Zendesk says of none how old it may be, and a repeat may keep its first one.

use domain::Timestamp;

use crate::json::text_at;

use super::signature::{Algorithm, Encoding, HmacKeys, given};
use super::{
    About, CannotSign, Consumed, Identity, Received, Refusal, Sample, Scheme, SecretOptions,
    Sender, Signed, Unsigned, field, text,
};

const SIGNATURE: &str = "x-zendesk-webhook-signature";
const TIMESTAMP: &str = "x-zendesk-webhook-signature-timestamp";

pub(super) const ABOUT: About = About {
    dedup: "`X-Zendesk-Webhook-Invocation-Id`",
    sender: Sender::new(
        12,
        "up to 3 more tries after 409, 429 and 503; up to 5 after no answer",
        300,
    ),
    ..About::new(
        "zendesk",
        "Zendesk: `X-Zendesk-Webhook-Signature`, an HMAC-SHA256 over the timestamp's header and the body in base64.",
    )
};

/// The scheme.
#[derive(Debug)]
pub(super) struct Zendesk {
    keys: HmacKeys,
}

impl Zendesk {
    pub(super) fn new(options: &SecretOptions) -> Result<Self, String> {
        let keys = HmacKeys::load(options, Algorithm::Sha256)?;
        Ok(Self { keys })
    }
}

impl Scheme for Zendesk {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn verify(&self, request: &Received<'_>) -> Result<Consumed, Refusal> {
        let signature = given(request.headers, SIGNATURE, "", Encoding::Base64)?;
        let timestamp = text(request.headers, TIMESTAMP)?;
        // Nothing stands between the time and the body but the time's end.
        if !timestamp.ends_with('Z') || timestamp.parse::<Timestamp>().is_err() {
            return Err(Refusal::Malformed);
        }
        self.keys
            .check(&signature, &[timestamp.as_bytes(), request.body])?;
        Ok(Consumed::Nothing)
    }

    fn identify(&self, request: &Received<'_>) -> Identity {
        let id = field(request.headers, "x-zendesk-webhook-invocation-id");
        Identity::of(id, text_at(request.body, "/type").as_deref())
    }

    fn sign(&self, request: &Unsigned<'_>) -> Result<Signed, CannotSign> {
        let timestamp = request.now.to_string();
        let tag = self.keys.sign(&[timestamp.as_bytes(), request.body]);
        Ok(Signed::with([
            (SIGNATURE, Encoding::Base64.encode(tag)),
            (TIMESTAMP, timestamp),
        ]))
    }

    fn sample(&self, id: &str, text: &str) -> Sample {
        let body = serde_json::json!({
            "id": id,
            "type": "zen:event-type:ticket.comment_added",
            "subject": "zen:ticket:1",
            "event": { "comment": { "body": text } },
        });
        Sample::json(&body).with("x-zendesk-webhook-invocation-id", id)
    }

    fn reload(&self) -> Result<(), String> {
        self.keys.reload()
    }
}

#[cfg(test)]
mod tests {
    use super::super::cases::{Case, secret, signs_what_it_takes};
    use super::*;

    fn scheme(text: &str) -> Zendesk {
        Zendesk::new(&secret(text)).unwrap()
    }

    #[test]
    fn the_time_is_part_of_what_is_signed() {
        let known = scheme("dGhpc19zZWNyZXRfaXNfZm9yX3Rlc3Rpbmdfb25seQ==");
        signs_what_it_takes(&known, &scheme("other"), true);
        let time = "2021-03-25T05:09:27Z";
        let signed = Encoding::Base64.encode(known.keys.sign(&[time.as_bytes(), b"{}"]));
        let at =
            |time| Case::new(&[(SIGNATURE, &signed), (TIMESTAMP, time)], "{}", 0).check(&known);
        assert_eq!(at(time), Ok(Consumed::Nothing));
        assert_eq!(at("2021-03-25T05:09:28Z"), Err(Refusal::Wrong));
        // Time and body are signed one behind the other: what is the one's is not the other's.
        for (time, body) in [
            ("2021-03-25T05:09:27Z{", "}"),
            ("2021-03-25T05:09:27", "Z{}"),
            ("", "2021-03-25T05:09:27Z{}"),
        ] {
            let moved = Case::new(&[(SIGNATURE, &signed), (TIMESTAMP, time)], body, 0);
            assert_eq!(moved.check(&known), Err(Refusal::Malformed), "{time}");
        }
        let without = Case::new(&[(SIGNATURE, &signed)], "{}", 0);
        assert_eq!(without.check(&known), Err(Refusal::Missing));
    }

    #[test]
    fn a_repeat_has_the_same_invocation() {
        let headers = [("x-zendesk-webhook-invocation-id", "01F1")];
        let case = Case::new(&headers, r#"{"type":"zen:event-type:user.created"}"#, 0);
        let said = Identity::of(Some("01F1"), Some("zen:event-type:user.created"));
        assert_eq!(case.identity(&scheme("s")), said);
    }
}
