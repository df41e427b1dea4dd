//! The contract on SQLite, and what only its files have: a schema, and words for one that does not fit.

use std::path::{Path, PathBuf};
use std::time::Duration;

use domain::Seq;
use domain::ports::{Bury, DeadLetters, DeadQuery, DeliveredRange, Settlement, State, StateError};
use state::{Metrics, OpenError, SqliteState};

use crate::contract::{Store, contract};
use crate::dead::{all, buried};
use crate::samples::{at, bury, range, route, stored};

/// Longer than any test waits.
pub(crate) const PATIENT: Duration = Duration::from_secs(60);

/// A state file in a folder of its own.
pub(crate) struct SqliteFile(tempfile::TempDir);

impl SqliteFile {
    pub(crate) fn path(&self) -> PathBuf {
        self.0.path().join("state.db")
    }
}

impl Store for SqliteFile {
    type State = SqliteState;

    async fn fresh() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    async fn open(&self) -> SqliteState {
        open(&self.path()).unwrap()
    }
}

pub(crate) fn open(path: &Path) -> Result<SqliteState, OpenError> {
    let metrics = Metrics::register(&mut prometheus_client::registry::Registry::default());
    SqliteState::open(path, state::Options::default(), metrics)
}

contract!(SqliteFile);

#[tokio::test]
async fn stretches_of_one_time_are_one_row_in_whatever_order_they_come() {
    let file = SqliteFile::fresh().await;
    let state = file.open().await;
    let name = route("r");
    state.register_route(&name, Seq::ZERO, at(0)).await.unwrap();
    // 37 and 100 have no common divisor: every stretch once, in a scattered order.
    for n in (0..100_u64).map(|n| n * 37 % 100) {
        let delivered = vec![DeliveredRange {
            range: range(n * 10 + 1, n * 10 + 10),
            at: at(i64::try_from(n % 10).unwrap()),
        }];
        let step = Settlement {
            delivered,
            ..Settlement::at(name.clone(), Seq::ZERO)
        };
        state.settle(vec![step]).await.unwrap();
    }
    let raw = rusqlite::Connection::open(file.path()).unwrap();
    let rows: (i64, i64, i64) = raw
        .query_row(
            "SELECT count(*), min(first), max(last) FROM delivered_ranges",
            [],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
        )
        .unwrap();
    assert_eq!(rows, (1, 1, 1000));
}

#[tokio::test]
async fn files_that_hold_payloads_are_the_owners_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let file = SqliteFile::fresh().await;
    let state = file.open().await;
    let name = route("r");
    state.register_route(&name, Seq::ZERO, at(0)).await.unwrap();
    for end in ["", "-wal", "-shm"] {
        let mut path = file.path().into_os_string();
        path.push(end);
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}: {mode:o}", path.display());
    }
}

#[tokio::test]
async fn folding_the_log_gives_up_at_its_deadline_while_another_program_reads() {
    let file = SqliteFile::fresh().await;
    let state = file.open().await;
    let raw = rusqlite::Connection::open(file.path()).unwrap();
    raw.execute_batch("BEGIN; SELECT count(*) FROM routes")
        .unwrap();
    let name = route("r");
    state.register_route(&name, Seq::ZERO, at(0)).await.unwrap();
    let late = state.checkpoint(Duration::from_millis(50)).await;
    assert!(matches!(late, Err(StateError::Busy(_))), "{late:?}");
    // The thread is free again, with its old patience.
    let step = vec![Settlement::at(name.clone(), Seq(7))];
    state.settle(step).await.unwrap();
    raw.execute_batch("COMMIT").unwrap();
    state.checkpoint(PATIENT).await.unwrap();
}

#[tokio::test]
async fn a_lock_of_another_program_is_waited_out_and_ends_nothing() {
    let file = SqliteFile::fresh().await;
    let state = file.open().await;
    let name = route("r");
    state.register_route(&name, Seq::ZERO, at(0)).await.unwrap();
    let raw = rusqlite::Connection::open(file.path()).unwrap();
    raw.execute_batch("BEGIN IMMEDIATE").unwrap();
    let step = vec![Settlement::at(name.clone(), Seq(7))];
    let held = state.settle(step.clone()).await.unwrap_err();
    assert!(matches!(held, StateError::Busy(_)), "{held}");
    assert!(held.to_string().contains("another program"), "{held}");
    assert!(state.failure().borrow().is_none());
    raw.execute_batch("ROLLBACK").unwrap();
    state.settle(step).await.unwrap();
    assert_eq!(state.routes().await.unwrap()[0].cursor, Seq(7));
}

#[tokio::test]
async fn a_newer_schema_is_refused_in_words_and_the_file_left_alone() {
    let file = SqliteFile::fresh().await;
    file.open().await.checkpoint(PATIENT).await.unwrap();
    let raw = rusqlite::Connection::open(file.path()).unwrap();
    raw.pragma_update(None, "user_version", 99).unwrap();
    raw.query_row("PRAGMA journal_mode = DELETE", [], |_| Ok(()))
        .unwrap();
    drop(raw);
    let before = std::fs::read(file.path()).unwrap();
    let newer = open(&file.path()).unwrap_err();
    assert!(
        matches!(newer, OpenError::Newer { found: 99, .. }),
        "{newer}"
    );
    for words in ["state.db", "99", "start the newer version again"] {
        assert!(newer.to_string().contains(words), "{newer}");
    }
    assert_eq!(std::fs::read(file.path()).unwrap(), before);
}

