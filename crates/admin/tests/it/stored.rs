//! The API over a real journal and a real state.

use std::sync::Arc;
use std::time::Duration;

use domain::clock::ManualClock;
use domain::ports::{Bury, Counters, DeliveredRange, Journal, Settlement, State};
use domain::{ByteSize, Cause, EventId, Reason, RouteName, Seq, SeqRange, StoredEvent};
use journal::{DirectoryLock, EmbeddedJournal, Known, Metrics, Options};
use prometheus_client::registry::Registry;
use state::SqliteState;

use crate::ask::Asker;
use crate::fakes::{World, at, event, route};

fn journal(directory: &std::path::Path, clock: &Arc<ManualClock>) -> EmbeddedJournal {
    let options = Options {
        segment_bytes: ByteSize::mib(1),
        max_bytes: ByteSize::mib(64),
        min_free: ByteSize(0),
        ..Options::default()
    };
    let (config, lock) = (
        options.validate().unwrap(),
        DirectoryLock::acquire(directory, true).unwrap(),
    );
    let metrics = Metrics::register(&mut Registry::default());
    let clock = Arc::clone(clock) as _;
    EmbeddedJournal::open(directory, lock, config, &Known::default(), clock, metrics).unwrap()
}

/// Events 1 to `count` of source `a` in the journal, each of a kilobyte, stored within a minute of their
/// receipt.
async fn fill(journal: &EmbeddedJournal, clock: &ManualClock, count: u64) -> Vec<EventId> {
    let mut ids = Vec::new();
    for chunk in (1..=count).collect::<Vec<_>>().chunks(50) {
        clock.set(at(chunk[49]));
        let events = chunk.iter().map(|seq| {
            let body = format!("{seq:01000}");
            (*event(*seq, "a", body).event).clone()
        });
        ids.extend(journal.append(events.collect()).await.unwrap());
    }
    ids
}

/// Everything through 2,000 is settled on route `r`; 7 is dead, the rest delivered.
fn settlement(r: &RouteName, ids: &[EventId]) -> Settlement {
    let stretch = |first, last| DeliveredRange {
        range: SeqRange::new(Seq(first), Seq(last)).unwrap(),
        at: at(9),
    };
    let seventh = StoredEvent {
        id: ids[6],
        ..event(7, "a", "kept")
    };
    let bury = Bury {
        stored: seventh,
        attempts: 1,
        reason: Reason::Rejected,
        cause: Cause::new("sqlstate 23514", "check violated"),
        first_failure_at: at(1),
        last_failure_at: at(1),
        key: None,
    };
    Settlement {
        accepted: 2000,
        delivered: vec![stretch(1, 6), stretch(8, 2000)],
        buries: vec![bury],
        counters: Counters {
            delivered: 1999,
            ..Counters::default()
        },
        ..Settlement::at(r.clone(), Seq(2000))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_and_fates_agree_with_the_journal_and_state() {
    let directory = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(at(0)));
    let journal = Arc::new(journal(directory.path(), &clock));
    let ids = fill(&journal, &clock, 2500).await;
    let metrics = state::Metrics::register(&mut Registry::default());
    let state = Arc::new(
        SqliteState::open(
            &directory.path().join("state.db"),
            state::Options::default(),
            metrics,
        )
        .unwrap(),
    );
    let r = RouteName::new("r").unwrap();
    state.register_route(&r, Seq::ZERO, at(0)).await.unwrap();
    state.settle(vec![settlement(&r, &ids)]).await.unwrap();

    let world = Arc::new(World::default());
    world.routes.lock().unwrap().push(route("r", &["a"]));
    let mut ports = world.ports();
    ports.archive = Arc::clone(&journal) as _;
    ports.journal = Arc::clone(&journal) as _;
    ports.state = state;
    let asker = Asker::new(ports);

    assert_eq!(asker.json("/api/v1/status").await["accepted"], 2500);
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = asker
            .json(&format!("/api/v1/events?limit=400{cursor}"))
            .await;
        for event in page["events"].as_array().unwrap() {
            let seq = event["seq"].as_u64().unwrap();
            let expected = match seq {
                7 => "dead",
                1..=2000 => "delivered",
                _ => "pending",
            };
            assert_eq!(event["routes"][0]["state"], expected, "event {seq}");
            seen.push(event["id"].as_str().unwrap().parse::<EventId>().unwrap());
        }
        let Some(next) = page["next_cursor"].as_str() else {
            break;
        };
        cursor = format!("&cursor={next}");
    }
    seen.reverse();
    assert_eq!(seen, ids);

    let dead = asker.json("/api/v1/events?state=dead&route=r").await;
    let found = &dead["events"][0];
    assert_eq!(
        (&found["seq"], &dead["next_cursor"]),
        (&7.into(), &serde_json::Value::Null)
    );
    let shown = asker.json(&format!("/api/v1/events/{}", ids[6])).await;
    assert_eq!(shown["body"], format!("{:01000}", 7));
    assert_eq!(shown["routes"][0]["reason"], "rejected");
    let window = format!(
        "/api/v1/events?after={}&before={}&limit=1000",
        at(100),
        at(110)
    );
    let window = asker.json(&window).await;
    assert_eq!(window["events"].as_array().unwrap().len(), 10);
    journal.close(Duration::from_secs(60)).await.unwrap();
}
