//! Measures how fast dead letters leave and come back: each as a ratio to the client library's own bare loop writing the
//! same to the same server, in the same minutes.
//!
//! `cargo run --release -p forebay --example letters -- [LETTERS] [ROUNDS] [redis] [rabbitmq] [http] [postgres]`

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a measurement, run by hand"
)]

use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dispatch::{Dispatch, RoutePolicies, RouteSpec, TargetSpec};
use domain::ports::{
    Bury, DeadFilter, DeadLetters, Destination, Exports, Journal, RouteRecord, Selection,
    Settlement, State,
};
use domain::{
    Cause, Clock, DestinationName, Envelope, Event, EventId, Headers, Reason, RouteName, Seq,
    SourceName, StoredEvent, SystemClock, Timestamp,
};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use journal::{DirectoryLock, EmbeddedJournal, Known};
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{BasicProperties, Connection, ConnectionProperties};
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use state::SqliteState;
use testbed::endpoint::Endpoint;
use testbed::{postgres, rabbitmq, redis as redis_server};
use tokio::sync::Notify;

/// What is sent before the answers are awaited, by the bare loops.
const AT_ONCE: usize = 1000;

/// Requests under way at once, as the `http` destination has them.
const REQUESTS: usize = 8;

fn route() -> RouteName {
    RouteName::new("r").unwrap()
}

fn target() -> DestinationName {
    DestinationName::new("ops").unwrap()
}

fn body() -> String {
    format!("{{\"conversationId\":\"{}\"}}", "x".repeat(512))
}

/// A journal and a state with so many dead letters.
struct Stores {
    state: Arc<SqliteState>,
    journal: Arc<EmbeddedJournal>,
    _dir: tempfile::TempDir,
}

impl Stores {
    async fn with(letters: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let metrics = state::Metrics::register(&mut Registry::default());
        let path = dir.path().join("state.db");
        let state = SqliteState::open(&path, state::Options::default(), metrics).unwrap();
        let lock = DirectoryLock::acquire(dir.path(), true).unwrap();
        let known = Known {
            highest: Seq(letters),
            ..Known::default()
        };
        let journal = EmbeddedJournal::open(
            &dir.path().join("journal"),
            lock,
            journal::Options::default().validate().unwrap(),
            &known,
            Arc::new(SystemClock),
            journal::Metrics::register(&mut Registry::default()),
        );
        let now = SystemClock.now();
        let route = route();
        state.register_route(&route, Seq(0), now).await.unwrap();
        for first in (1..=letters).step_by(1000) {
            let last = (first + 999).min(letters);
            let buries: Vec<Bury> = (first..=last).map(|seq| bury(seq, now)).collect();
            let step = Settlement {
                accepted: buries.len() as u64,
                buries,
                ..Settlement::at(route.clone(), Seq(last))
            };
            state.settle(vec![step]).await.unwrap();
        }
        Self {
            state: Arc::new(state),
            journal: Arc::new(journal.unwrap()),
            _dir: dir,
        }
    }

    async fn record(&self) -> RouteRecord {
        self.state.routes().await.unwrap().remove(0)
    }

    /// Starts the route, and gives the bell that a redrive rings.
    async fn start(
        &self,
        destination: Arc<dyn Destination>,
        targets: Vec<TargetSpec>,
    ) -> (Dispatch, Arc<Notify>) {
        let begun = Arc::new(Notify::new());
        let ports = dispatch::Ports {
            journal: Arc::clone(&self.journal) as Arc<dyn Journal>,
            archive: self.journal.clone(),
            state: self.state.clone(),
            dead_letters: self.state.clone(),
            exports: self.state.clone(),
            redrive_begun: Arc::clone(&begun),
            clock: Arc::new(SystemClock),
        };
        let source = SourceName::new("shop").unwrap();
        let spec = RouteSpec {
            name: route(),
            policies: RoutePolicies::default(),
            sources: [source.clone()].into_iter().collect(),
            source_names: vec![source],
            filter: None,
            destination,
            destination_name: DestinationName::new("db").unwrap(),
            targets,
            record: self.record().await,
            until: None,
            has_own_metrics: true,
        };
        let metrics = dispatch::Metrics::register(&mut Registry::default());
        let options = dispatch::Options::default();
        (Dispatch::start(options, vec![spec], ports, metrics), begun)
    }
}

fn bury(seq: u64, now: Timestamp) -> Bury {
    let headers = [("content-type", &b"application/json"[..])];
    Bury {
        stored: StoredEvent {
            seq: Seq(seq),
            id: EventId::from_bytes(u128::from(seq).to_be_bytes()),
            event: Arc::new(Event {
                source: SourceName::new("shop").unwrap(),
                received_at: now,
                method: "POST".into(),
                path: "/in/shop".into(),
                headers: headers.into_iter().collect::<Headers>(),
                body: body().into(),
                event_type: None,
                remote: None,
                dedup: None,
                only: None,
            }),
        },
        attempts: 1,
        reason: Reason::Outage,
        cause: Cause::new("refused", "127.0.0.1:5432: nothing listens there"),
        first_failure_at: now,
        last_failure_at: now,
        key: None,
    }
}

