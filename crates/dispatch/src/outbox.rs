//! Between a route's worker and the settler: what is done and not yet taken for a commit.
//!
//! Bounded by the route's window: an event in here is still counted there until its rows are
//! committed, and progress without rows merges into a few stretches.

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
}

impl Outbox {
    pub(crate) fn new(bell: Arc<Bell>) -> Self {
        Self {
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
        self.lock().progress.absorb(completion);
        self.bell.work.notify_one();
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

    /// Shows how many rows were committed.
    pub(crate) fn committed(&self) -> watch::Receiver<u64> {
        self.committed.subscribe()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Taken> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
