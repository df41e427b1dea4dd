//! State: everything off the hot path, in one SQL database. Each call is one transaction.
//!
//! The happy path leaves no row an event: what lies at or below a route's cursor, or in its settled
//! ranges, and is neither parked nor dead, was delivered or discarded.

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::BatchLimit;
use crate::{
    Cause, EventId, InstallationId, Ledger, OrderKey, Reason, RouteId, RouteName, Seq, SeqRange,
    SourceName, StoredEvent,
};

/// Why state could not do it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StateError {
    /// Reading or writing failed. A failed commit is final: the process must stop and start again.
    #[error("state failed: {0}")]
    Failed(String),
    /// State is at its `max_bytes`, or the disk at `min_free`.
    #[error("state has no room: {0}")]
    Full(String),
    /// Another program holds the lock of the store, a backup for one. Nothing was changed; passes.
    #[error("state is held by another program: {0}")]
    Busy(String),
    /// No such route.
    #[error("there is no route {0} in state")]
    UnknownRoute(RouteName),
    /// The request contradicts what is there (a name taken, a route not empty).
    #[error("{0}")]
    Conflict(String),
}

/// A settled stretch above the cursor, with how many of the route's own events lie in it (numbers
/// of other sources' events are in the stretch but not in the count).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SettledRange {
    /// The stretch.
    pub range: SeqRange,
    /// Events of the route in it, damaged ones included.
    pub events: u64,
}

/// A stretch whose events of this route were delivered, and when (to the batch).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeliveredRange {
    /// The stretch; numbers of other sources may lie in it.
    pub range: SeqRange,
    /// When the destination confirmed the last of it.
    pub at: Timestamp,
}

/// Counts that only grow. As a field of [`Settlement`]: by how much.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Delivered events.
    pub delivered: u64,
    /// Events settled without delivery on purpose.
    pub discarded: u64,
    /// Events lost to damage.
    pub damaged: u64,
}

/// How far a clock may step back without a word. What was parked later than this after now was parked by
/// a clock that was ahead, and by the same clock its next attempt would be due who knows when.
pub const CLOCK_SLACK: SignedDuration = SignedDuration::from_secs(1);

/// An event that failed and waits in state for its next attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Park {
    /// The event; state keeps a copy, the journal may recycle its own.
    pub stored: StoredEvent,
    /// Attempts spent so far.
    pub attempts: u32,
    /// When the next attempt is due.
    pub due_at: Timestamp,
    /// When the first attempt failed.
    pub first_failure_at: Timestamp,
    /// When the last attempt failed.
    pub last_failure_at: Timestamp,
    /// Why the last attempt failed.
    pub cause: Cause,
    /// What it is ordered by, on a route that is.
    pub key: Option<OrderKey>,
}

/// Which of the parked events that are due come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DueOrder {
    /// Those that have been due longest. What was redriven is due since it died.
    LongestFirst,
    /// Those that became due last: the retries of today do not wait for a large redrive.
    LatestFirst,
}

/// A parked event as state gives it back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parked {
    /// As it was parked.
    pub park: Park,
    /// How often it was brought back from the dead-letter queue.
    pub redrives: u32,
}

/// An event that its policy gave up on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bury {
    /// The event; state keeps a copy.
    pub stored: StoredEvent,
    /// Attempts spent.
    pub attempts: u32,
    /// Why it was given up.
    pub reason: Reason,
    /// What the destination said last.
    pub cause: Cause,
    /// When the first attempt failed.
    pub first_failure_at: Timestamp,
    /// When the last attempt failed.
    pub last_failure_at: Timestamp,
    /// What it is ordered by, on a route that is.
    pub key: Option<OrderKey>,
}

