//! Quarantine: requests that did not prove where they come from, kept apart until somebody mends the source's secret.
//!
//! What is in it is no event: nobody knows who sent it, it has no place in the journal, and no route sees it. It leaves
//! either by being verified after all, and is then taken as it would have been, or by being purged.

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::StateError;
use crate::{Event, EventId, SourceName};

/// A request in quarantine, whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantined {
    /// What its sender was told. The events that are made of it have ids of their own.
    pub id: EventId,
    /// What was wrong with its proof.
    pub reason: String,
    /// The request as it came: every header and the whole path, since it is not known what of it is a credential.
    pub event: Event,
}

/// A line of the list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuarantineEntry {
    /// Its place in the order that they came in; never given again.
    #[serde(skip)]
    pub number: u64,
    /// What its sender was told.
    pub id: EventId,
    /// Where it came in.
    pub source: SourceName,
    /// When.
    pub received_at: Timestamp,
    /// What was wrong with its proof.
    pub reason: String,
    /// What it takes in state.
    pub bytes: u64,
}

/// Which entries are asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct QuarantineQuery {
    /// Only of this source.
    pub source: Option<SourceName>,
    /// Only those whose number is above this one.
    pub above: Option<u64>,
    /// Only those whose number is below this one.
    pub below: Option<u64>,
    /// The oldest first, and not the newest.
    pub oldest_first: bool,
    /// At most so many.
    pub limit: usize,
}

/// How much of a source is in quarantine, or was taken out of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct QuarantineCount {
    /// The source.
    pub source: SourceName,
    /// Requests.
    pub requests: u64,
    /// What they take in state.
    pub bytes: u64,
}

/// The quarantine in state. Each call is one transaction, and durable when it returns.
#[async_trait]
pub trait Quarantine: Send + Sync {
    /// Puts one in.
    ///
    /// # Errors
    /// [`StateError::Full`] if state has no room; what state says.
    async fn put(&self, request: Quarantined) -> Result<(), StateError>;

    /// A page of the list.
    ///
    /// # Errors
    /// What state says.
    async fn page(&self, query: &QuarantineQuery) -> Result<Vec<QuarantineEntry>, StateError>;

    /// One of them, whole. `None`: there is none of that id.
    ///
    /// # Errors
    /// What state says.
    async fn get(&self, id: EventId) -> Result<Option<Quarantined>, StateError>;

    /// Takes them out, and says what of each source that was. Those that are not there are passed over.
    ///
    /// # Errors
    /// What state says; then all are there still.
    async fn remove(&self, ids: &[EventId]) -> Result<Vec<QuarantineCount>, StateError>;

    /// Puts other reasons to them, as they were found anew. Those that are not there are passed over.
    ///
    /// # Errors
    /// What state says; then all have the reasons they had.
    async fn set_reasons(&self, reasons: Vec<(EventId, String)>) -> Result<(), StateError>;

    /// How much of each source is in it.
    ///
    /// # Errors
    /// What state says.
    async fn counts(&self) -> Result<Vec<QuarantineCount>, StateError>;
}

/// No quarantine: nothing gets in.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoQuarantine;

#[async_trait]
impl Quarantine for NoQuarantine {
    async fn put(&self, _: Quarantined) -> Result<(), StateError> {
        Err(StateError::Full("there is no quarantine here".into()))
    }

    async fn page(&self, _: &QuarantineQuery) -> Result<Vec<QuarantineEntry>, StateError> {
        Ok(Vec::new())
    }

    async fn get(&self, _: EventId) -> Result<Option<Quarantined>, StateError> {
        Ok(None)
    }

    async fn remove(&self, _: &[EventId]) -> Result<Vec<QuarantineCount>, StateError> {
        Ok(Vec::new())
    }

    async fn set_reasons(&self, _: Vec<(EventId, String)>) -> Result<(), StateError> {
        Ok(())
    }

    async fn counts(&self) -> Result<Vec<QuarantineCount>, StateError> {
        Ok(Vec::new())
    }
}

/// What in quarantine a call is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QuarantineSelection {
    /// Everything of a source.
    Source(SourceName),
    /// These.
    Ids(Vec<EventId>),
}

/// How far a release has come that takes more than one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReleaseSpan {
    /// Those up to this number were looked at.
    pub after: u64,
    /// Nothing above this number: what comes in meanwhile is not chased.
    pub through: u64,
}

/// A request that was released, and what its events are known by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleasedAs {
    /// What its sender was told.
    pub id: EventId,
    /// Its event, or the first of them.
    pub event: EventId,
    /// How many events it is.
    pub events: u64,
}

/// A request that stays for another reason than its proof.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotReleased {
    /// What its sender was told.
    pub id: EventId,
    /// The code that a sender would be told.
    pub code: String,
    /// The reason.
    pub reason: String,
}

/// What a release came to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Released {
    /// Requests that are verified now. Their events are durable, unless it was only a look.
    pub verified: u64,
    /// Of those, the ones whose events were all known: their senders had repeated them.
    pub repeats: u64,
    /// Requests that are still not verified. They stay.
    pub still_invalid: u64,
    /// Requests that stay for another reason: what they hold is nothing that the source takes, for one.
    pub not_taken: Vec<NotReleased>,
    /// Ids that were asked for and are not in quarantine.
    pub unknown: u64,
    /// What became of those that were released and are events.
    pub events: Vec<ReleasedAs>,
    /// There are more of them: from here it goes on.
    pub next: Option<ReleaseSpan>,
}

/// Why a release, or a purge, was not done.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReleaseError {
    /// There is no such source, so that nothing can be verified.
    #[error(
        "there is no HTTP source {0} in the configuration to verify it: purge what is in quarantine of it, or put the source back"
    )]
    UnknownSource(SourceName),
    /// Verified requests cannot be taken just now, as a sender's would not be.
    #[error(
        "{words}; {} before, the rest is in quarantine still", released(*.before)
    )]
    Refused {
        /// The code that a sender would be told.
        code: &'static str,
        /// The reason.
        words: String,
        /// So many were released by this call.
        before: u64,
    },
    /// State could not do it. What was verified is durable, and is known as a repeat when it is released again.
    #[error(transparent)]
    State(#[from] StateError),
}

fn released(before: u64) -> String {
    match before {
        1 => "1 was released".into(),
        more => format!("{more} were released"),
    }
}

/// What can be done to what is in quarantine.
#[async_trait]
pub trait Releases: Send + Sync {
    /// Verifies them again, as of when they were received; those that pass are taken as they would have been, and leave.
    /// With `dry_run` it only looks. `span` is where a call before ended.
    ///
    /// # Errors
    /// [`ReleaseError`].
    async fn release(
        &self,
        selection: QuarantineSelection,
        span: Option<ReleaseSpan>,
        dry_run: bool,
    ) -> Result<Released, ReleaseError>;

    /// Discards them for good, and says how many. With `dry_run` it only counts.
    ///
    /// # Errors
    /// [`ReleaseError::State`].
    async fn purge(
        &self,
        selection: QuarantineSelection,
        dry_run: bool,
    ) -> Result<u64, ReleaseError>;

    /// The headers that hold a credential with the scheme of this source, in lower case.
    fn credentials(&self, source: &SourceName) -> Vec<String>;
}
