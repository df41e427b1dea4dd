//! The contract on PostgreSQL, and what is PostgreSQL's own.

use std::net::SocketAddr;

use domain::Outcome;
use domain::ports::Destination;
use serde_json::{Value, json};
use testbed::postgres::{Options, Server};

use crate::contract::{Database, Served, Subject, contract, odd_bodies, section};
use crate::events::{Bodies, bodies, context, deliver_all, deliver_to_nobody, event, events, made};

pub(crate) struct Postgres {
    pub(crate) server: Server,
}

impl Postgres {
    pub(crate) async fn with(options: Options) -> Self {
        let server = Server::start_new(options).await.unwrap();
        Self { server }
    }

    #[expect(clippy::needless_pass_by_value, reason = "it reads better at the call")]
    pub(crate) fn made(&self, more: Value) -> std::sync::Arc<dyn Destination> {
        made(&section(self, &more))
    }
}

impl Subject for Postgres {
    async fn start() -> Self {
        Self::with(Options::default()).await
    }

    fn section(&self) -> Value {
        json!({"type": "postgres", "url": self.server.url()})
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
        self.server.stop_immediate().await.unwrap();
    }

    async fn start_again(&mut self) {
        self.server.start().await.unwrap();
    }
}

impl Database for Postgres {
    async fn execute(&self, sql: &str) {
        self.server.execute(sql).await.unwrap();
    }

    async fn texts(&self, sql: &str) -> Vec<String> {
        let rows = self.server.rows(sql, &[]).await.unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    }

    async fn bodies(&self, table: &str) -> Bodies {
        let sql = format!(
            "SELECT id::text, coalesce(convert_to(body::text, 'UTF8'), body_raw) FROM {table}"
        );
        let rows = self.server.rows(&sql, &[]).await.unwrap();
        rows.iter().map(|row| (row.get(0), row.get(1))).collect()
    }

    async fn refuse_bad_paths(&self) {
        let sql = "ALTER TABLE webhook_events ADD CONSTRAINT good CHECK (path <> '/bad')";
        self.execute(sql).await;
    }

    async fn set_read_only(&self, read_only: bool) {
        self.server.set_read_only(read_only).await.unwrap();
    }
}

impl Served for Postgres {
    fn address(&self) -> SocketAddr {
        self.server.addr()
    }

    fn section_at(&self, address: SocketAddr) -> Value {
        json!({"type": "postgres", "url": self.server.url_through(address)})
    }

    fn secret_section(address: SocketAddr) -> Value {
        json!({"type": "postgres", "url": format!("postgres://hunter2:hunter2@{address}/hunter2")})
    }
}

contract!(Postgres, served sql);

#[tokio::test]
async fn the_table_is_as_documented_and_a_schema_may_be_named() {
    let subject = Postgres::start().await;
    subject.execute("CREATE SCHEMA app").await;
    let to = subject.made(json!({"table": "app.hooks", "body_type": "jsonb"}));
    deliver_all(&*to, &events(3)).await;
    let columns = subject
        .texts(
            "SELECT attname || ' ' || format_type(atttypid, atttypmod) || CASE WHEN attnotnull THEN '!' ELSE '' END
             FROM pg_attribute WHERE attrelid = 'app.hooks'::regclass AND attnum > 0 ORDER BY attnum",
        )
        .await;
    assert_eq!(
        columns,
        [
            "id uuid!",
            "source text!",
            "received_at timestamp with time zone!",
            "method text!",
            "path text!",
            "headers jsonb!",
            "content_type text",
            "body jsonb",
            "body_raw bytea"
        ]
    );
    let row = subject
        .texts("SELECT concat_ws(' ', source, received_at AT TIME ZONE 'UTC', method, path, content_type) FROM app.hooks LIMIT 1")
        .await;
    assert_eq!(
        row,
        ["genesys 2026-03-01 12:00:00.123456 POST /in/genesys application/json"]
    );
}

