//! Hostile clients at the real port, and an honest sender beside them: it keeps its 2xx, memory stays bounded, and
//! nothing is stored but what it sent.
//!
//! The hostile come from 127.0.0.2, as strangers do, so that what holds off an address does not hold off the
//! honest.

mod connections;
mod http1;
mod http2;
mod smuggling;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use testbed::certificate::Files;
use testbed::judge::Judge;
use testbed::postgres::{Options, Server};
use testbed::process::{Forebay, Memory};
use testbed::sender::Running;
use testbed::tls::Client;
use testbed::{DEADLINE, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Duration;

use crate::wire::address;
use crate::{rig, tls};

const MIB: u64 = 1 << 20;

/// Between two attempts of a hostile client.
const PAUSE: Duration = Duration::from_millis(20);

/// Besides the honest sender's source: one that anybody may post to, and of which nothing must be left.
const OTHER: &str = r#"
[sources.other]
type = "http"
verify = { scheme = "bearer", secrets = ["a-token-of-more-than-sixteen-letters"] }
[routes.other]
from = ["other"]
to = "db"
"#;

/// A Forebay with an honest sender at work.
struct Siege {
    forebay: Forebay,
    server: Server,
    judge: Arc<Judge>,
    honest: Running,
    before: Memory,
}

impl Siege {
    /// With these limits and destinations beside the usual ones; the honest are at work when it returns.
    async fn begin(limits: &str) -> Result<Self> {
        Self::begin_at(limits, "", None).await
    }

    /// The same at a listener that speaks TLS, with what the honest trust.
    async fn begin_within_tls(limits: &str, files: &Files) -> Result<Self> {
        let trusted = Client::trusting(&files.ca)?;
        Self::begin_at(limits, &tls::section(files), Some(trusted)).await
    }

    async fn begin_at(limits: &str, section: &str, trusted: Option<Client>) -> Result<Self> {
        let server = Server::start_new(Options::default()).await?;
        let usual = rig::genesys_to(&server.url(), "");
        let config = format!("[server.limits]\n{limits}\n{section}{usual}{OTHER}");
        let forebay = rig::forebay(config).spawn()?;
        tls::ready(&forebay).await?;
        let judge = Arc::new(Judge::new());
        let mut honest = rig::genesys(&forebay, u64::MAX).connections(2).rate(200.0);
        if let Some(trusted) = trusted {
            honest = honest.within(trusted);
        }
        let honest = honest.start(Arc::clone(&judge))?;
        rig::acknowledged(&judge, 100).await?;
        let before = forebay.memory()?;
        Ok(Self {
            forebay,
            server,
            judge,
            honest,
            before,
        })
    }

    fn ingest(&self) -> SocketAddr {
        address(&self.forebay.ingest(""))
    }

    /// While all this goes on, the honest are acknowledged so many more.
    async fn the_honest_go_on(&self, more: usize) -> Result<()> {
        rig::acknowledged(&self.judge, self.judge.acked_count() + more).await
    }

    /// So many refusals of no source were counted with this code.
    async fn counted(&self, code: &str) -> Result<f64> {
        let metrics = self.forebay.metrics().await?;
        let labels = [("source", "unknown"), ("code", code)];
        let counted = metrics.get("forebay_events_refused_total", &labels);
        Ok(counted.unwrap_or_default())
    }

    /// Every request of the honest got its 2xx, at the destination is what they sent and nothing else, and never
    /// was there more memory than `most` above what it was.
    async fn end(self, most: u64) -> Result<()> {
        let report = self.honest.stop().await?;
        let peak = self.forebay.memory()?.peak;
        let more = peak.saturating_sub(self.before.resident);
        println!("{report}; {} KiB more than before", more >> 10);
        assert_eq!(report.sent, report.acked, "{report}");
        assert_eq!(report.unanswered, 0, "{report}");
        assert!(report.refused.is_empty(), "{report}");
        assert!(more <= most, "{more} bytes, of {most} at most");
        rig::assert_delivered(&self.forebay, &self.server, &self.judge).await?;
        let status = self.forebay.status().await?;
        assert_eq!(rig::count(&status, "other", "delivered"), 0, "{status}");
        Ok(())
    }
}

/// A connection from elsewhere.
async fn stranger(to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(([127, 0, 0, 2], 0).into())?;
    let stream = socket.connect(to).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// What became of one attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    /// The status of the answer.
    Told(u16),
    /// Closed or reset without one.
    Cut,
}

/// Says `first`, then `more` again and again with pauses of `every`, until it is told something or cut off.
async fn pester(
    to: SocketAddr,
    first: Vec<u8>,
    more: Vec<u8>,
    every: Duration,
) -> std::io::Result<End> {
    let (mut from, mut into) = stranger(to).await?.into_split();
    let talking = async move {
        into.write_all(&first).await?;
        loop {
            into.write_all(&more).await?;
            tokio::time::sleep(every).await;
        }
    };
    let talking = async {
        let broken: std::io::Result<()> = talking.await;
        drop(broken);
        // Who can say no more still listens.
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = talking => unreachable!("it never ends by itself"),
        end = tokio::time::timeout(DEADLINE, status(&mut from)) => {
            Ok(end.expect("a hostile client is told something or cut off"))
        }
    }
}

/// The status of the first answer.
async fn status(from: &mut (impl tokio::io::AsyncRead + Unpin)) -> End {
    let mut said = [0; 12];
    match from.read_exact(&mut said).await {
        Ok(_) => {
            let said = String::from_utf8_lossy(&said);
            let status = said.strip_prefix("HTTP/1.1 ").map(str::parse);
            let Some(Ok(status)) = status else {
                panic!("{said:?}");
            };
            End::Told(status)
        }
        Err(_) => End::Cut,
    }
}

/// Attempts that begin anew as soon as they end, so many beside each other.
struct Attack {
    stopped: Arc<AtomicBool>,
    running: JoinSet<BTreeMap<End, u64>>,
}

impl Attack {
    fn begin<A, F>(beside: usize, attempt: A) -> Self
    where
        A: Fn() -> F + Clone + Send + 'static,
        F: Future<Output = std::io::Result<End>> + Send,
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
    async fn end(mut self) -> BTreeMap<End, u64> {
        self.stopped.store(true, Ordering::Relaxed);
        let mut ends = BTreeMap::new();
        while let Some(one) = self.running.join_next().await {
            for (end, count) in one.unwrap() {
                *ends.entry(end).or_default() += count;
            }
        }
        println!("{ends:?}");
        ends
    }
}

/// Under `FOREBAY_DEEP=1` there are more of them.
fn many(usual: usize, deep: usize) -> usize {
    if std::env::var_os("FOREBAY_DEEP").is_some() {
        deep
    } else {
        usual
    }
}

/// Lets this process and those that it starts have as many files as they may: so many.
fn as_many_files_as_may_be() -> u64 {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
    limit.maximum.unwrap_or(u64::MAX)
}
