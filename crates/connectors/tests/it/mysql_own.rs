//! What is MySQL's own: types, modes, packets, conflicts, TLS.

use domain::Outcome;
use serde_json::{Value, json};
use testbed::mariadb::Options;

use crate::contract::{Database as _, Subject as _};
use crate::events::{
    as_dead, bodies, context, deliver_all, deliver_to_nobody, event, events, made,
};
use crate::mysql::Mysql;

fn rejected(outcome: &Outcome) -> &domain::Cause {
    let Outcome::Reject { cause } = outcome else {
        panic!("{outcome:?}");
    };
    cause
}

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
async fn a_refusal_names_number_and_constraint_and_no_value() {
    let subject = Mysql::start().await;
    let to = subject.made(json!({}));
    to.inspect().await.unwrap();
    subject.refuse_bad_paths().await;
    let outcome = to.deliver(&[event(1, "/bad", b"secret")]).await;
    let cause = rejected(&outcome.outcomes[0]);
    assert_eq!(cause.code, "mysql 4025 (23000)");
    assert!(cause.detail.contains("constraint good"), "{cause}");
    assert!(!cause.to_string().contains("/bad"), "{cause}");

    subject
        .execute(
            "CREATE TABLE t (id char(36) PRIMARY KEY, n int, v varchar(40), UNIQUE INDEX vees (v))",
        )
        .await;
    let own = json!({"table": "t", "id_column": "id", "columns": {"n": "/n", "v": "/v"}});
    let to = subject.made(own);
    deliver_all(&*to, &[event(1, "/", br#"{"v": "secret"}"#)]).await;
    for (body, code, name) in [
        (&br#"{"n": "secret"}"#[..], "mysql 1366 (22007)", "column n"),
        (
            br#"{"v": "secret"}"#,
            "mysql 1062 (23000)",
            "constraint vees",
        ),
        (br#"{"n": 99999999999}"#, "mysql 1264 (22003)", "column n"),
    ] {
        let outcome = to.deliver(&[event(2, "/", body)]).await;
        let cause = rejected(&outcome.outcomes[0]);
        assert_eq!(cause.code, code);
        assert!(cause.detail.contains(name), "{cause}");
        assert!(!cause.to_string().contains("secret"), "{cause}");
    }
}

#[tokio::test]
async fn a_value_too_long_for_its_column_is_rejected_and_not_cut() {
    // A server that would cut it, if it were not told to be strict.
    let subject = Mysql::with(Options::default().with_setting("sql-mode", "")).await;
    subject
        .execute("CREATE TABLE t (id char(36) PRIMARY KEY, v varchar(3))")
        .await;
    let to = subject.made(json!({"table": "t", "id_column": "id", "columns": {"v": "/v"}}));
    let outcome = to
        .deliver(&[
            event(1, "/", br#"{"v": "abcd"}"#),
            event(2, "/", br#"{"v": "abc"}"#),
        ])
        .await;
    assert_eq!(rejected(&outcome.outcomes[0]).code, "mysql 1406 (22001)");
    assert_eq!(outcome.outcomes[1], Outcome::Delivered);
    assert_eq!(subject.texts("SELECT v FROM t").await, ["abc"]);
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
async fn an_event_over_the_largest_packet_is_too_large_and_the_others_go_in_statements_that_fit() {
    let subject = Mysql::with(Options::default().with_setting("max-allowed-packet", "1M")).await;
    let to = subject.made(json!({}));
    let body = format!("\"{}\"", "x".repeat(100_000));
    let mut batch: Vec<_> = (0..70).map(|at| event(at, "/", body.as_bytes())).collect();
    batch[30] = event(30, "/", &vec![b'x'; 1 << 20]);
    let outcome = to.deliver(&batch).await;
    assert_eq!(outcome.unavailable, None);
    let cause = rejected(&outcome.outcomes[30]);
    assert_eq!(cause.code, "too-large");
    assert!(
        cause.detail.contains("max_allowed_packet is 1048576"),
        "{cause}"
    );
    batch.remove(30);
    assert_eq!(subject.bodies("webhook_events").await, bodies(&batch));
    // As large as it can be.
    let largest = event(99, "/", &vec![b'x'; (1 << 20) - 2048]);
    deliver_all(&*to, &[largest]).await;
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
async fn retries_and_rejects_follow_the_number_and_sqlstate() {
    let subject = Mysql::start().await;
    subject
        .execute(
            "CREATE TABLE seen (id char(36) PRIMARY KEY);
             CREATE TABLE codes (path varchar(40) PRIMARY KEY, number int);
             CREATE PROCEDURE write_event(id char(36), at text) BEGIN
               DECLARE code int DEFAULT (SELECT number FROM codes WHERE path = at);
               IF code IS NOT NULL THEN
                 IF at = '/own' THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'secret';
                 ELSE SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'secret', MYSQL_ERRNO = code; END IF;
               END IF;
               INSERT INTO seen VALUES (id) ON DUPLICATE KEY UPDATE seen.id = seen.id;
             END;
             INSERT INTO codes VALUES ('/own', 1)",
        )
        .await;
    let to = subject.made(json!({"statement": "CALL write_event($id, $path)"}));
    let mut number = 100;
    for (code, retries) in [
        (1205, true),
        (1213, true),
        (1452, true),
        (1969, true),
        (3024, true),
        (1062, false),
        (3819, false),
        (4025, false),
        (1366, false),
        (1644, false),
    ] {
        number += 1;
        let path = if code == 1644 {
            "/own".to_owned()
        } else {
            format!("/{code}")
        };
        if code != 1644 {
            subject
                .execute(&format!("INSERT INTO codes VALUES ('{path}', {code})"))
                .await;
        }
        let mut batch = events(10);
        batch[4] = event(number, &path, b"{}");
        let outcome = to.deliver(&batch).await;
        assert_eq!(outcome.unavailable, None, "{code}");
        let (Outcome::Retry { cause, .. } | Outcome::Reject { cause }) = &outcome.outcomes[4]
        else {
            panic!("{code}: {outcome:?}");
        };
        assert_eq!(cause.code, format!("mysql {code} (45000)"));
        assert!(!cause.to_string().contains("secret"), "{cause}");
        let is_retry = matches!(outcome.outcomes[4], Outcome::Retry { .. });
        assert_eq!(is_retry, retries, "{code}");
        let delivered = outcome
            .outcomes
            .iter()
            .filter(|one| **one == Outcome::Delivered);
        // A deadlock ends the transaction, and with it whatever was written in it before.
        let least = if code == 1213 { 8 } else { 9 };
        assert!(delivered.count() >= least, "{code}: {outcome:?}");
    }
    for code in [1114, 1021, 1290, 1836, 1040, 1053, 1142, 1927] {
        subject
            .execute(&format!("INSERT INTO codes VALUES ('/{code}', {code})"))
            .await;
        let told = deliver_to_nobody(&*to, &[event(200, &format!("/{code}"), b"{}")]).await;
        assert_eq!(told, format!("mysql {code} (45000)"));
        deliver_all(&*to, &events(1)).await;
    }
}

#[tokio::test]
async fn a_row_that_is_locked_comes_later_and_the_others_do_not_wait_for_it() {
    for rolls_back in ["OFF", "ON"] {
        let options = Options::default()
            .with_setting("innodb-lock-wait-timeout", "1")
            .with_setting("innodb-rollback-on-timeout", rolls_back);
        let subject = Mysql::with(options).await;
        let to = subject.made(json!({}));
        deliver_all(&*to, &events(1)).await;
        let mut lock = subject.server.client().await.unwrap();
        let insert = "INSERT INTO webhook_events (id, source, received_at, method, path, headers) \
             VALUES ('01901234-5678-7000-8000-000000000004', '', now(), '', '', '{}')";
        use mysql_async::prelude::Queryable as _;
        lock.query_drop("START TRANSACTION").await.unwrap();
        lock.query_drop(insert).await.unwrap();
        let outcome = to.deliver(&events(8)).await;
        assert_eq!(outcome.unavailable, None);
        let Outcome::Retry { cause, .. } = &outcome.outcomes[4] else {
            panic!("{outcome:?}");
        };
        assert_eq!(cause.code, "mysql 1205 (HY000)");
        let delivered = |outcome: &&Outcome| **outcome == Outcome::Delivered;
        assert_eq!(outcome.outcomes.iter().filter(delivered).count(), 7);
        lock.query_drop("ROLLBACK").await.unwrap();
        deliver_all(&*to, &events(8)).await;
        assert_eq!(subject.bodies("webhook_events").await, bodies(&events(8)));
    }
}

#[tokio::test]
async fn a_statement_that_takes_too_long_for_the_server_comes_later() {
    let subject = Mysql::with(Options::default().with_setting("max-statement-time", "0.3")).await;
    subject
        .execute("CREATE TABLE mine (id char(36) PRIMARY KEY, slept int)")
        .await;
    let slow = "INSERT INTO mine SELECT $id, IF($path = '/slow', SLEEP(5), 0) ON DUPLICATE KEY UPDATE id = mine.id";
    let to = subject.made(json!({"statement": slow}));
    let outcome = to
        .deliver(&[event(1, "/", b""), event(2, "/slow", b"")])
        .await;
    assert_eq!(outcome.outcomes[0], Outcome::Delivered, "{outcome:?}");
    assert!(
        matches!(&outcome.outcomes[1], Outcome::Retry { cause, .. } if cause.code.starts_with("mysql 1969")),
        "{outcome:?}"
    );
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
async fn a_statement_that_cannot_be_is_named_plainly() {
    let subject = Mysql::start().await;
    subject
        .execute(
            "CREATE TABLE mine (id char(36) PRIMARY KEY);
             CREATE PROCEDURE commits(id char(36)) BEGIN INSERT INTO mine VALUES (id); COMMIT; END",
        )
        .await;
    for (statement, words) in [
        (
            "INSERT INTO mine VALUES (CONCAT($id, ?))",
            "parameters other than",
        ),
        ("INSERT INTO absent VALUES ($id)", "no such table"),
        ("INSERT INTO mine (nope) VALUES ($id)", "no such column"),
        (
            "INSERT INTO mine VALUES ($id); SELECT 1",
            "does not fit the database",
        ),
        ("CALL absent($id)", "no such procedure"),
    ] {
        let to = subject.made(json!({"statement": statement}));
        let told = to.deliver(&events(1)).await.unavailable.unwrap();
        assert!(told.to_string().contains(words), "{statement}: {told}");
    }
}

#[tokio::test]
async fn what_somebody_must_mend_is_told_with_its_remedy() {
    let subject = Mysql::with(Options::default().with_setting("max-connections", "3")).await;
    subject.execute("CREATE TABLE webhook_events (id char(36)); CREATE USER poor IDENTIFIED BY 'n'; GRANT SELECT ON forebay.webhook_events TO poor").await;
    let address = subject.server.addr();
    let at = |who: &str, database: &str| format!("mysql://{who}@{address}/{database}");
    for (url, more, code, words) in [
        (
            at("app:wrong", "forebay"),
            json!({}),
            "mysql 1045 (28000)",
            "correct the URL",
        ),
        (
            at("nobody:x", "forebay"),
            json!({}),
            "mysql 1045 (28000)",
            "correct the URL",
        ),
        (
            at("app:right", "absent"),
            json!({}),
            "mysql 1044 (42000)",
            "grant INSERT",
        ),
        (
            at("poor:n", "forebay"),
            json!({"id_column": "id", "columns": {"id2": "/a"}}),
            "table",
            "no column id2: add it",
        ),
        (
            at("poor:n", "forebay"),
            json!({"table": "fresh"}),
            "mysql 1142 (42000)",
            "CREATE if Forebay",
        ),
        (
            at("poor:n", "forebay"),
            json!({"statement": "INSERT INTO webhook_events VALUES ($id)"}),
            "mysql 1142 (42000)",
            "grant INSERT",
        ),
        (
            at("app:right", "forebay?ssl-mode=required"),
            json!({}),
            "connection",
            "the server has no TLS",
        ),
    ] {
        let mut section = json!({"type": "mysql", "url": url});
        section
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let to = made(&section);
        let told = to.probe().await.unwrap_err().cause;
        assert_eq!(told.code, code, "{told}");
        assert!(told.detail.contains(words), "{told}");
        assert!(!told.detail.contains("wrong"), "{told}");
        deliver_to_nobody(&*to, &events(1)).await;
    }
    let mut others = Vec::new();
    while let Ok(other) = mysql_async::Conn::from_url(subject.server.url()).await {
        others.push(other);
    }
    let told = subject.made(json!({})).probe().await.unwrap_err().cause;
    assert_eq!(told.code, "mysql 1040 (HY000)", "{told}");
    assert!(told.detail.contains("raise max_connections"), "{told}");
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

#[tokio::test]
async fn tls_is_verified_as_ssl_mode_says() {
    let subject = Mysql::with(Options::default().with_tls()).await;
    let other = Mysql::with(Options::default().with_tls()).await;
    let port = subject.server.port();
    subject
        .execute("CREATE USER tls IDENTIFIED BY 'right' REQUIRE SSL; GRANT ALL ON forebay.* TO tls")
        .await;
    let own = subject.server.ca().unwrap();
    let foreign = other.server.ca().unwrap();
    let url = |host: &str, mode: &str, ca: Option<&std::path::Path>, more: &str| {
        let ca = ca.map_or(String::new(), |path| format!("&ssl-ca={}", path.display()));
        json!({
            "type": "mysql",
            "url": format!("mysql://tls:right@{host}:{port}/forebay?ssl-mode={mode}{ca}{more}"),
            "connect_timeout": "60s",
        })
    };
    for (section, works) in [
        (url("localhost", "verify-identity", Some(&own), ""), true),
        (url("127.0.0.1", "verify-identity", Some(&own), ""), true),
        (
            url(
                "127.0.0.1",
                "verify-identity",
                Some(&own),
                "&ssl-name=localhost",
            ),
            true,
        ),
        (
            url(
                "127.0.0.1",
                "verify-identity",
                Some(&own),
                "&ssl-name=elsewhere",
            ),
            false,
        ),
        (
            url("localhost", "verify-identity", Some(&foreign), ""),
            false,
        ),
        (url("localhost", "required", None, ""), true),
        (url("localhost", "preferred", None, ""), true),
        (url("localhost", "disabled", None, ""), false),
    ] {
        let to = made(&section);
        let seen = to.probe().await;
        assert_eq!(seen.is_ok(), works, "{section}: {seen:?}");
        if let Err(why) = seen {
            assert!(!why.to_string().contains("right"), "{why}");
        }
    }
    let to = made(&url("localhost", "verify-identity", Some(&own), ""));
    deliver_all(&*to, &events(600)).await;
    assert_eq!(subject.bodies("webhook_events").await, bodies(&events(600)));

    let options = url(
        "localhost",
        "verify-identity",
        Some("/no/such.pem".as_ref()),
        "",
    );
    let options: connectors::DestinationOptions = serde_json::from_value(options).unwrap();
    let error = connectors::build(&options.validate().unwrap(), &context())
        .err()
        .unwrap();
    assert!(error.to_string().contains("/no/such.pem"), "{error}");
}

#[tokio::test]
async fn a_url_file_is_read_for_every_connection_and_may_name_a_socket() {
    let subject = Mysql::start().await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("url");
    std::fs::write(&file, "mysql://app:old@127.0.0.1:1/forebay\n").unwrap();
    let to = made(&json!({"type": "mysql", "url_file": file}));
    let why = to.probe().await.unwrap_err().to_string();
    assert!(why.contains("127.0.0.1:1") && !why.contains("old"), "{why}");
    std::fs::write(&file, subject.server.url()).unwrap();
    deliver_all(&*to, &events(2)).await;
    let socket = subject.server.socket();
    let url = format!("mysql://root@localhost/forebay?socket={}", socket.display());
    deliver_all(&*made(&json!({"type": "mysql", "url": url})), &events(3)).await;
}
