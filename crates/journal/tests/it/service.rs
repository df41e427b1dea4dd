//! The running journal over a real directory: append, read, release, reopen.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use domain::ports::{Archive, BatchLimit, EventQuery, Journal, Reader};
use domain::{
    ByteSize, DedupKey, Event, EventId, HumanDuration, RouteName, Seq, SourceName, SourceSet,
    SystemClock, Timestamp,
};
use journal::{DirectoryLock, EmbeddedJournal, Known, Metrics, Options};

fn options() -> Options {
    Options {
        segment_bytes: ByteSize::mib(1),
        max_bytes: ByteSize::mib(64),
        min_free: ByteSize(0),
        retain: HumanDuration::from_secs(0),
        memory: ByteSize(100_000),
        ..Options::default()
    }
}

fn open_with(directory: &Path, options: &Options, known: &Known) -> EmbeddedJournal {
    let lock = DirectoryLock::acquire(directory, true).unwrap();
    let metrics = Metrics::register(&mut prometheus_client::registry::Registry::default());
    let config = options.validate().unwrap();
    EmbeddedJournal::open(
        directory,
        lock,
        config,
        known,
        Arc::new(SystemClock),
        metrics,
    )
    .unwrap()
}

fn open(directory: &Path) -> EmbeddedJournal {
    open_with(directory, &options(), &Known::default())
}

fn event(source: &str, n: u64, size: usize) -> Event {
    let mut body = format!("{n:010}").into_bytes();
    body.resize(size.max(10), b'x');
    Event {
        source: SourceName::new(source).unwrap(),
        received_at: Timestamp::from_second(1_790_000_000 + i64::try_from(n).unwrap()).unwrap(),
        method: "POST".into(),
        path: "/".into(),
        headers: domain::Headers::default(),
        body: body.into(),
        event_type: None,
        remote: None,
        dedup: Some(DedupKey(u128::from(n + 1).to_be_bytes())),
        only: None,
    }
}

fn set(names: &[&str]) -> SourceSet {
    names
        .iter()
        .map(|name| SourceName::new(name).unwrap())
        .collect()
}

fn route() -> RouteName {
    RouteName::new("r").unwrap()
}

const LIMIT: BatchLimit = BatchLimit {
    events: 100,
    bytes: 1 << 20,
};

async fn append(
    journal: &EmbeddedJournal,
    source: &str,
    numbers: std::ops::Range<u64>,
) -> Vec<EventId> {
    let mut ids = Vec::new();
    for n in numbers {
        ids.extend(journal.append(vec![event(source, n, 1000)]).await.unwrap());
    }
    ids
}

