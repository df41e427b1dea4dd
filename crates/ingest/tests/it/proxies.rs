//! Proxies in front of the listener: whose word counts for who sent a request.

use std::sync::Arc;

use ingest::{ForwardedHeader, Front, Proxies};
use tokio::io::AsyncWriteExt;

use super::authority::Authority;
use super::door::{Answered, Door, journal, posting, sources, stored};

const SOURCES: &str = r#"{"open": {"type": "http"}}"#;

fn proxies(trusted: &str, protocol: bool, header: ForwardedHeader) -> Front {
    let proxies = Proxies {
        trusted: vec![trusted.parse().unwrap()],
        protocol,
        header,
    };
    Front {
        proxies: Arc::new(proxies),
        ..Front::default()
    }
}

/// Whom the stored event names as its sender, when a connection begins with these bytes; or the status, if it is not
/// stored.
async fn sender(front: Front, begins: &[u8], headers: &[(&str, &str)]) -> Result<String, u16> {
    let directory = tempfile::tempdir().unwrap();
    let journal = journal(directory.path());
    let door = Door::open_behind(front, &sources(SOURCES), journal.clone(), |_| {}).await;
    let post = posting("/in/open", headers, b"{}");
    let answered = door.say(&[begins, &post].concat()).await;
    assert!(door.close().await);
    let mut events = stored(&journal).await;
    match events.pop() {
        Some(stored) => Ok(stored.event.remote.clone().unwrap()),
        None => Err(answered.status),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_a_trusted_proxy_says_who_the_sender_is() {
    let header = b"PROXY TCP4 198.51.100.7 192.0.2.1 4711 443\r\n";
    let off = ForwardedHeader::None;
    let said = sender(proxies("127.0.0.0/8", true, off), header, &[]).await;
    assert_eq!(said, Ok("198.51.100.7".into()));
    // From anybody else it is no header but a request that cannot be read.
    let said = sender(proxies("10.0.0.0/8", true, off), header, &[]).await;
    assert_eq!(said, Err(400));
    let said = sender(proxies("10.0.0.0/8", true, off), b"", &[]).await;
    assert_eq!(said, Ok("127.0.0.1".into()));

    let forwarded = [("x-forwarded-for", "1.1.1.1, 198.51.100.7")];
    let reads = ForwardedHeader::XForwardedFor;
    let said = sender(proxies("127.0.0.1", false, reads), b"", &forwarded).await;
    assert_eq!(said, Ok("198.51.100.7".into()));
    let said = sender(proxies("10.0.0.0/8", false, reads), b"", &forwarded).await;
    assert_eq!(said, Ok("127.0.0.1".into()));
    // Whom the proxy named is no proxy, and not believed in his turn.
    let said = sender(proxies("127.0.0.1", true, reads), header, &forwarded).await;
    assert_eq!(said, Ok("198.51.100.7".into()));
}

/// A proxy that forwards connections passes on whatever header a client wrote.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_its_proxy_does_not_know_is_not_believed() {
    let forwarded = [("x-forwarded-for", "198.51.100.7")];
    let unspecified = b"\r\n\r\n\0\r\nQUIT\n\x21\0\0\0";
    for header in [&b"PROXY UNKNOWN\r\n"[..], unspecified] {
        let front = proxies("127.0.0.1", true, ForwardedHeader::XForwardedFor);
        let said = sender(front, header, &forwarded).await;
        assert_eq!(said, Ok("127.0.0.1".into()), "{}", header.escape_ascii());
    }
    // The proxy names itself as the client: one behind the other, the nearer of which forwards connections.
    let header = b"PROXY TCP4 127.0.0.1 192.0.2.1 4711 443\r\n";
    let front = proxies("127.0.0.1", true, ForwardedHeader::XForwardedFor);
    let said = sender(front, header, &forwarded).await;
    assert_eq!(said, Ok("198.51.100.7".into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trusted_proxy_that_does_not_say_it_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let front = proxies("127.0.0.1", true, ForwardedHeader::None);
    let journal = journal(directory.path());
    let door = Door::open_behind(front, &sources(SOURCES), journal.clone(), |_| {}).await;
    let mut client = door.connect().await;
    client
        .write_all(&posting("/in/open", &[], b"{}"))
        .await
        .unwrap();
    door.refused("no-proxy-header", 1..=1).await;
    assert!(door.close().await);
    assert!(stored(&journal).await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_proxys_word_comes_before_the_handshake() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let front = Front {
        tls: Some(Authority::tls(&authority.server(directory.path()))),
        ..proxies("127.0.0.1", true, ForwardedHeader::None)
    };
    let journal = journal(directory.path());
    let door = Door::open_behind(front, &sources(SOURCES), journal.clone(), |_| {}).await;
    let mut stream = door.connect().await;
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x24".to_vec();
    let client: std::net::Ipv6Addr = "2001:db8::7".parse().unwrap();
    header.extend([client.octets(), client.octets()].concat());
    header.extend([18, 103, 1, 187]);
    stream.write_all(&header).await.unwrap();
    let mut stream = authority.client().over(stream).await.unwrap();
    stream
        .write_all(&posting("/in/open", &[], b"{}"))
        .await
        .unwrap();
    assert_eq!(Answered::read(&mut stream).await.status, 200);
    drop(stream);
    assert!(door.close().await);
    let event = stored(&journal).await.pop().unwrap().event;
    assert_eq!(event.remote.as_deref(), Some("2001:db8::7"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_are_counted_by_the_address_that_the_proxy_says() {
    let directory = tempfile::tempdir().unwrap();
    let front = proxies("127.0.0.1", true, ForwardedHeader::None);
    let journal = journal(directory.path());
    let door = Door::open_behind(front, &sources(SOURCES), journal, |settings| {
        settings.limits.connections_per_address = 1;
    })
    .await;
    let from = |last: u8| format!("PROXY TCP4 198.51.100.{last} 192.0.2.1 4711 443\r\n");
    let mut held = Vec::new();
    for (last, status) in [(1, 200), (2, 200), (1, 503), (3, 200)] {
        let mut client = door.connect().await;
        let post = posting("/in/open", &[], b"{}");
        let bytes = [from(last).as_bytes(), &post].concat();
        client.write_all(&bytes).await.unwrap();
        let answered = Answered::read(&mut client).await;
        assert_eq!(answered.status, status, "{last}: {answered:?}");
        held.push(client);
    }
    door.refused("too-many-from-address", 1..=1).await;
    // What the proxy says for itself is not counted.
    for _ in 0..3 {
        let mut client = door.connect().await;
        let post = posting("/in/open", &[], b"{}");
        let bytes = [b"PROXY UNKNOWN\r\n", &post[..]].concat();
        client.write_all(&bytes).await.unwrap();
        assert_eq!(Answered::read(&mut client).await.status, 200);
        held.push(client);
    }
    drop(held);
    assert!(door.close().await);
}
