//! What a route's worker shows of itself while it runs, and the switch that pauses it.
//!
//! Written by the worker and by pause and resume, read by status. Locks are held for a copy only.

use std::sync::atomic::{AtomicBool, Ordering};
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
    /// Wakes the worker after a change of `paused`.
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
        shown.breaker = state;
        shown.breaker_since = now;
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

    /// Waits for a change of `paused`.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }
}
