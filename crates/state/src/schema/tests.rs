//! Migration, by the steps there are and by those of a version that does not exist yet.

use std::os::unix::fs::PermissionsExt as _;

use domain::ports::BatchLimit;
use domain::{Event, Headers, RouteName, Seq, SourceName, Timestamp};

use super::*;

const NEXT: &[&str] = &[
    STEPS[0],
    "ALTER TABLE routes ADD COLUMN colour TEXT NOT NULL DEFAULT 'blue'",
    "UPDATE routes SET colour = 'green' WHERE name = 'r'",
];

/// A store of version 1 that holds a route, some of it still in the write-ahead log.
fn old(directory: &Path) -> (PathBuf, Connection) {
    let path = directory.join("state.db");
    let mut connection = crate::connection::open_writer(&path).unwrap();
    migrate_by(&NEXT[..1], &mut connection, &path).unwrap();
    let row = "INSERT INTO routes (name, start, cursor, created_at) VALUES ('r', 0, 5, 0)";
    connection.execute(row, []).unwrap();
    (path, connection)
}

fn colour(connection: &Connection) -> rusqlite::Result<String> {
    connection.query_row("SELECT colour FROM routes", [], |row| row.get(0))
}

fn snapshot_of(path: &Path) -> PathBuf {
    path.with_file_name("state.db.v1.bak")
}

#[test]
fn an_older_file_is_copied_aside_and_then_migrated() {
    let directory = tempfile::tempdir().unwrap();
    let (path, mut connection) = old(directory.path());
    assert!(!snapshot_of(&path).exists(), "a new file needs no copy");
    migrate_by(NEXT, &mut connection, &path).unwrap();
    assert_eq!(version(&connection).unwrap(), 3);
    assert_eq!(colour(&connection).unwrap(), "green");

    let mode = std::fs::metadata(snapshot_of(&path)).unwrap().permissions();
    assert_eq!(mode.mode() & 0o777, 0o600, "it holds payloads");
    let copy = Connection::open(snapshot_of(&path)).unwrap();
    assert_eq!(version(&copy).unwrap(), 1);
    let cursor: i64 = copy
        .query_row("SELECT cursor FROM routes WHERE name = 'r'", [], |row| {
            row.get(0)
        })
        .unwrap();
    assert_eq!(cursor, 5, "the copy has what was in the log");
    assert!(colour(&copy).is_err());

    std::fs::remove_file(snapshot_of(&path)).unwrap();
    migrate_by(NEXT, &mut connection, &path).unwrap();
    assert!(
        !snapshot_of(&path).exists(),
        "nothing to do, nothing to copy"
    );
}

/// Parks an event as version 1 did. Times in microseconds.
fn park(connection: &Connection, seq: i64, due_at: i64, last_failure_at: i64) {
    let event = Event {
        source: SourceName::new("s").unwrap(),
        received_at: Timestamp::UNIX_EPOCH,
        method: "POST".into(),
        path: "/".into(),
        headers: Headers::default(),
        body: bytes::Bytes::from_static(b"{}"),
        event_type: None,
        remote: None,
        dedup: None,
        only: None,
    };
    let row = "INSERT INTO parked (route, seq, event_id, event, attempts, due_at, first_failure_at,
                                   last_failure_at, cause_code, cause_detail, fingerprint)
               VALUES ((SELECT id FROM routes), ?1, ?2, ?3, 1, ?4, ?5, ?5, 'c', 'd', 'f')";
    let id = [u8::try_from(seq).unwrap(); 16];
    let mut bytes = bytes::BytesMut::new();
    domain::event::encode(&event, &mut bytes);
    let values = rusqlite::params![seq, id, &bytes[..], due_at, last_failure_at];
    connection.execute(row, values).unwrap();
}

