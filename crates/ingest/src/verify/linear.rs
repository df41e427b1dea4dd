//! `linear`: Linear's webhooks (linear.app/developers, "Webhooks"): the time of sending stands in the body, and so is
//! signed with it.

use domain::HumanDuration;

use crate::json::text_at;

use super::keys::TimedOptions;
use super::signature::{Algorithm, Encoding, HmacKeys, given};
use super::{
    About, CannotSign, Consumed, Identity, KeyDoc, Received, Refusal, Sample, Scheme, Sender,
    Signed, Unsigned, field,
};

/// Linear's own advice: a minute.
const SECONDS: u64 = 60;
const HEADER: &str = "linear-signature";

pub(super) const ABOUT: About = About {
    dedup: "`Linear-Delivery`",
    sender: Sender::new(
        5,
        "3 more tries: after a minute, an hour, 6 hours",
        7 * 3600 + 80,
    ),
    keys: &[
        super::about::SECRET,
        super::about::SECRET_FILE,
        KeyDoc::new(
            "tolerance",
            "duration",
            "",
            "How far the body's `webhookTimestamp` may be from the server's time.",
            "\"1m\"",
        ),
    ],
    ..About::new(
        "linear",
        "Linear: `Linear-Signature`, an HMAC-SHA256 over the body in hex; `webhookTimestamp` in the body is looked at.",
    )
};

/// The scheme.
#[derive(Debug)]
pub(super) struct Linear {
    keys: HmacKeys,
    tolerance: HumanDuration,
}

pub(super) type Options = TimedOptions<SECONDS>;

impl Linear {
    pub(super) fn new(options: &Options) -> Result<Self, String> {
        Ok(Self {
            keys: HmacKeys::load(options, Algorithm::Sha256)?,
            tolerance: options.tolerance,
        })
    }
}

impl Scheme for Linear {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn verify(&self, request: &Received<'_>) -> Result<Consumed, Refusal> {
        let signature = given(request.headers, HEADER, "", Encoding::Hex)?;
        self.keys.check(&signature, &[request.body])?;
        // In milliseconds. Read only of what is signed: finding it takes a pass over the body.
        let sent = text_at(request.body, "/webhookTimestamp").ok_or(Refusal::Malformed)?;
        let sent: i64 = sent.parse().map_err(|_| Refusal::Malformed)?;
        let apart = request.now.as_millisecond().abs_diff(sent);
        if u128::from(apart) > self.tolerance.0.as_millis() {
            return Err(Refusal::Stale);
        }
        Ok(Consumed::Nothing)
    }

    fn identify(&self, request: &Received<'_>) -> Identity {
        let of = |name| field(request.headers, name);
        Identity::of(of("linear-delivery"), of("linear-event"))
    }

    fn sign(&self, request: &Unsigned<'_>) -> Result<Signed, CannotSign> {
        // The body says when it was sent; a body without that is given it.
        let body = stamped(request);
        let signature = hex::encode(self.keys.sign(&[body.as_deref().unwrap_or(request.body)]));
        Ok(Signed {
            body,
            ..Signed::with([
                (HEADER, signature),
                ("linear-delivery", request.id.to_owned()),
            ])
        })
    }

    fn sample(&self, id: &str, text: &str) -> Sample {
        let body = serde_json::json!({
            "action": "create",
            "type": "Comment",
            "data": { "id": id, "body": text },
        });
        Sample::json(&body).with("linear-event", "Comment")
    }

    fn reload(&self) -> Result<(), String> {
        self.keys.reload()
    }
}

fn stamped(request: &Unsigned<'_>) -> Option<Vec<u8>> {
    let mut body: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(request.body).ok()?;
    if body.contains_key("webhookTimestamp") {
        return None;
    }
    body.insert(
        "webhookTimestamp".into(),
        request.now.as_millisecond().into(),
    );
    serde_json::to_vec(&body).ok()
}

#[cfg(test)]
mod tests {
    use super::super::cases::{Case, secret, signs_what_it_takes};
    use super::*;

    fn scheme(text: &str) -> Linear {
        Linear::new(&secret(text)).unwrap()
    }

    #[test]
    fn a_body_of_a_minute_ago_is_taken_and_an_older_one_is_not() {
        let known = scheme("lin_wh_secret");
        signs_what_it_takes(&known, &scheme("other"), false);
        let body = r#"{"webhookTimestamp":1676056940508,"action":"update"}"#;
        let signature = hex::encode(known.keys.sign(&[body.as_bytes()]));
        let at = |second| Case::new(&[(HEADER, &signature)], body, second).check(&known);
        assert!(at(1_676_056_940).is_ok() && at(1_676_057_000).is_ok());
        assert_eq!(at(1_676_057_001), Err(Refusal::Stale));
        assert_eq!(at(1_676_056_880), Err(Refusal::Stale));
    }

    #[test]
    fn a_body_that_says_no_time_is_refused_though_it_is_signed() {
        let known = scheme("s");
        for body in ["{}", "[]", r#"{"webhookTimestamp":"soon"}"#, "not json"] {
            let signature = hex::encode(known.keys.sign(&[body.as_bytes()]));
            let case = Case::new(&[(HEADER, &signature)], body, 0);
            assert_eq!(case.check(&known), Err(Refusal::Malformed), "{body}");
            // Unsigned, it is not read at all.
            let forged = Case::new(&[(HEADER, &"0".repeat(64))], body, 0);
            assert_eq!(forged.check(&known), Err(Refusal::Wrong), "{body}");
        }
    }

    #[test]
    fn delivery_and_event_are_in_headers() {
        let headers = [("linear-delivery", "d1"), ("linear-event", "Issue")];
        let case = Case::new(&headers, "{}", 0);
        assert_eq!(
            case.identity(&scheme("s")),
            Identity::of(Some("d1"), Some("Issue"))
        );
    }
}