/// An event of a run that turned out to be an outage: parked or dead, it is parked again as it was
/// before, and due at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TakeBack {
    /// The event. One that is neither parked nor dead any more was purged meanwhile, and stays so.
    pub seq: Seq,
    /// Attempts spent before the run.
    pub attempts: u32,
    /// When the next is due.
    pub due_at: Timestamp,
    /// What it is ordered by, on a route that is.
    pub key: Option<OrderKey>,
}

/// How a parked event left the parked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolution {
    /// Its attempt succeeded. Also counted in [`Counters::delivered`].
    Delivered,
    /// Settled without delivery. Also counted in [`Counters::discarded`].
    Discarded,
}

/// One step of one route, applied whole or not at all.
///
/// Afterwards `accepted + Σ ranges.events = delivered + parked + dead + discarded + damaged` holds
/// for the route, `accepted` being what the journal counted up to the cursor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settlement {
    /// Whose step.
    pub route: RouteName,
    /// The new low watermark; never below the old one.
    pub cursor: Seq,
    /// How many of the route's events the reader saw between the old cursor and the new one,
    /// damaged ones included.
    pub accepted: u64,
    /// The settled ranges above the new cursor, all of them: they replace the old.
    pub ranges: Vec<SettledRange>,
    /// Newly delivered stretches, for "what became of event X"; adjacent ones are merged.
    pub delivered: Vec<DeliveredRange>,
    /// Events that newly failed, or failed again: a row with the same sequence number is replaced.
    pub parks: Vec<Park>,
    /// Events given up on. A parked row with the same sequence number goes.
    pub buries: Vec<Bury>,
    /// Parked events that left without becoming a dead letter.
    pub resolved: Vec<(Seq, Resolution)>,
    /// Events of a run that is taken back; applied after `parks` and `buries`.
    pub taken_back: Vec<TakeBack>,
    /// By how much the counters grow.
    pub counters: Counters,
    /// The sources that the route takes from now on, and that the ranges count by; `None`: as before.
    pub sources: Option<Vec<SourceName>>,
}

impl Settlement {
    /// A step of `route` that changes nothing and stands at `cursor`.
    #[must_use]
    pub fn at(route: RouteName, cursor: Seq) -> Self {
        Self {
            route,
            cursor,
            accepted: 0,
            ranges: Vec::new(),
            delivered: Vec::new(),
            parks: Vec::new(),
            buries: Vec::new(),
            resolved: Vec::new(),
            taken_back: Vec::new(),
            counters: Counters::default(),
            sources: None,
        }
    }
}

/// A route as state knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteRecord {
    /// Its number.
    pub id: RouteId,
    /// Its name.
    pub name: RouteName,
    /// Which events it wanted when it last ran, as an expression; `None`: all of its sources'.
    pub filter: Option<String>,
    /// Everything through here is settled.
    pub cursor: Seq,
    /// What else is settled, above the cursor.
    pub ranges: Vec<SettledRange>,
    /// Events of the route that the journal took, up to the cursor.
    pub accepted: u64,
    /// What became of them.
    pub counters: Counters,
    /// Rows waiting for their next attempt.
    pub parked: u64,
    /// Rows in the dead-letter queue.
    pub dead: u64,
    /// Paused by an operator.
    pub paused: bool,
    /// When it was registered.
    pub created_at: Timestamp,
}

impl RouteRecord {
    /// The stretches through `end` that are not settled: where the route's pending events lie. The journal
    /// must be asked for these alone. A count over everything after the cursor, less what is settled
    /// there, goes wrong with damage: the journal no longer counts what the ranges still do.
    #[must_use]
    pub fn unsettled(&self, end: Seq) -> Vec<SeqRange> {
        let mut after = self.cursor;
        let mut stretches = Vec::new();
        for settled in &self.ranges {
            let before = settled.range.first.previous().min(end);
            stretches.extend(SeqRange::new(after.next(), before));
            after = after.max(settled.range.last);
        }
        stretches.extend(SeqRange::new(after.next(), end));
        stretches
    }

