//! The contract on a queue of SQS, and what a message is made of, as boto3 reads it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::Outcome;
use domain::ports::Destination;
use serde_json::{Value, json};
use testbed::moto::{ACCOUNT, Moto};
use testbed::proxy::{Mode, Proxy};

use crate::contract::{Served, Subject, contract, section};
use crate::events::{Bodies, as_dead, bodies, deliver_all, event, events, made};

/// A message as a consumer received it: `id`, `body` with its encoding taken back, `attributes`, `group`.
type Message = Value;

/// Receives and deletes what there is, as a consumer does, and prints a line a message.
const CONSUMER: &str = r#"
import base64, boto3, json
sqs = boto3.client("sqs")
while got := sqs.receive_message(QueueUrl=URL, MaxNumberOfMessages=10, MessageAttributeNames=["All"], AttributeNames=["All"]).get("Messages"):
    for m in got:
        named = {k: v["StringValue"] for k, v in m["MessageAttributes"].items()}
        encoding = named.get("forebay-encoding")
        body = m["Body"].encode()
        if encoding == "base64": body = base64.b64decode(body)
        if encoding == "empty": body = b""
        print(json.dumps({"id": named["forebay-event-id"], "body": base64.b64encode(body).decode(), "attributes": named, "raw": m["Body"][:100], "group": m["Attributes"].get("MessageGroupId")}))
    sqs.delete_message_batch(QueueUrl=URL, Entries=[{"Id": str(n), "ReceiptHandle": m["ReceiptHandle"]} for n, m in enumerate(got)])
"#;

/// A queue with nothing to find about it, behind a proxy: the server keeps everything in memory, so it is never ended.
pub(crate) struct Sqs {
    pub(crate) moto: Moto,
    pub(crate) proxy: Proxy,
    /// What was received so far.
    received: Mutex<Vec<Message>>,
}

pub(crate) const QUEUE: &str = "events";

impl Sqs {
    #[expect(clippy::needless_pass_by_value, reason = "it reads better at the call")]
    pub(crate) fn made(&self, more: Value) -> Arc<dyn Destination> {
        made(&section(self, &more))
    }

    /// Makes a queue.
    pub(crate) async fn queue(&self, name: &str, attributes: &Value) {
        let script = format!(
            "import boto3\nboto3.client('sqs').create_queue(QueueName='{name}', Attributes={attributes})"
        );
        self.moto.python(&script).await.unwrap();
    }

    /// Everything in a queue, which is empty then.
    pub(crate) async fn consume(&self, queue: &str) -> Vec<Message> {
        let url = format!("{}{ACCOUNT}/{queue}", self.moto.url());
        let script = format!("URL = '{url}'\n{CONSUMER}");
        let printed = self.moto.python(&script).await.unwrap();
        let lines = printed.lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    async fn received(&self) -> Vec<Message> {
        let new = self.consume(QUEUE).await;
        let mut received = self.received.lock().unwrap();
        received.extend(new);
        received.clone()
    }
}

/// The bytes of a message's event.
pub(crate) fn body(message: &Message) -> Vec<u8> {
    STANDARD.decode(message["body"].as_str().unwrap()).unwrap()
}

pub(crate) fn at(address: SocketAddr, queue: &str) -> Value {
    json!({
        "type": "sqs",
        "queue_url": format!("http://{address}/{ACCOUNT}/{queue}"),
        "access_key_id": "test",
        "secret_access_key": "test",
    })
}

impl Subject for Sqs {
    async fn start() -> Self {
        let moto = Moto::start().await.unwrap();
        let proxy = Proxy::start(moto.addr()).await.unwrap();
        let subject = Self {
            moto,
            proxy,
            received: Mutex::default(),
        };
        let fourteen_days = json!({"MessageRetentionPeriod": "1209600"});
        subject.queue(QUEUE, &fourteen_days).await;
        subject
    }

    fn section(&self) -> Value {
        at(self.proxy.addr(), QUEUE)
    }

    async fn arrived(&self) -> Bodies {
        let received = self.received().await;
        let pair = |one: &Message| (one["id"].as_str().unwrap().to_owned(), body(one));
        received.iter().map(pair).collect()
    }

    async fn count(&self) -> usize {
        self.received().await.len()
    }

    async fn stop(&mut self) {
        self.proxy.set(Mode::Refuse).await.unwrap();
    }

    async fn start_again(&mut self) {
        self.proxy.set(Mode::Pass).await.unwrap();
    }

    /// A MiB, and what goes with the body counts as well.
    fn largest_body() -> usize {
        (1 << 20) - 1024
    }
}

impl Served for Sqs {
    fn address(&self) -> SocketAddr {
        self.moto.addr()
    }

    fn section_at(&self, address: SocketAddr) -> Value {
        at(address, QUEUE)
    }

