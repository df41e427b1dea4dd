//! The contract on an HTTP endpoint, and what a request is made of.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use connectors::http::{Guard, guarded};
use domain::ports::{Delivery, Destination};
use domain::{Event, Headers, Outcome, SystemClock};
use serde_json::{Value, json};
use testbed::endpoint::{Answer, Endpoint, Gate, Received};

use crate::contract::{Served, Subject, contract, section};
use crate::events::{Bodies, deliver_all, event, events, made};

/// An endpoint that takes everything.
pub(crate) struct Http {
    pub(crate) endpoint: Endpoint,
}

impl Http {
    #[expect(clippy::needless_pass_by_value, reason = "it reads better at the call")]
    pub(crate) fn made(&self, more: Value) -> Arc<dyn Destination> {
        made(&section(self, &more))
    }

    /// The one request that came.
    pub(crate) fn only(&self) -> Received {
        let mut received = self.endpoint.received();
        assert_eq!(received.len(), 1);
        received.remove(0)
    }
}

impl Subject for Http {
    async fn start() -> Self {
        let endpoint = Endpoint::start().await.unwrap();
        Self { endpoint }
    }

    fn section(&self) -> Value {
        json!({"type": "http", "url": format!("{}hooks?key=a%20b", self.endpoint.url())})
    }

    async fn arrived(&self) -> Bodies {
        let received = self.endpoint.received();
        let id = |one: &Received| one.header("forebay-event-id").unwrap().to_owned();
        received
            .iter()
            .map(|one| (id(one), one.body.to_vec()))
            .collect()
    }

    async fn count(&self) -> usize {
        self.endpoint.received().len()
    }

    async fn stop(&mut self) {
        self.endpoint.stop().await;
    }

    async fn start_again(&mut self) {
        self.endpoint.start_again().await.unwrap();
    }
}

impl Served for Http {
    fn address(&self) -> SocketAddr {
        self.endpoint.addr()
    }

    fn section_at(&self, address: SocketAddr) -> Value {
        json!({"type": "http", "url": format!("http://{address}/hooks")})
    }

    fn secret_section(address: SocketAddr) -> Value {
        json!({
            "type": "http",
            "url": format!("http://app:hunter2@{address}/hunter2?hunter2"),
            "headers": {"authorization": "hunter2"},
        })
    }
}

contract!(Http, served);

/// An event with these headers and no others.
fn with_headers(headers: &[(&str, &[u8])]) -> Delivery {
    let mut delivery = event(7, "/in/genesys", b"{}");
    delivery.stored.event = Arc::new(Event {
        headers: headers.iter().copied().collect::<Headers>(),
        ..(*delivery.stored.event).clone()
    });
    delivery
}

fn names(received: &Received) -> Vec<&str> {
    let mut names: Vec<&str> = received
        .headers
        .keys()
        .map(http::HeaderName::as_str)
        .collect();
    names.sort_unstable();
    names
}

#[tokio::test]
async fn an_event_is_one_post_to_the_url_as_written() {
    let subject = Http::start().await;
    let to = subject.made(json!({}));
    let mut delivery = event(7, "/in/genesys?x=y", b"\xff{ }\n");
    delivery.attempt = 3;
    deliver_all(&*to, std::slice::from_ref(&delivery)).await;
    let received = subject.only();
    assert_eq!(received.method, "POST");
    assert_eq!(received.path, "/hooks?key=a%20b");
    assert_eq!(&received.body[..], b"\xff{ }\n");
    let id = delivery.stored.id.to_string();
    for (name, value) in [
        ("forebay-event-id", id.as_str()),
        ("forebay-attempt", "3"),
        ("forebay-source", "genesys"),
        ("content-type", "application/json"),
        ("content-length", "5"),
    ] {
        assert_eq!(received.header(name), Some(value), "{name}");
    }
}

