//! The contract on a list and on a stream, and what a reader finds there.

use std::net::SocketAddr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::ports::Destination;
use serde_json::{Value, json};
use testbed::redis::{Options, Server};

use crate::contract::{Served, Subject, contract, section};
use crate::events::{Bodies, as_dead, deliver_all, event, events, made};

pub(crate) const KEY: &str = "shop:events";

/// What a list holds: one JSON object an element.
pub(crate) struct List {
    pub(crate) server: Server,
}

impl List {
    #[expect(clippy::needless_pass_by_value, reason = "it reads better at the call")]
    pub(crate) fn made(&self, more: Value) -> Arc<dyn Destination> {
        made(&section(self, &more))
    }

    pub(crate) async fn with(options: Options) -> Self {
        let server = Server::start_new(options).await.unwrap();
        Self { server }
    }

    pub(crate) async fn objects(&self) -> Vec<Value> {
        let list = self.server.list(KEY).await.unwrap();
        list.iter()
            .map(|text| serde_json::from_slice(text).unwrap())
            .collect()
    }
}

fn body(object: &Value) -> Vec<u8> {
    match object["body"].as_str() {
        Some(text) => text.as_bytes().to_vec(),
        None => STANDARD
            .decode(object["body_base64"].as_str().unwrap())
            .unwrap(),
    }
}

impl Subject for List {
    async fn start() -> Self {
        Self::with(Options::default()).await
    }

    fn section(&self) -> Value {
        json!({"type": "redis", "url": self.server.url(), "list": KEY})
    }

    async fn arrived(&self) -> Bodies {
        let id = |object: &Value| object["forebay-event-id"].as_str().unwrap().to_owned();
        let objects = self.objects().await;
        objects
            .iter()
            .map(|object| (id(object), body(object)))
            .collect()
    }

    async fn count(&self) -> usize {
        self.server.ask(&["LLEN", KEY]).await.unwrap()
    }

    async fn stop(&mut self) {
        self.server.kill().await.unwrap();
    }

    async fn start_again(&mut self) {
        self.server.start().await.unwrap();
    }
}

impl Served for List {
    fn address(&self) -> SocketAddr {
        self.server.addr()
    }

    fn section_at(&self, address: SocketAddr) -> Value {
        json!({"type": "redis", "url": format!("redis://{address}"), "list": KEY})
    }

    fn secret_section(address: SocketAddr) -> Value {
        json!({"type": "redis", "url": format!("redis://app:hunter2@{address}/1"), "list": KEY})
    }
}

/// What a stream holds: fields and values.
pub(crate) struct Stream {
    pub(crate) server: Server,
}

impl Stream {
    pub(crate) async fn with(options: Options) -> Self {
        let server = Server::start_new(options).await.unwrap();
        Self { server }
    }
}

fn value<'f>(fields: &'f [(String, Vec<u8>)], name: &str) -> &'f [u8] {
    let field = fields.iter().find(|(field, _)| field == name);
    &field.unwrap_or_else(|| panic!("no {name}")).1
}

impl Subject for Stream {
    async fn start() -> Self {
        Self::with(Options::default()).await
    }

    fn section(&self) -> Value {
        json!({"type": "redis", "url": self.server.url(), "stream": KEY})
    }

    async fn arrived(&self) -> Bodies {
        let entries = self.server.stream(KEY).await.unwrap();
        let entry = |fields: &Vec<(String, Vec<u8>)>| {
            let id = String::from_utf8(value(fields, "forebay-event-id").to_vec()).unwrap();
            (id, value(fields, "body").to_vec())
        };
        entries.iter().map(entry).collect()
    }

    async fn count(&self) -> usize {
        self.server.ask(&["XLEN", KEY]).await.unwrap()
    }

    async fn stop(&mut self) {
        self.server.kill().await.unwrap();
    }

    async fn start_again(&mut self) {
        self.server.start().await.unwrap();
    }
}

impl Served for Stream {
    fn address(&self) -> SocketAddr {
        self.server.addr()
    }

    fn section_at(&self, address: SocketAddr) -> Value {
        json!({"type": "redis", "url": format!("redis://{address}"), "stream": KEY})
    }

    fn secret_section(address: SocketAddr) -> Value {
        json!({
            "type": "redis", "url": format!("redis://{address}"), "stream": KEY,
            "sentinel": {"master": "shop", "user": "app", "password": "hunter2"},
        })
    }
}

mod list {
    use super::{List, contract};
    contract!(List, served);
}

mod stream {
    use super::{Stream, contract};
    contract!(Stream, served);
}

#[tokio::test]
async fn a_list_has_one_json_object_an_event_in_their_order() {
    let subject = List::start().await;
    let to = subject.made(json!({}));
    let batch = events(1000);
    deliver_all(&*to, &batch[..700]).await;
    deliver_all(&*to, &batch[700..]).await;
    let objects = subject.objects().await;
    let numbers: Vec<u64> = objects
        .iter()
        .map(|object| serde_json::from_slice::<Value>(&body(object)).unwrap()["number"].as_u64())
        .collect::<Option<_>>()
        .unwrap();
    assert_eq!(numbers, (0..1000).collect::<Vec<u64>>());
    let expected = json!({
        "forebay-event-id": batch[0].stored.id.to_string(),
        "forebay-source": "genesys",
        "forebay-received-at": "2026-03-01T12:00:00.123456Z",
        "forebay-attempt": 1,
        "content-type": "application/json",
        "body": r#"{"number": 0, "conversationId": "c-0"}"#,
    });
    assert_eq!(objects[0], expected);
}

