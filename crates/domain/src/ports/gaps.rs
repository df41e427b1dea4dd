//! What a source that cannot be asked again may have missed, and how it is filled.
//!
//! A sender that posts tries again, and a queue keeps what it was not asked for. A notification channel does neither: while
//! nobody listens its events are gone. So it is written down until when a source missed nothing, each stretch in which it
//! may have is a [`Gap`], and a [`Backfill`] asks for what happened in it by another way.

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::StateError;
use crate::SourceName;

/// A stretch of time in which a source may have missed events of some topics.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// Its number.
    pub id: u64,
    /// Whose.
    pub source: SourceName,
    /// Nothing before this was missed.
    pub from: Timestamp,
    /// Nothing from here on was missed; `None` while it is open.
    pub to: Option<Timestamp>,
    /// What was not heard meanwhile.
    pub topics: Vec<String>,
    /// Why not, in words.
    pub why: String,
    /// Whether the event that tells of it is durable.
    pub announced: bool,
}

/// What a gap begins as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewGap {
    /// Whose.
    pub source: SourceName,
    /// Nothing before this was missed.
    pub from: Timestamp,
    /// Nothing from here on was missed, if it is over already.
    pub to: Option<Timestamp>,
    /// What is not heard.
    pub topics: Vec<String>,
    /// Why not, in words; no secret and no payload.
    pub why: String,
}

/// Where a backfill is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BackfillStatus {
    /// It waits, or works.
    Running,
    /// All of it is durable.
    Done,
    /// An operator ended it.
    Cancelled,
    /// It cannot go on until somebody mends what is wrong.
    Failed,
}

impl BackfillStatus {
    /// The word used in state, in the API and in the log.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
        }
    }

    /// By its word.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        let all = [Self::Running, Self::Done, Self::Cancelled, Self::Failed];
        all.into_iter().find(|status| status.as_str() == word)
    }
}

/// What happened in a stretch of time, asked for by another way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backfill {
    /// Its number.
    pub id: u64,
    /// Whose events it makes.
    pub source: SourceName,
    /// The stretch.
    pub from: Timestamp,
    /// Its end.
    pub to: Timestamp,
    /// The gap that it fills, if it does.
    pub gap: Option<u64>,
    /// Where it is.
    pub status: BackfillStatus,
    /// What the other side knows the work by; `None` before it was begun, and after that was lost.
    pub job: Option<String>,
    /// Where in the job's results it is: everything before is durable. As it came.
    pub cursor: Option<String>,
    /// So many events it made, those that were known already included.
    pub events: u64,
    /// What it waits for, or why it failed.
    pub error: Option<String>,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}

/// What a backfill is asked to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewBackfill {
    /// Whose events it makes.
    pub source: SourceName,
    /// The stretch.
    pub from: Timestamp,
    /// Its end.
    pub to: Timestamp,
    /// The gap that it fills, if it does.
    pub gap: Option<u64>,
    /// When it was asked for.
    pub created_at: Timestamp,
}

/// The type of source, in the configuration, that has gaps and backfills.
pub const NOTIFICATIONS: &str = "genesys-notifications";

/// Which gaps or backfills, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GapQuery {
    /// Whose; all if there is none.
    pub source: Option<SourceName>,
    /// Of gaps those that are open or not announced, of backfills those that run.
    pub pending: bool,
    /// Numbers below this.
    pub below: Option<u64>,
    /// At most so many.
    pub limit: usize,
}

impl GapQuery {
    /// Those of a source that are pending.
    #[must_use]
    pub fn pending_of(source: &SourceName, limit: usize) -> Self {
        Self {
            source: Some(source.clone()),
            pending: true,
            below: None,
            limit,
        }
    }
}

/// Gaps and backfills, durable when a call returns. Dropping a call leaves it done or not done.
#[async_trait]
pub trait Gaps: Send + Sync {
    /// The source missed nothing up to this time, but for its gaps. Never goes back.
    ///
    /// # Errors
    /// [`StateError`].
    async fn attended(&self, source: &SourceName, until: Timestamp) -> Result<(), StateError>;

    /// Until when the source missed nothing; `None` before the first.
    ///
    /// # Errors
    /// [`StateError`].
    async fn last_attended(&self, source: &SourceName) -> Result<Option<Timestamp>, StateError>;

    /// Begins a gap. The oldest of the source that are over and announced go when there are more than 10,000.
    ///
    /// # Errors
    /// [`StateError`].
    async fn open_gap(&self, gap: NewGap) -> Result<Gap, StateError>;

    /// Ends a gap that is open, and, if `fill` says so, begins the backfill of it, in one step. Gives the gap as it is
    /// then; `None` if there is no such open gap.
    ///
    /// # Errors
    /// [`StateError`].
    async fn close_gap(
        &self,
        id: u64,
        to: Timestamp,
        fill: bool,
    ) -> Result<Option<Gap>, StateError>;

    /// The event that tells of these gaps is durable.
    ///
    /// # Errors
    /// [`StateError`].
    async fn announced(&self, ids: &[u64]) -> Result<(), StateError>;

    /// Gaps.
    ///
    /// # Errors
    /// [`StateError`].
    async fn gaps(&self, query: &GapQuery) -> Result<Vec<Gap>, StateError>;

    /// Asks for a backfill.
    ///
    /// # Errors
    /// [`StateError`].
    async fn begin_backfill(&self, backfill: NewBackfill) -> Result<Backfill, StateError>;

    /// Backfills.
    ///
    /// # Errors
    /// [`StateError`].
    async fn backfills(&self, query: &GapQuery) -> Result<Vec<Backfill>, StateError>;

    /// Writes where a running backfill is: job, cursor, events, error, status and end as given. `false` if it does not
    /// run any more: somebody ended it.
    ///
    /// # Errors
    /// [`StateError`].
    async fn note_backfill(&self, backfill: &Backfill) -> Result<bool, StateError>;

    /// Ends one that runs; what it made stays. Gives it as it is then; `None`: there is none of that number.
    ///
    /// # Errors
    /// [`StateError`].
    async fn cancel_backfill(&self, id: u64, at: Timestamp)
    -> Result<Option<Backfill>, StateError>;
}
