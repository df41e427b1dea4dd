//! The contract on a NATS server with JetStream, and what a consumer reads there.

use std::net::SocketAddr;
use std::sync::Arc;

use async_nats::jetstream::context::Context;
use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType};
use async_nats::{ConnectOptions, HeaderMap};
use domain::ports::Destination;
use serde_json::{Value, json};
use testbed::nats::{Options, PASSWORD, Server, USER};

use crate::contract::{Served, Subject, contract, section};
use crate::events::{Bodies, as_dead, bodies, deliver_all, event, events, made};

pub(crate) const SUBJECT: &str = "hooks.in";
pub(crate) const STREAM: &str = "EVENTS";

/// A server with a stream on disk.
pub(crate) struct Nats {
    pub(crate) server: Server,
}

/// A message as a consumer has it.
pub(crate) struct Message {
    pub(crate) subject: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Message {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(async_nats::HeaderValue::as_str)
    }
}

/// A stream that takes `hooks.>` and refuses what it has no room for.
pub(crate) fn stream() -> Config {
    Config {
        name: STREAM.to_owned(),
        subjects: vec!["hooks.>".to_owned()],
        storage: StorageType::File,
        retention: RetentionPolicy::Limits,
        discard: DiscardPolicy::New,
        ..Config::default()
    }
}

impl Nats {
    /// A server without a stream.
    pub(crate) async fn with(options: Options) -> Self {
        // The contract has bodies of 3 MiB.
        let server = Server::start_new(options.with_line("max_payload: 8MB")).await;
        Self {
            server: server.unwrap(),
        }
    }

    #[expect(clippy::needless_pass_by_value, reason = "it reads better at the call")]
    pub(crate) fn made(&self, more: Value) -> Arc<dyn Destination> {
        made(&section(self, &more))
    }

    /// A connection of the test's own.
    pub(crate) async fn context(&self) -> Context {
        let options = ConnectOptions::new().user_and_password(USER.into(), PASSWORD.into());
        let client = options.connect(self.server.addr().to_string()).await;
        async_nats::jetstream::new(client.unwrap())
    }

    pub(crate) async fn declare(&self, config: Config) {
        self.context().await.create_stream(config).await.unwrap();
    }

    /// What is in a stream, oldest first. It stays there.
    pub(crate) async fn messages(&self, stream: &str) -> Vec<Message> {
        let context = self.context().await;
        let stream = context.get_stream(stream).await.unwrap();
        let state = &stream.cached_info().state;
        let mut messages = Vec::new();
        for number in state.first_sequence..=state.last_sequence {
            let Ok(message) = stream.get_raw_message(number).await else {
                continue;
            };
            messages.push(Message {
                subject: message.subject.to_string(),
                headers: message.headers,
                body: message.payload.to_vec(),
            });
        }
        messages
    }
}

impl Subject for Nats {
    /// Debian's 2.9 cannot sync before it acknowledges.
    const WEAKER: &[&str] = &["power loss"];
    /// Within the stream's duplicate window.
    const KNOWS_SOON_REPEATS: bool = true;

    async fn start() -> Self {
        let subject = Self::with(Options::default()).await;
        subject.declare(stream()).await;
        subject
    }

    fn section(&self) -> Value {
        self.section_at(self.server.addr())
    }

    async fn arrived(&self) -> Bodies {
        let messages = self.messages(STREAM).await;
        messages
            .into_iter()
            .map(|message| {
                let id = message.header("forebay-event-id").unwrap().to_owned();
                (id, message.body)
            })
            .collect()
    }

    async fn count(&self) -> usize {
        self.messages(STREAM).await.len()
    }

    async fn stop(&mut self) {
        self.server.kill().await.unwrap();
    }

    async fn start_again(&mut self) {
        self.server.start().await.unwrap();
    }
}

impl Served for Nats {
    fn address(&self) -> SocketAddr {
        self.server.addr()
    }

