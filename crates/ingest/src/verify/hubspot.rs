//! `hubspot`: HubSpot's webhooks, signature version 3 (developers.hubspot.com, "Validating requests"): method, URL,
//! body and time in milliseconds are signed.

use domain::HumanDuration;

use crate::json::{text_at, texts};

use super::about::TIMED;
use super::keys::TimedOptions;
use super::signature::{Algorithm, Encoding, HmacKeys, given, number};
use super::{
    About, CannotSign, Consumed, Identity, Received, Refusal, Sample, Scheme, Sender, Signed,
    Split, Unsigned, text,
};

const SIGNATURE: &str = "x-hubspot-signature-v3";
const TIMESTAMP: &str = "x-hubspot-request-timestamp";

pub(super) const ABOUT: About = About {
    dedup: "of an item, `eventId` with account, subscription, object, property and time; with `split = \"scheme\"`",
    sender: Sender::new(5, "up to 10 more tries over 24 hours", 86_400),
    keys: TIMED,
    signs_url: true,
    ..About::new(
        "hubspot",
        "HubSpot: `X-HubSpot-Signature-v3`, an HMAC-SHA256 over method, URL, body and time in base64, with the app's client secret. A body is an array of events: `split = \"scheme\"` takes it apart.",
    )
};

/// What HubSpot decodes in the URL before it signs: these and no others.
const DECODED: [(&str, &str); 12] = [
    ("%3A", ":"),
    ("%2F", "/"),
    ("%3F", "?"),
    ("%40", "@"),
    ("%21", "!"),
    ("%24", "$"),
    ("%27", "'"),
    ("%28", "("),
    ("%29", ")"),
    ("%2A", "*"),
    ("%2C", ","),
    ("%3B", ";"),
];

/// An item's type, and what tells it from others. `attemptNumber` is none of it: it is what sets a repeat apart.
const TELLING: [&str; 12] = [
    "subscriptionType",
    "eventId",
    "subscriptionId",
    "portalId",
    "occurredAt",
    "objectId",
    "propertyName",
    "propertyValue",
    "fromObjectId",
    "toObjectId",
    "associationType",
    "messageId",
];

fn decoded(url: &str) -> String {
    let mut url = url.to_owned();
    for (spelt, plain) in DECODED {
        if url.contains('%') {
            url = url
                .replace(spelt, plain)
                .replace(&spelt.to_lowercase(), plain);
        }
    }
    url
}

/// The scheme.
#[derive(Debug)]
pub(super) struct HubSpot {
    keys: HmacKeys,
    tolerance: HumanDuration,
}

impl HubSpot {
    pub(super) fn new(options: &TimedOptions) -> Result<Self, String> {
        Ok(Self {
            keys: HmacKeys::load(options, Algorithm::Sha256)?,
            tolerance: options.tolerance,
        })
    }
}

impl Scheme for HubSpot {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn verify(&self, request: &Received<'_>) -> Result<Consumed, Refusal> {
        let signature = given(request.headers, SIGNATURE, "", Encoding::Base64)?;
        let timestamp = text(request.headers, TIMESTAMP)?;
        let sent = number(timestamp)?;
        let apart = request.now.as_millisecond().abs_diff(sent);
        if u128::from(apart) > self.tolerance.0.as_millis() {
            return Err(Refusal::Stale);
        }
        let url = decoded(request.url.unwrap_or_default());
        let head = [request.method.as_bytes(), url.as_bytes()];
        let parts = [head[0], head[1], request.body, timestamp.as_bytes()];
        self.keys.check(&signature, &parts)?;
        Ok(Consumed::Nothing)
    }

    fn identify(&self, request: &Received<'_>) -> Identity {
        let event_type = text_at(request.body, "/0/subscriptionType");
        Identity::of(None, event_type.as_deref())
    }

    fn identify_item(&self, item: &[u8]) -> Identity {
        let [event_type, told @ ..] = texts(item, TELLING);
        // HubSpot says of `eventId` that it is not sure to be unique.
        let known = told[0].is_some();
        Identity {
            dedup: if known {
                told.map(Option::unwrap_or_default).into()
            } else {
                Vec::new()
            },
            event_type,
        }
    }

