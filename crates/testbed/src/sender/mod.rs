//! A sender as Genesys Cloud's Open Messaging is one: signs, posts, and believes a 2xx.
//!
//! Owns its keep-alive connections and the numbering of its payloads; tells the judge of everything it
//! sends and of every 2xx. Never retries unless told to, and never counts as acknowledged what it did
//! not see acknowledged. Stops by itself at its limit.

mod connection;
mod payload;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyper::Uri;
use tokio::task::JoinSet;
use tokio::time::Instant;
use uuid::Uuid;

use crate::judge::Judge;
use crate::{Error, Result, tls};

/// Genesys Cloud's own limit for an answer.
const GENESYS_TIMEOUT: Duration = Duration::from_secs(10);

/// The value of `X-Hub-Signature-256` as Genesys Cloud makes it: base64, where others use hex.
#[must_use]
pub fn genesys_signature(secret: &[u8], body: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    format!("sha256={}", STANDARD.encode(hmac::sign(&key, body)))
}

/// What to send, where, and how fast. One connection, unsigned, 1 KiB bodies, as fast as answers come,
/// until said otherwise.
#[derive(Debug, Clone)]
pub struct Sender {
    url: String,
    secret: Option<Vec<u8>>,
    connections: usize,
    rate: Option<f64>,
    limit: u64,
    size: usize,
    retries: u32,
    retry_pause: Duration,
    timeout: Duration,
    tls: Option<tls::Client>,
}

impl Sender {
    /// Posts `limit` payloads to `url`.
    #[must_use]
    pub fn new(url: impl Into<String>, limit: u64) -> Self {
        Self {
            url: url.into(),
            secret: None,
            connections: 1,
            rate: None,
            limit,
            size: 1024,
            retries: 0,
            retry_pause: Duration::ZERO,
            timeout: GENESYS_TIMEOUT,
            tls: None,
        }
    }

    /// Signs each body with this secret, as Genesys Cloud does.
    #[must_use]
    pub fn signed(mut self, secret: impl AsRef<[u8]>) -> Self {
        self.secret = Some(secret.as_ref().to_vec());
        self
    }

    /// Keeps this many connections, with one request in flight on each.
    #[must_use]
    pub fn connections(mut self, connections: usize) -> Self {
        self.connections = connections.max(1);
        self
    }

    /// Starts this many requests a second, as far as the connections allow; never catches up in bursts
    /// larger than what is overdue.
    #[must_use]
    pub fn rate(mut self, per_second: f64) -> Self {
        self.rate = Some(per_second);
        self
    }

    /// The least length of a body, in bytes.
    #[must_use]
    pub fn body_size(mut self, bytes: usize) -> Self {
        self.size = bytes;
        self
    }

    /// Sends a payload again, up to this many times and after this pause, when it was answered 429 or
    /// 5xx or not at all. Genesys Cloud: 5 times, 5 s.
    #[must_use]
    pub fn retries(mut self, retries: u32, pause: Duration) -> Self {
        self.retries = retries;
        self.retry_pause = pause;
        self
    }

    /// Waits this long for an answer; 10 s, as Genesys Cloud does, until said otherwise.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Posts within TLS, whatever the URL begins with.
    #[must_use]
    pub fn within(mut self, tls: tls::Client) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Starts sending, on tasks of the current runtime.
    ///
    /// # Errors
    ///
    /// When the URL is none that the testbed can reach.
    pub fn start(self, judge: Arc<Judge>) -> Result<Running> {
        let uri: Uri = self
            .url
            .parse()
            .map_err(|error| Error::Http(format!("{error}: {}", self.url)))?;
        crate::http::host(&uri)?;
        let shared = Arc::new(Shared {
            uri,
            key: self
                .secret
                .as_ref()
                .map(|secret| hmac::Key::new(hmac::HMAC_SHA256, secret)),
            run: Uuid::new_v4(),
            next: AtomicU64::new(0),
            stopped: AtomicBool::new(false),
            start: Instant::now(),
            judge,
            sender: self,
        });
        let mut connections = JoinSet::new();
        for _ in 0..shared.sender.connections {
            connections.spawn(connection::run(Arc::clone(&shared)));
        }
        Ok(Running {
            shared,
            connections,
        })
    }

