//! Settling, routes and fates on a real file.

use std::path::Path;
use std::sync::Arc;

use domain::ports::{
    Bury, Counters, DeliveredRange, Fate, Park, Resolution, RetireFate, SettledRange, Settlement,
    State, StateError,
};
use domain::{
    Cause, Event, EventId, InstallationId, Reason, RouteName, Seq, SeqRange, SourceName,
    StoredEvent, Timestamp,
};
use state::{Metrics, OpenError, SqliteState};

fn open(directory: &Path) -> SqliteState {
    try_open(directory).unwrap()
}

fn try_open(directory: &Path) -> Result<SqliteState, OpenError> {
    let metrics = Metrics::register(&mut prometheus_client::registry::Registry::default());
    SqliteState::open(&directory.join("state.db"), metrics)
}

fn route(name: &str) -> RouteName {
    RouteName::new(name).unwrap()
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_790_000_000 + second).unwrap()
}

fn range(first: u64, last: u64) -> SeqRange {
    SeqRange::new(Seq(first), Seq(last)).unwrap()
}

fn stored(seq: u64) -> StoredEvent {
    let event = Event {
        source: SourceName::new("genesys").unwrap(),
        received_at: at(0),
        method: "POST".into(),
        path: "/in/genesys".into(),
        headers: Vec::new(),
        body: bytes::Bytes::from(format!("body {seq}")),
        event_type: None,
        remote: None,
        dedup: None,
    };
    StoredEvent {
        seq: Seq(seq),
        id: EventId::from_bytes(u128::from(seq).to_be_bytes()),
        event: Arc::new(event),
    }
}

fn park(seq: u64, attempts: u32, due: i64) -> Park {
    Park {
        stored: stored(seq),
        attempts,
        due_at: at(due),
        first_failure_at: at(0),
        last_failure_at: at(1),
        cause: Cause::new("http 500", "oops"),
    }
}

fn bury(seq: u64) -> Bury {
    Bury {
        stored: stored(seq),
        attempts: 3,
        reason: Reason::Rejected,
        cause: Cause::new("sqlstate 23514", "check violated"),
        first_failure_at: at(0),
        last_failure_at: at(2),
    }
}

async fn with_route() -> (tempfile::TempDir, SqliteState, RouteName) {
    let directory = tempfile::tempdir().unwrap();
    let state = open(directory.path());
    let name = route("r");
    state.register_route(&name, Seq::ZERO, at(0)).await.unwrap();
    (directory, state, name)
}

#[tokio::test]
async fn a_step_is_applied_whole_and_survives_reopening() {
    let (directory, state, name) = with_route().await;
    let step = Settlement {
        cursor: Seq(10),
        accepted: 10,
        ranges: vec![SettledRange {
            range: range(12, 14),
            events: 3,
        }],
        delivered: vec![DeliveredRange {
            range: range(1, 9),
            at: at(5),
        }],
        parks: vec![park(10, 1, 60)],
        buries: vec![bury(12)],
        counters: Counters {
            delivered: 9,
            discarded: 2,
            damaged: 0,
        },
        ..Settlement::at(name.clone(), Seq(10))
    };
    state.settle(vec![step]).await.unwrap();
    assert_eq!(state.imbalance(&name).await.unwrap(), 0);
    drop(state);

    let state = open(directory.path());
    let records = state.routes().await.unwrap();
    assert_eq!(records.len(), 1);
    let record = &records[0];
    assert_eq!(
        (record.cursor, record.accepted, record.parked, record.dead),
        (Seq(10), 10, 1, 1)
    );
    assert_eq!(
        record.ranges,
        [SettledRange {
            range: range(12, 14),
            events: 3
        }]
    );
    assert_eq!(record.ledger(8).imbalance(), 0);
    assert_eq!(record.ledger(8).pending, 5);
    assert_eq!(
        state.fate(&name, Seq(3)).await.unwrap(),
        Fate::Delivered { at: Some(at(5)) }
    );
    assert!(matches!(
        state.fate(&name, Seq(10)).await.unwrap(),
        Fate::Parked { attempts: 1, .. }
    ));
    assert!(matches!(
        state.fate(&name, Seq(12)).await.unwrap(),
        Fate::Dead {
            reason: Reason::Rejected,
            ..
        }
    ));
    assert_eq!(state.fate(&name, Seq(11)).await.unwrap(), Fate::Pending);
    assert_eq!(state.fate(&name, Seq(15)).await.unwrap(), Fate::Pending);
    assert_eq!(
        state.undelivered_in(&name, range(1, 20)).await.unwrap(),
        [Seq(10), Seq(12)]
    );
    assert_eq!(state.find(stored(12).id).await.unwrap(), Some(stored(12)));
}