    fn section_at(&self, address: SocketAddr) -> Value {
        let url = self.server.url_through(address);
        json!({"type": "nats", "url": url, "subject": SUBJECT})
    }

    fn secret_section(address: SocketAddr) -> Value {
        let url = format!("nats://hunter2:hunter2@{address}");
        json!({"type": "nats", "url": url, "subject": SUBJECT})
    }
}

contract!(Nats, served);

/// The headers of a message, without NATS' own.
fn headers(message: &Message) -> Vec<(String, String)> {
    let mut all: Vec<_> = message
        .headers
        .iter()
        .map(|(name, values)| (name.to_string(), values[0].to_string()))
        .filter(|(name, _)| !name.starts_with("Nats-"))
        .collect();
    all.sort();
    all
}

#[tokio::test]
async fn a_consumer_reads_who_an_event_is_and_what_became_of_a_dead_letter() {
    let subject = Nats::start().await;
    let to = subject.made(json!({}));
    let mut one = event(7, "/in/genesys", b"{\"a\": 1}");
    one.attempt = 3;
    deliver_all(&*to, std::slice::from_ref(&one)).await;
    deliver_all(&*to, &[as_dead(one.clone())]).await;
    let messages = subject.messages(STREAM).await;
    let id = one.stored.id.to_string();
    let expected = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        let mut all: Vec<_> = pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        all.sort();
        all
    };
    assert_eq!(messages[0].subject, SUBJECT);
    assert_eq!(
        messages[0].header("Nats-Msg-Id"),
        Some(format!("{id}@hooks.in").as_str())
    );
    assert_eq!(
        headers(&messages[0]),
        expected(&[
            ("content-type", "application/json"),
            ("forebay-attempt", "3"),
            ("forebay-event-id", &id),
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
            ("forebay-error", "http 500: \"\\u00e4\"  X-Injected: 1"),
            ("forebay-event-id", &id),
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
async fn an_event_that_goes_several_ways_into_one_stream_is_there_for_each() {
    let subject = Nats::start().await;
    let batch = events(3);
    let dead: Vec<_> = batch.iter().cloned().map(as_dead).collect();
    for (key, batch) in [("hooks.a", &batch), ("hooks.b", &batch), ("hooks.b", &dead)] {
        let to = subject.made(json!({"subject": key}));
        for _ in 0..2 {
            deliver_all(&*to, batch).await;
        }
    }
    let mut subjects: Vec<_> = subject
        .messages(STREAM)
        .await
        .into_iter()
        .map(|message| message.subject)
        .collect();
    subjects.sort();
    let expected = ["hooks.a", "hooks.b", "hooks.b"].map(|subject| [subject; 3]);
    assert_eq!(subjects, expected.concat());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_lie_in_the_stream_in_their_order_and_go_over_one_connection() {
    let subject = Nats::start().await;
    let to = subject.made(json!({"stream": STREAM}));
    let batch = events(700);
    deliver_all(&*to, &batch).await;
    let read: Vec<_> = subject
        .messages(STREAM)
        .await
        .into_iter()
        .map(|message| message.header("forebay-event-id").unwrap().to_owned())
        .collect();
    let expected: Vec<_> = batch.iter().map(|one| one.stored.id.to_string()).collect();
    assert_eq!(read, expected);

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
    assert_eq!(subject.arrived().await, bodies(&batch));
}

#[tokio::test]
async fn of_several_servers_one_that_is_there_is_used_and_a_file_may_name_them() {
    let mut first = Nats::start().await;
    let second = Nats::start().await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("url");
    let urls = format!("{}, nats://{}\n", first.server.url(), second.server.addr());
    std::fs::write(&file, urls).unwrap();
    let to = made(&json!({"type": "nats", "url_file": file, "subject": SUBJECT}));
    deliver_all(&*to, &events(5)).await;
    assert_eq!(first.arrived().await, bodies(&events(5)));
    first.server.kill().await.unwrap();
    crate::events::deliver_soon(&*to, &events(9)).await;
    assert_eq!(second.arrived().await, bodies(&events(9)));
}