    /// Sends everything and waits for the end of it.
    ///
    /// # Errors
    ///
    /// As [`Sender::start`].
    pub async fn run(self, judge: Arc<Judge>) -> Result<Report> {
        self.start(judge)?.finish().await
    }
}

/// What the connections of one sender share.
#[derive(Debug)]
struct Shared {
    sender: Sender,
    uri: Uri,
    key: Option<hmac::Key>,
    /// Sets the payloads of this sender apart from every other's.
    run: Uuid,
    next: AtomicU64,
    stopped: AtomicBool,
    start: Instant,
    judge: Arc<Judge>,
}

impl Shared {
    /// The next payload when its time has come; `None` when the sender is done or stopped.
    async fn next_payload(&self) -> Option<Bytes> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        if number >= self.sender.limit {
            return None;
        }
        if let Some(rate) = self.sender.rate {
            #[expect(
                clippy::cast_precision_loss,
                reason = "a schedule needs no more precision"
            )]
            let due = Duration::from_secs_f64(number as f64 / rate);
            tokio::time::sleep_until(self.start + due).await;
        }
        if self.stopped.load(Ordering::Relaxed) {
            return None;
        }
        Some(payload::open_messaging(self.run, number, self.sender.size))
    }
}

/// A sender at work. Dropping it breaks off at once, requests in flight included.
#[derive(Debug)]
pub struct Running {
    shared: Arc<Shared>,
    connections: JoinSet<Report>,
}

impl Running {
    /// Waits until everything is sent and answered or given up.
    ///
    /// # Errors
    ///
    /// When a connection's task panicked.
    pub async fn finish(mut self) -> Result<Report> {
        let mut report = Report::default();
        while let Some(one) = self.connections.join_next().await {
            let one = one.map_err(|error| Error::Misuse(format!("a connection died: {error}")))?;
            report.add(&one);
        }
        report.elapsed = self.shared.start.elapsed();
        Ok(report)
    }

    /// Starts no further request, waits for those in flight, and reports.
    ///
    /// # Errors
    ///
    /// As [`Running::finish`].
    pub async fn stop(self) -> Result<Report> {
        self.shared.stopped.store(true, Ordering::Relaxed);
        self.finish().await
    }
}

/// How the sending went. Of payloads: sent = acked + given up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Payloads sent at least once.
    pub sent: u64,
    /// Payloads answered with a 2xx.
    pub acked: u64,
    /// Of these, those answered with `"status": "duplicate"`.
    pub duplicates: u64,
    /// Answers other than 2xx, by status.
    pub refused: BTreeMap<u16, u64>,
    /// Requests without an answer: refused connections, broken ones, time-outs.
    pub unanswered: u64,
    /// From start to end.
    pub elapsed: Duration,
}

impl Report {
    fn add(&mut self, other: &Self) {
        self.sent += other.sent;
        self.acked += other.acked;
        self.duplicates += other.duplicates;
        self.unanswered += other.unanswered;
        for (status, count) in &other.refused {
            *self.refused.entry(*status).or_default() += count;
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            sent,
            acked,
            duplicates,
            refused,
            unanswered,
            elapsed,
        } = self;
        write!(
            f,
            "{sent} sent in {elapsed:.1?}, {acked} acknowledged ({duplicates} as duplicates), \
             {unanswered} unanswered, refused by status: {refused:?}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_base64_of_the_hmac() {
        // The vector GitHub publishes for the same header, in hex there.
        let hex = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        let bytes: Vec<u8> = (0..32)
            .map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap())
            .collect();
        let made = genesys_signature(b"It's a Secret to Everybody", b"Hello, World!");
        assert_eq!(made, format!("sha256={}", STANDARD.encode(bytes)));
    }
}
