//! How much of a source is in quarantine, and how much may be. Anybody can fill it, so that it is counted here, before
//! state is asked for anything: what has no place costs no write.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::metrics::QuarantineMetrics;
use crate::source::Source;

/// One source's part of the quarantine.
#[derive(Debug)]
pub(crate) struct Holding {
    most: u64,
    most_bytes: u64,
    held: Mutex<Held>,
    metrics: QuarantineMetrics,
}

#[derive(Debug, Default)]
struct Held {
    requests: u64,
    bytes: u64,
    /// It was said that it is full.
    full: bool,
}

impl Holding {
    pub(crate) fn new(most: u64, most_bytes: u64, metrics: QuarantineMetrics) -> Self {
        Self {
            most,
            most_bytes,
            held: Mutex::default(),
            metrics,
        }
    }

    /// What is in it.
    pub(crate) fn requests(&self) -> u64 {
        self.held().requests
    }

    /// So much was in it before this process.
    pub(crate) fn found(&self, requests: u64, bytes: u64) {
        let mut held = self.held();
        held.requests += requests;
        held.bytes += bytes;
        self.show(&held);
    }

    /// So much has left it.
    pub(crate) fn left(&self, requests: u64, bytes: u64) {
        let mut held = self.held();
        held.requests = held.requests.saturating_sub(requests);
        held.bytes = held.bytes.saturating_sub(bytes);
        held.full = false;
        self.show(&held);
    }

    fn show(&self, held: &Held) {
        let requests = i64::try_from(held.requests).unwrap_or(i64::MAX);
        self.metrics.requests.set(requests);
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// There is no place. `first`: for the first time since there was one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoPlace {
    pub first: bool,
}

/// A place in a source's quarantine, given back when it is dropped before it was filled.
#[derive(Debug)]
pub(crate) struct Place {
    source: Arc<Source>,
    bytes: u64,
    filled: bool,
}

impl Place {
    /// Takes a place of so many bytes.
    ///
    /// # Errors
    /// [`NoPlace`].
    pub(crate) fn take(source: &Arc<Source>, bytes: u64) -> Result<Self, NoPlace> {
        let holding = &source.holding;
        let mut held = holding.held();
        if held.requests >= holding.most || held.bytes.saturating_add(bytes) > holding.most_bytes {
            holding.metrics.turned_away.inc();
            let first = !std::mem::replace(&mut held.full, true);
            return Err(NoPlace { first });
        }
        held.requests += 1;
        held.bytes += bytes;
        holding.show(&held);
        Ok(Self {
            source: Arc::clone(source),
            bytes,
            filled: false,
        })
    }

    /// What it was taken for is in state.
    pub(crate) fn fill(mut self) {
        self.filled = true;
        self.source.holding.metrics.kept.inc();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.filled {
            self.source.holding.left(1, self.bytes);
        }
    }
}
