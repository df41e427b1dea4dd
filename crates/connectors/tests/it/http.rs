//! The HTTP destination against a real endpoint.

use std::time::Duration;

use domain::Outcome;
use serde_json::{Value, json};
use testbed::endpoint::{Answer, Endpoint, Received};

use crate::events::{deliver_all, deliver_to_nobody, event, events, made};

fn section(endpoint: &Endpoint, more: Value) -> Value {
    let mut section = json!({"type": "http", "url": endpoint.url("/hook?a=b"), "timeout": "2s"});
    let Value::Object(more) = more else { panic!() };
    section.as_object_mut().unwrap().extend(more);
    section
}

async fn endpoint() -> Endpoint {
    Endpoint::start().await.unwrap()
}

#[tokio::test]
async fn each_event_is_a_post_of_its_own_bytes_and_headers() {
    let endpoint = endpoint().await;
    let to = made(&section(
        &endpoint,
        json!({"headers": {"authorization": "Bearer t", "x-many": "ours"}}),
    ));
    let bodies = [&b"{\"a\":  1}"[..], b"", b"\x00\xff not json"];
    let batch: Vec<_> = (0..)
        .zip(bodies)
        .map(|(n, body)| event(n, "/in/x", body))
        .collect();
    deliver_all(&*to, &batch).await;
    let mut received = endpoint.received();
    assert_eq!(received.len(), 3);
    received.sort_by_key(|request| request.header("forebay-event-id").unwrap().to_owned());
    for (request, delivery) in received.iter().zip(&batch) {
        assert_eq!((&*request.method, &*request.path), ("POST", "/hook?a=b"));
        assert_eq!(request.body, delivery.stored.event.body);
        let header = |name| request.header(name);
        assert_eq!(
            header("forebay-event-id"),
            Some(&*delivery.stored.id.to_string())
        );
        assert_eq!(header("forebay-attempt"), Some("1"));
        assert_eq!(header("forebay-source"), Some("genesys"));
        assert_eq!(header("content-type"), Some("application/json"));
        assert_eq!(header("authorization"), Some("Bearer t"));
        // The configured one is in place of both of the event's own.
        let many = request.headers.iter().filter(|(name, _)| name == "x-many");
        assert_eq!(many.count(), 1);
        assert_eq!(header("x-many"), Some("ours"));
    }
}

#[tokio::test]
async fn headers_of_the_way_here_stay_here_and_odd_bytes_go_on() {
    let endpoint = endpoint().await;
    let to = made(&section(&endpoint, json!({})));
    let mut delivery = event(1, "/in/x", b"{}");
    let mut changed = (*delivery.stored.event).clone();
    changed.headers = [
        ("host", &b"sender.example"[..]),
        ("content-length", b"999"),
        ("connection", b"close, x-hop"),
        ("transfer-encoding", b"chunked"),
        ("x-forwarded-for", b"10.0.0.1"),
        ("cookie", b"a=b"),
        ("via", b"1.1 proxy"),
        ("x-hub-signature-256", b"sha256=abc"),
        ("traceparent", b"00-1-2-01"),
        ("x-odd", b"\xff\xe4"),
        ("x-twice", b"one"),
        ("x-twice", b"two"),
    ]
    .into_iter()
    .collect();
    delivery.stored.event = std::sync::Arc::new(changed);
    deliver_all(&*to, &[delivery]).await;
    let request = &endpoint.received()[0];
    assert_ne!(request.header("host"), Some("sender.example"));
    assert_eq!(request.header("content-length"), Some("2"));
    for gone in [
        "connection",
        "transfer-encoding",
        "x-forwarded-for",
        "cookie",
        "via",
    ] {
        assert_eq!(request.header(gone), None, "{gone}");
    }
    assert_eq!(request.header("x-hub-signature-256"), Some("sha256=abc"));
    assert_eq!(request.header("traceparent"), Some("00-1-2-01"));
    let odd = request.headers.iter().find(|(name, _)| name == "x-odd");
    assert_eq!(odd.unwrap().1, b"\xff\xe4");
    let twice = request.headers.iter().filter(|(name, _)| name == "x-twice");
    assert_eq!(twice.count(), 2);
}

#[tokio::test]
async fn a_signed_request_verifies_by_standard_webhooks() {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    let endpoint = endpoint().await;
    let secret = [7_u8; 32];
    let text = format!("whsec_{}", STANDARD.encode(secret));
    let to = made(&section(&endpoint, json!({"sign": {"secret": text}})));
    deliver_all(&*to, &events(1)).await;
    let request = &endpoint.received()[0];
    let header = |name| request.header(name).unwrap().to_owned();
    assert_eq!(header("webhook-id"), header("forebay-event-id"));
    let mut signed =
        format!("{}.{}.", header("webhook-id"), header("webhook-timestamp")).into_bytes();
    signed.extend_from_slice(&request.body);
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &secret);
    let tag = aws_lc_rs::hmac::sign(&key, &signed);
    assert_eq!(
        header("webhook-signature"),
        format!("v1,{}", STANDARD.encode(tag))
    );
}