#[tokio::test]
async fn what_jsonb_cannot_hold_arrives_as_bytes() {
    let subject = Postgres::start().await;
    let to = subject.made(json!({"body_type": "jsonb"}));
    let batch: Vec<_> = (0..)
        .zip(odd_bodies())
        .map(|(number, body)| event(number, "/", &body))
        .collect();
    deliver_all(&*to, &batch).await;
    deliver_all(&*to, &batch).await;
    let raw = "SELECT id::text, body_raw FROM webhook_events WHERE body IS NULL";
    let rows = subject.server.rows(raw, &[]).await.unwrap();
    let expected = bodies(&batch);
    for row in &rows {
        assert_eq!(expected[&row.get::<_, String>(0)], row.get::<_, Vec<u8>>(1));
    }
    // All that `json` could not hold, and NUL, a half pair and three numbers besides.
    assert_eq!(rows.len(), 12 + 5);
    assert_eq!(subject.server.count("webhook_events").await.unwrap(), 22);
}

#[tokio::test]
async fn a_body_that_only_the_server_refuses_is_moved_to_body_raw() {
    // With its smallest stack the server refuses nesting that is well within our own limit.
    let options = Options::default().with_setting("max_stack_depth", "100kB");
    let subject = Postgres::with(options).await;
    let to = subject.made(json!({}));
    let deep = format!("{}{}", "[".repeat(990), "]".repeat(990));
    let mut batch = events(40);
    batch[17] = event(17, "/", deep.as_bytes());
    deliver_all(&*to, &batch).await;
    assert_eq!(subject.bodies("webhook_events").await, bodies(&batch));
    let raw = "SELECT count(*)::text FROM webhook_events WHERE body_raw IS NOT NULL";
    assert_eq!(subject.texts(raw).await, ["1"]);
}

#[tokio::test]
async fn a_weaker_server_is_named() {
    let options = Options::default()
        .without_fsync()
        .with_setting("full_page_writes", "off")
        .with_setting("synchronous_commit", "off");
    let subject = Postgres::with(options).await;
    let to = subject.made(json!({}));
    to.inspect().await.unwrap();
    subject
        .execute(
            "ALTER TABLE webhook_events SET UNLOGGED;
             ALTER TABLE webhook_events DROP CONSTRAINT webhook_events_pkey;
             ALTER TABLE webhook_events ADD COLUMN tenant int NOT NULL",
        )
        .await;
    let to = subject.made(json!({}));
    let findings = to.inspect().await.unwrap();
    let words = [
        "fsync = off",
        "full_page_writes = off",
        "synchronous_commit = off",
        "at least once",
        "SET LOGGED",
        "column tenant",
    ];
    for word in words {
        let named = findings
            .iter()
            .filter(|one| one.text.contains(word))
            .count();
        assert_eq!(named, 1, "{word}: {findings:?}");
    }
    assert_eq!(findings.len(), words.len());
}

#[tokio::test]
async fn our_own_commits_are_synchronous_whatever_the_default() {
    let options = Options::default().with_setting("synchronous_commit", "off");
    let subject = Postgres::with(options).await;
    let statement = "INSERT INTO seen SELECT $id, current_setting('synchronous_commit')";
    subject
        .execute("CREATE TABLE seen (id text, setting text)")
        .await;
    let to = subject.made(json!({"statement": statement}));
    deliver_all(&*to, &events(1)).await;
    assert_eq!(subject.texts("SELECT setting FROM seen").await, ["on"]);
}

