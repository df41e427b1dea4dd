//! No bytes whatever make a scheme panic, or take what it did not sign.

use bytes::Bytes;
use domain::Timestamp;
use http::{HeaderMap, HeaderName, HeaderValue};
use ingest::verify::{Received, SCHEMES, Scheme, Unsigned, VerifyOptions};
use proptest::prelude::*;
use proptest::sample::select;

/// Every header that some scheme looks at.
const HEADERS: [&str; 38] = [
    "authorization",
    "ce-id",
    "ce-source",
    "idempotency-key",
    "i-twilio-idempotency-token",
    "linear-delivery",
    "linear-signature",
    "paddle-signature",
    "paypal-auth-algo",
    "paypal-cert-url",
    "paypal-transmission-id",
    "paypal-transmission-sig",
    "paypal-transmission-time",
    "stripe-signature",
    "svix-id",
    "svix-signature",
    "svix-timestamp",
    "webhook-id",
    "webhook-request-origin",
    "webhook-signature",
    "webhook-timestamp",
    "x-api-key",
    "x-gitlab-token",
    "x-hub-signature",
    "x-hub-signature-256",
    "x-hubspot-request-timestamp",
    "x-hubspot-signature-v3",
    "x-okta-verification-challenge",
    "x-shopify-hmac-sha256",
    "x-signature",
    "x-slack-request-timestamp",
    "x-slack-signature",
    "x-square-hmacsha256-signature",
    "x-twilio-email-event-webhook-signature",
    "x-twilio-email-event-webhook-timestamp",
    "x-twilio-signature",
    "x-zendesk-webhook-signature",
    "x-zm-signature",
];

const NOW: i64 = 1_790_000_000;

fn build(name: &str) -> Box<dyn Scheme> {
    let about = SCHEMES.iter().find(|about| about.name == name).unwrap();
    let text = format!("x = {{ {} }}", about.least);
    let table: toml::Table = text.parse().unwrap();
    let mut options = serde_json::to_value(&table["x"]).unwrap();
    options["scheme"] = name.into();
    let options: VerifyOptions = serde_json::from_value(options).unwrap();
    options.build().unwrap()
}

/// A value that may be read as what some scheme looks for, or as nothing.
fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        "(sha256=|sha1=|v0=|v1,|v1a,|t=1790000000,v1=|ts=1790000000;h1=|Bearer |Basic )?[0-9a-f]{0,80}".prop_map(String::into_bytes),
        "(sha256=|v1,|v1a,)?[A-Za-z0-9+/]{0,44}={0,2}".prop_map(String::into_bytes),
        "(1790000000|1790000000000|-?[0-9]{0,25})".prop_map(String::into_bytes),
        prop::collection::vec(any::<u8>(), 0..60),
    ]
}

/// A body in the shape that some scheme reads, or in none.
fn body() -> impl Strategy<Value = Vec<u8>> {
    let text = "[ -~]{0,20}";
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..200),
        (text, text).prop_map(|(a, b)| serde_json::json!({
            "type": a, "event": b, "topic": a, "challenge": b, "id": a, "webhookTimestamp": 1_790_000_000_000_i64,
            "signature": { "timestamp": a, "token": b, "signature": "00".repeat(32) },
            "value": [{ "clientState": a, "id": b }],
        }).to_string().into_bytes()),
        (text, text).prop_map(|(a, b)| serde_json::json!({
            "notificationItems": [{ "NotificationRequestItem": {
                "pspReference": a, "eventCode": b, "additionalData": { "hmacSignature": "AAAA" },
            } }],
            "entry": [{ "changes": [{ "field": a, "value": { "messages": [{ "id": b }] } }] }],
        }).to_string().into_bytes()),
        (text, select(vec!["1", "2", "3", ""])).prop_map(|(a, version)| serde_json::json!({
            "Type": "Notification", "MessageId": a, "Message": a, "Timestamp": a,
            "TopicArn": "arn:aws:sns:us-east-1:123456789012:topic", "SignatureVersion": version,
            "Signature": "AAAA",
            "SigningCertURL": "https://sns.us-east-1.amazonaws.com/SimpleNotificationService-1.pem",
        }).to_string().into_bytes()),
    ]
}

fn headers(given: Vec<(&'static str, Vec<u8>)>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in given {
        if let Ok(value) = HeaderValue::from_bytes(&value) {
            headers.append(HeaderName::from_static(name), value);
        }
    }
    headers
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn nothing_made_up_is_taken_and_nothing_makes_a_scheme_panic(
        about in select(SCHEMES.to_vec()),
        given in prop::collection::vec((select(HEADERS.to_vec()), value()), 0..12),
        body in body(),
        path in "/in/x(\\?[ -~]{0,40})?",
        method in select(vec!["POST", "GET", "OPTIONS"]),
    ) {
        let scheme = build(about.name);
        let (headers, body) = (headers(given), Bytes::from(body));
        let url = format!("https://hooks.example.com{path}");
        let now = Timestamp::from_second(NOW).unwrap();
        let request = Received { method, path: &path, url: Some(&url), headers: &headers, body: &body, now, client: None };
        let taken = scheme.verify(&request);
        prop_assert!(taken.is_err() || about.name == "none", "{} took it: {taken:?}", about.name);
        // Whatever it is, these are asked of it, too.
        let _ = scheme.handshake(&request);
        let _ = scheme.wants(&request);
        let _ = (scheme.identify(&request), scheme.identify_item(&body));
    }

    #[test]
    fn one_changed_byte_of_a_signed_body_is_one_too_many(
        about in select(SCHEMES.iter().filter(|about| covers_the_body(about.name)).collect::<Vec<_>>()),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        text in "[a-z ]{0,30}",
    ) {
        let scheme = build(about.name);
        let now = Timestamp::from_second(NOW).unwrap();
        let url = "https://hooks.example.com/in/x";
        let sample = scheme.sample("id-1", &text);
        let unsigned = Unsigned { path: "/in/x", url: Some(url), body: &sample.body, id: "id-1", now };
        let signed = scheme.sign(&unsigned).unwrap();
        let mut headers = HeaderMap::new();
        for (name, value) in signed.headers.iter().chain(&sample.headers) {
            headers.insert(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        let body = signed.body.unwrap_or(sample.body);
        let check = |body: &[u8]| {
            let body = Bytes::copy_from_slice(body);
            scheme.verify(&Received { method: "POST", path: "/in/x", url: Some(url), headers: &headers, body: &body, now, client: None })
        };
        prop_assert!(check(&body).is_ok(), "{}", about.name);
        let mut changed = body.clone();
        let at = at.index(changed.len());
        prop_assume!(changed[at] != byte);
        changed[at] = byte;
        prop_assert!(check(&changed).is_err(), "{}: byte {at}", about.name);
    }
}

/// Whether the sender signs the whole body with a key that is here.
fn covers_the_body(name: &str) -> bool {
    const OTHERWISE: [&str; 16] = [
        "none",
        "bearer",
        "basic",
        "api-key",
        "mtls",
        "gitlab",
        "eventbridge",
        "okta",
        "cloudevents",
        "microsoft-graph",
        "mailgun",
        "adyen",
        "aws-sns",
        "paypal",
        "sendgrid",
        "twilio",
    ];
    !OTHERWISE.contains(&name)
}
