//! Messages that come back from outside: a queue that dead letters were sent to, read again.
//!
//! A message stays in its queue until it is let go, and that happens only once what it holds is durable here.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Finding;
use crate::{DestinationName, SourceName, Unavailable};

/// One message as it was taken from a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// What the queue knows it by until it is let go. Never shown.
    pub handle: String,
    /// What the queue knows it by however often it is taken; `None` where it has no such thing.
    pub id: Option<String>,
    /// Whether two messages of this id are the same whatever their bytes are. Else the bytes count as well: ids are what
    /// other software made them.
    pub exact: bool,
    /// The body, byte for byte as it was sent: what a carrier had to encode is decoded.
    pub body: Bytes,
    /// Names and values that came with it, such as `forebay-event-id`.
    pub attributes: Vec<(String, String)>,
    /// What kind of event it is, where the queue says so.
    pub event_type: Option<String>,
}

impl Message {
    /// The first value of an attribute.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&str> {
        let found = self.attributes.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// A queue outside that can be read.
#[async_trait]
pub trait Inlet: Send + Sync {
    /// Takes at most `limit` messages, waiting for the first of them for so long. They are nobody else's for a time
    /// that the queue sets; a message that is not let go by then comes again. Dropping the call loses none.
    ///
    /// # Errors
    /// Why the queue cannot be read.
    async fn receive(&self, limit: usize, wait: Duration) -> Result<Vec<Message>, Unavailable>;

    /// Whether it could be read now. Takes nothing.
    ///
    /// # Errors
    /// Why not.
    async fn look(&self) -> Result<(), Unavailable>;

    /// Whether why it cannot be read is a mistake that lasts until somebody mends it: a wrong name or password. What may
    /// pass by itself is none.
    fn is_mistake(&self, why: &Unavailable) -> bool {
        let _ = why;
        false
    }

    /// Whether it could be read now, and what is set up weaker there than Forebay promises. Takes nothing.
    ///
    /// # Errors
    /// Why not.
    async fn inspect(&self) -> Result<Vec<Finding>, Unavailable> {
        self.look().await?;
        Ok(Vec::new())
    }

    /// What is wrong with it just now although it can be read: shown as long as it is.
    fn trouble(&self) -> Option<String> {
        None
    }

    /// The word for how its messages come, where a request has its method.
    fn way(&self) -> &'static str {
        "QUEUE"
    }

    /// A message can never be taken, and stays where it is.
    async fn leave(&self, handle: &str, why: &str) {
        let _ = (handle, why);
    }

    /// Nothing more is received: ends what runs for it. What was taken and not let go of is not let go of.
    async fn close(&self) {}

    /// How many may receive at once, so that the queue is read as fast as it gives.
    fn readers(&self) -> usize {
        1
    }

    /// Has messages that were taken stay out of everybody else's sight for as long again as when they were taken.
    ///
    /// # Errors
    /// Why not; then they may come again meanwhile, which is harmless.
    async fn keep(&self, handles: &[String]) -> Result<(), Unavailable> {
        let _ = handles;
        Ok(())
    }

    /// Puts messages back, for whoever asks next: nothing was made of them.
    ///
    /// # Errors
    /// Why not; then they come again when their time is over.
    async fn give_back(&self, handles: Vec<String>) -> Result<(), Unavailable>;

    /// Lets messages go for good. Those that could not be let go come again.
    ///
    /// # Errors
    /// Why none, or not all, could be let go.
    async fn let_go(&self, handles: Vec<String>) -> Result<(), Unavailable>;
}

/// Where an import is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ImportStatus {
    /// It takes messages.
    Running,
    /// The queue was empty.
    Done,
    /// An operator ended it.
    Cancelled,
    /// It could not go on; the rest is in the queue still.
    Failed,
}

/// What is to be imported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportRequest {
    /// The destination that is read.
    pub from: DestinationName,
    /// The source that messages without one of their own are taken as events of.
    pub source: Option<SourceName>,
    /// At most so many messages a second.
    pub rate_per_second: Option<u32>,
}

/// An import, since the process started: an import does not survive it, and is begun again; nothing is lost by that.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Import {
    /// Its number.
    pub id: u64,
    /// The destination that is read.
    pub from: DestinationName,
    /// Where it is.
    pub status: ImportStatus,
    /// Messages that were dead letters here still: they are back on their routes.
    pub redriven: u64,
    /// Messages whose events are known and need nothing: delivered meanwhile, or under way.
    pub known: u64,
    /// Messages that were taken as fresh events.
    pub fresh: u64,
    /// Why it failed, or what it waits for.
    pub error: Option<String>,
    /// When it began.
    pub created_at: Timestamp,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}

/// Why an import was not begun.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    /// There is no such destination.
    #[error("there is no destination {0} in the configuration")]
    Unknown(DestinationName),
    /// It cannot be read.
    #[error(
        "{name} is a destination of type {kind}, which cannot be read: an import is from sqs, redis or rabbitmq"
    )]
    NotReadable {
        /// Which.
        name: DestinationName,
        /// Its type.
        kind: &'static str,
    },
    /// What is written to is no queue, and nobody said which queue is behind it.
    #[error(
        "{0} has an `exchange`, which cannot be read: write the name of the queue behind it as its `queue`"
    )]
    NoQueue(DestinationName),
    /// There is no such source.
    #[error("there is no source {0} in the configuration")]
    UnknownSource(SourceName),
    /// It is being read already.
    #[error("import {0} reads it already; GET /api/v1/imports lists those there are")]
    Running(u64),
}

impl ImportStatus {
    /// The word used in the API and in the log.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
        }
    }
}

/// Imports, as admin asks for them.
#[async_trait]
pub trait Imports: Send + Sync {
    /// Begins one.
    ///
    /// # Errors
    /// [`ImportError`].
    async fn begin(&self, request: ImportRequest) -> Result<Import, ImportError>;

    /// Those since the process started, newest first.
    fn list(&self) -> Vec<Import>;

    /// Ends one that runs; what it took stays. `None`: there is none of that number.
    fn cancel(&self, id: u64) -> Option<Import>;
}
