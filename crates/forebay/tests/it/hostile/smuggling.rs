//! Requests that two readers could take for different ones (RFC 9112, 11.2): each is refused, or is one request
//! after which the connection ends. What is hidden in it is never taken for another.

use testbed::postgres::{Options, Server};
use testbed::{DEADLINE, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::rig::{self, TABLE};
use crate::wire::address;

const OPEN: &str = r#"
[sources.open]
type = "http"
[routes.all]
from = ["open"]
to = "db"
"#;

/// The request that somebody wants to get past a reader in front.
const HIDDEN: &str = "POST /in/open HTTP/1.1\r\nhost: x\r\ncontent-length: 8\r\n\r\nsmuggled";

/// What the connection said to its end, and how often it answered.
async fn said(to: std::net::SocketAddr, request: &str) -> (String, usize) {
    let mut client = TcpStream::connect(to).await.unwrap();
    client.write_all(request.as_bytes()).await.unwrap();
    client.shutdown().await.unwrap();
    let mut said = Vec::new();
    let read = tokio::time::timeout(DEADLINE, client.read_to_end(&mut said)).await;
    // A reset after the answer is one way to close.
    let _closed_or_reset = read.expect("the server closes");
    let said = String::from_utf8_lossy(&said).into_owned();
    let answers = said.matches("HTTP/1.1 ").count();
    (said, answers)
}

/// With what stands between `POST /in/open HTTP/1.1\r\nhost: x\r\n` and the end, whether it is refused.
fn pairs() -> Vec<(&'static str, String, u16)> {
    let hidden = HIDDEN.len();
    let behind_a_chunk = format!("0\r\n\r\n{HIDDEN}");
    let length = behind_a_chunk.len();
    let whole = |headers: &str| format!("{headers}\r\n{behind_a_chunk}");
    let with_length = |header: &str| whole(&format!("content-length: {length}\r\n{header}"));
    vec![
        // Where both are given, chunks count and the connection ends (RFC 9112, 6.3).
        ("CL.TE", with_length("transfer-encoding: chunked\r\n"), 200),
        (
            "TE.CL",
            format!(
                "transfer-encoding: chunked\r\ncontent-length: 4\r\n\r\n{hidden:x}\r\n{HIDDEN}\r\n0\r\n\r\n"
            ),
            200,
        ),
        (
            "TE.TE, the second unknown",
            with_length("transfer-encoding: chunked\r\ntransfer-encoding: cow\r\n"),
            400,
        ),
        (
            "TE.TE, the first unknown",
            with_length("transfer-encoding: cow\r\ntransfer-encoding: chunked\r\n"),
            200,
        ),
        (
            "TE.TE, misspelt",
            with_length("transfer-encoding: xchunked\r\n"),
            400,
        ),
        (
            "TE.TE, a blank before the colon",
            with_length("transfer-encoding : chunked\r\n"),
            400,
        ),
        (
            "TE.TE, a blank before the name",
            with_length(" transfer-encoding: chunked\r\n"),
            400,
        ),
        (
            "TE.TE, a tab within",
            with_length("transfer-encoding: \x0bchunked\r\n"),
            400,
        ),
        (
            "TE.TE, in quotes",
            with_length("transfer-encoding: \"chunked\"\r\n"),
            400,
        ),
        (
            "a folded line",
            with_length("transfer-encoding:\r\n chunked\r\n"),
            400,
        ),
        (
            "another folded line",
            with_length("x: y\r\n\ttransfer-encoding: chunked\r\n"),
            400,
        ),
        (
            "a bare LF",
            with_length("x: y\ntransfer-encoding: chunked\r\n"),
            400,
        ),
        (
            "a bare LF at the end of a head",
            format!("content-length: 0\r\nx: y\n\n{HIDDEN}"),
            400,
        ),
        (
            "a bare CR",
            with_length("x: y\rtransfer-encoding: chunked\r\n"),
            400,
        ),
        ("a NUL", with_length("x: y\0\r\n"), 400),
        (
            "two lengths",
            whole(&format!(
                "content-length: {length}\r\ncontent-length: 5\r\n"
            )),
            400,
        ),
        (
            "two lengths in one",
            whole(&format!("content-length: 5, {length}\r\n")),
            400,
        ),
        ("a signed length", whole("content-length: +5\r\n"), 400),
        ("a length in hex", whole("content-length: 0x5\r\n"), 400),
        (
            "a chunk's size with a sign",
            format!("transfer-encoding: chunked\r\n\r\n+0\r\n\r\n{HIDDEN}"),
            400,
        ),
        (
            "a chunk's size ended by a bare LF",
            format!("transfer-encoding: chunked\r\n\r\n0\n\r\n{HIDDEN}"),
            400,
        ),
        (
            "a chunk's extension with a bare LF",
            format!("transfer-encoding: chunked\r\n\r\n0;a\nb\r\n\r\n{HIDDEN}"),
            400,
        ),
        (
            "a chunk that is longer than it says",
            format!("transfer-encoding: chunked\r\n\r\n1\r\nxx\r\n0\r\n\r\n{HIDDEN}"),
            400,
        ),
        (
            "a chunk's size that is too large for any machine",
            format!("transfer-encoding: chunked\r\n\r\n10000000000000000\r\n\r\n{HIDDEN}"),
            400,
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_hidden_in_a_request_is_taken_for_another() -> Result<()> {
    let server = Server::start_new(Options::default()).await?;
    let config = [OPEN, &rig::postgres(&server.url(), "")].concat();
    let forebay = rig::forebay(config).start().await?;
    let ingest = address(&forebay.ingest(""));
    let mut taken = 0;
    let mut wrong = Vec::new();
    for (claim, rest, status) in pairs() {
        let request = format!("POST /in/open HTTP/1.1\r\nhost: x\r\n{rest}");
        let (said, answers) = said(ingest, &request).await;
        if answers != 1 || !said.starts_with(&format!("HTTP/1.1 {status} ")) {
            wrong.push(format!("{claim}: not {status} once but {said:?}"));
        }
        taken += u64::from(status == 200);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));

    // An honest one comes last: what was before it is there when it is.
    let (said, _) = said(ingest, &HIDDEN.replace("smuggled", "straight")).await;
    assert!(said.starts_with("HTTP/1.1 200 "), "{said}");
    forebay
        .status_until("all are delivered", DEADLINE, |status| {
            rig::count(status, "all", "delivered") == taken + 1
        })
        .await?;
    assert_eq!(server.count(TABLE).await?, taken + 1);
    let smuggled = format!(
        "SELECT count(*) FROM {TABLE} WHERE coalesce(body_raw, convert_to(body::text, 'UTF8')) = 'smuggled'"
    );
    let rows = server.rows(&smuggled, &[]).await?;
    assert_eq!(rows[0].get::<_, i64>(0), 0);
    Ok(())
}
