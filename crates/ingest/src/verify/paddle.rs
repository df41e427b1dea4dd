//! `paddle`: Paddle Billing's webhooks (developer.paddle.com, "Verify webhook signatures"): `ts=…;h1=…`, where `h1`
//! may stand several times while a secret is rotated.
//!
//! Paddle's own libraries allow five seconds between its time and ours; a queue in between needs more.

use domain::HumanDuration;

use crate::json::texts;

use super::about::TIMED;
use super::keys::TimedOptions;
use super::signature::{Algorithm, HmacKeys, recent};
use super::{
    About, CannotSign, Consumed, Identity, Received, Refusal, Sample, Scheme, Sender, Signed,
    Unsigned, pairs, text,
};

const HEADER: &str = "paddle-signature";

pub(super) const ABOUT: About = About {
    dedup: "`event_id` in the body",
    sender: Sender::new(5, "up to 60 more tries over 3 days", 3 * 86_400),
    keys: TIMED,
    ..About::new(
        "paddle",
        "Paddle Billing: `Paddle-Signature` with `ts=` and `h1=`, an HMAC-SHA256 over time and body in hex.",
    )
};

/// The scheme.
#[derive(Debug)]
pub(super) struct Paddle {
    keys: HmacKeys,
    tolerance: HumanDuration,
}

impl Paddle {
    pub(super) fn new(options: &TimedOptions) -> Result<Self, String> {
        Ok(Self {
            keys: HmacKeys::load(options, Algorithm::Sha256)?,
            tolerance: options.tolerance,
        })
    }
}

impl Scheme for Paddle {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn verify(&self, request: &Received<'_>) -> Result<Consumed, Refusal> {
        let pairs = pairs::read(text(request.headers, HEADER)?, ';', "ts", "h1")?;
        recent(request.now, pairs.time, self.tolerance)?;
        let parts = [pairs.time.as_bytes(), b":", request.body];
        self.keys.check_any(&pairs.signatures, &parts)?;
        Ok(Consumed::Nothing)
    }

    fn identify(&self, request: &Received<'_>) -> Identity {
        let [id, event_type] = texts(request.body, ["event_id", "event_type"]);
        Identity::of(id.as_deref(), event_type.as_deref())
    }

    fn sign(&self, request: &Unsigned<'_>) -> Result<Signed, CannotSign> {
        let time = request.now.as_second().to_string();
        let tag = self.keys.sign(&[time.as_bytes(), b":", request.body]);
        let value = format!("ts={time};h1={}", hex::encode(tag));
        Ok(Signed::with([(HEADER, value)]))
    }

    fn sample(&self, id: &str, text: &str) -> Sample {
        Sample::json(&serde_json::json!({
            "event_id": format!("evt_{id}"),
            "event_type": "transaction.completed",
            "occurred_at": "2026-01-31T12:00:00.000000Z",
            "notification_id": format!("ntf_{id}"),
            "data": { "custom_data": { "text": text } },
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

    fn scheme(text: &str) -> Paddle {
        Paddle::new(&secret(text)).unwrap()
    }

    #[test]
    fn one_of_several_signatures_has_to_fit_within_the_time() {
        let known = scheme("pdl_ntfset_secret");
        signs_what_it_takes(&known, &scheme("other"), true);
        let good = hex::encode(known.keys.sign(&[b"1671552777", b":", b"{}"]));
        let zeros = "0".repeat(64);
        let value = format!("ts=1671552777;h1={zeros};h1={good}");
        let at = |second| Case::new(&[(HEADER, &value)], "{}", second).check(&known);
        assert!(at(1_671_552_777).is_ok() && at(1_671_553_077).is_ok());
        assert_eq!(at(1_671_553_078), Err(Refusal::Stale));
        let commas = Case::new(&[(HEADER, &value.replace(';', ","))], "{}", 1_671_552_777);
        assert_eq!(commas.check(&known), Err(Refusal::Malformed));
    }

    #[test]
    fn id_and_type_are_in_the_body() {
        let case = Case::new(&[], r#"{"event_id":"evt_1","event_type":"a.b"}"#, 0);
        let said = Identity::of(Some("evt_1"), Some("a.b"));
        assert_eq!(case.identity(&scheme("s")), said);
    }
}
