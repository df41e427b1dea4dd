//! The contract on a RabbitMQ broker, and what a consumer reads there.

use std::net::SocketAddr;
use std::sync::Arc;

use domain::Outcome;
use domain::ports::Destination;
use lapin::message::Delivery as Message;
use lapin::options::{
    BasicAckOptions, BasicGetOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Channel, Connection, ConnectionProperties, ExchangeKind};
use serde_json::{Value, json};
use testbed::rabbitmq::{Options, PASSWORD, Server, USER};
use testbed::{DEADLINE, until};

use crate::contract::{Served, Subject, contract, section};
use crate::events::{Bodies, as_dead, deliver_all, event, events, made};

pub(crate) const QUEUE: &str = "events";

/// A broker with a durable quorum queue.
pub(crate) struct RabbitMq {
    pub(crate) server: Server,
}

pub(crate) fn name(text: &str) -> ShortString {
    ShortString::try_new(text).unwrap()
}

/// Arguments of a queue.
pub(crate) fn arguments(pairs: &[(&str, AMQPValue)]) -> FieldTable {
    let mut table = FieldTable::default();
    for (key, value) in pairs {
        table.insert(name(key), value.clone());
    }
    table
}

pub(crate) fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(value.into())
}

impl RabbitMq {
    pub(crate) async fn with(options: Options) -> Self {
        let server = Server::start_new(options).await.unwrap();
        let subject = Self { server };
        subject
            .declare(QUEUE, &[("x-queue-type", text("quorum"))])
            .await;
        subject.server.write_out().await.unwrap();
        subject
    }

    #[expect(clippy::needless_pass_by_value, reason = "it reads better at the call")]
    pub(crate) fn made(&self, more: Value) -> Arc<dyn Destination> {
        made(&section(self, &more))
    }

    /// A connection of the test's own. The channel lives as long as it.
    pub(crate) async fn channel(&self) -> (Connection, Channel) {
        let properties = ConnectionProperties::default();
        let connection = Connection::connect(&self.server.url(), properties).await;
        let connection = connection.unwrap();
        let channel = connection.create_channel().await.unwrap();
        (connection, channel)
    }

    pub(crate) async fn declare(&self, queue: &str, with: &[(&str, AMQPValue)]) {
        let (_connection, channel) = self.channel().await;
        let options = QueueDeclareOptions {
            durable: true,
            ..QueueDeclareOptions::default()
        };
        let declared = channel.queue_declare(name(queue), options, arguments(with));
        declared.await.unwrap();
    }

    /// An exchange with `queue` bound by `key`.
    pub(crate) async fn exchange(&self, exchange: &str, kind: ExchangeKind, bind: &[(&str, &str)]) {
        let (_connection, channel) = self.channel().await;
        let options = ExchangeDeclareOptions {
            durable: true,
            ..ExchangeDeclareOptions::default()
        };
        let declared =
            channel.exchange_declare(name(exchange), kind, options, FieldTable::default());
        declared.await.unwrap();
        for (queue, key) in bind {
            let bound = channel.queue_bind(
                name(queue),
                name(exchange),
                name(key),
                QueueBindOptions::default(),
                FieldTable::default(),
            );
            bound.await.unwrap();
        }
    }

    /// What is in a queue, oldest first. It stays there: who reads it goes away without a word.
    pub(crate) async fn messages(&self, queue: &str) -> Vec<Message> {
        let (_connection, channel) = self.channel().await;
        let mut messages = Vec::new();
        loop {
            let got = channel.basic_get(name(queue), BasicGetOptions::default());
            match got.await.unwrap() {
                Some(got) => messages.push(got.delivery),
                None => return messages,
            }
        }
    }

    /// Takes everything out of a queue.
    pub(crate) async fn drain(&self, queue: &str) {
        let (_connection, channel) = self.channel().await;
        while let Some(got) = channel
            .basic_get(name(queue), BasicGetOptions::default())
            .await
            .unwrap()
        {
            got.acker.ack(BasicAckOptions::default()).await.unwrap();
        }
    }

