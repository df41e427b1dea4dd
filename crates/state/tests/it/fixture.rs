//! Files as earlier versions of the schema wrote them, checked in: every later version must open them.

use std::path::PathBuf;

use domain::ports::{
    DeadLetters, DeadQuery, DueOrder, Exports, Fate, Letter, Quarantine, State, SubscriptionRecords,
};
use domain::{Reason, Seq};

use crate::contract::{Store, imbalance};
use crate::samples::{TEN, at, bury, park, range, route, stored};
use crate::sqlite::{PATIENT, SqliteFile};

fn fixture(version: u32) -> PathBuf {
    let name = format!("tests/fixtures/v{version}.db");
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// Writes the fixture of the present version (`FOREBAY_WRITE_FIXTURE=1`), once, before the next version is
/// made. A change of a version after its release breaks the stores that are out there. Version 1's lacks
/// the second step and what the retired route holds, and version 2's the redrive.
async fn write() {
    use domain::ports::{Counters, DeliveredRange, KnownSource, SettledRange, Settlement};
    let file = SqliteFile::fresh().await;
    let state = file.open().await;
    state
        .bind_installation(INSTALLATION.parse().unwrap())
        .await
        .unwrap();
    let source = KnownSource {
        name: stored(1).event.source.clone(),
        paths: vec!["/in/genesys".into(), "/webhook/gc".into()],
    };
    state.remember_sources(vec![source]).await.unwrap();
    let name = route("to-db");
    state.register_route(&name, Seq(3), at(0)).await.unwrap();
    let taken = vec![stored(1).event.source.clone()];
    state.set_route_sources(&name, taken).await.unwrap();
    let step = Settlement {
        accepted: 7,
        ranges: vec![SettledRange {
            range: range(12, 14),
            events: 3,
        }],
        delivered: vec![DeliveredRange {
            range: range(4, 8),
            at: at(5),
        }],
        parks: vec![park(9, 2, 60)],
        buries: vec![bury(12)],
        counters: Counters {
            delivered: 5,
            discarded: 2,
            damaged: 1,
        },
        ..Settlement::at(name.clone(), Seq(10))
    };
    state.settle(vec![step]).await.unwrap();
    // Buried in another order than they last failed.
    let buries = [(15, 8), (16, 1), (11, 6)].map(|(seq, second)| domain::ports::Bury {
        last_failure_at: at(second),
        ..bury(seq)
    });
    let step = Settlement {
        accepted: 7,
        parks: vec![park(17, 1, 70)],
        buries: buries.to_vec(),
        ..Settlement::at(name.clone(), Seq(17))
    };
    state.settle(vec![step]).await.unwrap();
    state.set_paused(&name, true).await.unwrap();
    state
        .register_route(&route("old"), Seq::ZERO, at(0))
        .await
        .unwrap();
    let step = Settlement {
        accepted: 2,
        parks: vec![park(2, 1, 5)],
        buries: vec![bury(1)],
        ..Settlement::at(route("old"), Seq(2))
    };
    state.settle(vec![step]).await.unwrap();
    state
        .retire_route(&route("old"), domain::ports::RetireFate::DeadLetter, at(9))
        .await
        .unwrap();
    let all = domain::ports::Selection::Filter(domain::ports::DeadFilter::default());
    state.begin_redrive(&all, Some(5), at(10)).await.unwrap();
    state.exported(exported()).await.unwrap();
    state.redrive_edited(edit()).await.unwrap();
    state.checkpoint(PATIENT).await.unwrap();
    drop(state);
    let target = rusqlite::Connection::open(file.path()).unwrap();
    target
        .execute(
            "VACUUM INTO ?1",
            [fixture(state::schema::VERSION).to_str().unwrap()],
        )
        .unwrap();
}

/// What a target has had: letter 2 and 3, and 1 it would not take.
fn exported() -> domain::ports::Exported {
    domain::ports::Exported {
        route: route("to-db"),
        target: domain::DestinationName::new("sqs").unwrap(),
        through: Letter(3),
        unexportable: vec![domain::ports::Unexportable {
            letter: Letter(1),
            cause: domain::Cause::new("too-large", "the queue takes 256 KiB"),
        }],
        at: at(11),
    }
}

/// Event 16 with another body, parked again.
fn edit() -> domain::ports::Edit {
    domain::ports::Edit {
        id: stored(16).id,
        route: Some(route("to-db")),
        body: "mended".into(),
        by: "an operator".into(),
        note: Some("a comma was missing".into()),
        at: at(12),
    }
}

/// With the fingerprint that causes had then.
fn as_it_was(mut park: domain::ports::Park) -> domain::ports::Park {
    park.cause.fingerprint = "http #: oops".into();
    park
}

const INSTALLATION: &str = "6f1c1c0e-9f43-4b0e-8a44-0c6a35a8d0b1";

#[tokio::test]
async fn a_store_of_version_1_opens_with_everything_it_holds() {
    let file = SqliteFile::fresh().await;
    std::fs::copy(fixture(1), file.path()).unwrap();
    let state = file.open().await;
    let installation = state.installation().await.unwrap().unwrap();
    assert_eq!(installation.to_string(), INSTALLATION);
    let sources = state.sources().await.unwrap();
    assert_eq!(sources[0].paths, ["/in/genesys", "/webhook/gc"]);
    let name = route("to-db");
    let routes = state.routes().await.unwrap();
    let [record] = &*routes else {
        panic!("{routes:?}")
    };
    assert_eq!(
        (&record.name, record.cursor, record.paused),
        (&name, Seq(10), true)
    );
    assert_eq!((record.accepted, record.parked, record.dead), (7, 1, 1));
    assert_eq!(record.created_at, at(0));
    assert_eq!(imbalance(&state, &name).await, 0);
    assert_eq!(state.route_sources(&name).await.unwrap().len(), 1);
    let fate = async |seq| state.fate(&name, Seq(seq)).await.unwrap();
    assert_eq!(fate(3).await, Fate::Before);
    assert_eq!(fate(4).await, Fate::Delivered { at: Some(at(5)) });
    assert!(matches!(fate(9).await, Fate::Parked { attempts: 2, .. }));
    let reason = Reason::Rejected;
    assert!(matches!(fate(12).await, Fate::Dead { reason: said, .. } if said == reason));
    assert_eq!(fate(11).await, Fate::Pending);
    let due = state
        .due(&name, at(60), &[], TEN, DueOrder::LongestFirst)
        .await
        .unwrap();
    assert_eq!(due[0].park, as_it_was(park(9, 2, 60)));
    assert_eq!(state.find(stored(12).id).await.unwrap(), Some(stored(12)));
}

#[tokio::test]
async fn a_store_of_version_2_gets_its_dead_letters_numbered_by_when_they_failed() {
    if std::env::var_os("FOREBAY_WRITE_FIXTURE").is_some() {
        write().await;
    }
    let file = SqliteFile::fresh().await;
    std::fs::copy(fixture(2), file.path()).unwrap();
    let state = file.open().await;
    let name = route("to-db");
    let records = state.routes().await.unwrap();
    let [record] = &*records else {
        panic!("{records:?}")
    };
    assert_eq!((record.cursor, record.accepted), (Seq(17), 14));
    assert_eq!((record.parked, record.dead), (2, 4), "counted at once");
    assert_eq!(imbalance(&state, &name).await, 0);
    assert_eq!(state.imbalance(&name).await.unwrap(), 0);
    let query = DeadQuery {
        limit: 100,
        ..DeadQuery::default()
    };
    let page = state.dead_page(&query).await.unwrap();
    let numbered: Vec<_> = page
        .letters
        .iter()
        .map(|letter| {
            let seconds = letter.last_failure_at.as_second() - at(0).as_second();
            let seq = letter.stored.seq.0;
            (letter.letter.0, letter.route.as_str(), seq, seconds)
        })
        .collect();
    let expected = [
        (6, "to-db", 15, 8),
        (5, "to-db", 11, 6),
        (4, "old", 1, 2),
        (3, "to-db", 12, 2),
        (2, "old", 2, 1),
        (1, "to-db", 16, 1),
    ];
    assert_eq!(numbered, expected);
    assert!(
        page.letters
            .iter()
            .all(|letter| letter.retired == (letter.route != name))
    );
    let due = state
        .due(&name, at(100), &[], TEN, DueOrder::LongestFirst)
        .await
        .unwrap();
    let due: Vec<_> = due.into_iter().map(|row| row.park).collect();
    assert_eq!(due, [park(9, 2, 60), park(17, 1, 70)].map(as_it_was));
    assert_eq!(state.redrives(None, 10).await.unwrap(), []);
}

#[tokio::test]
async fn a_store_of_version_3_has_exported_nothing_and_goes_on_with_its_redrive() {
    let file = SqliteFile::fresh().await;
    std::fs::copy(fixture(3), file.path()).unwrap();
    let state = file.open().await;
    let name = route("to-db");
    assert_eq!(state.imbalance(&name).await.unwrap(), 0);
    let running = state.running_redrives().await.unwrap();
    let [job] = &*running else {
        panic!("{running:?}")
    };
    assert_eq!(
        (job.matched, job.rate_per_second, job.ramped),
        (4, Some(5), false)
    );
    let target = domain::DestinationName::new("sqs").unwrap();
    let position = state.export_position(&name, &target).await.unwrap();
    assert_eq!(position, Letter(0));
    let letters = state.letters_after(&name, position, TEN).await.unwrap();
    assert_eq!(letters.len(), 4);
}

#[tokio::test]
async fn a_store_of_version_4_keeps_its_exports_and_edits_and_has_no_subscriptions() {
    let file = SqliteFile::fresh().await;
    std::fs::copy(fixture(4), file.path()).unwrap();
    let state = file.open().await;
    let name = route("to-db");
    assert_eq!(state.imbalance(&name).await.unwrap(), 0);
    let done = exported();
    let position = state.export_position(&name, &done.target).await.unwrap();
    assert_eq!(position, done.through);
    let counts = state.export_counts(&name, &done.target).await.unwrap();
    assert_eq!((counts.refused, counts.pending), (1, 1));
    let history = state.history(stored(16).id).await.unwrap();
    let [entry] = &*history else {
        panic!("{history:?}")
    };
    assert_eq!((&*entry.by, entry.at), ("an operator", at(12)));
    assert_eq!(entry.before, stored(16).event.body);
    assert_eq!(state.subscriptions().await.unwrap(), []);
}

#[tokio::test]
async fn a_store_of_version_5_remembers_from_now_on_what_returned() {
    let file = SqliteFile::fresh().await;
    std::fs::copy(fixture(5), file.path()).unwrap();
    let state = file.open().await;
    let name = route("to-db");
    assert_eq!(state.imbalance(&name).await.unwrap(), 0);
    // It was edited and put back before, and is delivered now.
    let id = stored(16).id;
    assert!(!state.has_returned(id, &name).await.unwrap());
    let delivered = domain::ports::Settlement {
        resolved: vec![(Seq(16), domain::ports::Resolution::Delivered)],
        counters: domain::ports::Counters {
            delivered: 1,
            ..domain::ports::Counters::default()
        },
        ..domain::ports::Settlement::at(name.clone(), Seq(17))
    };
    state.settle(vec![delivered]).await.unwrap();
    assert!(state.has_returned(id, &name).await.unwrap());
    assert!(!state.has_returned(id, &route("old")).await.unwrap());
    assert_eq!(state.counts().await.unwrap(), [], "the quarantine is empty");
}

#[tokio::test]
async fn a_store_of_version_6_has_no_gaps_and_takes_some_from_now_on() {
    use domain::ports::{GapQuery, Gaps, NewGap};
    let file = SqliteFile::fresh().await;
    std::fs::copy(fixture(6), file.path()).unwrap();
    let state = file.open().await;
    assert_eq!(state.imbalance(&route("to-db")).await.unwrap(), 0);
    let source = stored(1).event.source.clone();
    assert_eq!(state.last_attended(&source).await.unwrap(), None);
    let all = GapQuery::pending_of(&source, 10);
    assert_eq!(state.gaps(&all).await.unwrap(), []);
    let gap = NewGap {
        source,
        from: at(1),
        to: None,
        topics: vec!["t".into()],
        why: "w".into(),
    };
    let opened = state.open_gap(gap).await.unwrap();
    assert_eq!(state.gaps(&all).await.unwrap(), [opened]);
}