#[tokio::test]
async fn a_database_of_something_else_is_refused_and_left_alone() {
    let file = SqliteFile::fresh().await;
    let raw = rusqlite::Connection::open(file.path()).unwrap();
    raw.execute_batch("CREATE TABLE webhook_events (id BLOB)")
        .unwrap();
    drop(raw);
    let before = std::fs::read(file.path()).unwrap();
    let foreign = open(&file.path()).unwrap_err();
    assert!(matches!(foreign, OpenError::Foreign { .. }), "{foreign}");
    assert_eq!(std::fs::read(file.path()).unwrap(), before);
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused() {
    let file = SqliteFile::fresh().await;
    let text = "hello, this is no database at all, only some text that is long enough";
    std::fs::write(file.path(), text).unwrap();
    let damaged = open(&file.path()).unwrap_err();
    assert!(matches!(damaged, OpenError::Damaged { .. }), "{damaged}");
    assert_eq!(std::fs::read_to_string(file.path()).unwrap(), text);
}

#[tokio::test]
async fn a_folder_that_is_not_there_is_named() {
    let file = SqliteFile::fresh().await;
    let error = open(&file.path().join("nowhere/state.db")).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("check that its directory exists"),
        "{error}"
    );
}

/// A dead letter with a body of a mebibyte.
fn large(seq: u64) -> Bury {
    let mut event = (*stored(seq).event).clone();
    event.body = vec![b'x'; 1 << 20].into();
    let mut bury = bury(seq);
    bury.stored.event = event.into();
    bury
}

#[tokio::test]
async fn a_full_state_can_be_redriven_and_purged_and_has_room_again() {
    let file = SqliteFile::fresh().await;
    let options = state::Options {
        max_bytes: domain::ByteSize::mib(2),
        min_free: domain::ByteSize(0),
    };
    let metrics = Metrics::register(&mut prometheus_client::registry::Registry::default());
    let state = SqliteState::open(&file.path(), options, metrics).unwrap();
    let name = route("r");
    state.register_route(&name, Seq::ZERO, at(0)).await.unwrap();
    buried(&state, &name, (1..=4).map(large).collect()).await;
    assert!(state.room().is_err());
    let job = state.begin_redrive(&all(), None, at(9)).await.unwrap();
    let step = state.step_redrive(job.id, 2, at(9)).await.unwrap();
    assert_eq!(step.unwrap().moved, 2);
    assert!(state.room().is_err(), "parked events take as much");
    assert_eq!(state.purge(&all(), job.through, 2).await.unwrap(), 2);
    assert!(state.room().is_err());
    let step = state.step_redrive(job.id, 2, at(9)).await.unwrap();
    assert_eq!(step.unwrap().moved, 0, "what was purged meanwhile is gone");
    let again = (1..=2).map(large).collect();
    let step = Settlement {
        buries: again,
        ..Settlement::at(name.clone(), Seq(4))
    };
    state.settle(vec![step]).await.unwrap();
    let through = state.last_letter().await.unwrap();
    assert_eq!(state.purge(&all(), through, 1000).await.unwrap(), 2);
    assert_eq!(state.room(), Ok(()));
    assert_eq!(state.imbalance(&name).await.unwrap(), 0);
}

#[tokio::test]
async fn a_full_state_takes_no_edit_which_keeps_a_body_for_good() {
    let file = SqliteFile::fresh().await;
    let options = state::Options {
        max_bytes: domain::ByteSize::mib(2),
        min_free: domain::ByteSize(0),
    };
    let metrics = Metrics::register(&mut prometheus_client::registry::Registry::default());
    let state = SqliteState::open(&file.path(), options, metrics).unwrap();
    let name = route("r");
    state.register_route(&name, Seq::ZERO, at(0)).await.unwrap();
    buried(&state, &name, (1..=4).map(large).collect()).await;
    let edit = |seq| domain::ports::Edit {
        id: stored(seq).id,
        route: None,
        body: "mended".into(),
        by: "an operator".into(),
        note: None,
        at: at(9),
    };
    let refused = state.redrive_edited(edit(1)).await;
    assert!(matches!(refused, Err(StateError::Full(_))), "{refused:?}");
    assert_eq!(state.history(stored(1).id).await.unwrap(), []);
    let through = state.last_letter().await.unwrap();
    assert_eq!(state.purge(&all(), through, 3).await.unwrap(), 3);
    assert_eq!(state.redrive_edited(edit(4)).await.unwrap(), Some(name));
}

#[tokio::test]
async fn a_page_of_large_letters_is_short_and_the_next_goes_on() {
    let file = SqliteFile::fresh().await;
    let state = file.open().await;
    let name = route("r");
    state.register_route(&name, Seq::ZERO, at(0)).await.unwrap();
    buried(&state, &name, (1..=20).map(large).collect()).await;
    let (mut seen, mut below) = (Vec::new(), None);
    loop {
        let query = DeadQuery {
            below,
            limit: 1000,
            ..DeadQuery::default()
        };
        let page = state.dead_page(&query).await.unwrap();
        assert!(
            (1..=8).contains(&page.letters.len()),
            "{}",
            page.letters.len()
        );
        seen.extend(page.letters.iter().map(|letter| letter.stored.seq.0));
        below = page.next;
        if below.is_none() {
            break;
        }
    }
    assert_eq!(seen, (1..=20).rev().collect::<Vec<_>>());
}
