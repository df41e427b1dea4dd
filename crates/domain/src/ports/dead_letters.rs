//! Dead letters: looked into, purged, expired, and brought back by redrives.
//!
//! Every burial gives the letter a number that is never given again. Whoever works through many letters
//! (a purge, a redrive) first freezes an upper bound, so that it never meets what is buried meanwhile, its own
//! failures above all.

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{ExportConfirmed, ExportRefusal, StateError};
use crate::{Cause, EventId, Reason, RouteName, StoredEvent};

/// The number of a dead letter; it grows with each burial.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Letter(pub u64);

/// A dead letter as state keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// Its number.
    pub letter: Letter,
    /// Whose it is.
    pub route: RouteName,
    /// The route was retired: it can be purged or exported, but nobody would deliver it.
    pub retired: bool,
    /// The event.
    pub stored: StoredEvent,
    /// Attempts spent since it was accepted or last redriven.
    pub attempts: u32,
    /// Why it was given up.
    pub reason: Reason,
    /// What the destination said last.
    pub cause: Cause,
    /// When the first attempt failed.
    pub first_failure_at: Timestamp,
    /// When the last attempt failed, and it was given up.
    pub last_failure_at: Timestamp,
    /// How often it was brought back.
    pub redrives: u32,
    /// The targets that would not take it.
    pub not_exported: Vec<ExportRefusal>,
}

/// Which dead letters. Every part that is given must hold; the empty filter is all of them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DeadFilter {
    /// Of this route.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<RouteName>,
    /// Given up for this reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// With this fingerprint of the cause.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// Last failed at or after.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Timestamp>,
    /// Last failed before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Timestamp>,
}

/// Dead letters by id or by filter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Selection {
    /// Of these events, on every route that has one.
    Ids(Vec<EventId>),
    /// Those that the filter lets through.
    Filter(DeadFilter),
}

/// A page to show.
#[derive(Debug, Clone, Default)]
pub struct DeadQuery {
    /// Which.
    pub filter: DeadFilter,
    /// Only below this number: where the page before ended.
    pub below: Option<Letter>,
    /// At most so many.
    pub limit: usize,
}

/// A page of dead letters. It may be short of its limit and still not be the last: what one page reads is
/// bounded, in letters looked at and in bytes.
#[derive(Debug, Clone, Default)]
pub struct DeadPage {
    /// Newest burial first.
    pub letters: Vec<DeadLetter>,
    /// Where to go on (as [`DeadQuery::below`]); `None` when there is no more.
    pub next: Option<Letter>,
}

/// Dead letters of one route that died of the same cause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadGroup {
    /// Their route.
    pub route: RouteName,
    /// All of them are of a route that was retired.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub retired: bool,
    /// Why they were given up.
    pub reason: Reason,
    /// What their causes have in common.
    pub fingerprint: String,
    /// The code of the cause.
    pub code: String,
    /// The cause of the newest of them, as an example.
    pub example: String,
    /// The newest of them.
    pub example_id: EventId,
    /// How many there are.
    pub count: u64,
    /// When the first of them last failed.
    pub first_at: Timestamp,
    /// When the last of them last failed.
    pub last_at: Timestamp,
}

/// The number of a redrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RedriveId(pub u64);

/// Where a redrive is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RedriveStatus {
    /// It puts letters back.
    Running,
    /// Every letter was put back, or had gone meanwhile.
    Done,
    /// An operator ended it; what it had put back stays so.
    Cancelled,
}

/// A redrive: dead letters put back on their routes. Survives a restart.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Redrive {
    /// Its number.
    pub id: RedriveId,
    /// Which letters.
    #[serde(flatten)]
    pub selection: Selection,
    /// The last letter there was when it was asked for.
    pub through: Letter,
    /// At most so many letters a second; as fast as their routes take them otherwise.
    pub rate_per_second: Option<u32>,
    /// It began by itself when an outage was over, and is as fast as its route keeps up with.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ramped: bool,
    /// Where it is.
    pub status: RedriveStatus,
    /// How many letters it was to put back when it was asked for.
    pub matched: u64,
    /// How many it put back.
    pub moved: u64,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it was done or cancelled.
    pub finished_at: Option<Timestamp>,
}

/// What one step of a redrive did.
#[derive(Debug, Clone, PartialEq)]
pub struct RedriveStep {
    /// The redrive after it.
    pub redrive: Redrive,
    /// The routes that have new parked events, each once.
    pub routes: Vec<RouteName>,
    /// How many letters it put back.
    pub moved: u64,
}

/// A dead letter that somebody edits and brings back in one step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// Which event.
    pub id: EventId,
    /// Its letter on this route; the newest that is not of a retired route otherwise.
    pub route: Option<RouteName>,
    /// The body that is delivered from now on.
    pub body: Bytes,
    /// Who did it, as they say.
    pub by: String,
    /// Why.
    pub note: Option<String>,
    /// When.
    pub at: Timestamp,
}

