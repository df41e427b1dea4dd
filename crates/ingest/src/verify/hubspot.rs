//! `hubspot`: HubSpot's webhooks, signature version 3 (developers.hubspot.com, "Validating requests"): method, URL,
//! body and time in milliseconds are signed.

use domain::HumanDuration;

use crate::json::text_at;

use super::about::TIMED;
use super::keys::TimedOptions;
use super::signature::{Algorithm, Encoding, HmacKeys, given};
use super::{
    About, CannotSign, Consumed, Identity, Received, Refusal, Sample, Scheme, Sender, Signed,
    Split, Unsigned, text,
};

const SIGNATURE: &str = "x-hubspot-signature-v3";
const TIMESTAMP: &str = "x-hubspot-request-timestamp";

pub(super) const ABOUT: About = About {
    dedup: "of an item, `eventId` and `subscriptionId`; with `split = \"scheme\"`",
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
        let sent: i64 = timestamp.parse().map_err(|_| Refusal::Malformed)?;
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
        let event_type = text_at(item, "/subscriptionType");
        let mut identity =
            Identity::of(text_at(item, "/eventId").as_deref(), event_type.as_deref());
        if !identity.dedup.is_empty() {
            // Ids of events are unique within a subscription.
            identity.dedup.extend(text_at(item, "/subscriptionId"));
        }
        identity
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
    use super::super::cases::{Case, secret, signs_what_it_takes};
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
    fn the_url_is_decoded_as_hubspot_does_it_and_no_further() {
        assert_eq!(decoded("/a%2Fb%3a%20c?d=%40%26"), "/a/b:%20c?d=@%26");
    }

    #[test]
    fn an_item_is_known_by_event_and_subscription() {
        let known = scheme("s");
        let body = br#"{"eventId":100,"subscriptionId":25,"subscriptionType":"contact.creation"}"#;
        let said = known.identify_item(body);
        assert_eq!(said.dedup, ["100", "25"]);
        assert_eq!(said.event_type.as_deref(), Some("contact.creation"));
        assert!(known.identify_item(b"{}").dedup.is_empty());
    }
}