#[tokio::test]
async fn one_bad_step_of_several_undoes_them_all() {
    let (_directory, state, name) = with_route().await;
    let good = Settlement {
        accepted: 5,
        ..Settlement::at(name.clone(), Seq(5))
    };
    let unknown = Settlement::at(route("nobody"), Seq(1));
    let error = state.settle(vec![good, unknown]).await.unwrap_err();
    assert!(matches!(error, StateError::UnknownRoute(_)), "{error}");
    assert_eq!(state.routes().await.unwrap()[0].cursor, Seq::ZERO);
    state
        .settle(vec![Settlement::at(name.clone(), Seq(5))])
        .await
        .unwrap();
    let back = state
        .settle(vec![Settlement::at(name, Seq(4))])
        .await
        .unwrap_err();
    assert!(matches!(back, StateError::Conflict(_)), "{back}");
    assert_eq!(
        *state.failure().borrow(),
        None,
        "a refused step is not a failed store"
    );
}

#[tokio::test]
async fn parked_events_come_back_when_due_and_leave_once() {
    let (_directory, state, name) = with_route().await;
    let parks = vec![park(1, 1, 30), park(2, 1, 10), park(3, 1, 20)];
    let step = Settlement {
        accepted: 3,
        parks,
        ..Settlement::at(name.clone(), Seq(3))
    };
    state.settle(vec![step]).await.unwrap();
    assert_eq!(state.imbalance(&name).await.unwrap(), 0);
    let due = |now, busy: &'static [Seq]| {
        let (state, name) = (&state, &name);
        async move {
            let due = state.due(name, at(now), busy, 10).await.unwrap();
            due.iter()
                .map(|parked| parked.park.stored.seq.0)
                .collect::<Vec<_>>()
        }
    };
    assert_eq!(due(9, &[]).await, [0_u64; 0]);
    assert_eq!(due(25, &[]).await, [2, 3]);
    assert_eq!(due(25, &[Seq(2)]).await, [3]);
    assert_eq!(
        state.next_due(&name, &[Seq(2), Seq(3)]).await.unwrap(),
        Some(at(30))
    );

    let step = Settlement {
        resolved: vec![(Seq(2), Resolution::Delivered)],
        parks: vec![park(3, 2, 99)],
        buries: vec![bury(1)],
        counters: Counters {
            delivered: 1,
            ..Counters::default()
        },
        ..Settlement::at(name.clone(), Seq(3))
    };
    state.settle(vec![step]).await.unwrap();
    assert_eq!(state.imbalance(&name).await.unwrap(), 0);
    assert_eq!(due(99, &[]).await, [3]);
    assert_eq!(
        state.due(&name, at(99), &[], 10).await.unwrap()[0]
            .park
            .attempts,
        2
    );
}

#[tokio::test]
async fn delivered_stretches_merge_while_the_time_stays_known_to_ten_seconds() {
    let (_directory, state, name) = with_route().await;
    for n in 0..30 {
        let delivered = vec![DeliveredRange {
            range: range(n * 10 + 1, n * 10 + 10),
            at: at(i64::try_from(n).unwrap()),
        }];
        let counters = Counters {
            delivered: 10,
            ..Counters::default()
        };
        let step = Settlement {
            accepted: 10,
            delivered,
            counters,
            ..Settlement::at(name.clone(), Seq(n * 10 + 10))
        };
        state.settle(vec![step]).await.unwrap();
    }
    for seq in [1, 155, 300] {
        let Fate::Delivered { at: Some(time) } = state.fate(&name, Seq(seq)).await.unwrap() else {
            panic!()
        };
        let exact = (i64::try_from(seq).unwrap() - 1) / 10;
        let late = time.as_second() - at(exact).as_second();
        assert!((0..=10).contains(&late), "event {seq}: {late} s late");
    }
    state.expire_delivered(at(25)).await.unwrap();
    assert_eq!(
        state.fate(&name, Seq(1)).await.unwrap(),
        Fate::Delivered { at: None }
    );
    assert!(matches!(
        state.fate(&name, Seq(300)).await.unwrap(),
        Fate::Delivered { at: Some(_) }
    ));
}

