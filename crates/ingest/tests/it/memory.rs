//! What anybody may send before it is known who it is takes a bounded amount of memory.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::select_all;
use http_body_util::StreamBody;
use hyper::body::Frame;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::door::{Answered, Door, journal, sources};

const LONG: Duration = Duration::from_secs(60);
const BUDGET: u64 = 256 << 10;

/// A door with room for some heads of 20 KB; nothing of what follows is ended by a timeout.
async fn door(directory: &std::path::Path) -> Door {
    let open = sources(r#"{"open": {"type": "http"}}"#);
    Door::open(&open, journal(directory), |settings| {
        settings.limits.in_flight_bytes = BUDGET;
        settings.limits.header_timeout = Duration::from_hours(1);
        settings.limits.body_timeout = Duration::from_hours(1);
    })
    .await
}

/// Posts until the answer has this status.
async fn until(door: &Door, status: u16) -> Answered {
    let asked = async {
        loop {
            let answered = door.post("/in/open", &[], b"{}").await;
            if answered.status == status {
                break answered;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LONG, asked).await.unwrap()
}

async fn clients(door: &Door, count: usize, says: &[u8]) -> Vec<TcpStream> {
    let mut clients = Vec::new();
    for _ in 0..count {
        let mut client = door.connect().await;
        client.write_all(says).await.unwrap();
        clients.push(client);
    }
    clients
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_count_while_their_bodies_are_awaited() {
    let directory = tempfile::tempdir().unwrap();
    let door = door(directory.path()).await;
    let head = format!(
        "POST /in/open HTTP/1.1\r\nhost: x\r\nx: {}\r\ncontent-length: 9\r\n\r\n",
        "x".repeat(20_000)
    );
    let mut held = clients(&door, 30, head.as_bytes()).await;
    let refused = select_all(
        held.iter_mut()
            .map(|client| Box::pin(Answered::read(client))),
    );
    let (refused, _, _) = tokio::time::timeout(LONG, refused).await.unwrap();
    assert_eq!((refused.status, refused.code().as_str()), (503, "busy"));
    assert!(refused.head.contains("retry-after: "), "{refused:?}");
    drop(held);
    until(&door, 200).await;
    assert!(door.close().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_of_http2_streams_count_while_their_bodies_are_awaited() {
    let directory = tempfile::tempdir().unwrap();
    let door = door(directory.path()).await;
    let stream = TokioIo::new(door.connect().await);
    let (mut client, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), stream)
            .await
            .unwrap();
    let driven = tokio::spawn(connection);
    let answers: Vec<_> = (0..30)
        .map(|_| {
            let never =
                futures_util::stream::pending::<Result<Frame<Bytes>, std::convert::Infallible>>();
            let request = http::Request::post(format!("http://{}/in/open", door.address))
                .header("x", "x".repeat(20_000))
                .body(StreamBody::new(never))
                .unwrap();
            Box::pin(client.send_request(request))
        })
        .collect();
    let (first, _, _) = tokio::time::timeout(LONG, select_all(answers))
        .await
        .unwrap();
    assert_eq!(first.unwrap().status(), 503);
    drop(client);
    driven.abort();
    until(&door, 200).await;
    assert!(door.close().await);
}

/// A connection that goes over is told 503 while its head is still coming.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_heads_count_over_all_connections() {
    let directory = tempfile::tempdir().unwrap();
    let door = door(directory.path()).await;
    let half = format!(
        "POST /in/open HTTP/1.1\r\nhost: x\r\nx: {}",
        "x".repeat(30_000)
    );
    // As the first request of a connection, and after one that was answered.
    let whole = "GET /nowhere HTTP/1.1\r\nhost: x\r\n\r\n";
    for says in [half.clone(), format!("{whole}{half}")] {
        let mut held = clients(&door, 40, says.as_bytes()).await;
        let told = held.iter_mut().map(|client| {
            Box::pin(async move {
                let mut said = Vec::new();
                while !String::from_utf8_lossy(&said).contains("HTTP/1.1 503 ") {
                    assert_ne!(client.read_buf(&mut said).await.unwrap(), 0, "{said:?}");
                }
            })
        });
        tokio::time::timeout(LONG, select_all(told)).await.unwrap();
        // Those who know what they want still have their share.
        assert_eq!(door.post("/in/open", &[], b"{}").await.status, 200);
        drop(held);
    }
    // Of 80 connections in all, each is told at most once.
    door.refused("busy", 2..=80).await;
    let whole_head = format!("{half}\r\ncontent-length: 2\r\n\r\n{{}}");
    let answered = async {
        while door.say(whole_head.as_bytes()).await.status != 200 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LONG, answered).await.unwrap();
    assert!(door.close().await);
}

/// A connection of HTTP/2 costs more than one of HTTP/1, and there may be fewer of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_of_http2_count_although_they_say_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let door = door(directory.path()).await;
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    let says = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &settings].concat();
    let mut held = clients(&door, 10, &says).await;
    let closed = select_all(held.iter_mut().map(|client| {
        Box::pin(async move {
            let mut scratch = [0; 1 << 10];
            while client.read(&mut scratch).await.is_ok_and(|read| read > 0) {}
        })
    }));
    tokio::time::timeout(LONG, closed).await.unwrap();
    drop(held);
    until(&door, 200).await;
    assert!(door.close().await);
}

/// Header blocks of HTTP/2 that never end, on connections that have a request under way besides.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_header_blocks_of_http2_count_over_all_connections() {
    let directory = tempfile::tempdir().unwrap();
    let door = door(directory.path()).await;
    let frame = |kind: u8, flags: u8, stream: u8, payload: &[u8]| {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, flags, 0, 0, 0, stream], payload].concat()
    };
    // POST, http, path and no more.
    let path = [&[0x83, 0x86, 0x04, 8], &b"/in/open"[..]].concat();
    let says = [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        frame(4, 0, 0, &[]),
        frame(1, 4, 1, &path),
        frame(
            1,
            0,
            3,
            &[
                &path[..],
                &[0x40, 1, b'x', 0x7f, 0xff, 0xff, 0x01],
                &[b'x'; 16_000],
            ]
            .concat(),
        ),
        frame(9, 0, 3, &[b'x'; 14_000]),
    ]
    .concat();
    let mut held = Vec::new();
    for _ in 0..40 {
        let mut client = door.connect().await;
        // In two parts: what it is cannot be told from the first.
        client.write_all(&says[..2]).await.unwrap();
        client.set_nodelay(true).unwrap();
        client.write_all(&says[2..]).await.unwrap();
        held.push(client);
    }
    let closed = select_all(held.iter_mut().map(|client| {
        Box::pin(async move {
            let mut scratch = [0; 1 << 10];
            while client.read(&mut scratch).await.is_ok_and(|read| read > 0) {}
        })
    }));
    tokio::time::timeout(LONG, closed).await.unwrap();
    drop(held);
    until(&door, 200).await;
    assert!(door.close().await);
}