#[tokio::test]
async fn a_deferred_constraint_rejects_only_its_own_row() {
    let subject = Postgres::start().await;
    let to = subject.made(json!({}));
    to.inspect().await.unwrap();
    subject
        .execute(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
               $$ BEGIN IF NEW.path = '/bad' THEN RAISE check_violation; END IF; RETURN NULL; END $$;
             CREATE CONSTRAINT TRIGGER late AFTER INSERT ON webhook_events
               DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse()",
        )
        .await;
    let mut batch = events(30);
    batch[11] = event(1100, "/bad", b"{}");
    let outcome = to.deliver(&batch).await;
    assert!(
        matches!(outcome.outcomes[11], Outcome::Reject { .. }),
        "{outcome:?}"
    );
    batch.remove(11);
    assert_eq!(subject.bodies("webhook_events").await, bodies(&batch));
}

#[tokio::test]
async fn a_refusal_names_sqlstate_and_constraint_and_no_value() {
    let subject = Postgres::start().await;
    let to = subject.made(json!({}));
    to.inspect().await.unwrap();
    subject.refuse_bad_paths().await;
    let outcome = to.deliver(&[event(1, "/bad", b"secret")]).await;
    let Outcome::Reject { cause } = &outcome.outcomes[0] else {
        panic!("{outcome:?}");
    };
    assert_eq!(cause.code, "sqlstate 23514");
    assert!(cause.detail.contains("constraint good"), "{cause}");
    assert!(!cause.to_string().contains("/bad"), "{cause}");

    // A value that its column cannot read is quoted in the server's message.
    subject
        .execute("CREATE TABLE numbers (id uuid PRIMARY KEY, n int)")
        .await;
    let own = json!({"table": "numbers", "id_column": "id", "columns": {"n": "/n"}});
    let body = br#"{"n": "secret"}"#;
    let outcome = subject.made(own).deliver(&[event(1, "/", body)]).await;
    let Outcome::Reject { cause } = &outcome.outcomes[0] else {
        panic!("{outcome:?}");
    };
    assert_eq!(cause.code, "sqlstate 22P02");
    assert!(!cause.to_string().contains("secret"), "{cause}");
}