    /// A restarted quorum queue chooses its leader before it answers.
    pub(crate) async fn ready(&self) {
        until("the queue answers", DEADLINE, async || {
            let properties = ConnectionProperties::default();
            let connection = Connection::connect(&self.server.url(), properties).await;
            let connection = connection.map_err(|error| error.to_string())?;
            let channel = connection.create_channel().await;
            let channel = channel.map_err(|error| error.to_string())?;
            let got = channel.basic_get(name(QUEUE), BasicGetOptions::default());
            got.await.map(drop).map_err(|error| error.to_string())
        })
        .await
        .unwrap();
    }
}

pub(crate) fn id(message: &Message) -> String {
    message
        .properties
        .message_id()
        .as_ref()
        .unwrap()
        .to_string()
}

pub(crate) fn arrived(messages: &[Message]) -> Bodies {
    messages
        .iter()
        .map(|message| (id(message), message.data.clone()))
        .collect()
}

impl Subject for RabbitMq {
    async fn start() -> Self {
        Self::with(Options::default()).await
    }

    fn section(&self) -> Value {
        self.section_at(self.server.addr())
    }

    async fn arrived(&self) -> Bodies {
        arrived(&self.messages(QUEUE).await)
    }

    async fn count(&self) -> usize {
        self.messages(QUEUE).await.len()
    }

    async fn stop(&mut self) {
        self.server.kill().await.unwrap();
    }

    async fn start_again(&mut self) {
        self.server.start().await.unwrap();
        self.ready().await;
    }
}

impl Served for RabbitMq {
    fn address(&self) -> SocketAddr {
        self.server.addr()
    }

    fn section_at(&self, address: SocketAddr) -> Value {
        let url = self.server.url_through(address);
        json!({"type": "rabbitmq", "url": url, "routing_key": QUEUE})
    }

    fn secret_section(address: SocketAddr) -> Value {
        let url = format!("amqp://hunter2:hunter2@{address}/%2f");
        json!({"type": "rabbitmq", "url": url, "routing_key": QUEUE})
    }
}

contract!(RabbitMq, served);

/// The headers of a message as text.
pub(crate) fn headers(message: &Message) -> Vec<(String, String)> {
    let headers = message.properties.headers().as_ref().unwrap();
    let mut all: Vec<_> = headers
        .inner()
        .iter()
        // A quorum queue counts how often it has handed a message out.
        .filter(|(name, _)| name.as_str() != "x-delivery-count")
        .map(|(name, value)| {
            let AMQPValue::LongString(value) = value else {
                panic!("{name}: {value:?}");
            };
            (name.to_string(), value.to_string())
        })
        .collect();
    all.sort();
    all
}

#[tokio::test]
async fn a_consumer_reads_who_an_event_is_and_what_became_of_a_dead_letter() {
    let subject = RabbitMq::start().await;
    let to = subject.made(json!({}));
    let mut one = event(7, "/in/genesys", b"{\"a\": 1}");
    one.attempt = 3;
    deliver_all(&*to, std::slice::from_ref(&one)).await;
    deliver_all(&*to, &[as_dead(one.clone())]).await;
    let messages = subject.messages(QUEUE).await;
    let id_text = one.stored.id.to_string();
    for message in &messages {
        let properties = &message.properties;
        assert_eq!(id(message), id_text);
        assert_eq!(*properties.delivery_mode(), Some(2));
        assert_eq!(*properties.app_id(), Some(name("forebay")));
        assert_eq!(*properties.content_type(), Some(name("application/json")));
        assert_eq!(*properties.timestamp(), Some(1_772_366_400));
    }
    let expected = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        let mut all: Vec<_> = pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        all.sort();
        all
    };
    assert_eq!(
        headers(&messages[0]),
        expected(&[
            ("content-type", "application/json"),
            ("forebay-attempt", "3"),
            ("forebay-event-id", &id_text),
            ("forebay-received-at", "2026-03-01T12:00:00.123456Z"),
            ("forebay-source", "genesys"),
        ])
    );
    assert_eq!(
        headers(&messages[1]),
        expected(&[
            ("content-type", "application/json"),
            ("forebay-attempts", "9"),
            ("forebay-destination", "events-db"),
            // AMQP counts bytes, so that a line break in a value is one and nothing else.
            ("forebay-error", "http 500: \"ä\"\r\nX-Injected: 1"),
            ("forebay-event-id", &id_text),
            ("forebay-first-failure-at", "2026-03-01T12:00:01Z"),
            ("forebay-last-failure-at", "2026-03-01T13:00:02.5Z"),
            ("forebay-reason", "retries-exhausted"),
            ("forebay-received-at", "2026-03-01T12:00:00.123456Z"),
            ("forebay-redrives", "2"),
            ("forebay-route", "genesys-to-db"),
            ("forebay-source", "genesys"),
        ])
    );
}