/// What was done to a dead letter by hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edited {
    /// Its number in the trail.
    pub number: u64,
    /// The route whose letter it was.
    pub route: RouteName,
    /// Who did it, as they say.
    pub by: String,
    /// Why.
    pub note: Option<String>,
    /// When.
    pub at: Timestamp,
    /// The body before.
    pub before: Bytes,
    /// Bytes of the body after.
    pub bytes_after: u64,
}

/// Dead letters in state. Each call is one transaction; a call that changes something is durable when it
/// returns, and once begun goes on to its end also if the caller stops waiting.
#[async_trait]
pub trait DeadLetters: Send + Sync {
    /// A page of dead letters, those of retired routes among them.
    async fn dead_page(&self, query: &DeadQuery) -> Result<DeadPage, StateError>;

    /// The dead letters of one event: one for each route that gave it up.
    async fn dead_letters(&self, id: EventId) -> Result<Vec<DeadLetter>, StateError>;

    /// The causes that the filter lets through, the most letters first, at most `limit` of them.
    async fn dead_groups(
        &self,
        filter: &DeadFilter,
        limit: usize,
    ) -> Result<Vec<DeadGroup>, StateError>;

    /// The targets that have confirmed the letter, by name. None if nobody notes that.
    async fn exported_to(&self, letter: Letter) -> Result<Vec<ExportConfirmed>, StateError> {
        let _ = letter;
        Ok(Vec::new())
    }

    /// How many letters are selected.
    async fn count_dead(&self, selection: &Selection) -> Result<u64, StateError>;

    /// How many of the selected letters a redrive would put back: not those of retired routes.
    async fn count_redrivable(&self, selection: &Selection) -> Result<u64, StateError>;

    /// The last letter there is: the bound to freeze.
    async fn last_letter(&self) -> Result<Letter, StateError>;

    /// Discards at most `limit` of the selected letters up to `through`, and counts them as discarded on
    /// their routes. Returns how many; none are left once it is 0.
    async fn purge(
        &self,
        selection: &Selection,
        through: Letter,
        limit: usize,
    ) -> Result<u64, StateError>;

    /// Begins a redrive of what is selected now. Letters of retired routes are not matched.
    async fn begin_redrive(
        &self,
        selection: &Selection,
        rate_per_second: Option<u32>,
        now: Timestamp,
    ) -> Result<Redrive, StateError>;

    /// Begins a ramped redrive of what an outage buried on the route. `None`: there is nothing of it, or one is
    /// running already.
    async fn begin_recovery(
        &self,
        route: &RouteName,
        now: Timestamp,
    ) -> Result<Option<Redrive>, StateError>;

    /// Puts back at most `limit` letters of a running redrive: dead → parked, due at `now`, no attempt spent,
    /// one redrive more. Nothing left: it is done. A step of one that goes on may have moved nothing: what a
    /// step looks at is bounded. `None` when there is no such redrive.
    async fn step_redrive(
        &self,
        id: RedriveId,
        limit: usize,
        now: Timestamp,
    ) -> Result<Option<RedriveStep>, StateError>;

    /// Gives a dead letter another body and puts it back on its route, due at `at`, no attempt spent. The body before is
    /// kept in the trail for good, and asks for room. Returns the route; `None`: the event has no such letter.
    async fn redrive_edited(&self, edit: Edit) -> Result<Option<RouteName>, StateError>;

    /// Puts the event's letter on that route back, due at `now`, no attempt spent. `false`: it has none there, or the
    /// route was retired.
    async fn redrive_one(
        &self,
        id: EventId,
        route: &RouteName,
        now: Timestamp,
    ) -> Result<bool, StateError>;

    /// Whether the event was a dead letter of that route, was put back, and was delivered then. It is known long after the
    /// journal has forgotten the event, for copies that were exported.
    async fn has_returned(&self, id: EventId, route: &RouteName) -> Result<bool, StateError> {
        let _ = (id, route);
        Ok(false)
    }

    /// What was done by hand to the dead letters of an event, oldest first.
    async fn history(&self, id: EventId) -> Result<Vec<Edited>, StateError>;

    /// Ends a running redrive; one that has ended stays as it is. `None` when there is none.
    async fn cancel_redrive(
        &self,
        id: RedriveId,
        now: Timestamp,
    ) -> Result<Option<Redrive>, StateError>;

    /// One redrive.
    async fn redrive(&self, id: RedriveId) -> Result<Option<Redrive>, StateError>;

    /// The redrives, newest first, those below `below` only, at most `limit`.
    async fn redrives(
        &self,
        below: Option<RedriveId>,
        limit: usize,
    ) -> Result<Vec<Redrive>, StateError>;

    /// The redrives that have not ended, oldest first.
    async fn running_redrives(&self) -> Result<Vec<Redrive>, StateError>;
}