#[tokio::test]
async fn the_events_own_headers_go_on_but_for_those_of_the_way_here() {
    let subject = Http::start().await;
    let to = subject.made(json!({}));
    let delivery = with_headers(&[
        ("connection", b"keep-alive, X-Hop"),
        ("x-hop", b"1"),
        ("keep-alive", b"timeout=5"),
        ("te", b"trailers"),
        ("trailer", b"x"),
        ("transfer-encoding", b"chunked"),
        ("upgrade", b"h2c"),
        ("proxy-authorization", b"secret"),
        ("proxy-connection", b"close"),
        ("host", b"forebay.example"),
        ("content-length", b"999"),
        ("expect", b"100-continue"),
        ("cookie", b"a=b"),
        ("accept-encoding", b"gzip"),
        ("forwarded", b"for=1.2.3.4"),
        ("x-forwarded-for", b"1.2.3.4"),
        ("x-forwarded-proto", b"https"),
        ("via", b"1.1 x"),
        ("x-real-ip", b"1.2.3.4"),
        ("no name", b"1"),
        ("x-nul", b"a\0b"),
        ("content-type", b"text/plain; charset=utf-8"),
        ("content-encoding", b"gzip"),
        ("user-agent", b"GenesysCloud/1"),
        (
            "traceparent",
            b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ),
        ("x-hub-signature-256", b"sha256=00"),
        ("x-odd", b"\xff\xfe \"\xc3\xa4\""),
        ("x-many", b"one"),
        ("x-many", b"two"),
        ("x-empty", b""),
        ("forebay-event-id", b"forged"),
        ("forebay-attempt", b"99"),
        // What Forebay says of a letter no sender says for it.
        ("forebay-body-at", b"s3://of-the-sender/key"),
        ("forebay-reason", b"forged"),
    ]);
    deliver_all(&*to, std::slice::from_ref(&delivery)).await;
    let received = subject.only();
    assert_eq!(
        names(&received),
        [
            "accept",
            "content-encoding",
            "content-length",
            "content-type",
            "forebay-attempt",
            "forebay-event-id",
            "forebay-source",
            "host",
            "traceparent",
            "user-agent",
            "x-empty",
            "x-hub-signature-256",
            "x-many",
            "x-odd",
        ]
    );
    let all = |name: &str| -> Vec<Vec<u8>> {
        let values = received.headers.get_all(name);
        values
            .iter()
            .map(|value| value.as_bytes().to_vec())
            .collect()
    };
    assert_eq!(all("x-odd"), [b"\xff\xfe \"\xc3\xa4\"".to_vec()]);
    assert_eq!(all("x-many"), [b"one".to_vec(), b"two".to_vec()]);
    assert_eq!(all("content-length"), [b"2".to_vec()]);
    assert_eq!(
        all("host"),
        [subject.endpoint.addr().to_string().into_bytes()]
    );
    assert_eq!(
        all("forebay-event-id"),
        [delivery.stored.id.to_string().into_bytes()]
    );
    assert_eq!(all("forebay-attempt"), [b"1".to_vec()]);
}

#[tokio::test]
async fn configured_headers_take_the_place_of_the_events() {
    let subject = Http::start().await;
    let url = subject.endpoint.url().replace("http://", "http://app:pw@");
    let to = subject.made(json!({
        "url": url,
        "headers": {"X-Many": "mine", "content-type": "application/cloudevents+json", "x-new": "ä"},
    }));
    deliver_all(&*to, &[event(1, "/", b"{}")]).await;
    let received = subject.only();
    let many: Vec<_> = received.headers.get_all("x-many").iter().collect();
    assert_eq!(many, ["mine"]);
    assert_eq!(
        received.header("content-type"),
        Some("application/cloudevents+json")
    );
    assert_eq!(received.headers["x-new"].as_bytes(), "ä".as_bytes());
    assert_eq!(received.header("authorization"), Some("Basic YXBwOnB3"));

    let to = subject.made(json!({"url": url, "headers": {"Authorization": "Bearer t"}}));
    deliver_all(&*to, &[event(1, "/", b"{}")]).await;
    let second = &subject.endpoint.received()[1];
    assert_eq!(second.header("authorization"), Some("Bearer t"));
}

/// A Standard Webhooks receiver's own look at a request.
fn is_signed_by(secret: &str, received: &Received) -> bool {
    let text = |name| received.header(name).unwrap();
    let mut content = format!("{}.{}.", text("webhook-id"), text("webhook-timestamp")).into_bytes();
    content.extend_from_slice(&received.body);
    let key = STANDARD
        .decode(secret.strip_prefix("whsec_").unwrap())
        .unwrap();
    let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
    let signature = text("webhook-signature").strip_prefix("v1,").unwrap();
    hmac::verify(&key, &content, &STANDARD.decode(signature).unwrap()).is_ok()
}

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const OTHER: &str = "whsec_b3RoZXI=";

#[tokio::test]
async fn a_signed_request_is_signed_by_standard_webhooks() {
    let subject = Http::start().await;
    let to = subject.made(json!({"sign": {"secret": SECRET}}));
    let delivery = with_headers(&[
        ("webhook-id", b"msg_of_the_sender"),
        ("webhook-timestamp", b"1"),
        ("webhook-signature", b"v1,AAAA"),
        ("webhook-signature", b"v1,BBBB"),
    ]);
    deliver_all(&*to, std::slice::from_ref(&delivery)).await;
    let received = subject.only();
    let id = delivery.stored.id.to_string();
    assert_eq!(received.header("webhook-id"), Some(id.as_str()));
    // The clock of these tests stands at the epoch.
    assert_eq!(received.header("webhook-timestamp"), Some("0"));
    assert_eq!(
        received.headers.get_all("webhook-signature").iter().count(),
        1
    );
    assert!(is_signed_by(SECRET, &received));
    assert!(!is_signed_by(OTHER, &received));

    // Without `sign` the sender's own go on as they came.
    let to = subject.made(json!({}));
    deliver_all(&*to, &[delivery]).await;
    let second = &subject.endpoint.received()[1];
    assert_eq!(second.header("webhook-id"), Some("msg_of_the_sender"));
    assert_eq!(
        second.headers.get_all("webhook-signature").iter().count(),
        2
    );
}