#[test]
fn what_version_1_parked_is_due_after_the_steps_there_are() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.db");
    let mut connection = crate::connection::open_writer(&path).unwrap();
    migrate_by(&STEPS[..1], &mut connection, &path).unwrap();
    let row = "INSERT INTO routes (name, start, cursor, created_at) VALUES ('r', 0, 5, 0)";
    connection.execute(row, []).unwrap();
    let (now, hour) = (1_000_000_000_000, 3_600_000_000);
    // Due; due later; and parked by a clock that was ahead.
    park(&connection, 3, now - hour, now - 2 * hour);
    park(&connection, 4, now + hour, now - hour);
    park(&connection, 5, now + 9 * hour, now + 8 * hour);

    migrate(&mut connection, &path).unwrap();
    assert_eq!(version(&connection).unwrap(), VERSION);
    let route = RouteName::new("r").unwrap();
    let limit = BatchLimit {
        events: 10,
        bytes: 1 << 20,
    };
    let now = Timestamp::from_microsecond(now).unwrap();
    let due = crate::events::due(
        &connection,
        &route,
        now,
        &[],
        limit,
        domain::ports::DueOrder::LongestFirst,
    )
    .unwrap();
    let found: Vec<_> = due.iter().map(|due| due.park.stored.seq).collect();
    assert_eq!(found, [Seq(3), Seq(5)]);

    let copy = Connection::open(snapshot_of(&path)).unwrap();
    assert_eq!(version(&copy).unwrap(), 1);
    let count = |connection: &Connection, of: &str| -> i64 {
        connection.query_row(of, [], |row| row.get(0)).unwrap()
    };
    let parked = "SELECT count(*) FROM parked";
    assert_eq!((count(&copy, parked), count(&connection, parked)), (3, 3));
    let index = "SELECT count(*) FROM sqlite_master WHERE name = 'parked_failed'";
    assert_eq!((count(&copy, index), count(&connection, index)), (0, 1));
}

#[test]
fn a_migration_that_fails_leaves_the_file_as_it_was_and_can_be_repeated() {
    let directory = tempfile::tempdir().unwrap();
    let (path, mut connection) = old(directory.path());
    let broken = [NEXT[0], NEXT[1], "UPDATE nothing SET x = 1"];
    let error = migrate_by(&broken, &mut connection, &path).unwrap_err();
    assert!(matches!(error, OpenError::Sqlite { .. }), "{error}");
    assert_eq!(version(&connection).unwrap(), 1);
    assert!(colour(&connection).is_err(), "no step of it stays");
    migrate_by(NEXT, &mut connection, &path).unwrap();
    assert_eq!(colour(&connection).unwrap(), "green");
}

#[test]
fn a_newer_file_is_not_touched() {
    let directory = tempfile::tempdir().unwrap();
    let (path, mut connection) = old(directory.path());
    migrate_by(NEXT, &mut connection, &path).unwrap();
    let error = migrate_by(&NEXT[..1], &mut connection, &path).unwrap_err();
    assert!(
        matches!(error, OpenError::Newer { found: 3, .. }),
        "{error}"
    );
    assert_eq!(version(&connection).unwrap(), 3);
}

#[test]
fn a_database_of_something_else_is_not_touched() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("events.db");
    let mut connection = Connection::open(&path).unwrap();
    let theirs = "CREATE TABLE webhook_events (id BLOB); PRAGMA user_version = 1";
    connection.execute_batch(theirs).unwrap();
    let error = migrate(&mut connection, &path).unwrap_err();
    assert!(matches!(error, OpenError::Foreign { .. }), "{error}");
    let tables: i64 = connection
        .query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get(0))
        .unwrap();
    assert_eq!(tables, 1);
}

#[test]
fn every_commit_of_the_writer_is_synced() {
    let directory = tempfile::tempdir().unwrap();
    let (_, connection) = old(directory.path());
    let pragma = |name: &str| -> String {
        let value: rusqlite::types::Value = connection
            .pragma_query_value(None, name, |row| row.get(0))
            .unwrap();
        format!("{value:?}")
    };
    assert_eq!(pragma("synchronous"), "Integer(2)");
    assert_eq!(pragma("journal_mode"), "Text(\"wal\")");
    assert_eq!(pragma("foreign_keys"), "Integer(1)");
}