#[tokio::test]
async fn a_dead_letter_in_a_list_says_what_became_of_it() {
    let subject = List::start().await;
    let to = subject.made(json!({}));
    deliver_all(&*to, &[as_dead(event(7, "/in/genesys", b"\xff{}"))]).await;
    let objects = subject.objects().await;
    for (name, expected) in [
        ("forebay-route", json!("genesys-to-db")),
        ("forebay-destination", json!("events-db")),
        ("forebay-attempts", json!(9)),
        ("forebay-reason", json!("retries-exhausted")),
        ("forebay-redrives", json!(2)),
        ("content-type", json!("application/json")),
        ("body_base64", json!("/3t9")),
    ] {
        assert_eq!(objects[0][name], expected, "{name}");
    }
    assert!(objects[0]["forebay-error"].as_str().unwrap().contains("ä"));
}

#[tokio::test]
async fn an_entry_of_a_stream_has_the_attributes_as_fields_and_the_body_as_it_came() {
    let subject = Stream::start().await;
    let to = made(&subject.section());
    let (fresh, dead) = (
        event(1, "/in/genesys", b"\xff\0\r\n{}"),
        as_dead(event(2, "/in/genesys", b"")),
    );
    deliver_all(&*to, &[fresh, dead]).await;
    let entries = subject.server.stream(KEY).await.unwrap();
    let names = |fields: &[(String, Vec<u8>)]| -> Vec<String> {
        fields.iter().map(|(name, _)| name.clone()).collect()
    };
    assert_eq!(
        names(&entries[0]),
        [
            "forebay-event-id",
            "forebay-source",
            "forebay-received-at",
            "forebay-attempt",
            "content-type",
            "body"
        ]
    );
    assert_eq!(value(&entries[0], "body"), b"\xff\0\r\n{}");
    assert_eq!(value(&entries[0], "forebay-attempt"), b"1");
    assert_eq!(value(&entries[1], "body"), b"");
    assert_eq!(value(&entries[1], "forebay-reason"), b"retries-exhausted");
    assert_eq!(value(&entries[1], "forebay-attempts"), b"9");
    assert_eq!(entries[1].len(), 13);
}

#[tokio::test]
async fn a_stream_that_others_have_a_group_on_is_read_in_order_and_nothing_is_trimmed() {
    let subject = Stream::start().await;
    let server = &subject.server;
    let group = ["XGROUP", "CREATE", KEY, "workers", "0", "MKSTREAM"];
    server.execute(&group).await.unwrap();
    let to = made(&subject.section());
    deliver_all(&*to, &events(300)).await;
    let read = [
        "XREADGROUP",
        "GROUP",
        "workers",
        "one",
        "COUNT",
        "500",
        "STREAMS",
        KEY,
        ">",
    ];
    type Entries = Vec<(String, Vec<(String, Vec<String>)>)>;
    let entries: Entries = server.ask(&read).await.unwrap();
    let ids: Vec<&str> = entries[0].1.iter().map(|(_, fields)| &*fields[1]).collect();
    let expected: Vec<String> = events(300)
        .iter()
        .map(|one| one.stored.id.to_string())
        .collect();
    assert_eq!(ids, expected);
    assert_eq!(subject.count().await, 300);
}

#[tokio::test]
async fn a_password_a_user_and_a_database_are_taken_from_the_url_or_a_file() {
    let subject = List::with(Options::default().with_password("p@ss word/1")).await;
    let server = &subject.server;
    let user = "ACL SETUSER app on >hunter2 ~shop:* +rpush +select";
    let user: Vec<&str> = user.split(' ').collect();
    server.execute(&user).await.unwrap();
    let addr = server.addr();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, format!("redis://app:hunter2@{addr}/0\n")).unwrap();
    for section in [
        json!({"url": format!("redis://:p%40ss%20word%2F1@{addr}")}),
        json!({"url": format!("redis://default:p@ss%20word%2F1@{addr}/0")}),
        json!({"url_file": file.path()}),
    ] {
        let mut section = section;
        section["type"] = "redis".into();
        section["list"] = KEY.into();
        let to = made(&section);
        to.probe().await.unwrap();
        deliver_all(&*to, &events(2)).await;
    }
    assert_eq!(subject.count().await, 6);
    let third = format!("redis://:p%40ss%20word%2F1@{addr}/3");
    let to = made(&json!({"type": "redis", "url": third, "list": KEY}));
    deliver_all(&*to, &events(2)).await;
    let keyspace: String = server.ask(&["INFO", "keyspace"]).await.unwrap();
    assert!(keyspace.contains("db3:keys=1"), "{keyspace}");
    assert_eq!(subject.count().await, 6);
}
