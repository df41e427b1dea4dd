//! The journal as its users see it: append durably, read in order, release what is settled.

use std::pin::Pin;
use std::time::Duration;

use async_trait::async_trait;

use crate::{Event, EventId, RouteName, Seq, SeqRange, SourceSet, StoredEvent};

/// What an acknowledged append survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Durability {
    /// Synced to this machine's disk.
    Disk,
    /// Confirmed by a quorum of several machines.
    Replicated,
    /// A crash of the process, but not a loss of power.
    ProcessCrashOnly,
}

/// Why an append was not confirmed. Every kind is our own trouble: the sender hears 503 and keeps
/// the event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The journal is at `max_bytes`, or the disk at `min_free`. Passes when something is settled.
    #[error("the journal has no room: {0}")]
    NoRoom(String),
    /// Too much is waiting to be written. Passes.
    #[error("too many events are waiting to be written")]
    Busy,
    /// A write or sync failed. Final for this process: what is on disk must be read again.
    #[error("the journal failed and accepts nothing more until a restart: {0}")]
    Failed(String),
    /// The journal is shutting down.
    #[error("the journal is shutting down")]
    Closed,
    /// One event is larger than a segment can hold. Raise `segment_bytes`, or lower `max_body`.
    #[error(
        "an event of {bytes} bytes does not fit into a segment: raise journal.segment_bytes above {bytes}"
    )]
    TooLarge {
        /// The size of the event as it would be stored.
        bytes: u64,
    },
}

impl AppendError {
    /// The `code` of the problem+json answer.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NoRoom(_) => "no-room",
            Self::Busy => "busy",
            Self::Failed(_) => "journal-failed",
            Self::Closed => "shutting-down",
            Self::TooLarge { .. } => "event-too-large",
        }
    }
}

/// An append under way: a future that resolves when the events are durable, with their ids in order.
///
/// All events of one append are in one frame: all durable or none. Dropping it withdraws the events
/// if none of them was written yet, and otherwise leaves them to become durable unseen.
pub trait Appending: Future<Output = Result<Vec<EventId>, AppendError>> + Send {
    /// Takes the events back. `true`: they will never be stored, and the future must not be polled
    /// again. `false`: it is too late, their fate is what the future resolves to.
    fn withdraw(self: Pin<&mut Self>) -> bool;
}

/// An [`Appending`] behind a box.
pub type Append = Pin<Box<dyn Appending>>;

/// Why reading failed. Not the end of the world for appends: they have an error of their own.
#[derive(Debug, Clone, thiserror::Error)]
#[error("cannot read the journal: {0}")]
pub struct JournalError(pub String);

/// Bounds of one read or one batch. At least one event is given even if it alone is over the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchLimit {
    /// The most events.
    pub events: usize,
    /// The most bytes, by [`Event::weight`].
    pub bytes: usize,
}

/// What one read gives.
#[derive(Debug, Clone, Default)]
pub struct ReadBatch {
    /// Events of the asked sources, in order.
    pub events: Vec<StoredEvent>,
    /// Stretches that damage took; to be settled as `damaged` by every route. In order.
    pub damaged: Vec<SeqRange>,
    /// Stretches that hold something damaged, of this read or further on: from now on [`Journal::count`] may
    /// leave out more of them than any route was told is lost. Not to be settled.
    pub recounted: Vec<SeqRange>,
    /// Everything up to here was looked at: numbers between the events given belong to other sources.
    pub through: Seq,
}

impl ReadBatch {
    /// Less what comes after `end`.
    #[must_use]
    pub fn through(mut self, end: Seq) -> Self {
        if self.through <= end {
            return self;
        }
        self.through = end;
        self.events.retain(|stored| stored.seq <= end);
        self.damaged.retain(|lost| lost.first <= end);
        if let Some(lost) = self.damaged.last_mut() {
            lost.last = lost.last.min(end);
        }
        self
    }
}

/// Reads a route's part of the journal in order, each event once.
#[async_trait]
pub trait Reader: Send {
    /// What comes next. Waits until there is something; `through` grows with every call, also when
    /// no event of the asked sources was there. Cancellation safe: a dropped call takes nothing.
    ///
    /// # Errors
    /// When a file cannot be read; the same call may work later.
    async fn read(&mut self, limit: BatchLimit) -> Result<ReadBatch, JournalError>;
}

/// The durable, ordered log that an event is in before it is acknowledged.
#[async_trait]
pub trait Journal: Send + Sync {
    /// Queues events to be written with the next frame. Must be called within a tokio runtime.
    fn append(&self, events: Vec<Event>) -> Append;

    /// A reader for `route` that starts after `after` and gives events of `sources` only.
    ///
    /// # Errors
    /// When `after` lies below what the journal still holds, or a file cannot be opened.
    async fn reader(
        &self,
        route: &RouteName,
        after: Seq,
        sources: SourceSet,
    ) -> Result<Box<dyn Reader>, JournalError>;

    /// Says that `route` has settled everything through `cursor`, and that state has committed so.
    /// Files that every route has released may now be recycled.
    fn release(&self, route: &RouteName, cursor: Seq);

    /// About how many bytes the journal takes for what comes after `seq`, whosever it is. Cheap.
    fn bytes_after(&self, seq: Seq) -> u64;

    /// Counts the events of `sources` with `after < seq <= through`, from the journal's own indexes
    /// and independently of anything dispatch did. Lost events in damaged stretches are not in it.
    ///
    /// # Errors
    /// When an index must be rebuilt and its segment cannot be read.
    async fn count(
        &self,
        sources: &SourceSet,
        after: Seq,
        through: Seq,
    ) -> Result<u64, JournalError>;

    /// As [`Journal::count`], over stretches that are in order and apart: all of them in one go.
    ///
    /// # Errors
    /// As [`Journal::count`].
    async fn count_in(
        &self,
        sources: &SourceSet,
        stretches: Vec<SeqRange>,
    ) -> Result<u64, JournalError> {
        let mut total = 0;
        for stretch in stretches {
            let after = stretch.first.previous();
            total += self.count(sources, after, stretch.last).await?;
        }
        Ok(total)
    }

    /// The last sequence number known durable.
    fn end(&self) -> Seq;

    /// What an acknowledged append survives.
    fn durability(&self) -> Durability;

    /// Whether an append could be confirmed now.
    ///
    /// # Errors
    /// The error that it would meet.
    fn can_append(&self) -> Result<(), AppendError>;

    /// Stops taking appends, writes and syncs what is queued, and marks the end of the log so that
    /// the next start has nothing to recover. Idempotent.
    ///
    /// # Errors
    /// When the last sync failed or did not return within `deadline`.
    async fn close(&self, deadline: Duration) -> Result<(), AppendError>;
}