    fn secret_section(address: SocketAddr) -> Value {
        json!({
            "type": "sqs",
            "queue_url": format!("http://{address}/{ACCOUNT}/dlq"),
            "access_key_id": "hunter2",
            "secret_access_key": "hunter2",
        })
    }
}

contract!(Sqs, served);

#[tokio::test]
async fn the_script_in_the_documents_drains_a_queue_of_events_and_dead_letters() {
    let subject = Sqs::start().await;
    let text = r#"{"conversationId": "c-1",  "text": "ä😀"}"#;
    let letter = as_dead(event(7, "/in/genesys", text.as_bytes()));
    let id = letter.stored.id;
    let mut batch = events(20);
    batch.push(letter);
    deliver_all(&*subject.made(json!({})), &batch).await;
    let document = include_str!("../../../../docs/destinations/sqs.md");
    let (_, rest) = document.split_once("```python\n").unwrap();
    let (script, _) = rest.split_once("```").unwrap();
    let there = "https://sqs.us-east-1.amazonaws.com/123456789012/dlq";
    assert!(script.contains(there));
    let here = format!("{}{ACCOUNT}/{QUEUE}", subject.moto.url());
    let script = script.replace(there, &here);
    let script = script.replace("WaitTimeSeconds=5", "WaitTimeSeconds=0");
    let printed = subject.moto.python(&script).await.unwrap();
    assert_eq!(printed.lines().count(), 21, "{printed}");
    let of_letter = format!("{id} retries-exhausted {text}");
    assert!(printed.lines().any(|line| line == of_letter), "{printed}");
    assert!(subject.consume(QUEUE).await.is_empty());
}

#[tokio::test]
async fn an_event_is_one_message_with_who_it_is_beside_it() {
    let subject = Sqs::start().await;
    let mut delivery = event(7, "/in/genesys", b"{\"a\": 1}\n");
    delivery.attempt = 3;
    deliver_all(&*subject.made(json!({})), std::slice::from_ref(&delivery)).await;
    let received = subject.consume(QUEUE).await;
    assert_eq!(received[0]["raw"], "{\"a\": 1}\n");
    let expected = json!({
        "forebay-event-id": delivery.stored.id.to_string(),
        "forebay-source": "genesys",
        "forebay-received-at": "2026-03-01T12:00:00.123456Z",
        "forebay-attempt": "3",
        "content-type": "application/json",
    });
    assert_eq!(received[0]["attributes"], expected);
}

#[tokio::test]
async fn a_dead_letter_has_what_became_of_it_in_ten_attributes() {
    let subject = Sqs::start().await;
    let delivery = as_dead(event(7, "/in/genesys", b"\xff\x00"));
    deliver_all(&*subject.made(json!({})), &[delivery]).await;
    let received = subject.consume(QUEUE).await;
    let attributes = &received[0]["attributes"];
    let meta: Value = serde_json::from_str(attributes["forebay-meta"].as_str().unwrap()).unwrap();
    let expected = json!({
        "forebay-destination": "events-db",
        "forebay-first-failure-at": "2026-03-01T12:00:01Z",
        "forebay-last-failure-at": "2026-03-01T13:00:02.5Z",
        "forebay-redrives": 2,
    });
    assert_eq!(meta, expected);
    for (name, value) in [
        ("forebay-route", "genesys-to-db"),
        ("forebay-attempts", "9"),
        ("forebay-reason", "retries-exhausted"),
        ("forebay-error", "http 500: \"ä\"\r\nX-Injected: 1"),
        ("forebay-encoding", "base64"),
    ] {
        assert_eq!(attributes[name], value, "{name}");
    }
    assert_eq!(attributes.as_object().unwrap().len(), 10);
    assert_eq!(received[0]["raw"], "/wA=");
    assert_eq!(body(&received[0]), b"\xff\x00");
}

#[tokio::test]
async fn a_body_of_every_byte_value_and_one_of_none_come_back_as_they_were() {
    let subject = Sqs::start().await;
    let every: Vec<u8> = (0..=255).collect();
    let batch = [
        event(1, "/", &every),
        event(2, "/", b""),
        event(3, "/", &vec![b'x'; 256 << 10]),
        event(4, "/", "\u{fffe}".as_bytes()),
        event(5, "/", b"-"),
    ];
    deliver_all(&*subject.made(json!({})), &batch).await;
    assert_eq!(subject.arrived().await, bodies(&batch));
    let received = subject.received().await;
    let encoding = |number: usize| {
        let id = batch[number - 1].stored.id.to_string();
        let one = received.iter().find(|one| one["id"] == id).unwrap();
        one["attributes"]["forebay-encoding"].clone()
    };
    assert_eq!(encoding(1), "base64");
    assert_eq!(encoding(2), "empty");
    assert_eq!(encoding(3), Value::Null);
    assert_eq!(encoding(4), "base64");
    assert_eq!(encoding(5), Value::Null);
}

#[tokio::test]
async fn a_queues_own_limit_is_kept_and_only_what_is_over_it_rejected() {
    let subject = Sqs::start().await;
    let small = json!({"MaximumMessageSize": "2048", "MessageRetentionPeriod": "1209600"});
    subject.queue("small", &small).await;
    let to = made(&at(subject.proxy.addr(), "small"));
    let batch = [
        event(1, "/", b"{}"),
        event(2, "/", &[b'x'; 2048]),
        event(3, "/", &[b'x'; 1024]),
        // Fits as it is, and not in base64.
        event(4, "/", &[0; 1500]),
        event(5, "/", b"{}"),
    ];
    let outcome = to.deliver(&batch).await;
    assert_eq!(outcome.unavailable, None);
    for (place, outcome) in outcome.outcomes.iter().enumerate() {
        if [1, 3].contains(&place) {
            let Outcome::Reject { cause } = outcome else {
                panic!("{outcome:?}");
            };
            assert_eq!(cause.code, "too-large");
            assert!(cause.detail.contains("takes 2048 bytes"), "{cause}");
        } else {
            assert_eq!(*outcome, Outcome::Delivered);
        }
    }
    assert_eq!(subject.consume("small").await.len(), 3);
    let findings = to.inspect().await.unwrap();
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert!(findings[0].text.contains("MaximumMessageSize"));
}

#[tokio::test]
async fn ten_messages_go_in_one_request_and_no_more_bytes_than_the_queue_takes() {
    let subject = Sqs::start().await;
    let to = subject.made(json!({}));
    assert_eq!(to.limits().batch_events, 10);
    deliver_all(&*to, &events(25)).await;
    // Three of these are more than a request may have.
    let large: Vec<_> = (100..110)
        .map(|number| event(number, "/", &vec![b'x'; 400_000]))
        .collect();
    deliver_all(&*to, &large).await;
    assert_eq!(subject.count().await, 35);
}

#[tokio::test]
async fn what_a_queue_is_set_to_that_is_weaker_is_named_with_the_remedy() {
    let subject = Sqs::start().await;
    subject.queue("forgetful", &json!({})).await;
    let to = made(&at(subject.proxy.addr(), "forgetful"));
    let findings = to.inspect().await.unwrap();
    assert_eq!(findings.len(), 1, "{findings:?}");
    let text = &findings[0].text;
    assert!(text.contains("for 4 days"), "{text}");
    assert!(text.contains("MessageRetentionPeriod to 1209600"), "{text}");
}

#[tokio::test]
async fn a_fifo_queue_keeps_order_within_a_group_and_knows_repeats() {
    let subject = Sqs::start().await;
    let fifo = json!({"FifoQueue": "true", "MessageRetentionPeriod": "1209600"});
    subject.queue("events.fifo", &fifo).await;
    let to = made(&at(subject.proxy.addr(), "events.fifo"));
    for _ in 0..2 {
        deliver_all(&*to, &events(30)).await;
    }
    let received = subject.consume("events.fifo").await;
    let ids: Vec<_> = received.iter().map(|one| one["id"].clone()).collect();
    let expected: Vec<_> = events(30)
        .iter()
        .map(|one| Value::from(one.stored.id.to_string()))
        .collect();
    assert_eq!(ids, expected);
    assert!(received.iter().all(|one| one["group"] == "genesys"));
}

#[tokio::test]
async fn a_fifo_queues_groups_follow_a_value_of_the_body() {
    let subject = Sqs::start().await;
    subject
        .queue("events.fifo", &json!({"FifoQueue": "true"}))
        .await;
    let mut to = at(subject.proxy.addr(), "events.fifo");
    to["message_group"] = "/conversationId".into();
    deliver_all(&*made(&to), &events(2)).await;
    let mut groups: Vec<_> = subject.consume("events.fifo").await;
    groups.sort_by_key(|one| one["group"].to_string());
    assert_eq!(groups[0]["group"], "c-0");
    assert_eq!(groups[1]["group"], "c-1");
}

#[tokio::test]
async fn a_letter_that_died_again_or_on_another_route_is_another_message() {
    let subject = Sqs::start().await;
    subject
        .queue("dead.fifo", &json!({"FifoQueue": "true"}))
        .await;
    let to = made(&at(subject.proxy.addr(), "dead.fifo"));
    let letter = |redrives: u32, route: &str| {
        let mut letter = as_dead(event(7, "/", b"{}"));
        let mut envelope = (**letter.letter.as_ref().unwrap()).clone();
        envelope.redrives = redrives;
        envelope.route = domain::RouteName::new(route).unwrap();
        letter.letter = Some(Arc::new(envelope));
        letter
    };
    let letters = [
        letter(0, "a"),
        letter(0, "a"),
        letter(1, "a"),
        letter(0, "b"),
        event(7, "/", b"{}"),
    ];
    for letter in letters {
        deliver_all(&*to, &[letter]).await;
    }
    assert_eq!(subject.consume("dead.fifo").await.len(), 4);
}