    fn split(&self) -> Option<Split> {
        Some(Split::Array(String::new()))
    }

    fn sign(&self, request: &Unsigned<'_>) -> Result<Signed, CannotSign> {
        let timestamp = request.now.as_millisecond().to_string();
        let url = decoded(request.url.unwrap_or_default());
        let tag = self
            .keys
            .sign(&[b"POST", url.as_bytes(), request.body, timestamp.as_bytes()]);
        Ok(Signed::with([
            (SIGNATURE, Encoding::Base64.encode(tag)),
            (TIMESTAMP, timestamp),
        ]))
    }

    fn sample(&self, id: &str, text: &str) -> Sample {
        Sample::json(&serde_json::json!([{
            "eventId": id,
            "subscriptionId": 25,
            "subscriptionType": "contact.propertyChange",
            "portalId": 33,
            "propertyName": "firstname",
            "propertyValue": text,
        }]))
    }

    fn reload(&self) -> Result<(), String> {
        self.keys.reload()
    }
}

#[cfg(test)]
mod tests {
    use super::super::cases::{Case, URL, secret, signs_what_it_takes};
    use super::*;

    fn scheme(text: &str) -> HubSpot {
        HubSpot::new(&secret(text)).unwrap()
    }

    #[test]
    fn the_published_vector_holds() {
        let known = scheme("yyyyyyyy-yyyy-yyyy-yyyy-yyyyyyyyyyyy");
        let case = |second| {
            let headers = [
                (SIGNATURE, "K36dawei4A+QBNolUOqo7s91KQDWQ5MXZ/QufNYuk/Y="),
                (TIMESTAMP, "1693657560000"),
            ];
            let mut case = Case::new(&headers, "{'example_field':'example_value'}", second);
            case.url = "https://www.example.com/webhook_uri".into();
            case.check(&known)
        };
        assert_eq!(case(1_693_657_560), Ok(Consumed::Nothing));
        assert_eq!(case(1_693_657_860), Ok(Consumed::Nothing));
        assert_eq!(case(1_693_657_861), Err(Refusal::Stale));
        signs_what_it_takes(&known, &scheme("other"), true);
    }

    #[test]
    fn the_end_of_a_body_cannot_be_taken_for_the_time() {
        let known = scheme("s");
        let signed = known
            .keys
            .sign(&[b"POST", URL.as_bytes(), b"sum=100", b"1693657560000"]);
        let signature = Encoding::Base64.encode(signed);
        let at = |time: &str, body: &str| {
            let headers = [(SIGNATURE, &*signature), (TIMESTAMP, time)];
            Case::new(&headers, body, 1_693_657_560).check(&known)
        };
        assert_eq!(at("1693657560000", "sum=100"), Ok(Consumed::Nothing));
        assert_eq!(at("01693657560000", "sum=10"), Err(Refusal::Malformed));
    }

    #[test]
    fn the_url_is_decoded_as_hubspot_does_it_and_no_further() {
        assert_eq!(decoded("/a%2Fb%3a%20c?d=%40%26"), "/a/b:%20c?d=@%26");
    }

    #[test]
    fn a_repeat_is_the_same_item_but_for_its_attempt_and_other_accounts_have_the_same_ids() {
        let known = scheme("s");
        let of = |body: &str| known.identify_item(body.as_bytes());
        let first = r#"{"eventId":100,"subscriptionId":25,"portalId":33,"occurredAt":1564113600000,"subscriptionType":"contact.creation","attemptNumber":0,"objectId":123}"#;
        let key = of(first).dedup;
        assert_eq!(of(first).event_type.as_deref(), Some("contact.creation"));
        assert_eq!(of(&first.replace("Number\":0", "Number\":1")).dedup, key);
        for (was, is) in [
            ("\":33", "\":34"),
            ("00000,", "00001,"),
            ("\":123", "\":124"),
            ("\":25", "\":26"),
            ("objectId", "fromObjectId"),
        ] {
            assert_ne!(of(&first.replace(was, is)).dedup, key, "{is}");
        }
        assert!(of("{}").dedup.is_empty() && of(r#"{"portalId":33}"#).dedup.is_empty());
    }
}
