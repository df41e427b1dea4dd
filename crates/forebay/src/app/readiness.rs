//! What `/readyz` says: whether an event could be accepted durably now, and nothing else.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use domain::ports::{Journal, Readiness};

const STARTING: u8 = 0;
const OPEN: u8 = 1;
const STOPPING: u8 = 2;

/// Open between start and stop, as long as the journal can take an event.
pub struct Gate {
    phase: AtomicU8,
    journal: Arc<dyn Journal>,
}

impl Gate {
    /// Closed: starting.
    pub fn new(journal: Arc<dyn Journal>) -> Self {
        Self {
            phase: AtomicU8::new(STARTING),
            journal,
        }
    }

    /// Everything runs.
    pub fn open(&self) {
        self.phase.store(OPEN, Ordering::Relaxed);
    }

    /// Told to stop. Events are still accepted for a while.
    pub fn close(&self) {
        self.phase.store(STOPPING, Ordering::Relaxed);
    }
}

impl Readiness for Gate {
    fn ready(&self) -> Result<(), String> {
        match self.phase.load(Ordering::Relaxed) {
            OPEN => self.journal.can_append().map_err(|error| error.to_string()),
            STARTING => Err("starting".into()),
            _ => Err("shutting down".into()),
        }
    }
}
