//! Measures the ways to write batches into PostgreSQL idempotently, in one run on one server, each as a
//! ratio to a plain binary COPY of the same rows. The reason that deliveries go the way they do.
//!
//! `cargo run --release -p forebay-connectors --example drain_ways -- [ROWS] [ROUNDS]`

#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a measurement, run by hand"
)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use connectors::{Context, DestinationOptions, build};
use domain::ports::{Delivery, Destination};
use domain::{
    DestinationName, Event, EventId, Headers, Outcome, Seq, SourceName, StoredEvent, SystemClock,
};
use futures_util::{SinkExt as _, StreamExt as _};
use testbed::postgres::{Options, Server};
use tokio_postgres::Client;

const BATCH: usize = 1000;
const COLUMNS: &str =
    "id, source, received_at, method, path, headers, content_type, body, body_raw";
const TABLE: &str = "(id uuid PRIMARY KEY, source text NOT NULL, received_at timestamptz NOT NULL, \
    method text NOT NULL, path text NOT NULL, headers jsonb NOT NULL, content_type text, body json, body_raw bytea)";
const HEADERS: &str = r#"{"content-type":"application/json","host":"localhost:8080","user-agent":"genesys/1.0","x-hub-signature-256":"sha256=0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"}"#;

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default| {
        arguments
            .next()
            .map_or(default, |text| text.parse().unwrap())
    };
    let (rows, rounds): (usize, usize) = (number(100_000), number(3));
    let server = Server::start_new(Options::default()).await.unwrap();
    let events = events(rows);
    let batches: Vec<Vec<Delivery>> = events.chunks(BATCH).map(<[_]>::to_vec).collect();
    let whole = copy_bytes(&events);
    let pieces: Vec<Bytes> = batches.iter().map(|batch| copy_bytes(batch)).collect();
    let client = server.client().await.unwrap();

    let names = [
        "plain COPY, all rows in one transaction",
        "plain COPY, a transaction a batch",
        "COPY into a temporary table, INSERT SELECT",
        "INSERT SELECT FROM UNNEST",
        "deliver, 1 in flight",
        "deliver, 2 in flight",
        "deliver, 4 in flight",
        "deliver, 2 in flight, everything there already",
    ];
    let mut seconds = vec![Vec::new(); names.len()];
    for _ in 0..rounds {
        // Interleaved, so that a slow moment of the machine hits all alike.
        fresh(&client, "t").await;
        seconds[0].push(timed(copy(&client, "t", &whole)).await);
        fresh(&client, "t").await;
        seconds[1].push(timed(copies(&client, &pieces)).await);
        fresh(&client, "t").await;
        seconds[2].push(timed(through_temporary(&client, &pieces)).await);
        fresh(&client, "t").await;
        seconds[3].push(timed(unnest(&client, &batches)).await);
        for (at, in_flight) in [(4, 1), (5, 2), (6, 4)] {
            fresh(&client, "webhook_events").await;
            let to = destination(&server, in_flight);
            to.probe().await.unwrap();
            seconds[at].push(timed(deliver(&*to, &batches, in_flight)).await);
        }
        let to = destination(&server, 2);
        seconds[7].push(timed(deliver(&*to, &batches, 2)).await);
    }
    println!("{rows} rows, batches of {BATCH}, median of {rounds}");
    let median = |times: &mut Vec<Duration>| {
        times.sort();
        times[times.len() / 2].as_secs_f64()
    };
    let plain = median(&mut seconds[0]);
    for (name, times) in names.iter().zip(&mut seconds) {
        let taken = median(times);
        println!(
            "{:>9.0} rows/s  {:.2}  {name}",
            rows as f64 / taken,
            plain / taken
        );
    }
}

async fn timed(work: impl Future<Output = ()>) -> Duration {
    let start = Instant::now();
    work.await;
    start.elapsed()
}

async fn fresh(client: &Client, table: &str) {
    let sql = format!("DROP TABLE IF EXISTS {table}; CREATE TABLE {table} {TABLE}; CHECKPOINT");
    client.batch_execute(&sql).await.unwrap();
}

async fn copy(client: &Client, table: &str, data: &Bytes) {
    let sql = format!("COPY {table} ({COLUMNS}) FROM STDIN (FORMAT binary)");
    let sink = client.copy_in::<_, Bytes>(&sql).await.unwrap();
    let mut sink = std::pin::pin!(sink);
    for start in (0..data.len()).step_by(1 << 20) {
        let end = data.len().min(start + (1 << 20));
        sink.feed(data.slice(start..end)).await.unwrap();
    }
    sink.finish().await.unwrap();
    // The answer to the next statement comes after the commit.
    client.batch_execute("").await.unwrap();
}

async fn copies(client: &Client, pieces: &[Bytes]) {
    for piece in pieces {
        copy(client, "t", piece).await;
    }
}

