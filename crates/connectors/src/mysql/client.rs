//! The connections: opened when needed, at most as many as configured, thrown away after any failure.
//!
//! Every exchange with the server ends within the timeout. A connection in which one did not is closed, so that its
//! answer can never be taken for another's. One that was idle for a while is asked whether it is still there: a
//! server ends idle sessions by itself, and a restart ends all.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use domain::Unavailable;
use mysql_async::prelude::Queryable as _;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use super::link::within;
use super::options::Config;
use super::session::{self, Session};
use crate::outbound;

/// A session that was used this short a time ago is taken to be there still.
const FRESH: Duration = Duration::from_secs(1);

/// The connections that are open and idle, and room for more.
#[derive(Debug)]
pub(super) struct Pool {
    config: Arc<Config>,
    room: Semaphore,
    idle: Mutex<Vec<Session>>,
}

/// A session in use. It is closed when dropped, unless it is given back.
#[derive(Debug)]
pub(super) struct Lease<'p> {
    session: Session,
    _room: SemaphorePermit<'p>,
}

impl Lease<'_> {
    pub(super) fn session(&mut self) -> &mut Session {
        &mut self.session
    }
}

impl Pool {
    pub(super) fn new(config: Arc<Config>) -> Self {
        Self {
            room: Semaphore::new(config.concurrency),
            idle: Mutex::new(Vec::new()),
            config,
        }
    }

    /// A session: an idle one, else a new one. Waits for room at most the timeout.
    pub(super) async fn take(&self) -> Result<Lease<'_>, Unavailable> {
        let room = within(
            self.config.timeout,
            "a free connection",
            self.room.acquire(),
        )
        .await?;
        let room = room.map_err(|_| Unavailable::new("connection", "the pool is closed"))?;
        let session = match self.take_idle().await {
            Some(session) => session,
            None => self.connect().await?,
        };
        Ok(Lease {
            session,
            _room: room,
        })
    }

    /// Keeps a session that is as good as new.
    pub(super) fn give_back(&self, lease: Lease<'_>) {
        let Lease { mut session, _room } = lease;
        session.idle_since = Instant::now();
        self.idle().push(session);
    }

    /// Closes the idle sessions: the server that one failed with is theirs as well, and the next to be opened may
    /// go elsewhere.
    pub(super) fn forget_idle(&self) {
        let closing = std::mem::take(&mut *self.idle());
        drop(closing);
    }

    async fn take_idle(&self) -> Option<Session> {
        let mut session = self.idle().pop()?;
        if session.idle_since.elapsed() < FRESH {
            return Some(session);
        }
        let limit = self.config.connect_timeout.min(self.config.timeout);
        match within(limit, "an idle connection", session.conn.ping()).await {
            Ok(Ok(())) => Some(session),
            // The others are of the same age or older.
            _ => {
                self.forget_idle();
                None
            }
        }
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Session>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn connect(&self) -> Result<Session, Unavailable> {
        let config = Arc::clone(&self.config);
        let read = tokio::task::spawn_blocking(move || {
            let url = config.server.url()?;
            let trust = url.trust()?;
            Ok::<_, String>((url.place(), url.options(trust)))
        });
        let (place, options) = read
            .await
            .map_err(|_| Unavailable::new("connection", "the set-up did not come to its end"))?
            .map_err(|reason| Unavailable::new("configuration", reason))?;
        let opening = session::connect(options, &place);
        let limit = self.config.connect_timeout;
        let conn = tokio::time::timeout(limit, opening).await;
        let conn = conn.map_err(|_| outbound::not_opened(&place, "url", limit))??;
        let set_up = session::set_up(conn, &self.config.target);
        let session = within(self.config.timeout, &place, set_up).await??;
        tracing::debug!(server = %place, "connected to mysql");
        Ok(session)
    }
}
