//! The attacks, each as a process of its own that says when it is under way and goes on until it is ended.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use testbed::hostile::http2::{self, flood};
use testbed::hostile::{Attack, End, pester, stranger, stranger_from};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{OTHER_TOKEN, honest};

/// In the order of the table.
pub(crate) const NAMES: [&str; 15] = [
    "idle connections",
    "connections opened and closed",
    "slow headers",
    "slow body",
    "endless chunked body",
    "a megabyte of headers",
    "rapid reset",
    "CONTINUATION flood",
    "empty CONTINUATION flood",
    "empty DATA flood",
    "PING and SETTINGS flood",
    "bad signatures",
    "bodies held back",
    "another source over its rate",
    "another source without a rate",
];

const POST: &str = "POST /in/other HTTP/1.1\r\nhost: x\r\n";
const CHUNKED: &str = "POST /in/other HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";

/// Slow enough to be taken for a client.
const TRICKLE: Duration = Duration::from_millis(20);

/// Idle connections, and of each address so many: fewer than it may have.
const IDLE: usize = 10_000;
const OF_AN_ADDRESS: usize = 500;

/// Whatever happens, no attack outlives this.
const LIFE: Duration = Duration::from_secs(60);

/// Attacks until it is ended.
pub(crate) async fn run(name: &str, to: SocketAddr) -> testbed::Result<()> {
    testbed::hostile::as_many_files_as_may_be()?;
    let mut held = Vec::new();
    if name == "idle connections" {
        for number in 0..IDLE {
            let last = u8::try_from(1 + number / OF_AN_ADDRESS).unwrap();
            held.push(
                stranger_from(Ipv4Addr::new(127, 0, 1, last), to)
                    .await
                    .unwrap(),
            );
        }
    }
    let attack = begin(name, to);
    // The first of them have been told something or are in the middle of it.
    tokio::time::sleep(Duration::from_millis(500)).await;
    println!("under way");
    tokio::time::sleep(LIFE).await;
    drop((attack, held));
    Ok(())
}

fn begin(name: &str, to: SocketAddr) -> Option<Attack> {
    let says = |beside, first: String, more: String, every| {
        Some(Attack::begin(beside, move || {
            pester(to, first.clone().into(), more.clone().into(), every)
        }))
    };
    let at_once = Duration::ZERO;
    match name {
        "idle connections" => None,
        "connections opened and closed" => Some(Attack::begin(8, move || async move {
            for _ in 0..100 {
                drop(stranger(to).await?);
            }
            Ok(End::Cut)
        })),
        "slow headers" => says(500, format!("{POST}x: "), "x".into(), TRICKLE),
        "slow body" => {
            let first = format!("{POST}content-length: 60000\r\n\r\n");
            says(500, first, "x".into(), TRICKLE)
        }
        "endless chunked body" => {
            let chunk = format!("1000\r\n{}\r\n", "x".repeat(0x1000));
            says(8, CHUNKED.into(), chunk, at_once)
        }
        "a megabyte of headers" => {
            let headers = "x-header: x\r\n".repeat((1 << 20) / 13);
            let whole = format!("{POST}{headers}content-length: 2\r\n\r\n{{}}");
            says(20, whole, String::new(), Duration::from_secs(1))
        }
        "rapid reset" => floods(to, http2::rapid_reset),
        "CONTINUATION flood" => floods(to, http2::continuations),
        "empty CONTINUATION flood" => floods(to, http2::empty_continuations),
        "empty DATA flood" => floods(to, http2::empty_data),
        "PING and SETTINGS flood" => floods(to, http2::pings_and_settings),
        "bad signatures" => posts(
            to,
            &honest::request(0, "a-secret-that-is-not-the-right-one"),
        ),
        "bodies held back" => {
            // Twelve of these are more than there is memory for.
            let length = 9 << 20;
            let first = format!(
                "{POST}content-length: {length}\r\n\r\n{}",
                "x".repeat(length - 1)
            );
            says(12, first, String::new(), Duration::from_secs(1))
        }
        "another source over its rate" => posts(to, &event("limited")),
        "another source without a rate" => posts(to, &event("other")),
        unknown => panic!("there is no attack {unknown:?}"),
    }
}

fn floods(to: SocketAddr, frames: fn(u32) -> Vec<u8>) -> Option<Attack> {
    Some(Attack::begin(10, move || flood(to, frames)))
}

/// An event that its source takes.
fn event(source: &str) -> Vec<u8> {
    let body = "x".repeat(1024);
    let head = format!(
        "POST /in/{source} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {OTHER_TOKEN}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    [head, body].concat().into()
}

/// The same request again and again on connections that stay, as fast as it is answered.
fn posts(to: SocketAddr, request: &[u8]) -> Option<Attack> {
    let request = request.to_vec();
    Some(Attack::begin(16, move || {
        let request = request.clone();
        async move { post_on(to, &request).await }
    }))
}

async fn post_on(to: SocketAddr, request: &[u8]) -> io::Result<End> {
    let mut stream = stranger(to).await?;
    let mut answer = [0; 4 << 10];
    loop {
        stream.write_all(request).await?;
        let mut read = 0;
        // The whole answer is one JSON object.
        while !answer[..read].ends_with(b"}") {
            match stream.read(&mut answer[read..]).await? {
                0 => return Ok(End::Cut),
                more => read += more,
            }
        }
    }
}