async fn through_temporary(client: &Client, pieces: &[Bytes]) {
    let sql = "CREATE TEMP TABLE IF NOT EXISTS incoming (LIKE t) ON COMMIT DELETE ROWS";
    client.batch_execute(sql).await.unwrap();
    let insert = format!(
        "INSERT INTO t ({COLUMNS}) SELECT {COLUMNS} FROM incoming ON CONFLICT (id) DO NOTHING; COMMIT"
    );
    for piece in pieces {
        client.batch_execute("BEGIN").await.unwrap();
        copy(client, "incoming", piece).await;
        client.batch_execute(&insert).await.unwrap();
    }
}

async fn unnest(client: &Client, batches: &[Vec<Delivery>]) {
    let sql = format!(
        "INSERT INTO t ({COLUMNS}) SELECT a, b, c::timestamptz, d, e, f::jsonb, g, h::json, i
         FROM UNNEST($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::bytea[])
         AS u(a, b, c, d, e, f, g, h, i) ON CONFLICT (id) DO NOTHING"
    );
    let insert = client.prepare(&sql).await.unwrap();
    for batch in batches {
        let all = |text: &'static str| vec![text; batch.len()];
        let ids: Vec<_> = batch.iter().map(|one| one.stored.id.as_uuid()).collect();
        let times: Vec<_> = batch
            .iter()
            .map(|one| one.stored.event.received_at.to_string())
            .collect();
        let bodies: Vec<&str> = batch
            .iter()
            .map(|one| std::str::from_utf8(&one.stored.event.body).unwrap())
            .collect();
        let raw: Vec<Option<&[u8]>> = vec![None; batch.len()];
        client
            .execute(
                &insert,
                &[
                    &ids,
                    &all("genesys"),
                    &times,
                    &all("POST"),
                    &all("/in/genesys"),
                    &all(HEADERS),
                    &all("application/json"),
                    &bodies,
                    &raw,
                ],
            )
            .await
            .unwrap();
    }
}

async fn deliver(to: &dyn Destination, batches: &[Vec<Delivery>], in_flight: usize) {
    futures_util::stream::iter(batches)
        .for_each_concurrent(in_flight, |batch| async move {
            let outcome = to.deliver(batch).await;
            assert!(
                outcome
                    .outcomes
                    .iter()
                    .all(|one| *one == Outcome::Delivered),
                "{:?}",
                outcome.unavailable
            );
        })
        .await;
}

fn destination(server: &Server, concurrency: usize) -> Arc<dyn Destination> {
    let section =
        serde_json::json!({"type": "postgres", "url": server.url(), "concurrency": concurrency});
    let options: DestinationOptions = serde_json::from_value(section).unwrap();
    let context = Context {
        clock: Arc::new(SystemClock),
        data_dir: ".".into(),
        name: DestinationName::new("bench").unwrap(),
        instance: connectors::Instance::default(),
    };
    build(&options.validate().unwrap(), &context).unwrap()
}

fn events(count: usize) -> Vec<Delivery> {
    let headers: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(HEADERS).unwrap();
    let headers: Headers = headers
        .iter()
        .map(|(name, value)| (name, value.as_str().unwrap()))
        .collect();
    (0..count)
        .map(|number| {
            let mut id = [0x01, 0x90, 0, 0, 0, 0, 0x70, 0, 0x80, 0, 0, 0, 0, 0, 0, 0];
            id[2..6].copy_from_slice(&(number as u32).to_be_bytes());
            let text = "x".repeat(900);
            let body = format!(r#"{{"number": {number}, "channel": {{"platform": "Open"}}, "type": "Text", "text": "{text}"}}"#);
            Delivery {
                stored: StoredEvent {
                    seq: Seq(number as u64),
                    id: EventId::from_bytes(id),
                    event: Arc::new(Event {
                        source: SourceName::new("genesys").unwrap(),
                        received_at: "2026-03-01T12:00:00.123456Z".parse().unwrap(),
                        method: "POST".into(),
                        path: "/in/genesys".into(),
                        headers: headers.clone(),
                        body: body.into(),
                        event_type: None,
                        remote: None,
                        dedup: None,
                        only: None,
                    }),
                },
                attempt: 1,
                letter: None,
            }
        })
        .collect()
}

/// The rows in the binary format of COPY, made beforehand: the plain COPY is measured without it.
fn copy_bytes(batch: &[Delivery]) -> Bytes {
    fn put(out: &mut BytesMut, value: &[u8]) {
        out.put_i32(value.len() as i32);
        out.put_slice(value);
    }
    let mut out = BytesMut::new();
    out.put_slice(b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0");
    for one in batch {
        let event = &one.stored.event;
        out.put_i16(9);
        put(&mut out, one.stored.id.as_bytes());
        put(&mut out, b"genesys");
        put(
            &mut out,
            &(event.received_at.as_microsecond() - 946_684_800_000_000).to_be_bytes(),
        );
        put(&mut out, b"POST");
        put(&mut out, b"/in/genesys");
        put(&mut out, &[b"\x01", HEADERS.as_bytes()].concat());
        put(&mut out, b"application/json");
        put(&mut out, &event.body);
        out.put_i32(-1);
    }
    out.put_i16(-1);
    out.freeze()
}
