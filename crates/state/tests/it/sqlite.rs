//! The contract on SQLite, and what only its files have: a schema, and words for one that does not fit.

use std::path::{Path, PathBuf};

use state::{Metrics, OpenError, SqliteState};

use crate::contract::{Store, contract};

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
    SqliteState::open(path, metrics)
}

contract!(SqliteFile);

#[tokio::test]
async fn a_newer_schema_is_refused_in_words_and_the_file_left_alone() {
    let file = SqliteFile::fresh().await;
    file.open().await.checkpoint().await.unwrap();
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
