//! A route as the composition root asks for it, and as its worker, the settler and status share it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use domain::policy::{OnOutage, Order, ProbePolicy, RetryPolicy};
use domain::ports::{Archive, Bury, Destination, Journal, RouteRecord, State};
use domain::{Clock, DestinationName, RangeSet, Reason, RouteName, Seq, SourceName, SourceSet};
use tokio::sync::{Semaphore, watch};

use crate::board::Board;
use crate::metrics::RouteMetrics;
use crate::outbox::Outbox;

/// What a route does when something fails.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct RoutePolicies {
    /// When and how often a single event that failed is tried again.
    pub retry: RetryPolicy,
    /// What happens while the destination is not there.
    pub on_outage: OnOutage,
    /// In which order events go.
    pub order: Order,
    /// How long a tripped breaker waits between probes.
    pub probe: ProbePolicy,
}

/// A route to run.
pub struct RouteSpec {
    /// Its name, as registered in state.
    pub name: RouteName,
    /// What it does when something fails.
    pub policies: RoutePolicies,
    /// The sources it takes events from.
    pub sources: SourceSet,
    /// The same, as status shows them.
    pub source_names: Vec<SourceName>,
    /// Where its events go. Routes with the same `destination_name` share its slots.
    pub destination: Arc<dyn Destination>,
    /// The destination's name.
    pub destination_name: DestinationName,
    /// Where state says it stands (from `State::routes` at the start).
    pub record: RouteRecord,
}

impl std::fmt::Debug for RouteSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RouteSpec")
            .field("name", &self.name)
            .field("destination", &self.destination_name)
            .field("cursor", &self.record.cursor)
            .finish_non_exhaustive()
    }
}

/// What dispatch reads from, writes to and takes the time from.
#[derive(Clone)]
pub struct Ports {
    /// Where events come from.
    pub journal: Arc<dyn Journal>,
    /// The same journal, for looking back.
    pub archive: Arc<dyn Archive>,
    /// Where progress, parked events and dead letters go.
    pub state: Arc<dyn State>,
    /// For timestamps. Waits are on tokio's timers.
    pub clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for Ports {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ports").finish_non_exhaustive()
    }
}

/// How far a route's steps are committed, for the auditor.
#[derive(Debug, Clone, Default)]
pub(crate) struct Committed {
    /// Everything through here is settled, durably.
    pub(crate) cursor: Seq,
    /// Events that the route's reader saw up to the cursor, damaged ones included.
    pub(crate) accepted: u64,
    /// Stretches that damage took and that were settled so, as far as they were read.
    pub(crate) lost: RangeSet,
}

/// What the readers of all routes found damaged, whether or not it had been settled before. The journal
/// no longer counts it, also for a route that had it in time. And the segments around it, in which the
/// journal may leave out more than was found yet.
#[derive(Debug, Default)]
pub(crate) struct Damage(Mutex<RangeSet>);

impl Damage {
    /// What was found, for adding to it and forgetting it.
    pub(crate) fn found(&self) -> MutexGuard<'_, RangeSet> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running route, shared by those who work for it.
pub(crate) struct Route {
    pub(crate) name: RouteName,
    pub(crate) policies: RoutePolicies,
    pub(crate) sources: SourceSet,
    pub(crate) source_names: Vec<SourceName>,
    pub(crate) destination: Arc<dyn Destination>,
    pub(crate) destination_name: DestinationName,
    /// As it was at the start.
    pub(crate) record: RouteRecord,
    /// What is set up weaker at the destination than Forebay promises; shown in status.
    pub(crate) findings: watch::Sender<Vec<String>>,
    /// Batches in flight to the destination, of all routes.
    pub(crate) slots: Arc<Semaphore>,
    pub(crate) board: Arc<Board>,
    pub(crate) outbox: Outbox,
    pub(crate) metrics: RouteMetrics,
    pub(crate) committed: Mutex<Committed>,
    /// One for all routes.
    pub(crate) damage: Arc<Damage>,
}

impl Route {
    /// How far its steps are committed.
    pub(crate) fn committed(&self) -> MutexGuard<'_, Committed> {
        self.committed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts dead letters that are committed.
    pub(crate) fn count_dead(&self, buries: &[Bury]) {
        for bury in buries {
            match bury.reason {
                Reason::Rejected => self.metrics.dead_rejected.inc(),
                Reason::RetriesExhausted => self.metrics.dead_exhausted.inc(),
                // These are made elsewhere: by a rule of time, and by retiring a route.
                Reason::Outage | Reason::Backlog | Reason::Retired => 0,
            };
        }
    }
}
