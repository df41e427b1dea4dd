//! Bad requests at the real ports: each has its status, and nothing of it is stored, except what is only
//! odd, which reaches PostgreSQL.

use testbed::Result;
use testbed::postgres::{Options, Server};
use testbed::sender::genesys_signature;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::rig::{self, GENESYS, SECRET, TABLE};
use crate::wire::{address, say};

const SOURCES: &str = r#"
[sources.open]
type = "http"
max_body = "1000B"
[sources.json]
type = "http"
require_json = true
[routes.all]
from = ["genesys", "open", "json"]
to = "db"
"#;

/// A POST that asks to close the connection after the answer.
fn post(path: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n"
    );
    [head.as_bytes(), body].concat()
}

fn signed(secret: &str, body: &[u8]) -> String {
    let signature = genesys_signature(secret.as_bytes(), body);
    format!("x-hub-signature-256: {signature}\r\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_requests_are_refused_and_only_odd_ones_are_stored() -> Result<()> {
    let server = Server::start_new(Options::default()).await?;
    let config = [GENESYS, SOURCES, &rig::postgres(&server.url(), "")].concat();
    let forebay = rig::forebay(config).start().await?;
    let ingest = address(&forebay.ingest(""));

    let chunk = "x".repeat(1_001);
    let chunked = format!(
        "POST /in/open HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n\
         3e9\r\n{chunk}\r\n0\r\n\r\n"
    );
    let huge = format!("x-huge: {}\r\n", "x".repeat(300 << 10));
    let get = "GET /in/open HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let wrong = signed("another-secret-of-many-letters", b"{}");
    let other_body = signed(SECRET, b"{ }");
    let refused: [(&str, Vec<u8>, u16, &str); 11] = [
        ("not JSON", post("/in/json", "", b"{a}"), 400, "not-json"),
        (
            "not UTF-8",
            post("/in/json", "", b"{\"a\":\"\xff\"}"),
            400,
            "not-json",
        ),
        (
            "wrong secret",
            post("/in/genesys", &wrong, b"{}"),
            401,
            "not-verified",
        ),
        (
            "other body",
            post("/in/genesys", &other_body, b"{}"),
            401,
            "not-verified",
        ),
        (
            "no signature",
            post("/webhook/gc", "", b"{}"),
            401,
            "not-verified",
        ),
        (
            "too long",
            post("/in/open", "", chunk.as_bytes()),
            413,
            "body-too-large",
        ),
        (
            "too long, chunked",
            chunked.into_bytes(),
            413,
            "body-too-large",
        ),
        (
            "unknown source",
            post("/in/nobody", "", b"{}"),
            404,
            "no-such-source",
        ),
        ("wrong method", get.into(), 405, "method-not-allowed"),
        (
            "300 KiB of headers",
            post("/in/open", &huge, b"{}"),
            431,
            "",
        ),
        ("no HTTP", b"hello\r\n\r\n".to_vec(), 400, ""),
    ];
    // What does not even fit the parser's buffer is refused by it, without a word.
    for (claim, request, status, code) in refused {
        let answer = say(ingest, &request).await;
        assert_eq!(answer.status, status, "{claim}: {answer:?}");
        if !code.is_empty() {
            assert_eq!(answer.code(), code, "{claim}: {answer:?}");
        }
    }

    let odd_header = [
        b"POST /in/open HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 2\r\nx-odd: caf\xe9\xff\r\n\r\n{}".as_slice(),
    ]
    .concat();
    let odd_header = say(ingest, &odd_header).await;
    assert_eq!(odd_header.status, 200, "{odd_header:?}");
    let nul = br#"{"text":"a\u0000b"}"#;
    let nul_signed = say(ingest, &post("/in/genesys", &signed(SECRET, nul), nul)).await;
    assert_eq!(nul_signed.status, 200, "{nul_signed:?}");

    // The events without a word of JSON come last: once it is there, so is everything before it.
    let bytes = b"\x00\xff not text";
    let raw = say(ingest, &post("/in/open", "", bytes)).await;
    assert_eq!(raw.status, 200, "{raw:?}");
    forebay
        .status_until("all three are delivered", testbed::DEADLINE, |status| {
            rig::count(status, "all", "delivered") == 3
        })
        .await?;
    assert_eq!(
        server.count(TABLE).await?,
        3,
        "something refused was stored"
    );
    rig::assert_balanced(&forebay).await?;

    let sql = format!(
        "SELECT coalesce(convert_to(body::text, 'UTF8'), body_raw), headers::text FROM {TABLE} WHERE id = $1"
    );
    for (id, body) in [
        (odd_header.id(), b"{}".as_slice()),
        (nul_signed.id(), nul),
        (raw.id(), bytes),
    ] {
        let rows = server.rows(&sql, &[&id]).await?;
        let stored: Vec<u8> = rows[0].get(0);
        assert_eq!(stored, body, "{id}");
    }
    let rows = server.rows(&sql, &[&odd_header.id()]).await?;
    let headers: String = rows[0].get(1);
    assert!(headers.contains("x-odd"), "{headers}");
    Ok(())
}

const POST_HEAD: &str = "POST /webhook HTTP/1.1\r\nhost: x\r\n";

/// Requests that stop somewhere, and what is said to each once its time is over.
fn slow() -> [(String, &'static str); 3] {
    [
        (format!("{POST_HEAD}x-never-"), "head-too-slow"),
        (
            format!("{POST_HEAD}content-length: 100\r\n\r\nonly so much"),
            "body-too-slow",
        ),
        (
            format!("{POST_HEAD}transfer-encoding: chunked\r\n\r\n64\r\nonly so much"),
            "body-too-slow",
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_requests_are_told_408() -> Result<()> {
    let limits = "[server.limits]\nheader_timeout = \"500ms\"\nbody_timeout = \"500ms\"\n";
    let forebay = rig::forebay(limits).start().await?;
    let ingest = address(&forebay.ingest(""));
    for (request, code) in slow() {
        let answer = say(ingest, request.as_bytes()).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (408, code),
            "{answer:?}"
        );
    }
    let status = forebay.status().await?;
    assert_eq!(status["accepted"], 0, "{status}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_for_those_who_are_slow() -> Result<()> {
    // They have all the time there is.
    let limits = "[server.limits]\nheader_timeout = \"1h\"\nbody_timeout = \"1h\"\n";
    let forebay = rig::forebay(limits).start().await?;
    let ingest = address(&forebay.ingest(""));
    let mut held = Vec::new();
    for (request, _) in slow() {
        let mut slow = TcpStream::connect(ingest).await.unwrap();
        slow.write_all(request.as_bytes()).await.unwrap();
        held.push(slow);
    }
    for _ in 0..20 {
        let answer = say(ingest, &post("/webhook", "", b"{}")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    drop(held);
    Ok(())
}
