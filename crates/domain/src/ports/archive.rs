//! Looking back into the journal: one event by id, or a page of them, newest first.

use async_trait::async_trait;
use jiff::Timestamp;

use super::JournalError;
use crate::{DedupKey, EventId, Seq, SourceName, StoredEvent};

/// Which events a page shows.
#[derive(Debug, Clone, Default)]
pub struct EventQuery {
    /// Only of this source.
    pub source: Option<SourceName>,
    /// Only received at or after.
    pub after: Option<Timestamp>,
    /// Only received before.
    pub before: Option<Timestamp>,
    /// Only below this sequence number: where the page before ended.
    pub below: Option<Seq>,
    /// At most so many.
    pub limit: usize,
}

/// A page of events.
#[derive(Debug, Clone, Default)]
pub struct EventPage {
    /// Newest first.
    pub events: Vec<StoredEvent>,
    /// Where to go on (as [`EventQuery::below`]); `None` when there is no more.
    pub next: Option<Seq>,
}

/// Read access to what the journal still holds. Off the hot path.
#[async_trait]
pub trait Archive: Send + Sync {
    /// The event with this id, if the journal still holds it.
    ///
    /// # Errors
    /// When a file cannot be read.
    async fn find(&self, id: EventId) -> Result<Option<StoredEvent>, JournalError>;

    /// The events with these numbers, in the same order; `None` for what is not there or damaged.
    ///
    /// # Errors
    /// When a file cannot be read; the same call may work later.
    async fn at(&self, seqs: Vec<Seq>) -> Result<Vec<Option<StoredEvent>>, JournalError>;

    /// A page of events, newest first. What is damaged is left out.
    ///
    /// # Errors
    /// When a file cannot be read.
    async fn page(&self, query: &EventQuery) -> Result<EventPage, JournalError>;

    /// The oldest event of `sources` after `after` that is not damaged, for "oldest pending".
    ///
    /// # Errors
    /// When a file cannot be read.
    async fn first_after(
        &self,
        sources: &crate::SourceSet,
        after: Seq,
    ) -> Result<Option<StoredEvent>, JournalError>;

    /// The newest `limit` deduplication keys with the ids of the events that had them, oldest first.
    ///
    /// # Errors
    /// When a file cannot be read.
    async fn recent_keys(&self, limit: usize) -> Result<Vec<(DedupKey, EventId)>, JournalError>;
}
