//! The ports: what the parts of Forebay ask of each other.
//!
//! `ingest`, `dispatch` and `admin` cannot see each other, nor which journal, state or destination
//! stands behind these traits; only the composition root does. All are object-safe.

pub mod archive;
pub mod dead_letters;
pub mod destination;
pub mod exports;
pub mod fetch;
pub mod gaps;
pub mod inlet;
pub mod journal;
pub mod quarantine;
pub mod routes;
pub mod sources;
pub mod state;
pub mod subscriptions;

pub use archive::{Archive, EventPage, EventQuery};
pub use dead_letters::{
    DeadFilter, DeadGroup, DeadLetter, DeadLetters, DeadPage, DeadQuery, Edit, Edited, Letter,
    Redrive, RedriveId, RedriveStatus, RedriveStep, Selection,
};
pub use destination::{Delivery, Destination, DestinationLimits, Finding};
pub use exports::{
    ExportConfirmed, ExportCounts, ExportRefusal, ExportStatus, Exported, Exports, Unexportable,
};
pub use fetch::{Fetch, FetchError, FetchNothing};
pub use gaps::{Backfill, BackfillStatus, Gap, GapQuery, Gaps, NOTIFICATIONS, NewBackfill, NewGap};
pub use inlet::{Import, ImportError, ImportRequest, ImportStatus, Imports, Inlet, Message};
pub use journal::{
    Append, AppendError, Appending, BatchLimit, Durability, Journal, JournalError, ReadBatch,
    Reader,
};
pub use quarantine::{
    NoQuarantine, NotReleased, Quarantine, QuarantineCount, QuarantineEntry, QuarantineQuery,
    QuarantineSelection, Quarantined, ReleaseError, ReleaseSpan, Released, ReleasedAs, Releases,
};
pub use routes::{
    Asking, Backlogs, BreakerState, LastError, OnItsWay, RouteControlError, RouteFull, RouteStatus,
    Routes, Unlimited,
};
pub use sources::{Refusing, SourceStatus, Sources, TurnedAway};
pub use state::{
    Bury, Counters, DeliveredRange, DueOrder, Fate, KnownSource, Park, Parked, Resolution,
    RetireFate, RouteRecord, SettledRange, Settlement, State, StateError, TakeBack,
};
pub use subscriptions::{
    Deleted, Leftover, MAX_SUBSCRIPTION_URL_BYTES, NoSubscriptions, Subscription,
    SubscriptionError, SubscriptionRecord, SubscriptionRecords, SubscriptionRequest,
    SubscriptionStatus, Subscriptions,
};

/// Answers "can it accept durably, now" for `/readyz`, and nothing else.
pub trait Readiness: Send + Sync {
    /// # Errors
    /// One line that says why not: starting, shutting down, journal failed, no room.
    fn ready(&self) -> Result<(), String>;
}
