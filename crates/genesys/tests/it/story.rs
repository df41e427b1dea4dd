//! Ten minutes in which everything goes wrong, judged.
//!
//! Every event that the cloud sent while a socket was open is delivered, every other lies within a gap that is written down
//! and told of, and once the backfills are done every conversation is there, once.

use std::collections::BTreeMap;
use std::time::Duration;

use domain::ports::{BackfillStatus, Inlet as _};
use jiff::SignedDuration;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};
use testbed::GenesysCloud;
use testbed::genesys::{Command, Fate, Fault, Wait};

use crate::world::{SECRET, World, presence, section};

const USERS: usize = 3;

/// Seeds of an ordinary run, and of a deep one.
fn seeds() -> u64 {
    match std::env::var_os("FOREBAY_DEEP") {
        Some(_) => 2000,
        None => 25,
    }
}

fn command(random: &mut StdRng) -> Command {
    match random.random_range(0..13) {
        0 | 1 => Command::Closing,
        2 => Command::Lose,
        3 => Command::Reset,
        4 => Command::Close(1001, "going away".into()),
        5 => Command::Hang,
        6 => Command::StopHeartbeats,
        7 => Command::NoLongerSubscribed("another_channel_subscribed".into()),
        8 => Command::NoLongerSubscribed("user_tokens_revoked".into()),
        9 => Command::HalfFrame,
        10 => Command::Text("{".into()),
        11 => Command::Binary(vec![1; 100]),
        _ => Command::UnknownTopic,
    }
}

fn fault(random: &mut StdRng) -> (&'static str, Fault) {
    let prefixes = [
        "/",
        "POST /api",
        "PUT /api",
        "GET /api",
        "/oauth/token",
        "/channels/",
        "/api/v2/analytics",
    ];
    let fault = match random.random_range(0..8) {
        0 => Fault::TooManyRequests(Wait::RetryAfter(random.random_range(1..20))),
        1 => Fault::TooManyRequests(Wait::Unsaid),
        2 => Fault::Status(503),
        3 => Fault::Cut,
        4 => Fault::CutAfterwards,
        5 => Fault::Silent,
        6 => Fault::Late(Duration::from_secs(random.random_range(1..40))),
        _ => Fault::Garbage,
    };
    (prefixes[random.random_range(0..prefixes.len())], fault)
}

fn jobs(cloud: &GenesysCloud, random: &mut StdRng) {
    match random.random_range(0..6) {
        0 => cloud.next_job(Fate::Failed),
        1 => cloud.next_job(Fate::Expired),
        2 => cloud.next_job(Fate::Cancelled),
        3 => cloud.repeat_cursor(1),
        4 => cloud.expire_jobs_after(1, 404),
        _ => cloud.jobs_last(),
    }
}

/// One conversation: sent as an event, and known to the analytics.
async fn happens(cloud: &GenesysCloud, n: u64, random: &mut StdRng) {
    let start = cloud.now();
    let record = json!({"conversationId": format!("c{n}"), "conversationStart": format!("{start:.3}"), "n": n});
    cloud.conversation(record.clone()).unwrap();
    let user = random.random_range(0..USERS);
    cloud.emit(&presence(user), &record).await;
}

async fn ten_minutes(seed: u64) -> World {
    let mut random = StdRng::seed_from_u64(seed);
    let cloud = GenesysCloud::in_memory();
    let _client = cloud.client("id", SECRET);
    let topics: Vec<String> = (0..USERS).map(presence).collect();
    let mut options = section(&topics);
    options["backfill"] = json!(true);
    let mut world = World::on(cloud, options, SignedDuration::ZERO);
    world.listens().await;
    let end = tokio::time::Instant::now() + Duration::from_secs(600);
    let mut n = 0;
    while tokio::time::Instant::now() < end {
        for _ in 0..random.random_range(0..4) {
            happens(&world.cloud, n, &mut random).await;
            n += 1;
        }
        match random.random_range(0..60) {
            0..=3 => {
                let command = command(&mut random);
                world.cloud.command_all(&command);
            }
            4 | 5 => {
                let (prefix, fault) = fault(&mut random);
                world.cloud.fault(prefix, random.random_range(1..4), fault);
            }
            6 => jobs(&world.cloud, &mut random),
            7 => {
                world.cloud.revoke_tokens("id");
            }
            8 if random.random_range(0..4) == 0 => {
                let (in_order, after) = (random.random(), random.random_range(0..30));
                world = world.restart(in_order, Duration::from_secs(after)).await;
            }
            _ => {}
        }
        tokio::time::sleep(Duration::from_millis(random.random_range(1..1000))).await;
    }
    world.cloud.no_faults();
    world.cloud.jobs_last();
    // A socket that hangs is found out by its silence.
    tokio::time::sleep(Duration::from_secs(120)).await;
    world.listens().await;
    world
        .until(|world| {
            let filled = world.gaps.all_backfills();
            let told = world
                .gaps
                .all()
                .iter()
                .all(|gap| gap.to.is_some() && gap.announced);
            let is_well = world.notifications.trouble().is_none();
            told && is_well && filled.iter().all(|one| one.status == BackfillStatus::Done)
        })
        .await;
    world
}

fn judge(world: &World, seed: u64) {
    let book = world.cloud.book();
    let mut live: BTreeMap<u64, usize> = BTreeMap::new();
    let mut any: BTreeMap<u64, usize> = BTreeMap::new();
    for event in &world.store.lock().unwrap().events {
        let parsed: Value = serde_json::from_slice(&event.body).unwrap();
        let (record, is_live) = match parsed.get("eventBody") {
            Some(body) => (body, true),
            None => (&parsed, false),
        };
        if let Some(n) = record["n"].as_u64() {
            *any.entry(n).or_default() += 1;
            *live.entry(n).or_default() += usize::from(is_live);
        }
    }
    for record in book.records() {
        let body: Value = serde_json::from_str(&record.body).unwrap();
        let n = body["n"].as_u64().unwrap();
        assert_eq!(
            any.get(&n),
            Some(&1),
            "seed {seed}: conversation {n} is there {:?} times",
            any.get(&n)
        );
        let in_a_gap = world.gaps.all().iter().any(|gap| {
            gap.from <= record.at
                && gap.to.is_some_and(|to| record.at <= to)
                && gap.topics.contains(&record.topic)
        });
        let is_live = live.get(&n).is_some_and(|times| *times == 1);
        assert!(
            is_live || in_a_gap,
            "seed {seed}: event {n} at {} was neither heard nor lies in a gap: {:#?}",
            record.at,
            world.gaps.all()
        );
    }
    assert_eq!(any.len(), book.records().len(), "seed {seed}");
    let told = world.told();
    for gap in world.gaps.all() {
        assert_eq!(
            told.iter().filter(|one| one["id"] == gap.id).count(),
            1,
            "seed {seed}: {gap:?}"
        );
    }
}

#[test]
fn of_ten_minutes_of_faults_nothing_is_lost_and_nothing_comes_twice() {
    for seed in 0..seeds() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let world = ten_minutes(seed).await;
            assert_eq!(world.notifications.trouble(), None, "seed {seed}");
            judge(&world, seed);
        });
    }
}
