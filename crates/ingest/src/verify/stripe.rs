//! `stripe`: Stripe's webhooks (docs.stripe.com, "Resolve webhook signature verification errors", "Verify manually").
//!
//! The key is the endpoint's secret as it is written, `whsec_` included. During a rotation the header holds a
//! signature for each of Stripe's secrets; one that fits one of ours is enough.

use domain::HumanDuration;

use crate::json::texts;

use super::about::TIMED;
use super::keys::TimedOptions;
use super::signature::{Algorithm, HmacKeys, recent};
use super::{
    About, CannotSign, Consumed, Identity, Received, Refusal, Sample, Scheme, Sender, Signed,
    Unsigned, pairs, text,
};

const HEADER: &str = "stripe-signature";

pub(super) const ABOUT: About = About {
    dedup: "`id` in the body",
    sender: Sender {
        timeout: None,
        retries: "for 3 days, ever less often",
        window: Some(std::time::Duration::from_secs(3 * 86_400)),
    },
    keys: TIMED,
    least: "secrets = [\"whsec_0123456789abcdef\"]",
    ..About::new(
        "stripe",
        "Stripe: `Stripe-Signature` with `t=` and `v1=`, an HMAC-SHA256 over time and body in hex. The secret is the whole `whsec_…`.",
    )
};

/// The scheme.
#[derive(Debug)]
pub(super) struct Stripe {
    keys: HmacKeys,
    tolerance: HumanDuration,
}

impl Stripe {
    pub(super) fn new(options: &TimedOptions) -> Result<Self, String> {
        Ok(Self {
            keys: HmacKeys::load(options, Algorithm::Sha256)?,
            tolerance: options.tolerance,
        })
    }
}

impl Scheme for Stripe {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn verify(&self, request: &Received<'_>) -> Result<Consumed, Refusal> {
        let pairs = pairs::read(text(request.headers, HEADER)?, ',', "t", "v1")?;
        recent(request.now, pairs.time, self.tolerance)?;
        let parts = [pairs.time.as_bytes(), b".", request.body];
        self.keys.check_any(&pairs.signatures, &parts)?;
        Ok(Consumed::Nothing)
    }

    fn identify(&self, request: &Received<'_>) -> Identity {
        let [id, event_type] = texts(request.body, ["id", "type"]);
        Identity::of(id.as_deref(), event_type.as_deref())
    }

    fn sign(&self, request: &Unsigned<'_>) -> Result<Signed, CannotSign> {
        let time = request.now.as_second().to_string();
        let tag = self.keys.sign(&[time.as_bytes(), b".", request.body]);
        let value = format!("t={time},v1={}", hex::encode(tag));
        Ok(Signed::with([(HEADER, value)]))
    }

    fn sample(&self, id: &str, text: &str) -> Sample {
        Sample::json(&serde_json::json!({
            "id": format!("evt_{id}"),
            "object": "event",
            "type": "payment_intent.succeeded",
            "livemode": false,
            "data": { "object": { "object": "payment_intent", "description": text } },
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

    fn scheme(text: &str) -> Stripe {
        Stripe::new(&secret(text)).unwrap()
    }

    fn spelt(scheme: &Stripe, time: &str, body: &str) -> String {
        hex::encode(scheme.keys.sign(&[time.as_bytes(), b".", body.as_bytes()]))
    }

    #[test]
    fn one_of_several_signatures_has_to_fit() {
        let known = scheme("whsec_new");
        signs_what_it_takes(&known, &scheme("whsec_other"), true);
        let good = spelt(&known, "1492774577", "{}");
        let check = |value: &str| Case::new(&[(HEADER, value)], "{}", 1_492_774_577).check(&known);
        let zeros = "0".repeat(64);
        assert!(check(&format!("t=1492774577,v1={zeros},v1={good},v0=6f")).is_ok());
        assert_eq!(
            check(&format!("t=1492774577,v1={zeros}")),
            Err(Refusal::Wrong)
        );
        // The kind for tests alone proves nothing.
        assert_eq!(
            check(&format!("t=1492774577,v0={good}")),
            Err(Refusal::Malformed)
        );
        assert_eq!(
            check(&format!("t=1492774578,v1={good}")),
            Err(Refusal::Wrong)
        );
        assert_eq!(check("nonsense"), Err(Refusal::Malformed));
    }

    #[test]
    fn the_time_may_be_five_minutes_off_and_not_a_second_more() {
        let known = scheme("whsec_new");
        let value = format!("t=1492774577,v1={}", spelt(&known, "1492774577", "{}"));
        for (offset, taken) in [(300, true), (-300, true), (301, false), (-301, false)] {
            let case = Case::new(&[(HEADER, &value)], "{}", 1_492_774_577 + offset);
            assert_eq!(case.check(&known).is_ok(), taken, "{offset}");
        }
    }

    #[test]
    fn id_and_type_are_in_the_body() {
        let case = Case::new(&[], r#"{"id":"evt_1","type":"charge.failed"}"#, 0);
        let said = Identity::of(Some("evt_1"), Some("charge.failed"));
        assert_eq!(case.identity(&scheme("s")), said);
    }
}
