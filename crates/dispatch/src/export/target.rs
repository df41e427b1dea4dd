//! A dead-letter target of a route: a destination, with a breaker and an error to show of its own.

use std::sync::{Arc, Mutex, PoisonError};

use domain::ports::{Destination, ExportCounts, ExportStatus};
use domain::{DestinationName, Timestamp};
use tokio::sync::Semaphore;

use crate::board::Board;

/// A target as the composition root gives it.
#[derive(Clone)]
pub struct TargetSpec {
    /// The destination's name; routes and exports of the same name share its slots.
    pub name: DestinationName,
    /// The destination.
    pub destination: Arc<dyn Destination>,
}

impl std::fmt::Debug for TargetSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("TargetSpec").field(&self.name).finish()
    }
}

/// A target at work.
pub(crate) struct Target {
    pub(crate) name: DestinationName,
    pub(crate) destination: Arc<dyn Destination>,
    /// Batches in flight to the destination, of all routes and exports.
    pub(crate) slots: Arc<Semaphore>,
    pub(crate) board: Board,
    /// As they were counted last.
    counts: Mutex<ExportCounts>,
}

impl Target {
    pub(crate) fn new(spec: TargetSpec, slots: Arc<Semaphore>, now: Timestamp) -> Self {
        Self {
            name: spec.name,
            destination: spec.destination,
            slots,
            board: Board::new(false, now),
            counts: Mutex::default(),
        }
    }

    /// Shows what was counted.
    pub(crate) fn show_counts(&self, counts: ExportCounts) {
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner) = counts;
    }

    /// As status shows it.
    pub(crate) fn status(&self) -> ExportStatus {
        let shown = self.board.shown();
        let counts = *self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        ExportStatus {
            target: self.name.clone(),
            target_type: self.destination.kind().to_owned(),
            breaker: shown.breaker,
            pending: counts.pending,
            refused: counts.refused,
            last_error: shown.last_error,
        }
    }
}
