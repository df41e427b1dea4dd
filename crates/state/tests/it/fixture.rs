//! A file as version 1 of the schema wrote it, checked in: every later version must open it.

use std::path::PathBuf;

use domain::ports::{Fate, State};
use domain::{Reason, Seq};

use crate::contract::{Store, imbalance};
use crate::samples::{TEN, at, bury, park, range, route, stored};
use crate::sqlite::{PATIENT, SqliteFile};

fn fixture() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/v1.db")
}

/// Wrote the fixture, and must never write it again: a change of version 1 after its release breaks
/// the stores that are out there. `FOREBAY_WRITE_FIXTURE=1` for the next version's own.
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
    state.set_paused(&name, true).await.unwrap();
    state
        .register_route(&route("old"), Seq::ZERO, at(0))
        .await
        .unwrap();
    state
        .retire_route(&route("old"), domain::ports::RetireFate::Discard, at(9))
        .await
        .unwrap();
    state.checkpoint(PATIENT).await.unwrap();
    drop(state);
    let target = rusqlite::Connection::open(file.path()).unwrap();
    target
        .execute("VACUUM INTO ?1", [fixture().to_str().unwrap()])
        .unwrap();
}

const INSTALLATION: &str = "6f1c1c0e-9f43-4b0e-8a44-0c6a35a8d0b1";

#[tokio::test]
async fn a_store_of_version_1_opens_with_everything_it_holds() {
    if std::env::var_os("FOREBAY_WRITE_FIXTURE").is_some() {
        write().await;
    }
    let file = SqliteFile::fresh().await;
    std::fs::copy(fixture(), file.path()).unwrap();
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
    let due = state.due(&name, at(60), &[], TEN).await.unwrap();
    assert_eq!(due[0].park, park(9, 2, 60));
    assert_eq!(state.find(stored(12).id).await.unwrap(), Some(stored(12)));
}
