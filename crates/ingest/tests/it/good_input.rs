//! What is accepted is stored as it came, less the credential that proved it.

use std::collections::BTreeMap;

use domain::SystemClock;
use ingest::verify::VerifyOptions;

use super::door::{Door, journal, sources, stored};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn odd_bytes_are_kept_and_answered_200() {
    let directory = tempfile::tempdir().unwrap();
    let journal = journal(directory.path());
    let door = Door::open(
        &sources(r#"{"open": {"type": "http"}}"#),
        journal.clone(),
        |_| {},
    )
    .await;
    let mut request = b"POST /in/open?a=%00 HTTP/1.1\r\nhost: x\r\nX-Odd: caf\xe9\xff\r\ncontent-length: 16\r\n\r\n".to_vec();
    request.extend_from_slice(b"{\"nul\":\"a\\u0000\"");
    assert_eq!(door.say(&request).await.status, 200);
    let events = stored(&journal).await;
    assert_eq!(events.len(), 1);
    let event = &events[0].event;
    assert_eq!(event.header("x-odd").unwrap(), b"caf\xe9\xff");
    assert_eq!(event.path, "/in/open?a=%00");
    assert_eq!(event.body.as_ref(), b"{\"nul\":\"a\\u0000\"");
    assert!(door.close().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_credential_is_taken_off_before_storing_and_a_signature_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let journal = journal(directory.path());
    let door = Door::open(
        &sources(
            r#"{"bearer": {"type": "http", "verify": {"scheme": "bearer", "secrets": ["a-long-bearer-token"]}},
                "gc": {"type": "http", "paths": ["/webhook/gc"],
                       "verify": {"scheme": "genesys-open-messaging", "secrets": ["a-secret-of-many-letters"]}}}"#,
        ),
        journal.clone(),
        |_| {},
    )
    .await;
    let token = [
        ("authorization", "Bearer a-long-bearer-token"),
        ("x-kept", "yes"),
    ];
    assert_eq!(door.post("/in/bearer", &token, b"1").await.status, 200);

    let body = br#"{"id":"m1","channel":{"id":"c","time":"t"},"type":"Text"}"#;
    let verify: VerifyOptions = serde_json::from_value(serde_json::json!({
        "scheme": "genesys-open-messaging", "secrets": ["a-secret-of-many-letters"]
    }))
    .unwrap();
    let signed = verify.build().unwrap().sign(&ingest::verify::Unsigned {
        path: "/webhook/gc",
        url: None,
        body,
        id: "m1",
        now: domain::Clock::now(&SystemClock),
    });
    let signed = signed.unwrap();
    let headers: Vec<_> = signed
        .headers
        .iter()
        .map(|(n, v)| (n.as_str(), v.as_str()))
        .collect();
    let first = door.post("/webhook/gc", &headers, body).await;
    // A slash at the end makes no other path.
    let again = door.post("/in/gc/", &headers, body).await;
    assert_eq!(first.json()["status"], "accepted");
    assert_eq!(again.json()["status"], "duplicate");
    assert_eq!(first.json()["id"], again.json()["id"]);

    let events = stored(&journal).await;
    assert_eq!(events.len(), 2);
    assert_eq!(events[0].event.header("authorization"), None);
    assert_eq!(events[0].event.header("x-kept").unwrap(), b"yes");
    assert!(events[1].event.header("x-hub-signature-256").is_some());
    assert_eq!(
        events[1].id.to_string(),
        first.json()["id"].as_str().unwrap()
    );
    let status: BTreeMap<_, _> = domain::ports::Sources::statuses(&*door.ingest)
        .into_iter()
        .map(|s| (s.name.to_string(), s))
        .collect();
    assert_eq!((status["gc"].accepted, status["gc"].duplicates), (1, 1));
    assert_eq!(status["gc"].paths, ["/in/gc", "/webhook/gc"]);
    assert!(door.close().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_answers_what_it_was_told_to_and_deduplicates_by_what_it_was_told_to() {
    let directory = tempfile::tempdir().unwrap();
    let journal = journal(directory.path());
    let door = Door::open(
        &sources(
            r#"{"own": {"type": "http", "dedup": {"pointer": "/key"},
                        "respond": {"status": 202, "content_type": "text/xml", "body": "<ok/>"}},
                "header": {"type": "http", "dedup": {"header": "x-id"}},
                "off": {"type": "http", "dedup": "off"}}"#,
        ),
        journal.clone(),
        |_| {},
    )
    .await;
    for body in [
        &br#"{"key":1}"#[..],
        br#"{"key":1,"b":2}"#,
        br#"{"key":"1"}"#,
        b"no json",
        b"no json",
    ] {
        let answered = door.post("/in/own", &[], body).await;
        assert_eq!(
            (answered.status, answered.body.as_slice()),
            (202, &b"<ok/>"[..])
        );
        assert!(answered.head.contains("content-type: text/xml"));
    }
    for _ in 0..2 {
        door.post("/in/header", &[("x-id", "7")], b"x").await;
        door.post("/in/off", &[], b"x").await;
    }
    let by = |source: &str, events: &[domain::StoredEvent]| {
        events
            .iter()
            .filter(|stored| stored.event.source.as_str() == source)
            .count()
    };
    let events = stored(&journal).await;
    assert_eq!(
        (
            by("own", &events),
            by("header", &events),
            by("off", &events)
        ),
        (4, 1, 2)
    );
    assert!(door.close().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http2_without_tls_is_served_on_the_same_port() {
    let directory = tempfile::tempdir().unwrap();
    let journal = journal(directory.path());
    let door = Door::open(
        &sources(r#"{"open": {"type": "http"}}"#),
        journal.clone(),
        |_| {},
    )
    .await;
    let stream = hyper_util::rt::TokioIo::new(door.connect().await);
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut client, connection) = hyper::client::conn::http2::handshake(executor, stream)
        .await
        .unwrap();
    let driven = tokio::spawn(connection);
    for _ in 0..3 {
        let request = http::Request::post(format!("http://{}/in/open", door.address))
            .body(http_body_util::Full::new(bytes::Bytes::from_static(b"{}")))
            .unwrap();
        assert_eq!(client.send_request(request).await.unwrap().status(), 200);
    }
    drop(client);
    driven.await.unwrap().unwrap();
    assert_eq!(stored(&journal).await.len(), 3);
    assert!(door.close().await);
}

/// Senders that leave the id empty would otherwise have all but the first of their events thrown away, with
/// a 200.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_is_empty_tells_nothing_apart() {
    let directory = tempfile::tempdir().unwrap();
    let journal = journal(directory.path());
    let verify = |scheme: &str| {
        let secrets = ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"];
        serde_json::json!({ "scheme": scheme, "secrets": secrets })
    };
    let (genesys, standard) = (
        verify("genesys-open-messaging"),
        verify("standard-webhooks"),
    );
    let configured = serde_json::json!({
        "header": { "type": "http", "dedup": { "header": "x-id" } },
        "pointer": { "type": "http", "dedup": { "pointer": "/id" } },
        "genesys": { "type": "http", "verify": genesys },
        "standard": { "type": "http", "verify": standard },
    });
    let door = Door::open(&sources(&configured.to_string()), journal.clone(), |_| {}).await;
    let signed = |verify: &serde_json::Value, body: &[u8]| {
        let verify: VerifyOptions = serde_json::from_value(verify.clone()).unwrap();
        let unsigned = ingest::verify::Unsigned {
            path: "/in/x",
            url: None,
            body,
            id: "",
            now: domain::Clock::now(&SystemClock),
        };
        verify.build().unwrap().sign(&unsigned).unwrap().headers
    };
    let message = br#"{"id":"","type":"Text","channel":{"id":"c","time":"t"}}"#;
    let empty = vec![("x-id".to_owned(), String::new())];
    let posts = [
        ("header", empty, &b"1"[..]),
        ("pointer", vec![], br#"{"id":""}"#),
        ("pointer", vec![], br#"{"id":{ }}"#),
        ("pointer", vec![], br#"{"id":[ ]}"#),
        ("genesys", signed(&genesys, message), message),
        ("standard", signed(&standard, message), message),
    ];
    for (source, headers, body) in &posts {
        let headers: Vec<_> = headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        for _ in 0..2 {
            let answered = door.post(&format!("/in/{source}"), &headers, body).await;
            assert_eq!(
                answered.json()["status"],
                "accepted",
                "{source}: {answered:?}"
            );
        }
    }
    assert_eq!(stored(&journal).await.len(), 2 * posts.len());
    assert!(door.close().await);
}
