//! What a route's worker shows of itself while it runs, and the switch that pauses it.
//!
//! Written by the worker and by pause and resume, read by status. Locks are held for a copy only.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use domain::ports::{BreakerState, LastError};
use domain::{Cause, Timestamp};
use tokio::sync::Notify;

/// The breaker as shown, and what went wrong last.
#[derive(Debug, Clone)]
pub(crate) struct Shown {
    pub(crate) breaker: BreakerState,
    pub(crate) breaker_since: Timestamp,
    pub(crate) next_probe_at: Option<Timestamp>,
    pub(crate) last_error: Option<LastError>,
}

/// One route's board.
#[derive(Debug)]
pub(crate) struct Board {
    shown: Mutex<Shown>,
    paused: AtomicBool,
    /// Events were parked for the route by somebody else than its worker.
    brought: AtomicBool,
    /// Events that wait behind a parked one.
    held: AtomicU64,
    /// Parked events, as they were counted last.
    parked: AtomicU64,
    /// The worker reads no further because of what is parked and held.
    at_parked_max: AtomicBool,
    /// Wakes the worker after a change of `paused` or `brought`.
    changed: Notify,
}

impl Board {
    pub(crate) fn new(paused: bool, now: Timestamp) -> Self {
        Self {
            shown: Mutex::new(Shown {
                breaker: BreakerState::Passing,
                breaker_since: now,
                next_probe_at: None,
                last_error: None,
            }),
            paused: AtomicBool::new(paused),
            brought: AtomicBool::new(false),
            held: AtomicU64::new(0),
            parked: AtomicU64::new(0),
            at_parked_max: AtomicBool::new(false),
            changed: Notify::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is shown now.
    pub(crate) fn shown(&self) -> Shown {
        self.lock().clone()
    }

    /// Shows the breaker. Returns whether its word changed.
    pub(crate) fn show_breaker(
        &self,
        state: BreakerState,
        next_probe_at: Option<Timestamp>,
        now: Timestamp,
    ) -> bool {
        let mut shown = self.lock();
        shown.next_probe_at = next_probe_at;
        if shown.breaker == state {
            return false;
        }
        // Probing is part of the outage: it began when the breaker tripped.
        if state == BreakerState::Passing || shown.breaker == BreakerState::Passing {
            shown.breaker_since = now;
        }
        shown.breaker = state;
        true
    }

    /// Shows what went wrong.
    pub(crate) fn show_error(&self, cause: Cause, at: Timestamp) {
        self.lock().last_error = Some(LastError { at, cause });
    }

    /// Whether no attempt may be started.
    pub(crate) fn paused(&self) -> bool {
        self.paused.load(Ordering::SeqCst)
    }

    /// Pauses or resumes.
    pub(crate) fn set_paused(&self, paused: bool) {
        self.paused.store(paused, Ordering::SeqCst);
        self.changed.notify_one();
    }

    /// Tells the worker that events were parked for it: dead letters that were brought back.
    pub(crate) fn bring(&self) {
        self.brought.store(true, Ordering::SeqCst);
        self.changed.notify_one();
    }

    /// Wakes the worker.
    pub(crate) fn look_again(&self) {
        self.changed.notify_one();
    }

    /// Whether there were such since the last time.
    pub(crate) fn take_brought(&self) -> bool {
        self.brought.swap(false, Ordering::SeqCst)
    }

    /// Shows how many events are held.
    pub(crate) fn show_held(&self, held: u64) {
        self.held.store(held, Ordering::Relaxed);
    }

    /// How many events are held.
    pub(crate) fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    /// Shows how many events are parked. A worker that reads no further because of them looks again.
    pub(crate) fn show_parked(&self, parked: u64) {
        if self.parked.swap(parked, Ordering::Relaxed) != parked {
            self.changed.notify_one();
        }
    }

    /// How many events were parked at the last count.
    pub(crate) fn parked(&self) -> u64 {
        self.parked.load(Ordering::Relaxed)
    }

    /// Shows whether the route reads no further because of what is parked and held.
    pub(crate) fn show_at_parked_max(&self, at_parked_max: bool) {
        self.at_parked_max.store(at_parked_max, Ordering::Relaxed);
    }

    /// Whether it reads no further because of that.
    pub(crate) fn at_parked_max(&self) -> bool {
        self.at_parked_max.load(Ordering::Relaxed)
    }

    /// Waits for a change of `paused`, or for events brought back.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }
}
