//! A route as the composition root asks for it, and as its worker, the settler and status share it.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use domain::policy::{
    BreakerPolicy, DeadLetterPolicy, OnFull, OnOutage, Order, ProbePolicy, RetryPolicy,
};
use domain::ports::{
    Archive, Bury, DeadLetters, Destination, Exports, Journal, RouteRecord, State,
};
use domain::{
    Clock, DestinationName, RangeSet, Reason, RouteName, Seq, SourceName, SourceSet, Timestamp,
};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::Instant;

use crate::backlog::Backlog;
use crate::board::Board;
use crate::burials::{Burials, Line};
use crate::export::{Target, TargetSpec};
use crate::filter::{Filter, Wanted};
use crate::metrics::RouteMetrics;
use crate::outbox::Outbox;

/// What a route does when something fails.
#[derive(Debug, Clone, PartialEq)]
pub struct RoutePolicies {
    /// When and how often a single event that failed is tried again.
    pub retry: RetryPolicy,
    /// What happens while the destination is not there.
    pub on_outage: OnOutage,
    /// In which order events go.
    pub order: Order,
    /// When a run of answers is taken for an outage.
    pub breaker: BreakerPolicy,
    /// How long a tripped breaker waits between probes.
    pub probe: ProbePolicy,
    /// Events parked and held, at which the route stops reading. Passed by as much as its window holds.
    pub parked_max: u64,
    /// How many events may wait in the journal, and what happens to more.
    pub backlog: Option<BacklogPolicy>,
    /// How long dead letters are kept.
    pub dead_letters: DeadLetterPolicy,
}

impl Default for RoutePolicies {
    fn default() -> Self {
        Self {
            retry: RetryPolicy::default(),
            on_outage: OnOutage::default(),
            order: Order::default(),
            breaker: BreakerPolicy::default(),
            probe: ProbePolicy::default(),
            parked_max: 100_000,
            backlog: None,
            dead_letters: DeadLetterPolicy::default(),
        }
    }
}

/// The limit of a route's events in the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BacklogPolicy {
    /// The most that may wait.
    pub max: BacklogMax,
    /// What happens at it.
    pub on_full: OnFull,
}

/// The most that may wait of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BacklogMax {
    /// So many pending events.
    Events(u64),
    /// As many as lie in so many bytes of the journal.
    JournalBytes(u64),
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
    /// Which of those events it wants; `None`: all.
    pub filter: Option<Arc<Filter>>,
    /// Where its events go. Routes with the same `destination_name` share its slots.
    pub destination: Arc<dyn Destination>,
    /// The destination's name.
    pub destination_name: DestinationName,
    /// Where its dead letters go.
    pub targets: Vec<TargetSpec>,
    /// Where state says it stands (from `State::routes` at the start).
    pub record: RouteRecord,
    /// It takes no event after this one: it is to end. `None`: it goes on.
    pub until: Option<Seq>,
    /// Whether the metrics show it under its own name: one of very many is counted among the rest.
    pub has_own_metrics: bool,
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
    /// The same state, for bringing dead letters back.
    pub dead_letters: Arc<dyn DeadLetters>,
    /// The same state, for giving dead letters to their targets.
    pub exports: Arc<dyn Exports>,
    /// Rung by whoever begins a redrive.
    pub redrive_begun: Arc<Notify>,
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
    /// Which of their events it wants.
    pub(crate) wanted: Arc<Wanted>,
    pub(crate) destination: Arc<dyn Destination>,
    pub(crate) destination_name: DestinationName,
    /// As it was at the start.
    pub(crate) record: RouteRecord,
    /// It takes no event after this one.
    pub(crate) until: Seq,
    /// What is set up weaker at the destination than Forebay promises; shown in status.
    pub(crate) findings: watch::Sender<Vec<String>>,
    /// Batches in flight to the destination, of all routes.
    pub(crate) slots: Arc<Semaphore>,
    pub(crate) board: Arc<Board>,
    pub(crate) outbox: Outbox,
    pub(crate) targets: Vec<Arc<Target>>,
    /// Grows with every commit that buried something.
    pub(crate) buried: watch::Sender<u64>,
    /// What the log has not told of yet.
    pub(crate) burials: Mutex<Burials>,
    /// When the first event of a run that is not over failed.
    pub(crate) open_run: Mutex<Option<Timestamp>>,
    /// Its destination took an event since the last outage began, or since the start.
    pub(crate) proved: AtomicBool,
    pub(crate) metrics: RouteMetrics,
    /// How much of it waits in the journal, if that has a limit.
    pub(crate) backlog: Option<Arc<Backlog>>,
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

    /// Since when a run is open, if one is.
    pub(crate) fn open_run(&self) -> Option<Timestamp> {
        *self.open_run.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says since when a run is open.
    pub(crate) fn set_open_run(&self, since: Option<Timestamp>) {
        *self.open_run.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }

    fn burials(&self) -> MutexGuard<'_, Burials> {
        self.burials.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the log of dead letters that it has not told of, if a line is due.
    pub(crate) fn tell_burials(&self) {
        let due = self.burials().due(Instant::now());
        self.log_burials(due);
    }

    /// Tells all of them, before nobody does any more.
    pub(crate) fn tell_last_burials(&self) {
        let rest = self.burials().rest(Instant::now());
        self.log_burials(rest);
    }

    fn log_burials(&self, lines: Vec<Line>) {
        for line in lines {
            tracing::warn!(route = %self.name, reason = line.reason.as_str(), count = line.count, code = line.code,
                "events were given up on, and are dead letters now");
        }
    }

    /// Counts dead letters that are committed, and tells whoever exports them.
    pub(crate) fn count_dead(&self, buries: &[Bury]) {
        if !buries.is_empty() {
            self.buried
                .send_modify(|count| *count += buries.len() as u64);
            let (mut burials, now) = (self.burials(), Instant::now());
            for bury in buries {
                burials.add(bury.reason, &bury.cause.code, now);
            }
        }
        for bury in buries {
            match bury.reason {
                Reason::Rejected => self.metrics.dead_rejected.inc(),
                Reason::RetriesExhausted => self.metrics.dead_exhausted.inc(),
                Reason::Outage => self.metrics.dead_outage.inc(),
                Reason::Backlog => self.metrics.dead_backlog.inc(),
                // Made by a command, while the route does not run.
                Reason::Retired => 0,
            };
        }
    }
}
