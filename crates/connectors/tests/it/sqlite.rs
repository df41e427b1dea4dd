//! The contract on SQLite, and what is SQLite's own.

use rusqlite::Connection;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::contract::{Database, Subject, contract};
use crate::events::{Bodies, bodies, deliver_all, deliver_to_nobody, event, events, made};
use domain::Outcome;

struct Sqlite {
    dir: TempDir,
}

impl Sqlite {
    fn file(&self) -> std::path::PathBuf {
        self.dir.path().join("there/events.db")
    }

    fn open(&self) -> Connection {
        Connection::open(self.file()).unwrap()
    }
}

impl Subject for Sqlite {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("there")).unwrap();
        Self { dir }
    }

    fn section(&self) -> Value {
        json!({"type": "sqlite", "path": self.file()})
    }

    async fn arrived(&self) -> Bodies {
        self.bodies("webhook_events").await
    }

    async fn count(&self) -> usize {
        self.texts("SELECT id || '' FROM webhook_events")
            .await
            .len()
    }

    async fn stop(&mut self) {
        std::fs::rename(self.dir.path().join("there"), self.dir.path().join("away")).unwrap();
    }

    async fn start_again(&mut self) {
        std::fs::rename(self.dir.path().join("away"), self.dir.path().join("there")).unwrap();
    }
}

impl Database for Sqlite {
    async fn execute(&self, sql: &str) {
        self.open().execute_batch(sql).unwrap();
    }

    async fn texts(&self, sql: &str) -> Vec<String> {
        let connection = self.open();
        let mut statement = connection.prepare(sql).unwrap();
        let rows = statement.query_map([], |row| row.get(0)).unwrap();
        rows.collect::<Result<_, _>>().unwrap()
    }

    async fn bodies(&self, table: &str) -> Bodies {
        let connection = self.open();
        let sql = format!("SELECT id, CAST(coalesce(body, body_raw) AS BLOB) FROM {table}");
        let mut statement = connection.prepare(&sql).unwrap();
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
        rows.unwrap().collect::<Result<_, _>>().unwrap()
    }

    async fn refuse_bad_paths(&self) {
        self.execute(
            "CREATE TRIGGER refuse BEFORE INSERT ON webhook_events WHEN NEW.path = '/bad'
             BEGIN SELECT RAISE(ABORT, 'no: secret'); END",
        )
        .await;
    }

    async fn set_read_only(&self, read_only: bool) {
        // Root may write to any file: another program that holds the write lock is as much in the way.
        use std::sync::Mutex;
        static LOCK: Mutex<Option<Connection>> = Mutex::new(None);
        let mut holder = LOCK.lock().unwrap();
        *holder = None;
        if read_only {
            let connection = self.open();
            connection.execute_batch("BEGIN IMMEDIATE").unwrap();
            *holder = Some(connection);
        }
    }
}

contract!(Sqlite, sql);

#[tokio::test]
async fn a_trigger_that_rolls_everything_back_takes_only_its_own_event() {
    let subject = Sqlite::start().await;
    let to = made(&subject.section());
    to.inspect().await.unwrap();
    let trigger = "CREATE TRIGGER refuse BEFORE INSERT ON webhook_events WHEN NEW.path = '/bad'
                   BEGIN SELECT RAISE(ROLLBACK, 'no'); END";
    subject.execute(trigger).await;
    let mut batch = events(20);
    batch[7] = event(700, "/bad", b"{}");
    let outcome = to.deliver(&batch).await;
    assert!(
        matches!(outcome.outcomes[7], Outcome::Reject { .. }),
        "{outcome:?}"
    );
    batch.remove(7);
    assert_eq!(subject.bodies("webhook_events").await, bodies(&batch));
}

