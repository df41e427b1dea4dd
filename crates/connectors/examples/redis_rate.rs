//! Measures delivery to Redis, as a ratio to the client library's own pipeline writing the same bytes to the same server.
//!
//! `cargo run --release -p forebay-connectors --example redis_rate -- [EVENTS] [ROUNDS]`

#![allow(clippy::unwrap_used, reason = "a measurement, run by hand")]

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use connectors::{Context, DestinationOptions, build};
use domain::ports::{Delivery, Destination};
use domain::{
    DestinationName, Event, EventId, Headers, Outcome, Seq, SourceName, StoredEvent, SystemClock,
};
use serde_json::json;
use testbed::redis::{Options, Server};

const BATCH: usize = 1000;
const KEY: &str = "events";

fn deliveries(count: usize) -> Vec<Delivery> {
    let body = format!(r#"{{"conversationId": "{}"}}"#, "x".repeat(1000));
    (0..count)
        .map(|number| Delivery {
            stored: StoredEvent {
                seq: Seq(number as u64),
                id: EventId::from_bytes((number as u128).to_be_bytes()),
                event: Arc::new(Event {
                    source: SourceName::new("shop").unwrap(),
                    received_at: "2026-03-01T12:00:00Z".parse().unwrap(),
                    method: "POST".into(),
                    path: "/".into(),
                    headers: Headers::default(),
                    body: Bytes::from(body.clone()),
                    event_type: None,
                    remote: None,
                    dedup: None,
                    only: None,
                }),
            },
            attempt: 1,
            letter: None,
        })
        .collect()
}

/// The library's own loop: a pipeline a batch on one connection, every answer waited for.
async fn bare(server: &Server, kind: &str, events: &[Delivery]) {
    let stream = tokio::net::TcpStream::connect(server.addr()).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let info = redis::RedisConnectionInfo::default();
    let patient = redis::AsyncConnectionConfig::new().set_response_timeout(None);
    let made = redis::aio::MultiplexedConnection::new_with_config(&info, stream, patient).await;
    let (mut connection, driver) = made.unwrap();
    let driver = tokio::spawn(driver);
    for batch in events.chunks(BATCH) {
        let mut pipe = redis::pipe();
        for one in batch {
            let (id, body) = (one.stored.id.to_string(), &one.stored.event.body[..]);
            if kind == "list" {
                // As long as the object that a delivery writes.
                let mut text = format!("{id:150}").into_bytes();
                text.extend_from_slice(body);
                pipe.rpush(KEY, text).ignore();
            } else {
                let fields = [
                    ("forebay-event-id", id.as_bytes()),
                    ("forebay-source", b"shop"),
                    ("forebay-received-at", b"2026-03-01T12:00:00Z"),
                    ("forebay-attempt", b"1"),
                    ("body", body),
                ];
                let mut add = redis::cmd("XADD");
                add.arg(KEY).arg("*").arg(&fields);
                pipe.add_command(add).ignore();
            }
        }
        pipe.query_async::<()>(&mut connection).await.unwrap();
    }
    driver.abort();
}

async fn delivered(to: &dyn Destination, events: &[Delivery]) {
    for batch in events.chunks(BATCH) {
        let outcome = to.deliver(batch).await;
        assert!(
            outcome
                .outcomes
                .iter()
                .all(|one| *one == Outcome::Delivered)
        );
    }
}

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args()
        .skip(1)
        .map(|text| text.parse::<usize>().unwrap());
    let (count, rounds) = (
        arguments.next().unwrap_or(20_000),
        arguments.next().unwrap_or(5),
    );
    let events = deliveries(count);
    let context = Context {
        clock: Arc::new(SystemClock),
        data_dir: ".".into(),
        name: DestinationName::new("redis").unwrap(),
        instance: connectors::Instance::default(),
    };
    for fsync in ["always", "everysec"] {
        let options = Options::default().with_setting("appendfsync", fsync);
        let server = Server::start_new(options).await.unwrap();
        for kind in ["list", "stream"] {
            let section = json!({"type": "redis", "url": server.url(), (kind): KEY});
            let options: DestinationOptions = serde_json::from_value(section).unwrap();
            let to = build(&options.validate().unwrap(), &context).unwrap();
            let mut ratios = Vec::new();
            for _ in 0..rounds {
                let mut took = Vec::new();
                for ours in [false, true] {
                    server.execute(&["DEL", KEY]).await.unwrap();
                    let start = Instant::now();
                    if ours {
                        delivered(&*to, &events).await;
                    } else {
                        bare(&server, kind, &events).await;
                    }
                    took.push(start.elapsed().as_secs_f64());
                }
                ratios.push((took[0] / took[1], count as f64 / took[1]));
            }
            ratios.sort_by(|a, b| a.0.total_cmp(&b.0));
            let (ratio, rate) = ratios[rounds / 2];
            println!(
                "{kind:6} appendfsync {fsync:8} {rate:8.0} events/s, {ratio:.2} of the bare pipeline"
            );
            server.execute(&["DEL", KEY]).await.unwrap();
        }
    }
}
