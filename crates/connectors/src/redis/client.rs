//! The connections: opened when needed, at most as many as configured, thrown away after any failure.
//!
//! A connection is one caller's at a time, so that what it waits for (an answer, replicas) keeps nobody else waiting,
//! and one in which something was not answered in time is closed with it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::Unavailable;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use super::connect::{self, Session};
use super::error;
use super::options::Config;
use super::url::Place;

/// An idle connection is closed before most balancers and firewalls forget it.
const IDLE: Duration = Duration::from_secs(30);

/// What of the pool is open and known.
#[derive(Debug, Default)]
struct Known {
    /// With the moment that each was given back.
    idle: Vec<(Session, Instant)>,
    /// The node of a cluster that has the key. Forgotten with the first failure, as it may have failed over.
    home: Option<Place>,
}

/// The connections that are open and idle, and room for more.
#[derive(Debug)]
pub(super) struct Pool {
    config: Arc<Config>,
    room: Semaphore,
    known: Mutex<Known>,
}

/// A session in use. It is closed when dropped, unless it is given back.
#[derive(Debug)]
pub(super) struct Lease<'p> {
    session: Session,
    _room: SemaphorePermit<'p>,
}

impl Lease<'_> {
    pub(super) fn session(&self) -> &Session {
        &self.session
    }
}

impl Pool {
    pub(super) fn new(config: Arc<Config>) -> Self {
        Self {
            room: Semaphore::new(config.concurrency),
            known: Mutex::default(),
            config,
        }
    }

    /// A session: an idle one, else a new one. Waits for room at most the timeout.
    pub(super) async fn take(&self) -> Result<Lease<'_>, Unavailable> {
        let limit = self.config.timeout;
        let room = tokio::time::timeout(limit, self.room.acquire()).await;
        let room = room.map_err(|_| error::late("a free connection", limit))?;
        let room = room.map_err(|_| Unavailable::new("connection", "the pool is closed"))?;
        let session = match self.take_idle() {
            Some(session) => session,
            None => {
                let home = self.known().home.clone();
                connect::open(&self.config, home).await?
            }
        };
        Ok(Lease {
            session,
            _room: room,
        })
    }

    /// Keeps a session that is as good as new.
    pub(super) fn give_back(&self, lease: Lease<'_>) {
        let Lease { session, _room } = lease;
        self.known().idle.push((session, Instant::now()));
    }

    /// Closes the idle sessions: the server that one failed with is theirs as well, and the next to be opened may go
    /// elsewhere.
    pub(super) fn forget(&self) {
        let forgotten = std::mem::take(&mut *self.known());
        drop(forgotten);
    }

    /// The key is on another node: further sessions are opened there.
    pub(super) fn move_to(&self, place: Place) {
        let moved = Known {
            idle: Vec::new(),
            home: Some(place),
        };
        let left = std::mem::replace(&mut *self.known(), moved);
        drop(left);
    }

    fn take_idle(&self) -> Option<Session> {
        let mut known = self.known();
        known
            .idle
            .retain(|(session, since)| !session.is_closed() && since.elapsed() < IDLE);
        known.idle.pop().map(|(session, _)| session)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
