//! Migration, by steps of a version that does not exist yet.

use std::os::unix::fs::PermissionsExt as _;

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
