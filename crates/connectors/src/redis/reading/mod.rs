//! A list or a stream read again: what was taken stays on the server, under our name, until it is let go.
//!
//! A list is read by moving each element to a list of our own (`LMOVE`); a stream as one of a consumer group. What a
//! process had taken when it ended lies there still and is given first by the next one of the same name. What was given
//! out and is neither kept nor let go within [`HOLD`] is given again, as from a queue with a visibility timeout.

mod entries;
mod hand;
mod list;
mod sizes;
mod stream;

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use domain::Unavailable;
use domain::ports::{Finding, Inlet, Message};
use redis::{Cmd, Value};
use tokio::time::Instant;

use super::client::{Lease, Pool};
use super::command::Target;
use super::connect::Session;
use super::error::{self, Refusal, Verdict};
use super::inspect;
use super::options::Config;
use super::url::Place;
use crate::instance::Instance;
use crate::options::Context;
use hand::Hand;
use sizes::Sizes;

/// How long what was taken is nobody else's, from when it was taken or kept last.
const HOLD: Duration = Duration::from_secs(60);

/// So many bytes are enough for once, whatever the limit.
const ENOUGH_BYTES: usize = 8 << 20;

/// How often a call follows the key to another node.
const MOVES: usize = 3;

/// How a stream is read.
#[derive(Debug, Clone)]
pub(crate) struct Reading {
    /// The consumer group.
    pub(super) group: String,
    /// Whose entries are ours within the group, and whose list.
    pub(super) consumer: Consumer,
    /// Whether what is let go is deleted from the stream as well.
    pub(super) delete: bool,
}

impl Reading {
    /// As a destination is read that has no words for it. A source may have its name, and reads under another: no name
    /// has a colon.
    pub(super) fn usual(context: &Context) -> Self {
        Self {
            group: "forebay".into(),
            consumer: Consumer::Usual(context.instance.clone(), format!("import:{}", context.name)),
            delete: true,
        }
    }
}

/// Whose entries are ours within a group, and whose list.
#[derive(Debug, Clone)]
pub(crate) enum Consumer {
    /// As it is written.
    Given(String),
    /// The installation's, and by this name ours within it.
    Usual(Instance, String),
}

impl Consumer {
    pub(super) fn name(&self) -> Cow<'_, str> {
        match self {
            Self::Given(name) => name.into(),
            Self::Usual(instance, name) => format!("{}.{name}", instance.name()).into(),
        }
    }
}

/// Why a call over one session came to nothing.
enum Stop {
    /// The key is on another node of the cluster.
    Moved(Place),
    Away(Unavailable),
}

impl From<Unavailable> for Stop {
    fn from(why: Unavailable) -> Self {
        Self::Away(why)
    }
}

/// The reader of one key.
#[derive(Debug)]
pub(super) struct Reader {
    config: Arc<Config>,
    reading: Reading,
    pool: Pool,
    hand: Mutex<Hand>,
    sizes: Sizes,
    /// There may be something that was taken and that nobody was given.
    look_back: AtomicBool,
    /// When other consumers' entries are looked at again, and where that goes on.
    others: Mutex<(Instant, String)>,
}

impl Reader {
    pub(super) fn new(config: Arc<Config>, reading: Reading) -> Self {
        Self {
            pool: Pool::new(Arc::clone(&config)),
            config,
            reading,
            hand: Mutex::default(),
            sizes: Sizes::default(),
            look_back: AtomicBool::new(true),
            others: Mutex::new((Instant::now(), stream::FIRST.to_owned())),
        }
    }