#[tokio::test]
async fn a_missing_foreign_key_is_tried_again_also_where_it_is_checked_at_commit() {
    for checked in ["", "DEFERRABLE INITIALLY DEFERRED"] {
        let subject = Sqlite::start().await;
        let tables = format!(
            "CREATE TABLE known (path TEXT PRIMARY KEY); INSERT INTO known VALUES ('/a');
             CREATE TABLE t (id TEXT PRIMARY KEY, path TEXT REFERENCES known {checked})"
        );
        subject.execute(&tables).await;
        let mut section = subject.section();
        section["table"] = "t".into();
        section["id_column"] = "id".into();
        section["columns"] = json!({"path": "$path"});
        let to = made(&section);
        let batch = [event(1, "/a", b""), event(2, "/b", b"")];
        let outcome = to.deliver(&batch).await;
        assert_eq!(outcome.outcomes[0], Outcome::Delivered, "{outcome:?}");
        assert!(
            matches!(&outcome.outcomes[1], Outcome::Retry { cause, .. } if cause.code == "sqlite 787"),
            "{outcome:?}"
        );
        subject.execute("INSERT INTO known VALUES ('/b')").await;
        deliver_all(&*to, &batch).await;
    }
}

#[tokio::test]
async fn commits_are_synced_and_a_deleted_file_is_noticed() {
    let subject = Sqlite::start().await;
    let to = made(&subject.section());
    deliver_all(&*to, &events(5)).await;
    let modes = subject.texts("PRAGMA journal_mode").await;
    assert_eq!(modes, ["wal"]);
    for file in std::fs::read_dir(subject.file().parent().unwrap()).unwrap() {
        std::fs::remove_file(file.unwrap().path()).unwrap();
    }
    deliver_all(&*to, &events(9)).await;
    assert_eq!(subject.bodies("webhook_events").await, bodies(&events(9)));
}

#[tokio::test]
async fn a_file_that_another_took_the_place_of_is_noticed() {
    let subject = Sqlite::start().await;
    let to = made(&subject.section());
    deliver_all(&*to, &events(5)).await;
    let restored = subject.dir.path().join("restored.db");
    let copy = format!("VACUUM INTO '{}'", restored.display());
    subject.execute(&copy).await;
    for beside in ["events.db-wal", "events.db-shm"] {
        std::fs::remove_file(subject.file().with_file_name(beside)).unwrap();
    }
    std::fs::rename(restored, subject.file()).unwrap();
    deliver_all(&*to, &events(9)).await;
    assert_eq!(subject.bodies("webhook_events").await, bodies(&events(9)));
}

#[tokio::test]
async fn a_file_that_is_no_database_is_unavailable_and_left_alone() {
    let subject = Sqlite::start().await;
    let text = "this is a letter to my bank, and no database at all".repeat(100);
    std::fs::write(subject.file(), &text).unwrap();
    let to = made(&subject.section());
    deliver_to_nobody(&*to, &events(1)).await;
    let why = to.inspect().await.unwrap_err().to_string();
    assert!(
        why.contains("cannot open") && why.contains("events.db"),
        "{why}"
    );
    assert_eq!(std::fs::read_to_string(subject.file()).unwrap(), text);
}

#[tokio::test]
async fn foreign_placeholders_in_a_statement_are_refused() {
    let subject = Sqlite::start().await;
    subject.execute("CREATE TABLE mine (id text, x text)").await;
    let mut section = subject.section();
    section["statement"] = "INSERT INTO mine VALUES ($id, :other)".into();
    let to = made(&section);
    let outcome = to.deliver(&events(1)).await;
    let why = outcome.unavailable.unwrap().to_string();
    assert!(why.contains("parameters other than"), "{why}");
}

#[tokio::test]
async fn a_full_disk_is_unavailable_until_there_is_room() {
    let disk = testbed::disk::SmallDisk::tmpfs(16 << 20).unwrap();
    let file = disk.path().join("events.db");
    let to = made(&json!({"type": "sqlite", "path": file}));
    deliver_all(&*to, &events(10)).await;
    disk.fill(1 << 20).unwrap();
    let big: Vec<_> = (0..4)
        .map(|number| event(number + 100, "/", &vec![b'x'; 1 << 20]))
        .collect();
    deliver_to_nobody(&*to, &big).await;
    disk.empty().unwrap();
    deliver_all(&*to, &big).await;
    deliver_all(&*to, &events(20)).await;
    let connection = Connection::open(&file).unwrap();
    let count: u32 = connection
        .query_row("SELECT count(*) FROM webhook_events", [], |row| row.get(0))
        .unwrap();
    assert_eq!(count, 24);
}