#[tokio::test]
async fn a_url_and_a_signing_secret_may_be_in_files_and_change() {
    let subject = Http::start().await;
    let dir = tempfile::tempdir().unwrap();
    let (url, secret) = (dir.path().join("url"), dir.path().join("secret"));
    std::fs::write(&url, format!("{}first\n", subject.endpoint.url())).unwrap();
    std::fs::write(&secret, format!("{SECRET}\n")).unwrap();
    let section = json!({"type": "http", "url_file": url, "sign": {"secret_file": secret}});
    let to = made(&section);
    deliver_all(&*to, &events(1)).await;
    std::fs::write(&url, format!("{}second", subject.endpoint.url())).unwrap();
    std::fs::write(&secret, OTHER).unwrap();
    testbed::until("the new files are in use", testbed::DEADLINE, async || {
        deliver_all(&*to, &events(1)).await;
        let received = subject.endpoint.received();
        let last = received.last().unwrap();
        (last.path == "/second" && is_signed_by(OTHER, last))
            .then_some(())
            .ok_or_else(|| last.path.clone())
    })
    .await
    .unwrap();
    let first = &subject.endpoint.received()[0];
    assert_eq!(first.path, "/first");
    assert!(is_signed_by(SECRET, first));
}

#[tokio::test]
async fn a_batchs_requests_go_side_by_side_and_no_more_than_allowed() {
    let subject = Http::start().await;
    let gate = Gate::closed();
    let held = gate.clone();
    subject
        .endpoint
        .answer_with(move |_| Answer::status(200).once_open(&held));
    let to = subject.made(json!({"concurrency": 4}));
    assert_eq!((to.limits().batch_events, to.limits().concurrency), (1, 4));
    let call = tokio::spawn(async move { deliver_all(&*to, &events(12)).await });
    testbed::until("four are under way", testbed::DEADLINE, async || {
        let there = subject.endpoint.received().len();
        (there == 4).then_some(()).ok_or_else(|| there.to_string())
    })
    .await
    .unwrap();
    gate.open();
    call.await.unwrap();
    assert_eq!(subject.endpoint.received().len(), 12);
    assert_eq!(subject.endpoint.most_under_way(), 4);
}

#[tokio::test]
async fn requests_keep_to_the_rate_over_all_calls() {
    let subject = Http::start().await;
    let to = subject.made(json!({"max_rate": 20, "concurrency": 8}));
    let start = std::time::Instant::now();
    let calls = (0..3).map(|call| {
        let to = Arc::clone(&to);
        tokio::spawn(async move { deliver_all(&*to, &events(10)[call * 3..][..3]).await })
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.unwrap();
    }
    // Nine requests are eight intervals of 50 ms apart; a slow machine only takes longer.
    assert!(start.elapsed() >= Duration::from_millis(395));
    assert_eq!(subject.endpoint.received().len(), 9);
}

#[tokio::test]
async fn a_batch_has_an_outcome_an_event() {
    let subject = Http::start().await;
    subject.endpoint.answer_with(|request| {
        let number = serde_json::from_slice::<Value>(&request.body).unwrap()["number"].as_u64();
        match number {
            Some(1) => Answer::status(422).body("your secret-payload is bad"),
            Some(2) => Answer::status(429).header("retry-after", "9"),
            Some(3) => Answer::status(409).header("retry-after", "Thu, 01 Jan 1970 00:00:30 GMT"),
            _ => Answer::status(204),
        }
    });
    let to = subject.made(json!({}));
    let outcome = to.deliver(&events(6)).await;
    assert_eq!(outcome.unavailable, None);
    let told = &outcome.outcomes;
    for place in [0, 4, 5] {
        assert_eq!(told[place], Outcome::Delivered);
    }
    let Outcome::Reject { cause } = &told[1] else {
        panic!("{told:?}");
    };
    assert_eq!(cause.code, "http 422");
    assert!(!format!("{told:?}").contains("secret-payload"));
    let after = |seconds| Some(Duration::from_secs(seconds));
    assert_eq!(told[2], Outcome::Throttled { after: after(9) });
    assert!(
        matches!(&told[3], Outcome::Retry { after: got, .. } if *got == after(30)),
        "{told:?}"
    );
}

#[tokio::test]
async fn a_guarded_destination_posts_where_it_may_and_is_unavailable_where_it_may_not() {
    let endpoint = Endpoint::start().await.unwrap();
    let url = format!("{}hooks?key=1", endpoint.url());
    let to = |allow_private| {
        let guard = Guard {
            allow_http: true,
            allow_private,
        };
        let timeout = Duration::from_secs(10);
        guarded(&url, guard, timeout, Arc::new(SystemClock)).unwrap()
    };
    let refused = to(false).deliver(&events(2)).await;
    assert_eq!(refused.outcomes, vec![Outcome::NotDone; 2]);
    assert_eq!(refused.unavailable.unwrap().cause.code, "private-address");
    assert!(to(false).probe().await.is_err());
    assert_eq!(endpoint.received().len(), 0);
    to(true).probe().await.unwrap();
    deliver_all(&*to(true), &events(1)).await;
    assert_eq!(endpoint.received()[0].path, "/hooks?key=1");
}
