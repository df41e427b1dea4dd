//! Hostile clients: they go on until they are told something or cut off, and then begin anew.
//!
//! They come from 127.0.0.2, as strangers do, so that what holds off an address does not hold off the honest. What is right
//! to become of them is for the caller to say.

pub mod http2;

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

use crate::error::Doing;
use crate::{DEADLINE, Result};

/// Between two attempts of a hostile client.
const PAUSE: Duration = Duration::from_millis(20);

/// Where strangers come from.
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// What became of one attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    /// The status of the answer.
    Told(u16),
    /// Closed or reset without one.
    Cut,
    /// Said something that is no answer of HTTP/1.1.
    Nonsense,
    /// None of these, for as long as anybody would wait.
    Never,
}

/// A connection from elsewhere.
///
/// # Errors
/// When it cannot be opened.
pub async fn stranger(to: SocketAddr) -> io::Result<TcpStream> {
    stranger_from(ELSEWHERE, to).await
}

/// A connection from this address of the loopback network.
///
/// # Errors
/// When it cannot be opened.
pub async fn stranger_from(from: Ipv4Addr, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((from, 0).into())?;
    let stream = socket.connect(to).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Says `first`, then `more` again and again with pauses of `every`, until it is told something or cut off.
///
/// # Errors
/// When the connection cannot be opened.
pub async fn pester(
    to: SocketAddr,
    first: Vec<u8>,
    more: Vec<u8>,
    every: Duration,
) -> io::Result<End> {
    let (mut from, mut into) = stranger(to).await?.into_split();
    let talking = async move {
        into.write_all(&first).await?;
        loop {
            into.write_all(&more).await?;
            tokio::time::sleep(every).await;
        }
    };
    let talking = async {
        let broken: io::Result<()> = talking.await;
        drop(broken);
        // Who can say no more still listens.
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = talking => Ok(End::Never),
        end = tokio::time::timeout(DEADLINE, status(&mut from)) => Ok(end.unwrap_or(End::Never)),
    }
}

/// The status of the first answer.
pub async fn status(from: &mut (impl tokio::io::AsyncRead + Unpin)) -> End {
    let mut said = [0; 12];
    if from.read_exact(&mut said).await.is_err() {
        return End::Cut;
    }
    let said = said.strip_prefix(b"HTTP/1.1 ");
    let status = said.and_then(|code| std::str::from_utf8(code).ok()?.parse().ok());
    status.map_or(End::Nonsense, End::Told)
}

/// Attempts that begin anew as soon as they end, so many beside each other.
#[derive(Debug)]
pub struct Attack {
    stopped: Arc<AtomicBool>,
    running: JoinSet<BTreeMap<End, u64>>,
}

impl Attack {
    /// Begins, on tasks of the current runtime. An attempt that cannot connect was cut off.
    pub fn begin<A, F>(beside: usize, attempt: A) -> Self
    where
        A: Fn() -> F + Clone + Send + 'static,
        F: Future<Output = io::Result<End>> + Send,
    {
        let stopped = Arc::new(AtomicBool::new(false));
        let mut running = JoinSet::new();
        for _ in 0..beside {
            let (stopped, attempt) = (Arc::clone(&stopped), attempt.clone());
            running.spawn(async move {
                let mut ends = BTreeMap::new();
                while !stopped.load(Ordering::Relaxed) {
                    let end = attempt().await.unwrap_or(End::Cut);
                    *ends.entry(end).or_default() += 1;
                    // All sides share the processors of one machine.
                    tokio::time::sleep(PAUSE).await;
                }
                ends
            });
        }
        Self { stopped, running }
    }

    /// How the attempts ended, after the last has.
    pub async fn end(mut self) -> BTreeMap<End, u64> {
        self.stopped.store(true, Ordering::Relaxed);
        let mut ends = BTreeMap::new();
        while let Some(one) = self.running.join_next().await {
            for (end, count) in one.unwrap_or_default() {
                *ends.entry(end).or_default() += count;
            }
        }
        ends
    }
}

/// Lets this process and those that it starts have as many files as they may: so many.
///
/// # Errors
/// When the system does not let it.
pub fn as_many_files_as_may_be() -> Result<u64> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit)
        .map_err(io::Error::from)
        .doing(|| "raise the number of open files")?;
    Ok(limit.maximum.unwrap_or(u64::MAX))
}
