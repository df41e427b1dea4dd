//! What MySQL's refusals mean, and how it is told: of an event, of an account, of a connection.

use domain::Outcome;
use mysql_async::prelude::Queryable as _;
use serde_json::json;
use testbed::mariadb::Options;

use crate::contract::{Database as _, Subject as _};
use crate::events::{bodies, context, deliver_all, deliver_to_nobody, event, events, made};
use crate::mysql::{Mysql, rejected};

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
    // The server says it before it knows which of its two codes to send.
    assert!(told.code.starts_with("mysql 1040 ("), "{told}");
    assert!(told.detail.contains("raise max_connections"), "{told}");
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