    /// The ledger, given what the journal counts where nothing is settled ([`RouteRecord::unsettled`]).
    #[must_use]
    pub fn ledger(&self, pending: u64) -> Ledger {
        let settled_above: u64 = self.ranges.iter().map(|range| range.events).sum();
        Ledger {
            accepted: self.accepted + settled_above + pending,
            delivered: self.counters.delivered,
            pending,
            parked: self.parked,
            dead: self.dead,
            discarded: self.counters.discarded,
            damaged: self.counters.damaged,
        }
    }
}

/// A source that state knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownSource {
    /// Its name.
    pub name: SourceName,
    /// The paths it answers on.
    pub paths: Vec<String>,
}

/// What happens to what is unsettled when a route is retired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetireFate {
    /// Pending and parked events become dead letters with the reason `retired`.
    DeadLetter,
    /// Pending and parked events are discarded, and counted so. Dead letters go too.
    Discard,
}

/// What became of one event on one route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum Fate {
    /// It came before the route's start, so it is not the route's.
    Before,
    /// In the journal, above what is settled.
    Pending,
    /// Delivered; the time is that of the batch, and unknown once `retain` has passed.
    Delivered {
        /// When.
        at: Option<Timestamp>,
    },
    /// Waiting for its next attempt.
    Parked {
        /// Attempts spent.
        attempts: u32,
        /// When the next is due.
        due_at: Timestamp,
        /// Why the last one failed.
        cause: Cause,
    },
    /// In the dead-letter queue.
    Dead {
        /// Attempts spent.
        attempts: u32,
        /// Why it was given up.
        reason: Reason,
        /// What the destination said last.
        cause: Cause,
    },
    /// Settled without delivery.
    Discarded,
}

/// The state store.
#[async_trait]
pub trait State: Send + Sync {
    /// The installation this state belongs to; `None` while it is new.
    async fn installation(&self) -> Result<Option<InstallationId>, StateError>;

    /// Binds a new state to an installation. A no-op if it is bound to the same one.
    ///
    /// # Errors
    /// [`StateError::Conflict`] if it is bound to another.
    async fn bind_installation(&self, id: InstallationId) -> Result<(), StateError>;

    /// Every source there ever was and its paths, by name, less those that were forgotten.
    async fn sources(&self) -> Result<Vec<KnownSource>, StateError>;

    /// Notes the sources of the configuration; those that are there already take the new paths.
    async fn remember_sources(&self, sources: Vec<KnownSource>) -> Result<(), StateError>;

    /// Forgets a source, so that its paths answer 404. `false`: there is none of that name.
    async fn forget_source(&self, name: &SourceName) -> Result<bool, StateError>;

    /// All routes that were registered and not retired, by name.
    async fn routes(&self) -> Result<Vec<RouteRecord>, StateError>;

    /// Registers a route whose cursor starts at `start`. A no-op if it is there.
    async fn register_route(
        &self,
        name: &RouteName,
        start: Seq,
        now: Timestamp,
    ) -> Result<(), StateError>;

    /// Notes which sources a registered route takes from now on. If it has settled ranges, those count
    /// by the old ones: see [`Settlement::sources`].
    async fn set_route_sources(
        &self,
        name: &RouteName,
        sources: Vec<SourceName>,
    ) -> Result<(), StateError>;

    /// Notes which events of its sources a registered route wants from now on, as an expression; `None`: all.
    async fn set_route_filter(
        &self,
        name: &RouteName,
        filter: Option<String>,
    ) -> Result<(), StateError>;

    /// The sources that a route took when it last ran: what its pending events are of, once the
    /// configuration no longer has it.
    async fn route_sources(&self, name: &RouteName) -> Result<Vec<SourceName>, StateError>;

    /// Gives a route, with all it holds, another name.
    ///
    /// # Errors
    /// [`StateError::UnknownRoute`], or [`StateError::Conflict`] if the new name is taken.
    async fn rename_route(&self, from: &RouteName, to: &RouteName) -> Result<(), StateError>;

