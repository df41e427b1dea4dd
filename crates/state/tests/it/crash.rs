//! A process that is killed, a log that is torn, a disk that fails: what was committed is there, and
//! nothing is half there.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use domain::Seq;
use domain::ports::{Counters, DeliveredRange, Settlement, State, StateError};
use state::SqliteState;

use crate::contract::{Store, imbalance};
use crate::samples::{at, bury, park, range, route};
use crate::sqlite::{PATIENT, SqliteFile, open};

/// Set in the process that is to be killed: the file it settles into.
const VICTIM: &str = "FOREBAY_STATE_VICTIM";

/// Step `n` settles events 10n−9 to 10n: eight delivered, one parked, one dead.
fn step(n: u64) -> Settlement {
    let first = 10 * n - 9;
    Settlement {
        accepted: 10,
        delivered: vec![DeliveredRange {
            range: range(first, first + 7),
            at: at(0),
        }],
        parks: vec![park(first + 8, 1, 5)],
        buries: vec![bury(first + 9)],
        counters: Counters {
            delivered: 8,
            ..Counters::default()
        },
        ..Settlement::at(route("r"), Seq(10 * n))
    }
}

/// How many steps the state has, whole.
async fn steps(state: &SqliteState) -> u64 {
    let routes = state.routes().await.unwrap();
    let [route] = &*routes else {
        assert!(routes.is_empty());
        return 0;
    };
    let steps = route.cursor.0 / 10;
    assert_eq!(imbalance(state, &route.name).await, 0);
    assert_eq!(state.imbalance(&route.name).await.unwrap(), 0);
    let counts = (
        route.accepted,
        route.counters.delivered,
        route.parked,
        route.dead,
    );
    assert_eq!(counts, (10 * steps, 8 * steps, steps, steps));
    steps
}

#[tokio::test]
async fn what_was_committed_survives_kill_9() {
    // The test is run once more as the process that is killed.
    if let Some(path) = std::env::var_os(VICTIM) {
        return settle_until_killed(Path::new(&path)).await;
    }
    let file = SqliteFile::fresh().await;
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "crash::what_was_committed_survives_kill_9",
            "--nocapture",
        ])
        .env(VICTIM, file.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(victim.stdout.take().unwrap()).lines();
    let committed = lines
        .map_while(Result::ok)
        .filter_map(|line| line.strip_prefix("committed ")?.parse::<u64>().ok());
    let last = committed.take(300).last().unwrap();
    victim.kill().unwrap();
    victim.wait().unwrap();
    let found = steps(&file.open().await).await;
    assert!(found >= last, "{last} were committed, {found} are there");
    assert_eq!(last, 300);
}

async fn settle_until_killed(path: &Path) {
    let state = open(path).unwrap();
    state
        .register_route(&route("r"), Seq::ZERO, at(0))
        .await
        .unwrap();
    for n in 1_u64.. {
        state.settle(vec![step(n)]).await.unwrap();
        println!("committed {n}");
    }
}

#[tokio::test]
async fn a_torn_log_keeps_whole_steps_up_to_the_tear() {
    let file = SqliteFile::fresh().await;
    let state = file.open().await;
    state
        .register_route(&route("r"), Seq::ZERO, at(0))
        .await
        .unwrap();
    state.checkpoint(PATIENT).await.unwrap();
    let log_path = |path: &Path| path.with_file_name("state.db-wal");
    // Ends of the log after each step: all through there was synced.
    let mut ends = vec![0];
    for n in 1..=12 {
        state.settle(vec![step(n)]).await.unwrap();
        ends.push(std::fs::metadata(log_path(&file.path())).unwrap().len());
    }
    let (base, log) = (
        std::fs::read(file.path()).unwrap(),
        std::fs::read(log_path(&file.path())).unwrap(),
    );
    assert!(ends.is_sorted() && *ends.last().unwrap() == log.len() as u64);
    let cuts = (0..=log.len()).step_by(997).chain([log.len()]);
    let mut seen = std::collections::BTreeSet::new();
    for cut in cuts {
        for garbage in [0, 5000] {
            let copy = SqliteFile::fresh().await;
            let torn = [&log[..cut], &vec![0xa5; garbage]].concat();
            std::fs::write(copy.path(), &base).unwrap();
            std::fs::write(log_path(&copy.path()), torn).unwrap();
            let found = steps(&copy.open().await).await;
            let synced = ends.iter().filter(|end| **end <= cut as u64).count() as u64 - 1;
            assert_eq!(found, synced, "cut at {cut}, garbage {garbage}");
            seen.insert(found);
        }
    }
    assert_eq!(seen.len(), 13, "every length was met");
}

#[tokio::test]
async fn a_write_that_failed_is_final_and_only_a_new_start_clears_it() {
    let file = SqliteFile::fresh().await;
    let state = file.open().await;
    state
        .register_route(&route("r"), Seq::ZERO, at(0))
        .await
        .unwrap();
    state.settle(vec![step(1)]).await.unwrap();
    state.checkpoint(PATIENT).await.unwrap();
    drop(state);
    let (page, kept) = break_page(&file.path(), "parked");

    let state = file.open().await;
    let mut failure = state.failure();
    assert_eq!(*failure.borrow(), None);
    let error = state.settle(vec![step(2)]).await.unwrap_err();
    assert!(matches!(error, StateError::Failed(_)), "{error}");
    let told = failure.wait_for(Option::is_some);
    let told = tokio::time::timeout(Duration::from_secs(60), told)
        .await
        .unwrap();
    assert!(told.unwrap().as_ref().unwrap().contains("malformed"));

    // Also what would not touch the broken page, also after it is whole again.
    mend_page(&file.path(), page, &kept);
    let refused = |result: Result<(), StateError>| {
        assert!(matches!(result, Err(StateError::Failed(_))), "{result:?}");
    };
    refused(state.settle(vec![step(2)]).await);
    refused(state.set_paused(&route("r"), true).await);
    refused(state.routes().await.map(drop));
    drop(state);
    let state = file.open().await;
    assert_eq!(steps(&state).await, 1);
    state.settle(vec![step(2)]).await.unwrap();
    assert_eq!(steps(&state).await, 2);
}

/// Overwrites the root page of a table; gives its offset and what it held.
fn break_page(path: &Path, table: &str) -> (u64, Vec<u8>) {
    let raw = rusqlite::Connection::open(path).unwrap();
    let number: u64 = raw
        .query_row(
            "SELECT rootpage FROM sqlite_master WHERE name = ?1",
            [table],
            |row| row.get::<_, u32>(0).map(u64::from),
        )
        .unwrap();
    let size: u64 = raw
        .query_row("PRAGMA page_size", [], |row| {
            row.get::<_, u32>(0).map(u64::from)
        })
        .unwrap();
    drop(raw);
    let offset = (number - 1) * size;
    let bytes = std::fs::read(path).unwrap();
    let start = usize::try_from(offset).unwrap();
    let kept = bytes[start..start + usize::try_from(size).unwrap()].to_vec();
    mend_page(path, offset, &vec![0xa5; kept.len()]);
    (offset, kept)
}

fn mend_page(path: &Path, offset: u64, page: &[u8]) {
    use std::os::unix::fs::FileExt;
    let file = std::fs::File::options().write(true).open(path).unwrap();
    file.write_all_at(page, offset).unwrap();
}