/// With the longest path and the most headers that are taken.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_largest_body_has_room_beside_the_largest_head() {
    let directory = tempfile::tempdir().unwrap();
    let limits = ingest::ListenerOptions {
        max_in_flight_bytes: domain::ByteSize::mib(1),
        ..ingest::ListenerOptions::default()
    };
    let limits = limits.validate().unwrap();
    let body = vec![b'x'; usize::try_from(limits.largest_body()).unwrap()];
    let open = sources(r#"{"open": {"type": "http"}}"#);
    let in_flight = limits.in_flight_bytes;
    let header_bytes = limits.header_bytes;
    let door = Door::open(&open, journal(directory.path()), |settings| {
        settings.limits = limits;
    })
    .await;
    let names: Vec<String> = (0..97).map(|number| format!("x-{number:02}")).collect();
    let value = "v".repeat(header_bytes / 100 - 12);
    let headers: Vec<_> = names
        .iter()
        .map(|name| (name.as_str(), value.as_str()))
        .collect();
    let path = format!("/in/open?{}", "q".repeat(header_bytes - 1000));
    assert_eq!(door.post(&path, &headers, &body).await.status, 200);
    let more = vec![b'x'; usize::try_from(in_flight * 3 / 4).unwrap()];
    let refused = door.post(&path, &headers, &more).await;
    assert_eq!((refused.status, refused.code().as_str()), (503, "busy"));
    assert!(door.close().await);
}