    fn hand(&self) -> MutexGuard<'_, Hand> {
        self.hand.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn lease(&self) -> Result<Lease<'_>, Unavailable> {
        let lease = self.pool.take().await;
        if lease.is_err() {
            self.pool.forget();
        }
        lease
    }

    fn stopped(&self, lease: Lease<'_>, stop: Stop) -> Result<(), Unavailable> {
        drop(lease);
        match stop {
            Stop::Moved(place) => {
                self.pool.move_to(place);
                Ok(())
            }
            Stop::Away(why) => {
                self.pool.forget();
                Err(why)
            }
        }
    }

    /// Asks, and takes a refusal for the end. `wait` is how long the server may block.
    async fn ask(&self, session: &Session, command: &Cmd, wait: Duration) -> Result<Value, Stop> {
        let limit = self.config.timeout + wait;
        match session.ask(limit, command).await? {
            Ok(value) => Ok(value),
            Err(refusal) => Err(self.refused(&refusal, session)),
        }
    }

    fn refused(&self, refusal: &Refusal, session: &Session) -> Stop {
        let target = &self.config.target;
        if let Verdict::Moved(to) = error::judge(refusal, target)
            && let Some(place) = Place::moved_to(&to, &session.place)
        {
            return Stop::Moved(place);
        }
        let commands = match target {
            Target::List(_) => list::COMMANDS,
            Target::Stream(_) => stream::COMMANDS,
        };
        Stop::Away(error::not_read(refusal, target, commands))
    }

    /// Whether the key is what it is to be, or not there yet.
    async fn look_at_type(&self, session: &Session) -> Result<(), Stop> {
        let target = &self.config.target;
        let mut question = redis::cmd("TYPE");
        question.arg(target.key());
        match self.ask(session, &question, Duration::ZERO).await? {
            Value::SimpleString(kind) if kind != "none" && kind != target.kind() => {
                Err(error::another_type(target).into())
            }
            _ => Ok(()),
        }
    }

    fn is_stream(&self) -> bool {
        matches!(self.config.target, Target::Stream(_))
    }

    /// How long the server may be waited at: its answer must come within the time of one.
    fn block(&self, wait: Duration) -> Duration {
        let longest = self.config.timeout / 2;
        wait.min(longest).max(Duration::from_millis(1))
    }

    fn restless(&self) -> Unavailable {
        error::restless(self.config.target.key())
    }
}

#[async_trait]
impl Inlet for Reader {
    async fn receive(&self, limit: usize, wait: Duration) -> Result<Vec<Message>, Unavailable> {
        let limit = limit.max(1);
        if self.hand().expire(Instant::now()) {
            self.look_back.store(true, Ordering::Relaxed);
        }
        for _ in 0..=MOVES {
            let lease = self.lease().await?;
            let received = if self.is_stream() {
                self.receive_entries(lease.session(), limit, wait).await
            } else {
                self.receive_elements(lease.session(), limit, wait).await
            };
            match received {
                Ok(messages) => {
                    self.pool.give_back(lease);
                    return Ok(messages);
                }
                Err(stop) => self.stopped(lease, stop)?,
            }
        }
        Err(self.restless())
    }

    async fn look(&self) -> Result<(), Unavailable> {
        for _ in 0..=MOVES {
            let lease = self.lease().await?;
            match self.look_at_type(lease.session()).await {
                Ok(()) => {
                    self.pool.give_back(lease);
                    return Ok(());
                }
                Err(stop) => self.stopped(lease, stop)?,
            }
        }
        Err(self.restless())
    }

    fn is_mistake(&self, why: &Unavailable) -> bool {
        error::is_mistake(why)
    }

    async fn inspect(&self) -> Result<Vec<Finding>, Unavailable> {
        self.look().await?;
        let lease = self.lease().await?;
        let found = inspect::of_what_is_read(lease.session(), &self.config).await;
        if found.is_ok() {
            self.pool.give_back(lease);
        }
        found
    }

    async fn keep(&self, handles: &[String]) -> Result<(), Unavailable> {
        self.hand().touch(handles, Instant::now());
        if !self.is_stream() || handles.is_empty() {
            return Ok(());
        }
        for _ in 0..=MOVES {
            let lease = self.lease().await?;
            match self.keep_entries(lease.session(), handles).await {
                Ok(()) => {
                    self.pool.give_back(lease);
                    return Ok(());
                }
                Err(stop) => self.stopped(lease, stop)?,
            }
        }
        Err(self.restless())
    }

    async fn give_back(&self, handles: Vec<String>) -> Result<(), Unavailable> {
        // They lie under our name still, and that is where is looked first.
        self.hand().release(&handles);
        self.look_back.store(true, Ordering::Relaxed);
        Ok(())
    }

    async fn let_go(&self, handles: Vec<String>) -> Result<(), Unavailable> {
        let held = self.hand().release(&handles);
        // What was not let go after all is found by looking back.
        let before = self.look_back.swap(true, Ordering::Relaxed);
        for _ in 0..=MOVES {
            let lease = self.lease().await?;
            let gone = if self.is_stream() {
                self.delete_entries(lease.session(), &handles).await
            } else {
                self.delete_elements(lease.session(), &held).await
            };
            match gone {
                Ok(()) => {
                    self.look_back.store(before, Ordering::Relaxed);
                    self.pool.give_back(lease);
                    return Ok(());
                }
                Err(stop) => self.stopped(lease, stop)?,
            }
        }
        Err(self.restless())
    }
}