#[tokio::test]
async fn a_batch_lies_in_the_queue_in_its_order_and_reaches_every_queue_that_is_bound() {
    let subject = RabbitMq::start().await;
    subject.declare("audit", &[]).await;
    let bind = [(QUEUE, "orders.#"), ("audit", "orders.eu.*")];
    subject.exchange("hooks", ExchangeKind::Topic, &bind).await;
    let to = subject.made(json!({"exchange": "hooks", "routing_key": "orders.eu.new"}));
    assert_eq!(to.inspect().await.unwrap(), vec![]);
    let batch = events(700);
    deliver_all(&*to, &batch).await;
    let expected: Vec<_> = batch.iter().map(|one| one.stored.id.to_string()).collect();
    for queue in [QUEUE, "audit"] {
        let read: Vec<_> = subject.messages(queue).await.iter().map(id).collect();
        assert_eq!(read, expected, "{queue}");
    }
    // A fanout exchange asks for no key.
    subject
        .exchange("all", ExchangeKind::Fanout, &[("audit", "")])
        .await;
    let to = subject.made(json!({"exchange": "all", "routing_key": ""}));
    deliver_all(&*to, &events(1)).await;
    assert_eq!(subject.messages("audit").await.len(), 701);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_at_once_go_over_one_connection_and_all_arrive() {
    let subject = RabbitMq::start().await;
    let proxy = testbed::proxy::Proxy::start(subject.server.addr())
        .await
        .unwrap();
    let mut section = subject.section_at(proxy.addr());
    section["concurrency"] = json!(4);
    let to = made(&section);
    let batch = events(2000);
    let parts: Vec<_> = batch
        .chunks(250)
        .map(|part| {
            let (to, part) = (Arc::clone(&to), part.to_vec());
            tokio::spawn(async move { deliver_all(&*to, &part).await })
        })
        .collect();
    for part in parts {
        part.await.unwrap();
    }
    assert_eq!(proxy.counts().accepted, 1);
    assert_eq!(subject.arrived().await, crate::events::bodies(&batch));
}

#[tokio::test]
async fn a_url_may_be_in_a_file_and_change() {
    let subject = RabbitMq::start().await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("url");
    std::fs::write(
        &file,
        format!("amqp://{USER}:old@{}\n", subject.server.addr()),
    )
    .unwrap();
    let to = made(&json!({"type": "rabbitmq", "url_file": file, "routing_key": QUEUE}));
    let why = to.probe().await.unwrap_err();
    assert_eq!(why.cause.code, "amqp 403");
    std::fs::write(
        &file,
        format!("amqp://{USER}:{PASSWORD}@{}\n", subject.server.addr()),
    )
    .unwrap();
    deliver_all(&*to, &events(2)).await;
    std::fs::remove_file(&file).unwrap();
    // What is connected stays so.
    deliver_all(&*to, &events(2)).await;
    let outcome = to.deliver(&[]).await;
    assert_eq!(
        (outcome.outcomes, outcome.unavailable),
        (Vec::<Outcome>::new(), None)
    );
}
