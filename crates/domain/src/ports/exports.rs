//! Exports: dead letters on their way to the targets of their route.
//!
//! A target takes a route's letters in the order of their numbers, and state remembers how far each has come. A
//! letter stays in state until every target has it, and then for as long as the route says.

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{BatchLimit, BreakerState, DeadLetter, LastError, Letter, StateError};
use crate::{Cause, DestinationName, RouteName};

/// A letter that a target will not take, however often it is offered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unexportable {
    /// Which.
    pub letter: Letter,
    /// Why.
    pub cause: Cause,
}

/// How far a target has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exported {
    /// Whose letters.
    pub route: RouteName,
    /// The target.
    pub target: DestinationName,
    /// Every letter of the route through this one is confirmed by the target, or among the unexportable, or had gone.
    pub through: Letter,
    /// Those that the target will not take.
    pub unexportable: Vec<Unexportable>,
    /// When.
    pub at: Timestamp,
}

/// A letter that a target would not take, as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportRefusal {
    /// The target.
    pub target: DestinationName,
    /// When it would not.
    pub at: Timestamp,
    /// Why.
    #[serde(flatten)]
    pub cause: Cause,
}

/// A target that has a letter, as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportConfirmed {
    /// The target.
    pub target: DestinationName,
    /// When it had confirmed it, within a minute.
    pub at: Timestamp,
}

/// What waits for a target, and what it would not take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ExportCounts {
    /// Letters that it has not been given.
    pub pending: u64,
    /// Letters that it would not take, and that are still there.
    pub refused: u64,
}

/// A target of a route, now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExportStatus {
    /// The target.
    pub target: DestinationName,
    /// Its type.
    pub target_type: String,
    /// Its breaker, which is its own for each route.
    pub breaker: BreakerState,
    /// Letters that it has not been given.
    pub pending: u64,
    /// Letters that it would not take; they stay in state.
    pub refused: u64,
    /// The last thing that went wrong, also when it has passed.
    pub last_error: Option<LastError>,
}

/// Exports in state. Each call is one transaction; a call that changes something is durable when it returns.
#[async_trait]
pub trait Exports: Send + Sync {
    /// How far the target has come with the route's letters; 0 when it is new: it is given all there are.
    async fn export_position(
        &self,
        route: &RouteName,
        target: &DestinationName,
    ) -> Result<Letter, StateError>;

    /// The route's letters after `after`, oldest burial first, within `limit`; one is given even if it alone is over
    /// the bytes. Which targets would not take them is left out.
    async fn letters_after(
        &self,
        route: &RouteName,
        after: Letter,
        limit: BatchLimit,
    ) -> Result<Vec<DeadLetter>, StateError>;

    /// Notes how far a target has come. It never goes back.
    async fn exported(&self, step: Exported) -> Result<(), StateError>;

    /// What waits for the target, and what it would not take.
    async fn export_counts(
        &self,
        route: &RouteName,
        target: &DestinationName,
    ) -> Result<ExportCounts, StateError>;

    /// Discards at most `limit` letters of the route that every one of the targets had confirmed before then, and
    /// counts them as discarded. What one of them would not take stays, and so does what a running redrive has ahead of
    /// it. Returns how many; none are left once it is 0.
    async fn discard_exported(
        &self,
        route: &RouteName,
        targets: &[DestinationName],
        before: Timestamp,
        limit: usize,
    ) -> Result<u64, StateError>;
}
