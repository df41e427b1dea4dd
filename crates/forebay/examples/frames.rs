//! A million notification frames, and a destination at a tenth of their speed: what memory that takes, and that none is lost.
//!
//! usage: frames FOREBAY [FRAMES]
//!
//! The frames come from the testbed's Genesys Cloud over one socket of loopback, as fast as they are read. The destination is
//! an HTTP endpoint that is posted to at a tenth of what an earlier stretch of the run came to. Once all frames are in the
//! journal the rest goes into SQLite at full speed, so that the run ends. Prints what it saw; ends with 1 if a frame is missing.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a benchmark fails by panicking, and prints what it measured"
)]

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testbed::GenesysCloud;
use testbed::endpoint::Endpoint;
use testbed::process::{Forebay, Launch};

const TOPIC: &str = "v2.users.0b2f1c1e-3c5d-4f67-8a9b-0123456789ab.presence";
const SECRET: &str = "the-secret-of-an-oauth-client";

/// Frames that tell how fast it is.
const FIRST: u64 = 50_000;

/// Frames that the cloud has and has not written: enough that the socket never waits for the benchmark.
const AHEAD: usize = 5_000;

fn config(cloud: &GenesysCloud, destination: &str) -> String {
    format!(
        "[sources.gc]\ntype = \"genesys-notifications\"\nendpoint = \"{}\"\nclient_id = \"id\"\nclient_secret = \"{SECRET}\"\ntopics = [\"{TOPIC}\"]\nbackfill = false\n[destinations.db]\n{destination}\n[routes.all]\nfrom = [\"gc\"]\nto = \"db\"\n",
        cloud.url()
    )
}

fn main() {
    let mut words = std::env::args().skip(1);
    let binary = words.next().expect("usage: frames FOREBAY [FRAMES]");
    let frames: u64 = words
        .next()
        .map_or(1_000_000, |count| count.parse().unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(run(&binary, frames));
}

async fn emit(cloud: &GenesysCloud, numbers: std::ops::Range<u64>) {
    let padding = "x".repeat(600);
    for n in numbers {
        cloud.emit(TOPIC, json!({"n": n, "padding": padding})).await;
        if n % 500 == 0 {
            cloud.drained_to(AHEAD).await;
        }
    }
}

/// Until so many events are in the journal.
async fn accepted(forebay: &Forebay, count: u64) -> Value {
    loop {
        let status = forebay.status().await.unwrap();
        if status["accepted"].as_u64().unwrap() >= count {
            return status;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn listens(cloud: &GenesysCloud) {
    while !cloud
        .channels()
        .iter()
        .any(|one| one.socket.is_some() && !one.topics.is_empty())
    {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn run(binary: &str, frames: u64) {
    let cloud = GenesysCloud::start().await.unwrap();
    let _client = cloud.client("id", SECRET);
    cloud.keep_counts_only();
    let endpoint = Endpoint::start().await.unwrap();
    let at = |rate: u64| {
        format!(
            "type = \"http\"\nurl = \"{}\"\nmax_rate = {rate}\nconcurrency = 32",
            endpoint.url()
        )
    };
    let first = frames.min(FIRST);
    let launch = Launch::new(binary)
        .unwrap()
        .config(config(&cloud, &at(1_000)));
    let mut forebay = launch.start().await.unwrap();
    listens(&cloud).await;
    let began = Instant::now();
    emit(&cloud, 0..first).await;
    accepted(&forebay, first).await;
    let took = u64::try_from(began.elapsed().as_millis()).unwrap();
    // From here on a tenth of what it came to.
    let slow = (first * 100 / took).max(1);
    again(&mut forebay, &config(&cloud, &at(slow))).await;
    listens(&cloud).await;
    let before = forebay.memory().unwrap();
    let began = Instant::now();
    emit(&cloud, first..frames).await;
    // The restart is a gap, which is an event.
    let status = accepted(&forebay, frames + 1).await;
    let took = began.elapsed().as_secs_f64();
    let pending = status["routes"][0]["pending"].as_u64().unwrap();
    let memory = forebay.memory().unwrap();
    println!(
        "{} frames in {took:.1} s, {:.0} a second; the destination takes {slow} a second, and {pending} wait",
        frames - first,
        (frames - first) as f64 / took,
    );
    println!(
        "memory: {} MiB before, {} MiB at most",
        before.resident >> 20,
        memory.peak >> 20
    );
    again(
        &mut forebay,
        &config(&cloud, "type = \"sqlite\"\npath = \"events.db\""),
    )
    .await;
    loop {
        let status = forebay.status().await.unwrap();
        if status["routes"][0]["pending"] == 0 && status["routes"][0]["parked"] == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let mut seen = vec![false; usize::try_from(frames).unwrap()];
    let mut see = |body: &[u8]| {
        let frame: Value = serde_json::from_slice(body).unwrap();
        if let Some(n) = frame["eventBody"]["n"].as_u64() {
            seen[usize::try_from(n).unwrap()] = true;
        }
    };
    endpoint.received().iter().for_each(|one| see(&one.body));
    let path = forebay.launch().dir().join("events.db");
    let table = rusqlite::Connection::open(path).unwrap();
    let mut bodies = table
        .prepare("SELECT CAST(body AS TEXT) FROM webhook_events")
        .unwrap();
    let rows = bodies.query_map([], |row| row.get::<_, String>(0)).unwrap();
    rows.for_each(|body| see(body.unwrap().as_bytes()));
    let missing = seen.iter().filter(|seen| !**seen).count();
    println!("{missing} of {frames} frames are missing");
    assert_eq!(missing, 0);
}

/// The same installation with another configuration.
async fn again(forebay: &mut Forebay, config: &str) {
    forebay.terminate().unwrap();
    forebay.wait().await.unwrap();
    forebay.launch().set_config(config);
    forebay.start().await.unwrap();
}