async fn read(reader: &mut Box<dyn Reader>, through: Seq) -> Vec<(u64, EventId)> {
    let (mut seen, mut at) = (Vec::new(), Seq::ZERO);
    while at < through {
        let batch = reader.read(LIMIT).await.unwrap();
        assert!(batch.damaged.is_empty(), "{:?}", batch.damaged);
        assert!(batch.through > at && batch.events.len() <= LIMIT.events);
        at = batch.through;
        for stored in batch.events {
            let n = std::str::from_utf8(&stored.event.body[..10])
                .unwrap()
                .parse()
                .unwrap();
            seen.push((n, stored.id));
        }
    }
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_appended_is_read_in_order_from_memory_and_from_files_and_after_reopening() {
    let directory = tempfile::tempdir().unwrap();
    let journal = open(directory.path());
    let ids = append(&journal, "a", 0..3000).await;
    assert!(ids.is_sorted());
    let expected: Vec<_> = (0..3000).zip(ids.iter().copied()).collect();
    let mut reader = journal
        .reader(&route(), Seq::ZERO, set(&["a"]))
        .await
        .unwrap();
    assert_eq!(read(&mut reader, Seq(3000)).await, expected);
    journal.close(Duration::from_secs(60)).await.unwrap();
    drop((reader, journal));

    let journal = open(directory.path());
    assert_eq!(journal.end(), Seq(3000));
    let more = append(&journal, "a", 3000..3010).await;
    assert!(more[0] > ids[2999]);
    let mut reader = journal
        .reader(&route(), Seq(2500), set(&["a"]))
        .await
        .unwrap();
    let seen = read(&mut reader, Seq(3010)).await;
    assert_eq!(seen[..500], expected[2500..]);
    assert_eq!(seen.len(), 510);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_passes_over_other_sources_and_counts_agree() {
    let directory = tempfile::tempdir().unwrap();
    let journal = open(directory.path());
    for n in 0..2000 {
        append(&journal, if n % 3 == 0 { "a" } else { "b" }, n..n + 1).await;
    }
    let mut reader = journal
        .reader(&route(), Seq::ZERO, set(&["a"]))
        .await
        .unwrap();
    let seen = read(&mut reader, Seq(2000)).await;
    assert!(seen.iter().map(|(n, _)| *n).eq((0..2000).step_by(3)));
    for (after, through) in [(0, 2000), (1, 1999), (700, 1500), (1990, 2000), (5, 5)] {
        let counted = journal
            .count(&set(&["a"]), Seq(after), Seq(through))
            .await
            .unwrap();
        let expected = (after..through).filter(|n| n % 3 == 0).count() as u64;
        assert_eq!(counted, expected, "{after}..{through}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn settled_segments_are_recycled_and_the_disk_stays_bounded() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options {
        max_bytes: ByteSize::mib(4),
        ..options()
    };
    let journal = open_with(directory.path(), &options, &Known::default());
    let mut reader = journal
        .reader(&route(), Seq::ZERO, set(&["a"]))
        .await
        .unwrap();
    for round in 0..20_u64 {
        append(&journal, "a", round * 1000..(round + 1) * 1000).await;
        read(&mut reader, Seq((round + 1) * 1000)).await;
        journal.release(&route(), Seq((round + 1) * 1000));
        assert!(journal.bytes() <= 4 << 20, "{}", journal.bytes());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_journal_refuses_keeps_everything_and_resumes_by_itself() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options {
        max_bytes: ByteSize::mib(3),
        ..options()
    };
    let journal = open_with(directory.path(), &options, &Known::default());
    let mut reader = journal
        .reader(&route(), Seq::ZERO, set(&["a"]))
        .await
        .unwrap();
    let mut acked = 0;
    let refusal = loop {
        match journal.append(vec![event("a", acked, 1000)]).await {
            Ok(_) => acked += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(refusal.code(), "no-room");
    assert_eq!(journal.can_append().unwrap_err().code(), "no-room");
    assert_eq!(journal.end(), Seq(acked));
    let seen = read(&mut reader, Seq(acked)).await;
    assert!(seen.iter().map(|(n, _)| *n).eq(0..acked));
    journal.release(&route(), Seq(acked));
    tokio::time::timeout(Duration::from_secs(60), async {
        while journal.append(vec![event("a", acked, 1000)]).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("the journal accepts again after a release");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_that_is_opened_full_says_so_before_anything_is_appended() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options {
        max_bytes: ByteSize::mib(3),
        ..options()
    };
    let journal = open_with(directory.path(), &options, &Known::default());
    let reader = journal.reader(&route(), Seq::ZERO, set(&["a"])).await;
    let mut acked = 0;
    while journal.append(vec![event("a", acked, 1000)]).await.is_ok() {
        acked += 1;
    }
    journal.close(Duration::from_secs(60)).await.unwrap();
    drop((journal, reader));

    let known = Known {
        holds: [(route(), Seq::ZERO)].into(),
        highest: Seq(acked),
        ..Known::default()
    };
    let journal = open_with(directory.path(), &options, &known);
    tokio::time::timeout(Duration::from_secs(60), async {
        while journal.can_append().is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("it says so without being asked to append");
    assert_eq!(journal.can_append().unwrap_err().code(), "no-room");
    journal.release(&route(), Seq(acked));
    tokio::time::timeout(Duration::from_secs(60), async {
        while journal.can_append().is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("it says so when there is room again");
    append(&journal, "a", acked..acked + 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_found_by_id_and_paged_newest_first() {
    let directory = tempfile::tempdir().unwrap();
    let journal = open(directory.path());
    let mut ids = Vec::new();
    for n in 0..2500 {
        ids.extend(append(&journal, if n % 2 == 0 { "even" } else { "odd" }, n..n + 1).await);
    }
    for n in [0, 1, 1234, 2499] {
        let stored = journal.find(ids[n]).await.unwrap().unwrap();
        assert_eq!((stored.seq, stored.id), (Seq(n as u64 + 1), ids[n]));
    }
    assert_eq!(
        journal.find(EventId::from_bytes([0xff; 16])).await.unwrap(),
        None
    );

    let mut query = EventQuery {
        source: SourceName::new("odd").ok(),
        limit: 400,
        ..EventQuery::default()
    };
    let mut paged = Vec::new();
    loop {
        let page = journal.page(&query).await.unwrap();
        assert!(page.events.len() <= 400);
        paged.extend(page.events.iter().map(|stored| stored.id));
        match page.next {
            Some(next) => query.below = Some(next),
            None => break,
        }
    }
    let expected: Vec<_> = ids.iter().skip(1).step_by(2).rev().copied().collect();
    assert_eq!(paged, expected);

    let first = journal
        .first_after(&set(&["odd"]), Seq(100))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(first.seq, Seq(102));
    let keys = journal.recent_keys(1000).await.unwrap();
    assert_eq!(keys.len(), 1000);
    assert_eq!(keys[999], (DedupKey(2500_u128.to_be_bytes()), ids[2499]));
    assert_eq!(keys[0], (DedupKey(1501_u128.to_be_bytes()), ids[1500]));
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_appends_share_frames_and_each_learns_its_own_id() {
    let directory = tempfile::tempdir().unwrap();
    let journal = Arc::new(open(directory.path()));
    let tasks: Vec<_> = (0..50_u64)
        .map(|task| {
            let journal = Arc::clone(&journal);
            tokio::spawn(async move {
                let mut own = BTreeMap::new();
                for n in task * 100..task * 100 + 100 {
                    let ids = journal.append(vec![event("a", n, 50)]).await.unwrap();
                    own.insert(n, ids[0]);
                }
                own
            })
        })
        .collect();
    let mut acked = BTreeMap::new();
    for task in tasks {
        acked.extend(task.await.unwrap());
    }
    let mut reader = journal
        .reader(&route(), Seq::ZERO, set(&["a"]))
        .await
        .unwrap();
    let seen: BTreeMap<_, _> = read(&mut reader, Seq(5000)).await.into_iter().collect();
    assert_eq!(seen, acked);
}

/// The frames of a group commit are bounded by the segment, however much waits at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_larger_than_a_segment_is_taken_frame_by_frame() {
    let directory = tempfile::tempdir().unwrap();
    let journal = Arc::new(open(directory.path()));
    let appends: Vec<_> = (0..60)
        .map(|n| {
            let journal = Arc::clone(&journal);
            tokio::spawn(async move { journal.append(vec![event("a", n, 200_000)]).await })
        })
        .collect();
    for append in appends {
        let appended = tokio::time::timeout(Duration::from_secs(60), append).await;
        appended.expect("the writer goes on").unwrap().unwrap();
    }
    assert_eq!(journal.end(), Seq(60));
}