#[tokio::test]
async fn routes_are_renamed_retired_and_registered_again() {
    let (_directory, state, name) = with_route().await;
    let step = Settlement {
        accepted: 2,
        parks: vec![park(1, 1, 5)],
        buries: vec![bury(2)],
        ..Settlement::at(name.clone(), Seq(2))
    };
    state.settle(vec![step]).await.unwrap();
    state
        .register_route(&route("other"), Seq(7), at(1))
        .await
        .unwrap();
    assert!(matches!(
        state.rename_route(&name, &route("other")).await,
        Err(StateError::Conflict(_))
    ));
    assert!(matches!(
        state.rename_route(&route("nobody"), &name).await,
        Err(StateError::UnknownRoute(_))
    ));
    state.rename_route(&name, &route("new")).await.unwrap();
    state.set_paused(&route("new"), true).await.unwrap();
    let records = state.routes().await.unwrap();
    let names: Vec<_> = records
        .iter()
        .map(|record| (record.name.as_str(), record.paused, record.parked))
        .collect();
    assert_eq!(names, [("new", true, 1), ("other", false, 0)]);

    state
        .retire_route(&route("new"), RetireFate::DeadLetter, at(2))
        .await
        .unwrap();
    assert_eq!(state.routes().await.unwrap().len(), 1);
    assert!(
        state.find(stored(1).id).await.unwrap().is_some(),
        "what was parked is a dead letter now"
    );
    state
        .register_route(&route("new"), Seq(9), at(3))
        .await
        .unwrap();
    let records = state.routes().await.unwrap();
    assert_eq!(
        (records[0].cursor, records[0].dead),
        (Seq(9), 0),
        "a new incarnation starts empty"
    );
    state
        .retire_route(&route("other"), RetireFate::Discard, at(4))
        .await
        .unwrap();
}

#[tokio::test]
async fn state_is_bound_to_one_installation() {
    let (directory, state, _) = with_route().await;
    assert_eq!(state.installation().await.unwrap(), None);
    let id = InstallationId::random();
    state.bind_installation(id).await.unwrap();
    state.bind_installation(id).await.unwrap();
    assert!(matches!(
        state.bind_installation(InstallationId::random()).await,
        Err(StateError::Conflict(_))
    ));
    drop(state);
    assert_eq!(
        open(directory.path()).installation().await.unwrap(),
        Some(id)
    );
}

#[tokio::test]
async fn a_newer_schema_and_a_file_that_is_no_database_are_refused_in_words() {
    let directory = tempfile::tempdir().unwrap();
    drop(open(directory.path()));
    let file = directory.path().join("state.db");
    rusqlite::Connection::open(&file)
        .unwrap()
        .pragma_update(None, "user_version", 99)
        .unwrap();
    let newer = try_open(directory.path()).unwrap_err();
    assert!(
        matches!(newer, OpenError::Newer { found: 99, .. }),
        "{newer}"
    );
    std::fs::write(
        &file,
        "hello, this is no database at all, only some text that is long enough",
    )
    .unwrap();
    let damaged = try_open(directory.path()).unwrap_err();
    assert!(matches!(damaged, OpenError::Damaged { .. }), "{damaged}");
}

#[tokio::test]
async fn a_source_is_remembered_with_its_paths_until_it_is_forgotten() {
    let directory = tempfile::tempdir().unwrap();
    let state = open(directory.path());
    let source = |name: &str, path: &str| domain::ports::KnownSource {
        name: domain::SourceName::new(name).unwrap(),
        paths: vec![path.into()],
    };
    state
        .remember_sources(vec![source("a", "/old"), source("b", "/b")])
        .await
        .unwrap();
    state
        .remember_sources(vec![source("a", "/new")])
        .await
        .unwrap();
    assert_eq!(
        state.sources().await.unwrap(),
        [source("a", "/new"), source("b", "/b")]
    );
    assert!(state.forget_source(&source("b", "").name).await.unwrap());
    assert!(!state.forget_source(&source("b", "").name).await.unwrap());
    assert_eq!(state.sources().await.unwrap(), [source("a", "/new")]);
}

#[tokio::test]
async fn a_route_that_left_the_configuration_is_known_by_the_sources_it_took() {
    let directory = tempfile::tempdir().unwrap();
    let state = open(directory.path());
    let route = domain::RouteName::new("r").unwrap();
    let taken = vec![
        domain::SourceName::new("a").unwrap(),
        domain::SourceName::new("b").unwrap(),
    ];
    state
        .register_route(&route, domain::Seq(0), domain::Timestamp::UNIX_EPOCH)
        .await
        .unwrap();
    assert_eq!(state.route_sources(&route).await.unwrap(), []);
    state
        .set_route_sources(&route, taken.clone())
        .await
        .unwrap();
    assert_eq!(state.route_sources(&route).await.unwrap(), taken);
}
