//! What is MySQL's own in what is written: types, sessions, packets, repeats.

use domain::Outcome;
use serde_json::{Value, json};
use testbed::mariadb::Options;

use crate::contract::{Database as _, Subject as _};
use crate::events::{as_dead, bodies, deliver_all, deliver_to_nobody, event, events, made};
use crate::mysql::{Mysql, rejected};

#[tokio::test]
async fn the_table_is_as_documented_and_a_database_may_be_named() {
    let subject = Mysql::start().await;
    let to = subject.made(json!({"table": "forebay.hooks", "body_type": "json"}));
    deliver_all(&*to, &events(3)).await;
    let columns = subject
        .texts(
            "SELECT column_name || ' ' || column_type || CASE is_nullable WHEN 'NO' THEN '!' ELSE '' END
             FROM information_schema.columns WHERE table_name = 'hooks' ORDER BY ordinal_position",
        )
        .await;
    assert_eq!(
        columns,
        [
            "id char(36)!",
            "source varchar(64)!",
            "received_at datetime(6)!",
            "method text!",
            "path mediumtext!",
            "headers longtext!",
            "content_type mediumtext",
            "body longtext",
            "body_raw longblob"
        ]
    );
    let row = subject
        .texts("SELECT concat_ws(' ', source, received_at, method, path, content_type) FROM hooks LIMIT 1")
        .await;
    assert_eq!(
        row,
        ["genesys 2026-03-01 12:00:00.123456 POST /in/genesys application/json"]
    );
    let engine = "SELECT engine || ' ' || table_collation FROM information_schema.tables WHERE table_name = 'hooks'";
    assert_eq!(subject.texts(engine).await, ["InnoDB utf8mb4_bin"]);
}

