//! The client of `bench ack`: a closed loop over so many connections, on threads of its own.
//!
//! It writes one prepared request and reads one answer, again and again, with as little work as a client
//! can do: what it costs is the same for every handler it is pointed at.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What a run measured.
#[derive(Debug, Clone)]
pub(super) struct Measured {
    pub per_second: f64,
    pub p50: Duration,
    pub p99: Duration,
}

/// Loads `address` for `time` over `connections` with one request again and again. Blocks. Every answer that
/// is not 200 is an error.
pub(super) fn run(
    address: SocketAddr,
    request: Vec<u8>,
    connections: usize,
    time: Duration,
) -> anyhow::Result<Measured> {
    let request = Arc::new(request);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let over = Arc::new(AtomicBool::new(false));
        let mut clients = Vec::with_capacity(connections);
        for _ in 0..connections {
            let stream = TcpStream::connect(address)
                .await
                .context("cannot connect")?;
            stream.set_nodelay(true)?;
            clients.push(stream);
        }
        let begun = Instant::now();
        let tasks: Vec<_> = clients
            .into_iter()
            .map(|stream| tokio::spawn(one(stream, Arc::clone(&request), Arc::clone(&over))))
            .collect();
        tokio::time::sleep(time).await;
        over.store(true, Ordering::Relaxed);
        let mut times: Vec<Duration> = Vec::new();
        for task in tasks {
            times.append(&mut task.await??);
        }
        let elapsed = begun.elapsed();
        times.sort_unstable();
        let at = |part: usize| {
            times
                .get(times.len() * part / 100)
                .copied()
                .unwrap_or_default()
        };
        #[expect(clippy::cast_precision_loss, reason = "a rate")]
        let per_second = times.len() as f64 / elapsed.as_secs_f64();
        Ok(Measured {
            per_second,
            p50: at(50),
            p99: at(99),
        })
    })
}

/// A body of JSON of so many bytes.
pub(super) fn body(bytes: usize) -> Vec<u8> {
    let mut body = br#"{"text":""#.to_vec();
    body.resize(bytes.saturating_sub(2), b'x');
    body.extend_from_slice(b"\"}");
    body
}

/// The bytes of a request.
pub(super) fn request(path: &str, headers: &[(String, String)], body: &[u8]) -> Vec<u8> {
    let mut head = format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\nuser-agent: forebay-bench\r\ncontent-length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    [head.as_bytes(), b"\r\n", body].concat()
}

async fn one(
    mut stream: TcpStream,
    request: Arc<Vec<u8>>,
    over: Arc<AtomicBool>,
) -> anyhow::Result<Vec<Duration>> {
    let mut times = Vec::with_capacity(1 << 14);
    let mut answer = Vec::with_capacity(4 << 10);
    while !over.load(Ordering::Relaxed) {
        let begun = Instant::now();
        stream.write_all(&request).await?;
        answer.clear();
        while !is_whole(&answer)? {
            anyhow::ensure!(
                stream.read_buf(&mut answer).await? > 0,
                "the server closed a connection"
            );
        }
        times.push(begun.elapsed());
    }
    Ok(times)
}

/// Whether a whole answer is there. Anything but a 200 is an error.
fn is_whole(answer: &[u8]) -> anyhow::Result<bool> {
    let Some(head) = answer.windows(4).position(|window| window == b"\r\n\r\n") else {
        return Ok(false);
    };
    anyhow::ensure!(
        answer.starts_with(b"HTTP/1.1 200"),
        "the server answered {}",
        String::from_utf8_lossy(&answer[..head.min(200)])
    );
    let text = std::str::from_utf8(&answer[..head])?;
    let length = text
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    let length: usize = length.unwrap_or("0").parse()?;
    Ok(answer.len() >= head + 4 + length)
}