#[tokio::test]
async fn a_value_too_long_for_its_column_is_rejected_and_not_cut() {
    let subject = Postgres::start().await;
    subject
        .execute("CREATE TABLE t (id uuid PRIMARY KEY, v varchar(3), c char(3))")
        .await;
    let columns = json!({"v": "/v", "c": "/c"});
    let to = subject.made(json!({"table": "t", "id_column": "id", "columns": columns}));
    let outcome = to
        .deliver(&[
            event(1, "/", br#"{"v": "abcd"}"#),
            event(2, "/", br#"{"v": "abc", "c": "xyz"}"#),
            event(3, "/", br#"{"c": "wxyz"}"#),
        ])
        .await;
    assert!(
        matches!(outcome.outcomes[0], Outcome::Reject { .. }),
        "{outcome:?}"
    );
    assert_eq!(outcome.outcomes[1], Outcome::Delivered);
    assert!(
        matches!(outcome.outcomes[2], Outcome::Reject { .. }),
        "{outcome:?}"
    );
    assert_eq!(subject.texts("SELECT v || c FROM t").await, ["abcxyz"]);
}

#[tokio::test]
async fn retries_and_rejects_follow_the_sqlstate() {
    let subject = Postgres::start().await;
    subject
        .execute(
            "CREATE TABLE seen (id uuid PRIMARY KEY);
             CREATE PROCEDURE write_event(id uuid, path text) LANGUAGE plpgsql AS $$ BEGIN
               IF path LIKE '/state/%' THEN
                 EXECUTE format('DO $x$ BEGIN RAISE EXCEPTION USING ERRCODE = %L; END $x$', substr(path, 8));
               END IF;
               INSERT INTO seen VALUES (id) ON CONFLICT DO NOTHING;
             END $$",
        )
        .await;
    let to = subject.made(json!({"statement": "CALL write_event($id, $path)"}));
    for (number, (state, retries)) in [
        ("40001", true),
        ("40P01", true),
        ("55P03", true),
        ("57014", true),
        ("23503", true),
        ("XX000", true),
        ("22001", false),
        ("23505", false),
        ("54000", false),
        ("P0001", false),
    ]
    .into_iter()
    .enumerate()
    {
        let number = 100 + u32::try_from(number).unwrap();
        let mut batch = events(10);
        batch[4] = event(number, &format!("/state/{state}"), b"{}");
        let outcome = to.deliver(&batch).await;
        assert_eq!(outcome.unavailable, None, "{state}");
        let (Outcome::Retry { cause, .. } | Outcome::Reject { cause }) = &outcome.outcomes[4]
        else {
            panic!("{state}: {outcome:?}");
        };
        assert_eq!(cause.code, format!("sqlstate {state}"));
        let is_retry = matches!(outcome.outcomes[4], Outcome::Retry { .. });
        assert_eq!(is_retry, retries, "{state}");
        let delivered = outcome
            .outcomes
            .iter()
            .filter(|one| **one == Outcome::Delivered);
        assert_eq!(delivered.count(), 9, "{state}");
    }
    let code = deliver_to_nobody(&*to, &[event(200, "/state/53100", b"{}")]).await;
    assert_eq!(code, "sqlstate 53100");
    deliver_all(&*to, &events(1)).await;
}

#[tokio::test]
async fn a_statement_that_the_session_has_lost_is_prepared_anew_and_spends_nothing() {
    let subject = Postgres::start().await;
    let schema = "CREATE TABLE mine (id text PRIMARY KEY, path text);
        CREATE FUNCTION write_event(id text, path text) RETURNS void LANGUAGE plpgsql AS $$
        BEGIN
            IF path = '/lose' THEN EXECUTE 'DEALLOCATE ALL'; END IF;
            INSERT INTO mine VALUES ($1, $2) ON CONFLICT DO NOTHING;
        END $$";
    subject.execute(schema).await;
    let statement = "SELECT write_event($id::text, $path)";
    let to = subject.made(json!({"statement": statement, "concurrency": 1}));
    deliver_all(&*to, &[event(1, "/lose", b"")]).await;
    let code = deliver_to_nobody(&*to, &events(3)).await;
    assert_eq!(code, "sqlstate 26000");
    deliver_all(&*to, &events(3)).await;
    assert_eq!(subject.texts("SELECT path FROM mine").await.len(), 3);
}

#[tokio::test]
async fn a_plan_whose_result_is_another_by_now_is_made_anew_and_spends_nothing() {
    let subject = Postgres::start().await;
    let table = "CREATE TABLE mine (id uuid PRIMARY KEY, path text)";
    subject.execute(table).await;
    let statement = "INSERT INTO mine VALUES ($id, $path) ON CONFLICT DO NOTHING RETURNING *";
    let to = subject.made(json!({"statement": statement, "concurrency": 1}));
    deliver_all(&*to, &events(3)).await;
    subject.execute("ALTER TABLE mine ADD more text").await;
    let code = deliver_to_nobody(&*to, &events(6)).await;
    assert_eq!(code, "sqlstate 0A000");
    deliver_all(&*to, &events(6)).await;
    assert_eq!(subject.texts("SELECT path FROM mine").await.len(), 6);
}

#[tokio::test]
async fn what_a_database_does_not_support_is_tried_again() {
    let subject = Postgres::start().await;
    let function = "CREATE FUNCTION write_event(id text) RETURNS void LANGUAGE plpgsql AS $$
        BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '0A000'; END $$";
    subject.execute(function).await;
    let to = subject.made(json!({"statement": "SELECT write_event($id::text)"}));
    let outcome = to.deliver(&events(1)).await;
    assert!(
        matches!(&outcome.outcomes[0], Outcome::Retry { cause, .. } if cause.code == "sqlstate 0A000"),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn a_statement_may_take_body_and_body_raw_apart() {
    let subject = Postgres::start().await;
    subject.execute("CREATE TABLE mine (id uuid PRIMARY KEY, at timestamptz, body jsonb, raw bytea, headers json)").await;
    let to = subject.made(json!({
        "statement": "INSERT INTO mine VALUES ($id, $received_at, $body, $body_raw, $headers)"
    }));
    deliver_all(
        &*to,
        &[event(1, "/", br#"{"a": 1}"#), event(2, "/", b"\xff\0")],
    )
    .await;
    let rows = "SELECT concat_ws(' ', at AT TIME ZONE 'UTC', body, raw, headers ->> 'content-type') FROM mine ORDER BY id";
    assert_eq!(
        subject.texts(rows).await,
        [
            "2026-03-01 12:00:00.123456 {\"a\": 1} application/json",
            "2026-03-01 12:00:00.123456 \\xff00 application/json"
        ]
    );
}

#[tokio::test]
async fn a_view_is_written_by_insert() {
    let subject = Postgres::start().await;
    let to = subject.made(json!({"table": "base"}));
    to.inspect().await.unwrap();
    subject
        .execute("CREATE VIEW plain AS SELECT * FROM base")
        .await;
    let through_view = subject.made(json!({"table": "plain"}));
    deliver_all(&*through_view, &events(5)).await;
    assert_eq!(subject.bodies("base").await, bodies(&events(5)));
}

#[tokio::test]
async fn tls_is_verified_as_sslmode_says() {
    let subject = Postgres::with(Options::default().with_tls()).await;
    let other = Postgres::with(Options::default().with_tls()).await;
    subject
        .execute("CREATE ROLE app LOGIN PASSWORD 'right'; GRANT ALL ON SCHEMA public TO app")
        .await;
    let port = subject.server.port();
    let own = subject.server.ca().unwrap();
    let foreign = other.server.ca().unwrap();
    let url = |host: &str, mode: &str, ca: Option<&std::path::Path>| {
        let ca = ca.map_or(String::new(), |path| {
            format!("&sslrootcert={}", path.display())
        });
        json!({
            "type": "postgres",
            "url": format!("postgres://app:right@{host}:{port}/postgres?sslmode={mode}{ca}"),
            "connect_timeout": "60s",
        })
    };
    for (section, works) in [
        (url("localhost", "verify-full", Some(&own)), true),
        (url("127.0.0.1", "verify-full", Some(&own)), true),
        (url("localhost", "verify-full", Some(&foreign)), false),
        (url("127.0.0.2", "verify-ca", Some(&foreign)), false),
        (url("localhost", "verify-ca", Some(&own)), true),
        (url("localhost", "require", None), true),
        (url("localhost", "require", Some(&foreign)), false),
        (url("localhost", "prefer", None), true),
        (url("localhost", "disable", None), false),
    ] {
        let to = made(&section);
        let seen = to.probe().await;
        assert_eq!(seen.is_ok(), works, "{section}: {seen:?}");
        if let Err(why) = seen {
            assert!(!why.to_string().contains("right"), "{why}");
        }
    }
    deliver_all(
        &*made(&url("localhost", "verify-full", Some(&own))),
        &events(2),
    )
    .await;

    let options = url("localhost", "verify-full", Some("/no/such.pem".as_ref()));
    let options: connectors::DestinationOptions = serde_json::from_value(options).unwrap();
    let error = connectors::build(&options.validate().unwrap(), &context())
        .err()
        .unwrap();
    assert!(error.to_string().contains("/no/such.pem"), "{error}");
}

#[tokio::test]
async fn a_url_file_is_read_for_every_connection() {
    let subject = Postgres::start().await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("url");
    std::fs::write(&file, "postgres://app:old@127.0.0.1:1/postgres\n").unwrap();
    let to = made(&json!({"type": "postgres", "url_file": file}));
    let why = to.probe().await.unwrap_err().to_string();
    assert!(why.contains("127.0.0.1:1") && !why.contains("old"), "{why}");
    std::fs::write(&file, subject.server.url()).unwrap();
    deliver_all(&*to, &events(2)).await;
}
