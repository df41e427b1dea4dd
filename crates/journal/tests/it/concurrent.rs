//! Many at once on one running journal: appenders, some of whom take back what they sent, readers that
//! follow, a route that releases what it read, and small segments that come and go beneath them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use domain::ports::{AppendError, BatchLimit, Journal};
use domain::{
    Event, EventId, RouteName, Seq, SourceName, SourceSet, StoredEvent, SystemClock, Timestamp,
};
use journal::options::Config;
use journal::storage::disk::DiskStorage;
use journal::verify::FindingKind;
use journal::{DirectoryLock, EmbeddedJournal, Known, Metrics};
use tokio::sync::watch;

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(60);
const APPENDERS: u64 = 24;
const EACH: u64 = 150;

fn config(memory: u64) -> Config {
    Config {
        segment_bytes: 48 << 10,
        max_bytes: 48 << 20,
        min_free: 0,
        retain: Duration::ZERO,
        memory,
    }
}

fn open(directory: &Path, config: Config) -> EmbeddedJournal {
    EmbeddedJournal::open_on(
        Arc::new(DiskStorage::open(directory).unwrap()),
        DirectoryLock::acquire(directory, false).ok(),
        config,
        &Known::default(),
        Arc::new(SystemClock),
        Metrics::register(&mut prometheus_client::registry::Registry::default()),
    )
    .unwrap()
}

/// Half of the events are of source `a`, half of `b`.
fn event(n: u64) -> Event {
    let mut body = n.to_le_bytes().to_vec();
    body.resize(8 + usize::try_from(n % 700).unwrap(), b'x');
    Event {
        source: SourceName::new(["a", "b"][usize::try_from(n % 2).unwrap()]).unwrap(),
        received_at: Timestamp::from_second(1_790_000_000).unwrap(),
        method: "POST".into(),
        path: "/".into(),
        headers: domain::Headers::default(),
        body: body.into(),
        event_type: None,
        remote: None,
        dedup: None,
        only: None,
    }
}

fn number(stored: &StoredEvent) -> u64 {
    let n = u64::from_le_bytes(stored.event.body[..8].try_into().unwrap());
    assert_eq!(*stored.event, event(n), "an event was changed");
    n
}

fn set(names: &[&str]) -> SourceSet {
    names
        .iter()
        .map(|name| SourceName::new(name).unwrap())
        .collect()
}

/// What an appender knows at its end.
#[derive(Default)]
struct Fates {
    acked: BTreeMap<u64, EventId>,
    withdrawn: BTreeSet<u64>,
    /// Dropped before anything was said: stored or not.
    unknown: BTreeSet<u64>,
}

impl Fates {
    fn decided(&mut self, numbers: &[u64], fate: Result<Vec<EventId>, AppendError>) {
        let ids = fate.unwrap();
        assert!(ids.len() == numbers.len() && ids.is_sorted());
        self.acked.extend(numbers.iter().copied().zip(ids));
    }
}

/// Sends its share, several events at a time; takes back some of it, drops some, waits for the rest.
async fn append_share(journal: Arc<EmbeddedJournal>, appender: u64) -> Fates {
    let mut fates = Fates::default();
    let mut n = appender * EACH;
    let end = n + EACH;
    while n < end {
        let numbers: Vec<u64> = (n..(n + 1 + n % 3).min(end)).collect();
        n += numbers.len() as u64;
        let mut appending = journal.append(numbers.iter().copied().map(event).collect());
        if n.is_multiple_of(4) {
            // Waits a moment, so that some are in a frame already.
            let moment = Duration::from_micros(n % 400);
            if let Ok(fate) = tokio::time::timeout(moment, &mut appending).await {
                fates.decided(&numbers, fate);
                continue;
            }
        }
        match n % 8 {
            0 | 1 if appending.as_mut().withdraw() => fates.withdrawn.extend(numbers),
            2 => fates.unknown.extend(numbers),
            _ => {
                let fate = tokio::time::timeout(PATIENCE, appending).await;
                fates.decided(&numbers, fate.expect("an append is decided"));
            }
        }
    }
    fates
}

/// Reads as a route does until everything through the end is read, giving up on some reads half way, and
/// releases what it has read.
async fn follow(
    journal: Arc<EmbeddedJournal>,
    route: &'static str,
    sources: SourceSet,
    mut last: watch::Receiver<Option<Seq>>,
) -> Vec<(Seq, u64, EventId)> {
    let route = RouteName::new(route).unwrap();
    let mut reader = journal.reader(&route, Seq::ZERO, sources).await.unwrap();
    let (mut seen, mut at) = (Vec::new(), Seq::ZERO);
    let started = tokio::time::Instant::now();
    for round in 0_u64.. {
        if last.borrow_and_update().is_some_and(|last| at >= last) {
            break;
        }
        assert!(
            started.elapsed() < PATIENCE,
            "at {at} of {:?}",
            *last.borrow()
        );
        let limit = BatchLimit {
            events: usize::try_from(1 + round % 40).unwrap(),
            bytes: 20_000,
        };
        let moment = Duration::from_micros(50 + round % 1000);
        let Ok(batch) = tokio::time::timeout(moment, reader.read(limit)).await else {
            continue;
        };
        let batch = batch.unwrap();
        assert!(batch.damaged.is_empty(), "{:?}", batch.damaged);
        assert!(batch.through > at && batch.events.len() <= limit.events);
        at = batch.through;
        seen.extend(
            batch
                .events
                .iter()
                .map(|stored| (stored.seq, number(stored), stored.id)),
        );
        journal.release(&route, at);
    }
    seen
}

