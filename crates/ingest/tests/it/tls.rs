//! TLS in front of the listener: what is spoken, who may connect, what a certificate lets through, and what clients that
//! never come to an end with their handshake cost.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use ingest::{ClientAuth, Front, Settings, TlsOptions, TlsVersion};
use rustls::HandshakeKind;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::authority::{Authority, Client};
use super::door::{Answered, Door, journal, posting, sources, stored};

const LONG: Duration = Duration::from_secs(60);
const SOURCES: &str = r#"{
    "open": {"type": "http", "max_body": "1000B"},
    "sender": {"type": "http", "verify": {"scheme": "mtls", "subjects": ["sender"]}}
}"#;

fn tls(options: &TlsOptions) -> Front {
    Front {
        tls: Some(Authority::tls(options)),
        ..Front::default()
    }
}

async fn door(
    front: Front,
    directory: &std::path::Path,
    change: impl FnOnce(&mut Settings),
) -> Door {
    Door::open_behind(front, &sources(SOURCES), journal(directory), change).await
}

/// The status of a post, if the client gets so far.
async fn post(door: &Door, client: &Client, path: &str) -> Option<u16> {
    let mut stream = client.over(door.connect().await).await.ok()?;
    stream.write_all(&posting(path, &[], b"{}")).await.ok()?;
    // Of TLS 1.3 a client learns only now that it was refused.
    let mut first = [0];
    stream.read_exact(&mut first).await.ok()?;
    Some(Answered::read(&mut (&first[..]).chain(stream)).await.status)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_versions_and_both_protocols_are_spoken() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let journal = journal(directory.path());
    let front = tls(&authority.server(directory.path()));
    let door = Door::open_behind(front, &sources(SOURCES), journal.clone(), |_| {}).await;
    for newest in [TlsVersion::Tls12, TlsVersion::Tls13] {
        let mut client = authority.client();
        client.newest = newest;
        client.protocols = vec![b"http/1.1".to_vec()];
        assert_eq!(post(&door, &client, "/in/open").await, Some(200));

        client.protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let stream = client.over(door.connect().await).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                .await
                .unwrap();
        let driven = tokio::spawn(connection);
        let body = Full::new(Bytes::from_static(b"{}"));
        let request = http::Request::post("https://localhost/in/open").body(body);
        let answer = sender.send_request(request.unwrap()).await.unwrap();
        assert_eq!(answer.status(), 200);
        answer.into_body().collect().await.unwrap();
        drop(sender);
        driven.await.unwrap().unwrap();
    }
    assert!(door.close().await);
    assert_eq!(stored(&journal).await.len(), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn older_versions_than_the_least_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let options = TlsOptions {
        min_version: TlsVersion::Tls13,
        ..authority.server(directory.path())
    };
    let door = door(tls(&options), directory.path(), |_| {}).await;
    let mut client = authority.client();
    client.newest = TlsVersion::Tls12;
    assert_eq!(post(&door, &client, "/in/open").await, None);
    door.refused("tls-failed", 1..=1).await;
    client.newest = TlsVersion::Tls13;
    assert_eq!(post(&door, &client, "/in/open").await, Some(200));
    assert!(door.close().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plain_http_is_told_what_is_spoken() {
    let directory = tempfile::tempdir().unwrap();
    let front = tls(&Authority::new().server(directory.path()));
    let door = door(front, directory.path(), |_| {}).await;
    let answered = door.post("/in/open", &[], b"{}").await;
    assert_eq!(
        (answered.status, answered.code().as_str()),
        (400, "https-expected")
    );
    door.refused("https-expected", 1..=1).await;
    assert!(door.close().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_opens_what_it_is_named_for_and_nothing_else() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let good = || authority.client().showing(&authority, "sender");
    let other = || authority.client().showing(&authority, "other");
    let foreign = || authority.client().showing(&stranger, "sender");
    let none = || authority.client();
    for (auth, mut client, sender, open) in [
        (ClientAuth::Required, good(), Some(200), Some(200)),
        (ClientAuth::Required, other(), Some(401), Some(200)),
        (ClientAuth::Required, foreign(), None, None),
        (ClientAuth::Required, none(), None, None),
        (ClientAuth::Optional, good(), Some(200), Some(200)),
        (ClientAuth::Optional, other(), Some(401), Some(200)),
        (ClientAuth::Optional, foreign(), None, None),
        (ClientAuth::Optional, none(), Some(401), Some(200)),
        (ClientAuth::None, good(), Some(401), Some(200)),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let options = match auth {
            ClientAuth::None => authority.server(directory.path()),
            auth => authority.asking(directory.path(), auth),
        };
        let door = door(tls(&options), directory.path(), |_| {}).await;
        for newest in [TlsVersion::Tls12, TlsVersion::Tls13] {
            client.newest = newest;
            let of = async |path| post(&door, &client, path).await;
            assert_eq!(of("/in/sender").await, sender, "{auth:?} {newest:?}");
            assert_eq!(of("/in/open").await, open, "{auth:?} {newest:?}");
        }
        assert!(door.close().await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_is_taken_up_again_only_where_nobody_shows_a_certificate() {
    let authority = Authority::new();
    for (auth, again) in [
        (ClientAuth::None, HandshakeKind::Resumed),
        (ClientAuth::Optional, HandshakeKind::Full),
        (ClientAuth::Required, HandshakeKind::Full),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let options = match auth {
            ClientAuth::None => authority.server(directory.path()),
            auth => authority.asking(directory.path(), auth),
        };
        let door = door(tls(&options), directory.path(), |_| {}).await;
        for newest in [TlsVersion::Tls12, TlsVersion::Tls13] {
            let mut client = authority.client().showing(&authority, "sender");
            client.newest = newest;
            // What is remembered belongs to the client's configuration.
            let config = client.config();
            for expected in [HandshakeKind::Full, again] {
                let stream = door.connect().await;
                let mut stream = Client::with(&config, stream).await.unwrap();
                stream
                    .write_all(&posting("/in/open", &[], b"{}"))
                    .await
                    .unwrap();
                assert_eq!(Answered::read(&mut stream).await.status, 200);
                let kind = stream.get_ref().1.handshake_kind();
                assert_eq!(kind, Some(expected), "{auth:?} {newest:?}");
            }
        }
        assert!(door.close().await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_certificate_is_for_new_connections_and_cuts_no_old_one() {
    let directory = tempfile::tempdir().unwrap();
    let (old, new) = (Authority::new(), Authority::new());
    let options = old.server(directory.path());
    let front = tls(&options);
    let certificate = front.tls.clone().unwrap();
    let door = door(front, directory.path(), |_| {}).await;
    let mut kept = old.client().over(door.connect().await).await.unwrap();
    new.put(&options);
    certificate.reload().unwrap();
    assert_eq!(post(&door, &old.client(), "/in/open").await, None);
    assert_eq!(post(&door, &new.client(), "/in/open").await, Some(200));
    kept.write_all(&posting("/in/open", &[], b"{}"))
        .await
        .unwrap();
    assert_eq!(Answered::read(&mut kept).await.status, 200);
    drop(kept);
    assert!(door.close().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handshake_has_the_time_of_a_head_and_is_a_connection() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let front = tls(&authority.server(directory.path()));
    let door = door(front, directory.path(), |settings| {
        settings.limits.connections = 2;
        settings.limits.header_timeout = Duration::from_millis(300);
    })
    .await;
    let mut silent = door.connect().await;
    let mut half = door.connect().await;
    half.write_all(b"\x16\x03\x01\x02\x00\x01").await.unwrap();
    // There is no third.
    door.connect().await.read_to_end(&mut Vec::new()).await.ok();
    door.refused("too-many-connections", 1..=1).await;
    let ended = async {
        // Reset or closed: they are rid of.
        silent.read_to_end(&mut Vec::new()).await.ok();
        half.read_to_end(&mut Vec::new()).await.ok();
    };
    tokio::time::timeout(LONG, ended).await.unwrap();
    door.refused("head-too-slow", 2..=2).await;
    assert_eq!(
        post(&door, &authority.client(), "/in/open").await,
        Some(200)
    );

    // One whose head does not come is told so within TLS.
    let mut slow = authority.client().over(door.connect().await).await.unwrap();
    slow.write_all(b"POST /in/open HTTP/1.1\r\n").await.unwrap();
    let answered = Answered::read(&mut slow).await;
    assert_eq!(
        (answered.status, answered.code().as_str()),
        (408, "head-too-slow")
    );
    drop(slow);
    assert!(door.close().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_handshakes_count_until_there_is_no_room_for_more_of_them() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let front = tls(&authority.server(directory.path()));
    let door = door(front, directory.path(), |settings| {
        settings.limits.in_flight_bytes = 1 << 20;
        settings.limits.header_timeout = Duration::from_hours(1);
    })
    .await;
    // A hello of 64 KB in records of 16 KB each, whose end does not come.
    let record = |bytes: &[u8]| {
        let length = u16::try_from(bytes.len()).unwrap().to_be_bytes();
        [&[0x16, 3, 1], &length[..], bytes].concat()
    };
    let mut hello = record(&[&[1, 0, 0xff, 0xf0][..], &[0; 16_000]].concat());
    hello.extend((0..2).flat_map(|_| record(&[0; 16_000])));
    let mut held = Vec::new();
    for _ in 0..20 {
        let mut client = door.connect().await;
        // One that is cut meanwhile.
        client.write_all(&hello).await.ok();
        held.push(client);
    }
    // Each holds 32 KB beyond what is free, and an address half of 256 KB.
    door.refused("busy", 15..=17).await;
    // Those who say what they want are served beside them.
    assert_eq!(
        post(&door, &authority.client(), "/in/open").await,
        Some(200)
    );
    drop(held);
    assert!(door.close().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_early_refusal_reaches_a_client_that_sends_on_within_tls() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let front = tls(&authority.server(directory.path()));
    let door = door(front, directory.path(), |_| {}).await;
    for _ in 0..20 {
        let stream = authority.client().over(door.connect().await).await.unwrap();
        let (mut reading, mut writing) = tokio::io::split(stream);
        let sending = tokio::spawn(async move {
            let body = vec![b'x'; 4 << 20];
            // It is cut off at some time.
            writing
                .write_all(&posting("/in/open", &[], &body))
                .await
                .ok();
            writing
        });
        let answered = Answered::read(&mut reading).await;
        assert_eq!(answered.status, 413);
        drop(sending.await.unwrap());
    }
    assert!(door.close().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopping_does_not_wait_for_handshakes() {
    let directory = tempfile::tempdir().unwrap();
    let front = tls(&Authority::new().server(directory.path()));
    let door = door(front, directory.path(), |settings| {
        settings.limits.header_timeout = Duration::from_hours(1);
    })
    .await;
    let mut half = door.connect().await;
    half.write_all(b"\x16\x03\x01").await.unwrap();
    assert!(door.close().await);
    half.read_to_end(&mut Vec::new()).await.ok();
}