    /// Ends a route whose pending events were all settled before (see [`RetireFate`]); deals with
    /// its parked rows by `fate`. Dead letters stay listed under the retired name unless discarded.
    async fn retire_route(
        &self,
        name: &RouteName,
        fate: RetireFate,
        now: Timestamp,
    ) -> Result<(), StateError>;

    /// Pauses or resumes a route, across restarts.
    async fn set_paused(&self, name: &RouteName, paused: bool) -> Result<(), StateError>;

    /// Applies the steps of several routes in one transaction. Durable when it returns.
    ///
    /// # Errors
    /// On [`StateError::Failed`] nothing of it was applied as far as is known, and the process must
    /// stop: a failed sync is as final as a journal's. On [`StateError::Full`] and
    /// [`StateError::Busy`] nothing was applied, and the same steps may be tried again.
    /// [`StateError::Conflict`] when a cursor would go back or an event that is not parked would leave
    /// the parked; nothing was applied, and it is the caller's defect.
    async fn settle(&self, steps: Vec<Settlement>) -> Result<(), StateError>;

    /// Parked events of `route` that are due at `now`, in that order, within `limit`, leaving out
    /// those whose sequence number is in `busy` (an attempt is under way), and of each order key all but the
    /// first. One that is due is given even
    /// if it alone is over the bytes. Due is what was parked until then, and what was parked more than
    /// [`CLOCK_SLACK`] after `now`: those come last.
    async fn due(
        &self,
        route: &RouteName,
        now: Timestamp,
        busy: &[Seq],
        limit: BatchLimit,
        order: DueOrder,
    ) -> Result<Vec<Parked>, StateError>;

    /// When the next parked event of `route` not in `busy` is due: at `now` or before if one is.
    async fn next_due(
        &self,
        route: &RouteName,
        now: Timestamp,
        busy: &[Seq],
    ) -> Result<Option<Timestamp>, StateError>;

    /// What the parked events of `route` are ordered by, and which they are, in order of their sequence
    /// numbers: those that hold others back.
    async fn parked_keys(&self, route: &RouteName) -> Result<Vec<(OrderKey, Seq)>, StateError>;

    /// Parked events of `route` after number `after`, in order, within `limit`, with the keys that they have.
    async fn parked_page(
        &self,
        route: &RouteName,
        after: Seq,
        limit: BatchLimit,
    ) -> Result<Vec<(StoredEvent, Option<OrderKey>)>, StateError>;

    /// Gives parked events of `route` other keys: the route is ordered in another way than when they were
    /// parked. To be called while it delivers nothing.
    async fn set_order_keys(
        &self,
        route: &RouteName,
        keys: Vec<(Seq, Option<OrderKey>)>,
    ) -> Result<(), StateError>;

    /// What became of the event on the route. Pending if it lies above all that is settled.
    async fn fate(&self, route: &RouteName, seq: Seq) -> Result<Fate, StateError>;

    /// The stored event of a parked row or dead letter, when the journal no longer holds it.
    async fn find(&self, id: EventId) -> Result<Option<StoredEvent>, StateError>;

    /// Forgets delivered ranges that ended before `before`.
    async fn expire_delivered(&self, before: Timestamp) -> Result<(), StateError>;

    /// What does not add up in the route's rows, counted one by one and not taken from what is counted on
    /// the way: 0, or there is a defect. Slow on a large store.
    async fn imbalance(&self, route: &RouteName) -> Result<i64, StateError>;

    /// The size of the store on disk, in bytes.
    async fn bytes(&self) -> Result<u64, StateError>;

    /// Whether there is room for more rows. What must succeed so that rows can leave (progress, what was
    /// delivered at last, a purge) needs no leave. Cheap; as of the last look, which is a second old at most.
    ///
    /// # Errors
    /// One line that says what is full, and what to raise.
    fn room(&self) -> Result<(), String>;
}
