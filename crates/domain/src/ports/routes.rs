//! Routes as admin sees them: their state in words and numbers, pause and resume.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::ExportStatus;
use crate::{
    Cause, DestinationName, Event, Ledger, RouteId, RouteName, Seq, SourceName, StoredEvent,
};

/// A route's guard. The three words are the same in code, API, metrics and portal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BreakerState {
    /// Events flow.
    Passing,
    /// One waiting event is being tried.
    Probing,
    /// The destination is not there; nothing is tried until the next probe.
    Tripped,
}

impl BreakerState {
    /// The value of `forebay_breaker_state`.
    #[must_use]
    pub const fn as_metric(self) -> i64 {
        match self {
            Self::Passing => 0,
            Self::Probing => 1,
            Self::Tripped => 2,
        }
    }
}

/// The last thing that went wrong on a route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastError {
    /// When.
    pub at: Timestamp,
    /// What.
    #[serde(flatten)]
    pub cause: Cause,
}

/// A route, now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RouteStatus {
    /// Its name.
    pub name: RouteName,
    /// The sources it takes events from.
    pub sources: Vec<SourceName>,
    /// Where they go.
    pub destination: DestinationName,
    /// The type of that destination.
    pub destination_type: String,
    /// The breaker.
    pub breaker: BreakerState,
    /// Since when the breaker has been passing; or, tripped or probing, since when the destination has been away.
    pub breaker_since: Timestamp,
    /// When the next probe is due, while tripped.
    pub next_probe_at: Option<Timestamp>,
    /// Paused by an operator.
    pub paused: bool,
    /// Where every accepted event is.
    #[serde(flatten)]
    pub ledger: Ledger,
    /// [`Ledger::imbalance`] of two independent counts; always 0.
    pub imbalance: i64,
    /// Of the pending events, those that wait behind a parked one: of the same key, or of any in strict order.
    #[serde(default)]
    pub held: u64,
    /// Its `max_backlog` is reached, and new events of its sources are refused.
    #[serde(default)]
    pub full: bool,
    /// So many of its events are parked and held that it reads no further.
    #[serde(default)]
    pub at_parked_max: bool,
    /// Everything through here is settled.
    pub cursor: Seq,
    /// The age of the oldest event that is not settled; 0 when there is none.
    pub oldest_pending_seconds: f64,
    /// The last thing that went wrong, also when it has passed.
    pub last_error: Option<LastError>,
    /// What is set up weaker at the destination, or at a dead-letter target, than Forebay promises.
    pub findings: Vec<String>,
    /// Its dead-letter targets.
    #[serde(default)]
    pub exports: Vec<ExportStatus>,
}

/// Why a route could not be paused or resumed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RouteControlError {
    /// No such route.
    #[error("there is no route {0}")]
    Unknown(String),
    /// State could not store it.
    #[error("{0}")]
    State(#[from] super::StateError),
}

/// The running routes.
#[async_trait]
pub trait Routes: Send + Sync {
    /// All of them, by name. At most a second old.
    async fn statuses(&self) -> Vec<RouteStatus>;

    /// Pauses or resumes one, across restarts. After a pause returns, no new attempt is started;
    /// attempts under way finish.
    ///
    /// # Errors
    /// [`RouteControlError`].
    async fn set_paused(&self, name: &str, paused: bool) -> Result<(), RouteControlError>;

    /// The number of the route of that name, if it runs and takes the source's events.
    fn route_id(&self, route: &RouteName, source: &SourceName) -> Option<RouteId> {
        let _ = (route, source);
        None
    }

    /// Whether the event is for that route, and is one that it wants. `true` for one that does not run.
    async fn wants(&self, route: &RouteName, stored: &StoredEvent) -> bool {
        let _ = (route, stored);
        true
    }

    /// Says that an event was put back on the route by somebody else than its worker.
    fn brought(&self, route: &RouteName);
}

/// A route whose `max_backlog` is reached, and which has new events refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("route {0} has as many events waiting as its max_backlog allows")]
pub struct RouteFull(pub RouteName);

/// An event on its way into the journal. Held until its fate is known, also when nobody waits for that any more.
pub type OnItsWay = Arc<()>;

/// What it takes to know whether any route wants some events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asking {
    /// Nothing: a route wants everything that is not for one route only.
    Nothing,
    /// No time to speak of.
    Quick,
    /// Maybe seconds: not to be done where others wait.
    Long,
}

/// The limits of what waits, as ingest asks them. On the way of every request: cheap, and never waits.
pub trait Backlogs: Send + Sync {
    /// Whether every route of the source has room for one event more.
    ///
    /// # Errors
    /// [`RouteFull`] with the first that has none.
    fn admits(&self, source: &SourceName) -> Result<(), RouteFull>;

    /// An event of the source is about to go into the journal. To be called before [`Backlogs::taken`], whose answer
    /// then holds for this event: a route that ends waits for what was taken for it.
    fn entering(&self, _source: &SourceName) -> OnItsWay {
        OnItsWay::default()
    }

    /// Whether any route takes the events of the source at all. Where subscriptions are enabled it may be that
    /// none does yet, and what nobody takes is not to be acknowledged.
    fn taken(&self, _source: &SourceName) -> bool {
        true
    }

    /// What it takes to know whether any route wants events of the source, with so many bytes of bodies in all.
    fn asking(&self, _source: &SourceName, _bytes: usize) -> Asking {
        Asking::Quick
    }

    /// Whether any route wants the event: each may ask for more than its source. May take as long as
    /// [`Backlogs::asking`] says.
    fn wants(&self, _event: &Event) -> bool {
        true
    }

    /// One event of the source became durable.
    fn accepted(&self, source: &SourceName);
}

/// No limits at all.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unlimited;

impl Backlogs for Unlimited {
    fn admits(&self, _: &SourceName) -> Result<(), RouteFull> {
        Ok(())
    }

    fn accepted(&self, _: &SourceName) {}
}
