//! Between a route's worker and the settler: what is done and not yet taken for a commit.
//!
//! Bounded: an event with a row is counted in the route's window until that is committed, and of mere progress the
//! outbox knows how much is not committed yet, so that a worker whose progress nobody takes delivers no further.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Notify, watch};

use crate::completion::Completion;

/// Wakes the settler; one for all routes.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    /// There is something to commit.
    pub(crate) work: Notify,
    /// Somebody waits for it.
    pub(crate) urgent: Notify,
}

/// What was taken out at once.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    /// Without rows.
    pub(crate) progress: Completion,
    /// With rows.
    pub(crate) rows: Completion,
}

/// One route's finished work.
#[derive(Debug)]
pub(crate) struct Outbox {
    waiting: Mutex<Taken>,
    bell: Arc<Bell>,
    /// How many rows were committed since the start.
    committed: watch::Sender<u64>,
    /// Events settled without a row, and not committed.
    uncommitted: AtomicU64,
    /// So many of them are not left waiting for the interval.
    urgent_at: u64,
}

impl Outbox {
    pub(crate) fn new(bell: Arc<Bell>, urgent_at: usize) -> Self {
        Self {
            uncommitted: AtomicU64::new(0),
            urgent_at: urgent_at as u64,
            waiting: Mutex::default(),
            bell,
            committed: watch::Sender::new(0),
        }
    }

    /// Hands over mere progress: committed with the next commit.
    pub(crate) fn add_progress(&self, completion: Completion) {
        if completion.is_empty() {
            return;
        }
        let events = completion.counters.delivered + completion.counters.discarded;
        let before = self.uncommitted.fetch_add(events, Ordering::Relaxed);
        self.lock().progress.absorb(completion);
        if before + events >= self.urgent_at {
            self.bell.urgent.notify_one();
        }
        self.bell.work.notify_one();
    }

    /// Says that progress of so many events is committed.
    pub(crate) fn progress_committed(&self, events: u64) {
        if events > 0 {
            self.uncommitted.fetch_sub(events, Ordering::Relaxed);
            self.committed.send_modify(|_| {});
        }
    }

    /// Whether so much is settled and not committed that no more should be delivered: a kill would repeat all of it.
    pub(crate) fn is_full(&self) -> bool {
        self.uncommitted.load(Ordering::Relaxed) >= 4 * self.urgent_at
    }

    /// Hands over rows with their stretches: committed at once. [`Outbox::committed`] grows by the
    /// number of rows when they are, in the order they were added.
    pub(crate) fn add_rows(&self, completion: Completion) {
        if completion.is_empty() {
            return;
        }
        self.lock().rows.absorb(completion);
        self.bell.urgent.notify_one();
        self.bell.work.notify_one();
    }

    /// Takes everything.
    pub(crate) fn take(&self) -> Taken {
        std::mem::take(&mut *self.lock())
    }

    /// Says that so many rows more are committed.
    pub(crate) fn rows_committed(&self, rows: usize) {
        if rows > 0 {
            self.committed.send_modify(|count| *count += rows as u64);
        }
    }

    /// Shows how many rows were committed. Changes, with the same number, also when progress was.
    pub(crate) fn committed(&self) -> watch::Receiver<u64> {
        self.committed.subscribe()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Taken> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