fn built(section: Value) -> Arc<dyn Destination> {
    let options: connectors::DestinationOptions = serde_json::from_value(section).unwrap();
    let context = connectors::Context {
        clock: Arc::new(SystemClock),
        data_dir: std::env::temp_dir(),
        name: target(),
        instance: connectors::Instance::default(),
    };
    connectors::build(&options.validate().unwrap(), &context).unwrap()
}

/// What goes out where there is only a text.
fn text(seq: u64) -> Vec<u8> {
    let bury = bury(seq, SystemClock.now());
    let event = &bury.stored.event;
    let envelope = Envelope {
        id: bury.stored.id,
        source: event.source.clone(),
        route: route(),
        destination: Some(DestinationName::new("db").unwrap()),
        received_at: event.received_at,
        attempts: bury.attempts,
        first_failure_at: bury.first_failure_at,
        last_failure_at: bury.last_failure_at,
        reason: bury.reason,
        error: bury.cause.to_string(),
        redrives: 0,
        content_type: event.content_type().map(str::to_owned),
        body: event.body.clone(),
        body_at: None,
    };
    serde_json::to_vec(&envelope).unwrap()
}

/// How long all letters take to their target.
async fn export(letters: u64, section: Value) -> Duration {
    let stores = Stores::with(letters).await;
    let to = built(section);
    to.probe().await.unwrap();
    let spec = TargetSpec {
        name: target(),
        destination: Arc::clone(&to),
    };
    let begun = Instant::now();
    let (dispatch, _) = stores.start(to, vec![spec]).await;
    loop {
        let through = stores.state.export_position(&route(), &target()).await;
        if through.unwrap().0 >= letters {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let took = begun.elapsed();
    dispatch.stop(Duration::from_secs(10)).await;
    took
}

/// How long all letters take back to their destination.
async fn redrive(letters: u64, section: Value) -> Duration {
    let stores = Stores::with(letters).await;
    let to = built(section);
    to.inspect().await.unwrap();
    let (dispatch, bell) = stores.start(to, Vec::new()).await;
    let all = Selection::Filter(DeadFilter::default());
    let begun = Instant::now();
    let now = SystemClock.now();
    stores.state.begin_redrive(&all, None, now).await.unwrap();
    bell.notify_one();
    while stores.record().await.counters.delivered < letters {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let took = begun.elapsed();
    dispatch.stop(Duration::from_secs(10)).await;
    took
}

/// Prints the middle of the ratios.
fn print(what: &str, letters: u64, mut rounds: Vec<(Duration, Duration)>) {
    let ratio = |(bare, ours): &(Duration, Duration)| bare.as_secs_f64() / ours.as_secs_f64();
    rounds.sort_by(|a, b| ratio(a).total_cmp(&ratio(b)));
    let middle = rounds[rounds.len() / 2];
    let rate = |took: Duration| letters as f64 / took.as_secs_f64();
    let (least, most) = (ratio(&rounds[0]), ratio(rounds.last().unwrap()));
    println!(
        "{what:<32} {:>5.2} of the bare loop ({least:.2} to {most:.2}); {:>7.0}/s against {:>7.0}/s",
        ratio(&middle),
        rate(middle.1),
        rate(middle.0),
    );
    std::io::stdout().flush().unwrap();
}

async fn to_redis(letters: u64, rounds: usize, fsync: &str) {
    let options = redis_server::Options::default().with_setting("appendfsync", fsync);
    let server = redis_server::Server::start_new(options).await.unwrap();
    let mut all = Vec::new();
    for _ in 0..rounds {
        server.execute(&["FLUSHALL"]).await.unwrap();
        let client = redis::Client::open(server.url()).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        let begun = Instant::now();
        for at in (0..letters).step_by(AT_ONCE) {
            let mut pipe = redis::pipe();
            for seq in at..(at + AT_ONCE as u64).min(letters) {
                pipe.cmd("RPUSH").arg("bare").arg(text(seq)).ignore();
            }
            let () = pipe.query_async(&mut connection).await.unwrap();
        }
        let bare = begun.elapsed();
        let section = json!({"type": "redis", "url": server.url(), "list": "letters"});
        all.push((bare, export(letters, section).await));
    }
    print(&format!("export to redis, fsync {fsync}"), letters, all);
}

async fn to_rabbitmq(letters: u64, rounds: usize) {
    let broker = rabbitmq::Server::start_new(rabbitmq::Options::default()).await;
    let broker = broker.unwrap();
    for queue in ["bare", "letters"] {
        broker.declare_quorum(queue).await.unwrap();
    }
    let mut all = Vec::new();
    for _ in 0..rounds {
        let properties = ConnectionProperties::default();
        let connection = Connection::connect(&broker.url(), properties)
            .await
            .unwrap();
        let channel = connection.create_channel().await.unwrap();
        let select = ConfirmSelectOptions::default();
        channel.confirm_select(select).await.unwrap();
        let begun = Instant::now();
        for at in (0..letters).step_by(AT_ONCE) {
            let mut confirms = Vec::new();
            for _ in at..(at + AT_ONCE as u64).min(letters) {
                let durable = BasicProperties::default().with_delivery_mode(2);
                let options = BasicPublishOptions::default();
                let text = body();
                let published = channel.basic_publish(
                    "".into(),
                    "bare".into(),
                    options,
                    text.as_bytes(),
                    durable,
                );
                confirms.push(published.await.unwrap());
            }
            for confirm in confirms {
                confirm.await.unwrap();
            }
        }
        let bare = begun.elapsed();
        let section = json!({"type": "rabbitmq", "url": broker.url(), "routing_key": "letters"});
        all.push((bare, export(letters, section).await));
        for queue in ["bare", "letters"] {
            broker.take_all(queue).await.unwrap();
        }
    }
    print("export to rabbitmq, quorum", letters, all);
}

async fn to_http(letters: u64, rounds: usize) {
    let mut all = Vec::new();
    for _ in 0..rounds {
        let endpoint = Endpoint::start().await.unwrap();
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let begun = Instant::now();
        let mut under_way = FuturesUnordered::new();
        for _ in 0..letters {
            if under_way.len() >= REQUESTS {
                under_way.next().await;
            }
            let request = client.post(endpoint.url()).body(body());
            under_way.push(async move { request.send().await.unwrap().bytes().await.unwrap() });
        }
        while under_way.next().await.is_some() {}
        let bare = begun.elapsed();
        drop(endpoint);
        let endpoint = Endpoint::start().await.unwrap();
        let section = json!({"type": "http", "url": endpoint.url(), "concurrency": REQUESTS});
        all.push((bare, export(letters, section).await));
    }
    print("export to http, 8 at once", letters, all);
}

async fn back_to_postgres(letters: u64, rounds: usize) {
    let server = postgres::Server::start_new(postgres::Options::default()).await;
    let server = server.unwrap();
    let mut all = Vec::new();
    for round in 0..rounds {
        let client = server.client().await.unwrap();
        let make = "DROP TABLE IF EXISTS bare; CREATE TABLE bare (id uuid PRIMARY KEY, source text NOT NULL, received_at timestamptz NOT NULL, method text NOT NULL, path text NOT NULL, headers jsonb NOT NULL, content_type text, body json, body_raw bytea)";
        client.batch_execute(make).await.unwrap();
        let begun = Instant::now();
        for at in (0..letters).step_by(AT_ONCE) {
            let insert = "INSERT INTO bare (id, source, received_at, method, path, headers, content_type, body) SELECT id, 'shop', now(), 'POST', '/in/shop', '[[\"content-type\",\"application/json\"]]'::jsonb, 'application/json', body::json FROM unnest($1::uuid[], $2::text[]) AS rows (id, body)";
            let through = (at + AT_ONCE as u64).min(letters);
            let ids: Vec<uuid::Uuid> = (at..through)
                .map(|n| uuid::Uuid::from_u128(u128::from(n) + 1))
                .collect();
            let bodies: Vec<String> = (at..through).map(|_| body()).collect();
            client.execute(insert, &[&ids, &bodies]).await.unwrap();
        }
        let bare = begun.elapsed();
        let table = format!("events_{round}");
        let section = json!({"type": "postgres", "url": server.url(), "table": table});
        all.push((bare, redrive(letters, section).await));
    }
    print("redrive into postgres", letters, all);
}

#[tokio::main]
async fn main() {
    let mut given = std::env::args().skip(1);
    let letters = given.next().map_or(20_000, |text| text.parse().unwrap());
    let rounds = given.next().map_or(5, |text| text.parse().unwrap());
    println!(
        "{letters} dead letters of {} bytes, the middle of {rounds} rounds",
        body().len()
    );
    let only: Vec<String> = given.collect();
    let wanted = |name: &str| only.is_empty() || only.iter().any(|one| one == name);
    if wanted("redis") {
        to_redis(letters, rounds, "everysec").await;
        to_redis(letters, rounds, "always").await;
    }
    if wanted("rabbitmq") {
        to_rabbitmq(letters, rounds).await;
    }
    if wanted("http") {
        to_http(letters, rounds).await;
    }
    if wanted("postgres") {
        back_to_postgres(letters, rounds).await;
    }
}
