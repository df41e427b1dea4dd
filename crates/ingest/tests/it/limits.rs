//! What holds one sender off so that others are served: rate, addresses, connections, and shares of the memory.

use std::time::Duration;

use futures_util::future::select_all;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::door::{Answered, Door, journal, sources, stored};

/// One a second is less than any test asks for.
const SLOW: &str = r#"{
    "slow": {"type": "http", "rate_limit": {"per_second": 1, "burst": 3}},
    "signed": {"type": "http", "rate_limit": {"per_second": 1, "burst": 1},
               "verify": {"scheme": "bearer", "secrets": ["a-token-of-more-than-sixteen-letters"]}},
    "open": {"type": "http"}
}"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_its_rate_a_source_says_429_before_the_body_and_no_other_does() {
    let directory = tempfile::tempdir().unwrap();
    let journal = journal(directory.path());
    let door = Door::open(&sources(SLOW), journal.clone(), |_| {}).await;
    // However long this takes, a hundred are more than it gives out meanwhile.
    let begun = std::time::Instant::now();
    let mut taken = 0;
    let refused = loop {
        let answered = door.post("/in/slow", &[], b"{}").await;
        if answered.status != 200 {
            break answered;
        }
        taken += 1;
        assert!(taken < 100, "nothing is refused");
    };
    assert!(taken >= 3, "{taken}");
    assert!(taken <= 3 + begun.elapsed().as_secs() + 1, "{taken}");
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (429, "rate-limited")
    );
    assert!(
        refused.head.contains("\r\nretry-after: 1\r\n"),
        "{refused:?}"
    );

    // Nothing of a body is waited for.
    let early = async {
        loop {
            let mut client = door.connect().await;
            let head = "POST /in/slow HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\n";
            client.write_all(head.as_bytes()).await.unwrap();
            let answered =
                tokio::time::timeout(Duration::from_millis(500), Answered::read(&mut client));
            if answered.await.is_ok_and(|answered| answered.status == 429) {
                break;
            }
            door.post("/in/slow", &[], b"{}").await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), early)
        .await
        .unwrap();
    assert_eq!(door.post("/in/open", &[], b"{}").await.status, 200);
    assert!(door.close().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_cannot_sign_does_not_use_up_the_rate() {
    let directory = tempfile::tempdir().unwrap();
    let door = Door::open(&sources(SLOW), journal(directory.path()), |_| {}).await;
    for _ in 0..20 {
        assert_eq!(door.post("/in/signed", &[], b"{}").await.status, 401);
    }
    let token = [(
        "authorization",
        "Bearer a-token-of-more-than-sixteen-letters",
    )];
    assert_eq!(door.post("/in/signed", &token, b"{}").await.status, 200);
    assert!(door.close().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_takes_only_from_where_it_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let journal = journal(directory.path());
    let listed = r#"{
        "here": {"type": "http", "allow_from": ["127.0.0.0/8"]},
        "elsewhere": {"type": "http", "allow_from": ["10.0.0.0/8", "::1"],
                      "verify": {"scheme": "meta", "secrets": ["a-secret-of-many-letters"], "verify_token": "a-token-of-many-letters"}}
    }"#;
    let door = Door::open(&sources(listed), journal.clone(), |_| {}).await;
    assert_eq!(door.post("/in/here", &[], b"{}").await.status, 200);
    let refused = door.post("/in/elsewhere", &[], b"{}").await;
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (403, "not-allowed")
    );
    // Its challenge is not answered either, nor is it told what methods there are.
    let challenge = "GET /in/elsewhere?hub.mode=subscribe&hub.verify_token=a-token-of-many-letters&hub.challenge=1 HTTP/1.1\r\nhost: x\r\n\r\n";
    assert_eq!(door.say(challenge.as_bytes()).await.status, 403);
    assert_eq!(stored(&journal).await.len(), 1);
    assert!(door.close().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_connection_more_than_an_address_may_have_is_told_503() {
    let directory = tempfile::tempdir().unwrap();
    let open = sources(r#"{"open": {"type": "http"}}"#);
    let door = Door::open(&open, journal(directory.path()), |settings| {
        settings.limits.connections_per_address = 3;
    })
    .await;
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut client = door.connect().await;
        client
            .write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
            .await
            .unwrap();
        assert_eq!(Answered::read(&mut client).await.status, 200);
        held.push(client);
    }
    let mut one_more = door.connect().await;
    let told = Answered::read(&mut one_more).await;
    assert_eq!(
        (told.status, told.code().as_str()),
        (503, "too-many-from-address")
    );
    assert!(told.head.contains("retry-after: "), "{told:?}");
    door.refused("too-many-from-address", 1..=1).await;
    drop(held);
    let taken = async {
        loop {
            let mut client = door.connect().await;
            let request = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n";
            if client.write_all(request).await.is_ok()
                && Answered::read(&mut client).await.status == 200
            {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), taken)
        .await
        .unwrap();
    assert!(door.close().await);
}

/// The senders of one source announce bodies and send all but the last byte, until they are refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_fills_the_memory_leaves_room_for_another() {
    let directory = tempfile::tempdir().unwrap();
    let two = sources(r#"{"greedy": {"type": "http"}, "honest": {"type": "http"}}"#);
    let door = Door::open(&two, journal(directory.path()), |settings| {
        settings.limits.in_flight_bytes = 1 << 20;
        settings.limits.header_timeout = Duration::from_hours(1);
        settings.limits.body_timeout = Duration::from_hours(1);
        settings.limits.min_body_rate = 0;
    })
    .await;
    let body = vec![b'x'; 50_000];
    let all_but_one = |path: &str| {
        let length = body.len() + 1;
        let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n");
        [head.as_bytes(), &body].concat()
    };
    let mut held = Vec::new();
    for _ in 0..20 {
        let mut client = door.connect().await;
        client.write_all(&all_but_one("/in/greedy")).await.unwrap();
        held.push(client);
    }
    let refused = select_all(
        held.iter_mut()
            .map(|client| Box::pin(Answered::read(client))),
    );
    let (refused, _, _) = tokio::time::timeout(Duration::from_secs(60), refused)
        .await
        .unwrap();
    assert_eq!((refused.status, refused.code().as_str()), (503, "busy"));

    // A third of what is left is as much as it wants.
    for _ in 0..50 {
        let answered = door.post("/in/honest", &[], &vec![b'y'; 120_000]).await;
        assert_eq!(answered.status, 200, "{answered:?}");
    }
    drop(held);
    assert!(door.close().await);
}

/// Streams that are reset as soon as they were taken notice of, each in a write of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_gives_up_every_stream_is_given_up() {
    let directory = tempfile::tempdir().unwrap();
    let open = sources(r#"{"open": {"type": "http"}}"#);
    let door = Door::open(&open, journal(directory.path()), |_| {}).await;
    let frame = |kind: u8, flags: u8, stream: u32, payload: &[u8]| {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
    };
    let mut client = door.connect().await;
    client.set_nodelay(true).unwrap();
    let hello = [
        &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..],
        &frame(4, 0, 0, &[]),
    ]
    .concat();
    client.write_all(&hello).await.unwrap();
    let (mut from, mut into) = client.into_split();
    let read = tokio::spawn(async move {
        let mut scratch = [0; 1 << 10];
        while from.read(&mut scratch).await.is_ok_and(|read| read > 0) {}
    });
    // POST, http, path, and a body that never comes: the request is under way until it is reset.
    let head = [&[0x83, 0x86, 0x04, 8], &b"/in/open"[..]].concat();
    let resets = async {
        for stream in (1..).step_by(2) {
            let begun = into.write_all(&frame(1, 4, stream, &head)).await;
            tokio::task::yield_now().await;
            let reset = into
                .write_all(&frame(3, 0, stream, &8_u32.to_be_bytes()))
                .await;
            if begun.and(reset).is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), resets)
        .await
        .unwrap();
    read.await.unwrap();
    assert_eq!(door.post("/in/open", &[], b"{}").await.status, 200);
    assert!(door.close().await);
}
