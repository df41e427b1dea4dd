//! Each kind of bad input gets the status of the contract's table, and nothing of it is stored.

use std::time::Duration;

use tokio::io::AsyncWriteExt;

use super::door::{Answered, Door, journal, sources, stored};

const SOURCES: &str = r#"{
    "open": {"type": "http", "max_body": "1000B", "paths": ["/webhook"]},
    "json": {"type": "http", "require_json": true},
    "signed": {"type": "http", "verify": {"scheme": "genesys-open-messaging", "secrets": ["a-secret-of-many-letters"]}},
    "basic": {"type": "http", "verify": {"scheme": "basic", "secrets": ["user:password"]}}
}"#;

struct Case {
    claim: &'static str,
    request: Vec<u8>,
    status: u16,
    code: &'static str,
}

fn case(claim: &'static str, request: impl Into<Vec<u8>>, status: u16, code: &'static str) -> Case {
    Case {
        claim,
        request: request.into(),
        status,
        code,
    }
}

fn cases() -> Vec<Case> {
    let post = |path: &str, rest: &str| format!("POST {path} HTTP/1.1\r\nhost: x\r\n{rest}");
    let chunked = format!(
        "transfer-encoding: chunked\r\n\r\n{:x}\r\n{}\r\n0\r\n\r\n",
        1001,
        "x".repeat(1001)
    );
    vec![
        case(
            "not JSON",
            post("/in/json", "content-length: 3\r\n\r\n{a}"),
            400,
            "not-json",
        ),
        case(
            "JSON but for its encoding",
            [
                post("/in/json", "content-length: 9\r\n\r\n").as_bytes(),
                b"{\"a\":\"\xe9\"}",
            ]
            .concat(),
            400,
            "not-json",
        ),
        case(
            "wrong signature",
            post(
                "/in/signed",
                "x-hub-signature-256: sha256=AAAA\r\ncontent-length: 2\r\n\r\n{}",
            ),
            401,
            "not-verified",
        ),
        case(
            "missing signature",
            post("/in/signed", "content-length: 2\r\n\r\n{}"),
            401,
            "not-verified",
        ),
        case(
            "missing credential",
            post("/in/basic", "content-length: 2\r\n\r\n{}"),
            401,
            "not-verified",
        ),
        case(
            "announced over the limit",
            post(
                "/in/open",
                &format!("content-length: 1001\r\n\r\n{}", "x".repeat(1001)),
            ),
            413,
            "body-too-large",
        ),
        case(
            "chunked over the limit",
            post("/in/open", &chunked),
            413,
            "body-too-large",
        ),
        case(
            "unknown source",
            post("/in/nobody", "content-length: 2\r\n\r\n{}"),
            404,
            "no-such-source",
        ),
        case(
            "unknown path",
            post("/elsewhere", "content-length: 0\r\n\r\n"),
            404,
            "no-such-source",
        ),
        case(
            "wrong method",
            "GET /in/open HTTP/1.1\r\nhost: x\r\n\r\n",
            405,
            "method-not-allowed",
        ),
        case(
            "a source that was taken out",
            post("/in/gone", "content-length: 2\r\n\r\n{}"),
            503,
            "source-removed",
        ),
        case(
            "headers over the limit",
            post(
                "/in/open",
                &format!(
                    "x-big: {}\r\ncontent-length: 2\r\n\r\n{{}}",
                    "x".repeat(50_000)
                ),
            ),
            431,
            "headers-too-large",
        ),
        case(
            "a length that is none",
            post("/in/open", "content-length: two\r\n\r\n{}"),
            400,
            "",
        ),
        case(
            "two lengths that differ",
            post(
                "/in/open",
                "content-length: 2\r\ncontent-length: 3\r\n\r\n{}",
            ),
            400,
            "",
        ),
        case("no HTTP at all", "hello\r\n\r\n", 400, ""),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_of_bad_input_has_its_status_and_nothing_of_it_is_stored() {
    let directory = tempfile::tempdir().unwrap();
    let journal = journal(directory.path());
    let door = Door::open(&sources(SOURCES), journal.clone(), |_| {}).await;
    for case in cases() {
        let answered = door.say(&case.request).await;
        assert_eq!(answered.status, case.status, "{}: {answered:?}", case.claim);
        if case.code.is_empty() {
            continue;
        }
        assert_eq!(answered.code(), case.code, "{}", case.claim);
        assert!(
            answered
                .head
                .contains("content-type: application/problem+json"),
            "{}",
            case.claim
        );
        assert_eq!(answered.json()["status"], case.status, "{}", case.claim);
        assert_eq!(
            answered.head.contains("retry-after"),
            case.status == 503,
            "{}",
            case.claim
        );
        assert_eq!(
            answered.head.contains("allow: post"),
            case.status == 405,
            "{}",
            case.claim
        );
    }
    let basic = door.post("/in/basic", &[], b"{}").await;
    assert!(basic.head.contains("www-authenticate: basic"), "{basic:?}");
    assert!(stored(&journal).await.is_empty());
    door.refused("request-unreadable", 3..=3).await;
    let text = door.metrics();
    for line in [
        "forebay_events_refused_total{source=\"json\",code=\"not-json\"} 2",
        "forebay_events_refused_total{source=\"signed\",code=\"not-verified\"} 2",
        "forebay_events_refused_total{source=\"unknown\",code=\"no-such-source\"} 2",
        "forebay_events_accepted_total{source=\"open\"} 0",
    ] {
        assert!(text.contains(line), "no {line} in {text}");
    }
    assert!(door.close().await);
}

/// 300 KiB in one field and in three hundred: more than hyper's buffer either way, and the answer still
/// reaches a client that goes on sending.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_headers_is_answered_431_while_it_is_still_coming() {
    let directory = tempfile::tempdir().unwrap();
    let door = Door::open(&sources(SOURCES), journal(directory.path()), |_| {}).await;
    let one = format!(
        "POST /in/open HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n",
        "x".repeat(300 << 10)
    );
    let many: String = (0..300)
        .map(|n| format!("x-{n}: {}\r\n", "x".repeat(1 << 10)))
        .collect();
    let many = format!("POST /in/open HTTP/1.1\r\nhost: x\r\n{many}\r\n");
    for request in [one, many] {
        assert_eq!(door.say(request.as_bytes()).await.status, 431);
    }
    door.refused("headers-too-large", 2..=2).await;
    assert!(door.close().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_early_refusal_reaches_a_client_that_sends_megabytes() {
    let directory = tempfile::tempdir().unwrap();
    let door = Door::open(&sources(SOURCES), journal(directory.path()), |_| {}).await;
    let body = vec![b'x'; 8 << 20];
    assert_eq!(door.post("/in/open", &[], &body).await.status, 413);
    assert_eq!(door.post("/in/nobody", &[], &body).await.status, 404);
    assert!(door.close().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_heads_and_slow_bodies_are_answered_408_and_silence_is_closed() {
    let directory = tempfile::tempdir().unwrap();
    let journal = journal(directory.path());
    let door = Door::open(&sources(SOURCES), journal.clone(), |settings| {
        settings.limits.header_timeout = Duration::from_millis(300);
        settings.limits.body_timeout = Duration::from_millis(300);
    })
    .await;
    let slow_body = door
        .say(b"POST /in/open HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n{")
        .await;
    assert_eq!(
        (slow_body.status, slow_body.code().as_str()),
        (408, "body-too-slow")
    );

    let mut slow_head = door.connect().await;
    slow_head
        .write_all(b"POST /in/open HTTP/1.1\r\nhost: x\r\nx-")
        .await
        .unwrap();
    let answered = Answered::read(&mut slow_head).await;
    assert_eq!(
        (answered.status, answered.code().as_str()),
        (408, "head-too-slow")
    );

    let mut silent = door.connect().await;
    let mut scratch = [0; 10];
    let closed = tokio::io::AsyncReadExt::read(&mut silent, &mut scratch);
    assert_eq!(
        tokio::time::timeout(Duration::from_secs(60), closed)
            .await
            .unwrap()
            .unwrap(),
        0
    );
    assert!(stored(&journal).await.is_empty());
    door.refused("head-too-slow", 1..=1).await;
    assert!(door.close().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_connection_too_many_is_told_so_and_the_others_are_served() {
    let directory = tempfile::tempdir().unwrap();
    let door = Door::open(&sources(SOURCES), journal(directory.path()), |settings| {
        settings.limits.connections = 2;
    })
    .await;
    let (mut one, _two) = (door.connect().await, door.connect().await);
    // Both are taken once one of them was answered.
    let request = b"POST /in/open HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}";
    one.write_all(request).await.unwrap();
    assert_eq!(Answered::read(&mut one).await.status, 200);
    let mut three = door.connect().await;
    let told = Answered::read(&mut three).await;
    assert_eq!(
        (told.status, told.code().as_str()),
        (503, "too-many-connections")
    );
    assert!(told.head.contains("retry-after: ") && told.head.contains("connection: close"));
    door.refused("too-many-connections", 1..=1).await;
    one.write_all(request).await.unwrap();
    assert_eq!(Answered::read(&mut one).await.status, 200);
    drop((one, three));
    assert!(door.close().await);
}
