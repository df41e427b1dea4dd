//! A webhook receiver of a test's own: it answers as it is told, and keeps what it received.
//!
//! Speaks HTTP/1.1 and HTTP/2 on a port that stays its own while it is stopped. Each request is recorded once its body
//! is whole, before it is answered; the answer may take its time, never come, or break off.

mod answer;
mod server;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use hyper::{HeaderMap, Method, Version};
use tempfile::TempDir;

pub use answer::{Answer, Gate};

use crate::port::Lease;
use crate::{Result, certificate, scratch};
use server::Running;

/// A request as it came in.
#[derive(Debug, Clone)]
pub struct Received {
    /// Its number, from 0, in the order in which bodies became whole.
    pub number: usize,
    /// The connection that it came on, from 0, in the order in which they were accepted since the first start.
    pub connection: usize,
    /// HTTP/1.1 or HTTP/2.
    pub version: Version,
    /// The method.
    pub method: Method,
    /// Path and query.
    pub path: String,
    /// The header fields. HTTP/2 has no `host` among them.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

impl Received {
    /// A header's first value as text. `None` when it is missing, or has bytes other than visible ASCII.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

type Script = Arc<dyn Fn(&Received) -> Answer + Send + Sync>;

/// What the endpoint and its connections share.
struct Desk {
    script: Mutex<Script>,
    records: Mutex<Records>,
}

#[derive(Debug, Default)]
struct Records {
    received: Vec<Received>,
    connections: usize,
    under_way: usize,
    most_under_way: usize,
}

impl Desk {
    fn records(&self) -> std::sync::MutexGuard<'_, Records> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running or stopped receiver. It is gone, with all its connections, when it is dropped.
pub struct Endpoint {
    desk: Arc<Desk>,
    lease: Lease,
    tls: Option<Tls>,
    running: Option<Running>,
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint")
            .field("url", &self.url())
            .field("running", &self.running.is_some())
            .finish_non_exhaustive()
    }
}

struct Tls {
    config: Arc<rustls::ServerConfig>,
    ca: PathBuf,
    _dir: TempDir,
}

impl Endpoint {
    /// One that speaks plain HTTP and answers 200 to all.
    ///
    /// # Errors
    ///
    /// When no port is free.
    pub async fn start() -> Result<Self> {
        Self::start_with(None).await
    }

    /// As [`Endpoint::start`] with TLS, by a certificate for `localhost` and 127.0.0.1 that only [`Endpoint::ca`]
    /// vouches for.
    ///
    /// # Errors
    ///
    /// When no port is free, or no certificate can be made.
    pub async fn start_tls() -> Result<Self> {
        let dir = scratch::own("endpoint")?;
        let files = certificate::write(dir.path())?;
        let tls = Tls {
            config: server::tls(&files)?,
            ca: files.ca,
            _dir: dir,
        };
        Self::start_with(Some(tls)).await
    }

    async fn start_with(tls: Option<Tls>) -> Result<Self> {
        let mut endpoint = Self {
            desk: Arc::new(Desk {
                script: Mutex::new(Arc::new(|_| Answer::status(200))),
                records: Mutex::new(Records::default()),
            }),
            lease: Lease::take()?,
            tls,
            running: None,
        };
        endpoint.start_again().await?;
        Ok(endpoint)
    }

    /// Listens again on the same port. Does nothing when it runs.
    ///
    /// # Errors
    ///
    /// When somebody else took the port.
    pub async fn start_again(&mut self) -> Result<()> {
        if self.running.is_none() {
            let tls = self.tls.as_ref().map(|tls| Arc::clone(&tls.config));
            let running = Running::start(self.lease.addr(), Arc::clone(&self.desk), tls).await?;
            self.running = Some(running);
        }
        Ok(())
    }

    /// Closes its connections, whatever is under way, and its port: the next one to connect is refused.
    pub async fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            running.stop().await;
        }
    }

    /// Answers every request from now on as `script` says. It is asked once a request is whole, and must not block.
    pub fn answer_with(&self, script: impl Fn(&Received) -> Answer + Send + Sync + 'static) {
        *self
            .desk
            .script
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Arc::new(script);
    }

    /// Where it is, with an ending slash: `http://127.0.0.1:20123/`.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}/", self.addr())
    }

    /// Its address.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.lease.addr()
    }

    /// The PEM file of the authority that signed its certificate; `None` without TLS.
    #[must_use]
    pub fn ca(&self) -> Option<&Path> {
        self.tls.as_ref().map(|tls| tls.ca.as_path())
    }

    /// What it received since the first start, in order.
    #[must_use]
    pub fn received(&self) -> Vec<Received> {
        self.desk.records().received.clone()
    }

    /// How many connections it accepted since the first start.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.desk.records().connections
    }

    /// The most requests that were whole and not yet answered at one time.
    #[must_use]
    pub fn most_under_way(&self) -> usize {
        self.desk.records().most_under_way
    }
}