#[tokio::test]
async fn a_weaker_server_is_named() {
    let options = Options::default()
        .with_setting("innodb-flush-log-at-trx-commit", "2")
        .with_setting("innodb-doublewrite", "0")
        .with_setting("innodb-flush-method", "nosync")
        .with_setting("log-bin", "binlog")
        .with_setting("sync-binlog", "0");
    let subject = Mysql::with(options).await;
    let to = subject.made(json!({}));
    to.inspect().await.unwrap();
    subject
        .execute(
            "ALTER TABLE webhook_events DROP PRIMARY KEY;
             ALTER TABLE webhook_events ENGINE = MyISAM;
             ALTER TABLE webhook_events ADD COLUMN tenant int NOT NULL",
        )
        .await;
    let findings = to.inspect().await.unwrap();
    let words = [
        "innodb_flush_log_at_trx_commit = 2",
        "innodb_doublewrite = OFF",
        "innodb_flush_method = nosync",
        "sync_binlog = 0",
        "at least once",
        "kept by MyISAM",
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
    // A column that nobody fills is the table's fault and no event's.
    let code = deliver_to_nobody(&*to, &events(1)).await;
    assert_eq!(code, "mysql 1364 (HY000)");
}

#[tokio::test]
async fn a_session_does_not_depend_on_the_servers_defaults() {
    let options = Options::default()
        .with_setting("sql-mode", "")
        .with_setting("default-time-zone", "+05:00")
        .with_setting("autocommit", "0")
        .with_setting("completion-type", "1")
        .with_setting("character-set-server", "latin1")
        .with_setting("lc-messages", "de_DE")
        .with_setting(
            "init-connect",
            "SET unique_checks = 0, foreign_key_checks = 0",
        );
    let subject = Mysql::with(options).await;
    subject
        .execute("CREATE TABLE seen (id varchar(36) PRIMARY KEY, settings text)")
        .await;
    let statement = "INSERT INTO seen VALUES ($id, CONCAT_WS(' ', @@time_zone, @@autocommit, @@completion_type, \
        @@unique_checks, @@foreign_key_checks, @@lc_messages, @@character_set_client, @@tx_isolation, @@sql_mode))";
    let to = subject.made(json!({"statement": statement}));
    deliver_all(&*to, &events(1)).await;
    assert_eq!(
        subject.texts("SELECT settings FROM seen").await,
        [
            "+00:00 ON NO_CHAIN ON ON en_US utf8mb4 READ-COMMITTED STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION"
        ]
    );
    let to = subject.made(json!({}));
    let batch = [event(1, "/ä😀", "{\"ä\": \"😀\"}".as_bytes())];
    deliver_all(&*to, &batch).await;
    assert_eq!(subject.bodies("webhook_events").await, bodies(&batch));
}

#[tokio::test]
async fn a_binary_log_of_statements_is_written_to() {
    let options = Options::default()
        .with_setting("log-bin", "binlog")
        .with_setting("sync-binlog", "1")
        .with_setting("binlog-format", "STATEMENT");
    let subject = Mysql::with(options).await;
    let to = subject.made(json!({}));
    assert_eq!(to.inspect().await.unwrap(), vec![]);
    deliver_all(&*to, &events(100)).await;
    deliver_all(&*to, &events(150)).await;
    deliver_all(&*to, &events(150)).await;
    assert_eq!(subject.bodies("webhook_events").await, bodies(&events(150)));
}

#[tokio::test]
async fn values_are_read_by_the_columns_types() {
    let subject = Mysql::start().await;
    subject
        .execute(
            "CREATE TABLE t (id binary(16) PRIMARY KEY, at datetime(3), there timestamp(6) NULL, ok boolean, n bigint);
             CREATE TABLE u (id uuid PRIMARY KEY, at datetime(6))",
        )
        .await;
    let columns = json!({"at": "/at", "there": "$received_at", "ok": "/ok", "n": "/n"});
    let to = subject.made(json!({"table": "t", "id_column": "ID", "columns": columns}));
    assert_eq!(to.inspect().await.unwrap(), vec![]);
    let body = br#"{"at": "2026-03-01T14:00:00.25+02:00", "ok": true, "n": -7}"#;
    for _ in 0..2 {
        deliver_all(
            &*to,
            &[event(1, "/", body), event(2, "/", br#"{"ok": false}"#)],
        )
        .await;
    }
    let rows = "SELECT concat_ws(' ', lower(hex(id)), at, coalesce(ok, '-'), n) FROM t ORDER BY id";
    assert_eq!(
        subject.texts(rows).await,
        [
            "01901234567870008000000000000001 2026-03-01 12:00:00.250 1 -7",
            "01901234567870008000000000000002 0"
        ]
    );
    let to =
        subject.made(json!({"table": "u", "id_column": "id", "columns": {"at": "$received_at"}}));
    for _ in 0..2 {
        deliver_all(&*to, &events(3)).await;
    }
    let rows = subject
        .texts("SELECT id || ' ' || at FROM u ORDER BY id")
        .await;
    assert_eq!(rows.len(), 3);
    assert_eq!(
        rows[0],
        "01901234-5678-7000-8000-000000000000 2026-03-01 12:00:00.123456"
    );
}

#[tokio::test]
async fn a_body_that_only_the_server_refuses_is_moved_to_body_raw() {
    let subject = Mysql::start().await;
    // JSON to MariaDB is text with a check, which refuses what nests too deep for it.
    for kind in ["json", "text", "longtext CHARACTER SET latin1"] {
        subject
            .execute(&format!(
                "DROP TABLE IF EXISTS webhook_events; CREATE TABLE webhook_events (id char(36) PRIMARY KEY, \
                 source text, received_at datetime(6), method text, path text, headers json, content_type text, \
                 body {kind}, body_raw longblob) DEFAULT CHARACTER SET utf8mb4"
            ))
            .await;
        let to = subject.made(json!({}));
        let deep = format!("{}{}", "[".repeat(900), "]".repeat(900));
        let long = format!("\"{}\"", "x".repeat(70_000));
        let mut batch = events(40);
        batch[17] = event(17, "/", deep.as_bytes());
        batch[18] = event(18, "/", long.as_bytes());
        batch[19] = event(19, "/", "\"😀\"".as_bytes());
        deliver_all(&*to, &batch).await;
        assert_eq!(subject.bodies("webhook_events").await, bodies(&batch));
        let raw = "SELECT count(*) || '' FROM webhook_events WHERE body_raw IS NOT NULL";
        assert_eq!(subject.texts(raw).await, ["1"], "{kind}");
    }
}

#[tokio::test]
async fn an_event_larger_than_sixteen_mebibytes_arrives_where_the_server_takes_it() {
    let options = Options::default()
        .with_setting("max-allowed-packet", "64M")
        .with_setting("innodb-log-file-size", "256M");
    let subject = Mysql::with(options).await;
    let to = subject.made(json!({}));
    let mut batch = vec![event(1, "/", &vec![b'\xff'; 20 << 20]), event(2, "", b"{}")];
    batch.push(event(
        3,
        "",
        &[b"\"", &vec![b'x'; 17 << 20][..], b"\""].concat(),
    ));
    deliver_all(&*to, &batch).await;
    deliver_all(&*to, &batch).await;
    assert_eq!(subject.bodies("webhook_events").await, bodies(&batch));
}

#[tokio::test]
async fn a_repeat_changes_nothing_and_needs_no_right_to_update() {
    let subject = Mysql::start().await;
    subject
        .execute(
            "CREATE TABLE t (n int AUTO_INCREMENT PRIMARY KEY, id char(36) NOT NULL UNIQUE, v varchar(9) UNIQUE,
               changed int NOT NULL DEFAULT 0);
             CREATE TRIGGER t_changed BEFORE UPDATE ON t FOR EACH ROW SET NEW.changed = OLD.changed + 1;
             CREATE USER writer IDENTIFIED BY 'w'; GRANT SELECT, INSERT ON forebay.t TO writer",
        )
        .await;
    let address = subject.server.addr();
    let to = made(&json!({
        "type": "mysql", "url": format!("mysql://writer:w@{address}/forebay"),
        "table": "t", "id_column": "id", "columns": {"v": "/v"},
    }));
    assert_eq!(to.inspect().await.unwrap(), vec![]);
    to.probe().await.unwrap();
    let one = event(1, "/", br#"{"v": "a"}"#);
    let two = event(2, "/", br#"{"v": "b"}"#);
    deliver_all(&*to, &[one.clone(), two.clone()]).await;
    // The first conflicts with both its indexes, and is there; the second with two rows of others', and is not.
    let other = event(3, "/", br#"{"v": "b"}"#);
    let outcome = to
        .deliver(&[one.clone(), other, event(4, "/", b"{}")])
        .await;
    assert_eq!(outcome.outcomes[0], Outcome::Delivered);
    assert!(
        rejected(&outcome.outcomes[1])
            .detail
            .contains("constraint v"),
        "{outcome:?}"
    );
    assert_eq!(outcome.outcomes[2], Outcome::Delivered);
    // There, though what it would write now conflicts with another row.
    deliver_all(&*to, &[event(1, "/", br#"{"v": "b"}"#)]).await;
    let rows = "SELECT coalesce(v, '-') || changed FROM t ORDER BY id";
    assert_eq!(subject.texts(rows).await, ["a0", "b0", "-0"]);
}

#[tokio::test]
async fn a_statement_may_take_body_and_body_raw_apart() {
    let subject = Mysql::start().await;
    subject
        .execute("CREATE TABLE mine (id char(36) PRIMARY KEY, at timestamp(6) NULL, body json, raw longblob, headers json)")
        .await;
    let to = subject.made(json!({
        "statement": "INSERT IGNORE INTO mine VALUES ($id, $received_at, $body, $body_raw, $headers) # $nothing"
    }));
    // INSERT IGNORE would let anything pass; the server's check is what it does not ignore.
    deliver_all(
        &*to,
        &[event(1, "/", br#"{"a": 1}"#), event(2, "/", b"\xff\0")],
    )
    .await;
    let to = subject.made(json!({
        "statement": "INSERT INTO mine VALUES ($id, $received_at, $body, $body_raw, $headers)"
    }));
    deliver_all(&*to, &[event(3, "/", b"no json")]).await;
    let rows = "SELECT concat_ws(' ', at, body, hex(raw), json_value(headers, '$.\"content-type\"')) FROM mine ORDER BY id";
    assert_eq!(
        subject.texts(rows).await,
        [
            "2026-03-01 12:00:00.123456 {\"a\": 1} application/json",
            "2026-03-01 12:00:00.123456 FF00 application/json",
            "2026-03-01 12:00:00.123456 6E6F206A736F6E application/json"
        ]
    );
}

#[tokio::test]
async fn a_dead_letters_attributes_are_among_its_headers() {
    let subject = Mysql::start().await;
    let to = subject.made(json!({}));
    deliver_all(&*to, &[as_dead(event(1, "/", b"\xff"))]).await;
    let headers = subject.texts("SELECT headers FROM webhook_events").await;
    let headers: Value = serde_json::from_str(&headers[0]).unwrap();
    assert_eq!(headers["forebay-reason"], "retries-exhausted");
    assert_eq!(headers["forebay-attempts"], "9");
    assert_eq!(headers["forebay-route"], "genesys-to-db");
    assert_eq!(
        headers["forebay-event-id"],
        "01901234-5678-7000-8000-000000000001"
    );
    assert_eq!(headers["x-many"][1], "two \"quoted\"");
}