/// Checks what a route of `sources` saw against what the appenders know.
fn judge(seen: &[(Seq, u64, EventId)], fates: &Fates, ours: impl Fn(u64) -> bool, what: &str) {
    let mut pairs = seen.iter().zip(&seen[1..]);
    assert!(
        pairs.all(|(one, two)| one.0 < two.0 && one.2 < two.2),
        "{what}: out of order"
    );
    let by_number: BTreeMap<u64, EventId> = seen.iter().map(|(_, n, id)| (*n, *id)).collect();
    assert_eq!(by_number.len(), seen.len(), "{what}: one was read twice");
    for (n, id) in fates.acked.iter().filter(|(n, _)| ours(**n)) {
        assert_eq!(by_number.get(n), Some(id), "{what}: {n} was acknowledged");
    }
    for n in by_number.keys() {
        assert!(ours(*n), "{what}: {n} is of another source");
        assert!(!fates.withdrawn.contains(n), "{what}: {n} was withdrawn");
        assert!(
            fates.acked.contains_key(n) || fates.unknown.contains(n),
            "{what}: {n}"
        );
    }
}

/// All of it at once. `late`: a route that reads only when all is over, and keeps everything until then.
async fn everybody_at_once(memory: u64, late: bool) {
    let directory = tempfile::tempdir().unwrap();
    let journal = Arc::new(open(directory.path(), config(memory)));
    let (told, last) = watch::channel(None);
    let late_route = RouteName::new("late").unwrap();
    if late {
        let reader = journal
            .reader(&late_route, Seq::ZERO, set(&["a", "b"]))
            .await;
        drop(reader.unwrap());
    }
    let routes = [
        ("all", set(&["a", "b"])),
        ("a", set(&["a"])),
        ("b", set(&["b"])),
    ];
    // Held before anything is written, so that no route's first events are gone before it starts.
    for (route, sources) in &routes {
        let route = RouteName::new(route).unwrap();
        drop(
            journal
                .reader(&route, Seq::ZERO, sources.clone())
                .await
                .unwrap(),
        );
    }
    let followers: Vec<_> = routes
        .into_iter()
        .map(|(route, sources)| {
            tokio::spawn(follow(Arc::clone(&journal), route, sources, last.clone()))
        })
        .collect();
    let appenders: Vec<_> = (0..APPENDERS)
        .map(|appender| tokio::spawn(append_share(Arc::clone(&journal), appender)))
        .collect();
    let mut fates = Fates::default();
    for appender in appenders {
        let own = appender.await.unwrap();
        fates.acked.extend(own.acked);
        fates.withdrawn.extend(own.withdrawn);
        fates.unknown.extend(own.unknown);
    }
    let ids: BTreeSet<_> = fates.acked.values().collect();
    assert_eq!(
        ids.len(),
        fates.acked.len(),
        "every event has an id of its own"
    );
    // What was dropped may still be on its way; an event behind it shows that it is over.
    let n = APPENDERS * EACH;
    let fate = journal.append(vec![event(n)]).await;
    fates.decided(&[n], fate);
    told.send_replace(Some(journal.end()));
    let ours: [fn(u64) -> bool; 3] = [|_| true, |n| n.is_multiple_of(2), |n| n % 2 == 1];
    let mut all = Vec::new();
    for (follower, ours) in followers.into_iter().zip(ours) {
        let seen = follower.await.unwrap();
        judge(&seen, &fates, ours, "a route that follows");
        all.push(seen);
    }
    assert_eq!(all[0].len(), all[1].len() + all[2].len());
    assert!(!fates.withdrawn.is_empty() && fates.acked.len() as u64 > n / 2);
    if late {
        let seen = follow(Arc::clone(&journal), "late", set(&["a", "b"]), last).await;
        assert_eq!(seen, all[0], "whoever reads later reads the same");
    }
    journal.close(PATIENCE).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_acknowledged_event_is_read_once_in_order_by_routes_that_follow() {
    everybody_at_once(32 << 10, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_acknowledged_event_is_read_once_in_order_from_files_alone() {
    everybody_at_once(0, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_route_that_comes_late_reads_what_the_others_read() {
    everybody_at_once(1 << 20, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_look_at_a_running_journal_takes_nothing_for_damage() {
    let directory = tempfile::tempdir().unwrap();
    let journal = Arc::new(open(directory.path(), config(0)));
    let route = RouteName::new("r").unwrap();
    drop(
        journal
            .reader(&route, Seq::ZERO, set(&["a", "b"]))
            .await
            .unwrap(),
    );
    let (told, over) = watch::channel(false);
    let looking = {
        let directory = directory.path().to_owned();
        tokio::task::spawn_blocking(move || {
            let mut most = 0;
            while !*over.borrow() {
                let report = journal::verify::verify(&directory).unwrap();
                let damage = report
                    .findings()
                    .find(|(_, found)| found.kind == FindingKind::Damaged);
                assert_eq!(damage, None, "{report:?}");
                assert!(report.held);
                most = most.max(report.records());
            }
            most
        })
    };
    let mut n = 0;
    // Until segments have come and gone many times, and a look has caught some.
    for round in 0..400 {
        let appends: Vec<_> = (0..40)
            .map(|at| journal.append(vec![event(n + at)]))
            .collect();
        for append in appends {
            append.await.unwrap();
        }
        n += 40;
        if round % 5 == 4 {
            journal.release(&route, journal.end());
        }
    }
    told.send_replace(true);
    assert!(looking.await.unwrap() > 0);
    journal.close(PATIENCE).await.unwrap();
}