#[tokio::test]
async fn a_batch_has_an_outcome_for_each_event() {
    let endpoint = endpoint().await;
    endpoint.answer_with(by_number(|n| match n {
        3 => Answer::status(422),
        5 => Answer::Status(500, vec![("retry-after".into(), "120".into())]),
        7 => Answer::Status(429, vec![("retry-after".into(), "3".into())]),
        _ => Answer::status(204),
    }));
    let to = made(&section(&endpoint, json!({})));
    let outcome = to.deliver(&events(10)).await;
    assert_eq!(outcome.unavailable, None);
    for (n, told) in outcome.outcomes.iter().enumerate() {
        match n {
            3 => assert!(matches!(told, Outcome::Reject { cause } if cause.code == "http 422")),
            5 => {
                let Outcome::Retry { cause, after } = told else {
                    panic!("{told:?}")
                };
                assert!(cause.blanket);
                assert_eq!(*after, Some(Duration::from_secs(120)));
            }
            7 => assert_eq!(
                *told,
                Outcome::Throttled {
                    after: Some(Duration::from_secs(3))
                }
            ),
            _ => assert_eq!(*told, Outcome::Delivered),
        }
    }
}

/// A script by the number in the body.
fn by_number(
    mut script: impl FnMut(u64) -> Answer + Send + 'static,
) -> impl FnMut(&Received) -> Answer + Send + 'static {
    move |request| {
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        script(body["number"].as_u64().unwrap())
    }
}

#[tokio::test]
async fn what_was_done_before_it_went_away_is_delivered_and_the_rest_is_not_done() {
    let endpoint = endpoint().await;
    endpoint.answer_with(by_number(|n| {
        if n < 6 {
            Answer::status(200)
        } else {
            Answer::status(503)
        }
    }));
    let to = made(&section(&endpoint, json!({"concurrency": 1})));
    let outcome = to.deliver(&events(50)).await;
    assert_eq!(outcome.unavailable.unwrap().cause.code, "http 503");
    assert_eq!(outcome.outcomes[..6], vec![Outcome::Delivered; 6]);
    assert_eq!(outcome.outcomes[6..], vec![Outcome::NotDone; 44]);
    assert_eq!(endpoint.received().len(), 7, "nothing was started after it");
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let endpoint = endpoint().await;
    let other = Endpoint::start().await.unwrap();
    let place = other.url("/");
    endpoint.answer_with(move |_| Answer::Status(307, vec![("location".into(), place.clone())]));
    let to = made(&section(&endpoint, json!({})));
    let outcome = to.deliver(&events(1)).await;
    let Outcome::Retry { cause, .. } = &outcome.outcomes[0] else {
        panic!("{outcome:?}")
    };
    assert!(
        cause.detail.contains("redirects are not followed"),
        "{cause}"
    );
    assert!(other.received().is_empty());
}

#[tokio::test]
async fn silence_a_cut_connection_and_a_closed_port_are_nobody() {
    let mut endpoint = endpoint().await;
    let to = made(&section(&endpoint, json!({"timeout": "300ms"})));
    endpoint.answer_with(|_| Answer::Hang);
    assert_eq!(deliver_to_nobody(&*to, &events(1)).await, "timeout");
    endpoint.answer_with(|_| Answer::Close);
    assert_eq!(deliver_to_nobody(&*to, &events(1)).await, "connection");
    to.probe().await.unwrap();
    endpoint.stop().await;
    assert_eq!(deliver_to_nobody(&*to, &events(1)).await, "connect");
    assert_eq!(to.probe().await.unwrap_err().cause.code, "connect");
    endpoint.answer_with(|_| Answer::status(200));
    endpoint.start_again().await.unwrap();
    to.probe().await.unwrap();
    deliver_all(&*to, &events(1)).await;
}

#[tokio::test]
async fn no_error_names_the_url() {
    let mut endpoint = endpoint().await;
    let url = endpoint.url("/hunter2?token=hunter2");
    endpoint.stop().await;
    let to = made(&json!({"type": "http", "url": url}));
    let outcome = to.deliver(&events(1)).await;
    assert!(!format!("{outcome:?}").contains("hunter2"), "{outcome:?}");
    let probed = to.probe().await.unwrap_err();
    assert!(!probed.to_string().contains("hunter2"), "{probed}");
}

#[tokio::test]
async fn a_rate_is_kept_over_all_requests() {
    let endpoint = endpoint().await;
    let to = made(&section(
        &endpoint,
        json!({"max_rate": 50, "concurrency": 8}),
    ));
    let begun = tokio::time::Instant::now();
    deliver_all(&*to, &events(26)).await;
    // Twenty-five pauses of 20 ms; how much longer it takes is the machine's affair.
    assert!(begun.elapsed() >= Duration::from_millis(500));
}

#[tokio::test]
async fn plain_http_over_a_network_is_a_finding() {
    let endpoint = endpoint().await;
    let to = made(&section(&endpoint, json!({})));
    assert_eq!(to.inspect().await.unwrap(), vec![]);
}
