//! A destination: takes batches of events, and says in [`Outcome`]s what became of each.
//!
//! [`Outcome`]: crate::Outcome

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::Inlet;
use crate::{BatchOutcome, Envelope, StoredEvent, Unavailable};

/// One event on its way to a destination.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The event. Shared, not copied.
    pub stored: StoredEvent,
    /// Which attempt this is, from 1.
    pub attempt: u32,
    /// What became of it on its route, if it goes to a dead-letter target; `None` on its way to its destination.
    pub letter: Option<Arc<Envelope>>,
}

/// What a destination can take at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DestinationLimits {
    /// The most events in one batch.
    pub batch_events: usize,
    /// The most bytes in one batch, by `Event::weight`; a single larger event still goes alone.
    pub batch_bytes: usize,
    /// The most batches in flight at once.
    pub concurrency: usize,
    /// The longest one `deliver` may take. Dispatch gives up after it and takes the destination for
    /// unavailable; the destination's own timeouts should be shorter.
    pub timeout: Duration,
}

/// Something about the backend's set-up that an operator should know: a weaker promise than
/// Forebay's own, with what to change. Shown by `check --connect`, at start and in `status`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    /// What is weaker and how to mend it, one or two sentences.
    pub text: String,
}

/// Where events go. Implementations own their connections and reconnect by themselves.
#[async_trait]
pub trait Destination: Send + Sync {
    /// Hands over a batch. One outcome an event, in order; `Delivered` only when durable over there.
    /// Idempotent by the event's id where the backend can be. Dropping the call abandons it: the
    /// batch may or may not have arrived, and is delivered again.
    async fn deliver(&self, batch: &[Delivery]) -> BatchOutcome;

    /// Whether the destination is there: the cheapest exchange that shows it could take an event.
    ///
    /// # Errors
    /// Why not.
    async fn probe(&self) -> Result<(), Unavailable>;

    /// Connects, prepares what is needed (a table), and lists what is set up weaker than promised.
    ///
    /// # Errors
    /// When it is not there.
    async fn inspect(&self) -> Result<Vec<Finding>, Unavailable>;

    /// What [`Destination::inspect`] cannot see, and shows only when an event is delivered; for `check --connect`.
    fn unseen(&self) -> Option<String> {
        None
    }

    /// What it can take at once.
    fn limits(&self) -> DestinationLimits;

    /// Whether an event that is delivered again arrives once, because the backend knows its id. Where not, the
    /// repeat carries the same id, for whoever reads it to tell.
    fn recognises_repeats(&self) -> bool;

    /// Where what is delivered so is found, as a URL, if that follows from the event alone.
    fn place_of(&self, delivery: &Delivery) -> Option<String> {
        let _ = delivery;
        None
    }

    /// The same backend, read: for those that are queues.
    fn inlet(&self) -> Option<&dyn Inlet> {
        None
    }

    /// The word for its type in the configuration: `postgres`, `sqlite`.
    fn kind(&self) -> &'static str;
}
