//! What is wrong just now, by what it is about: shown as long as it is.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use domain::SourceName;

/// What a trouble is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum About {
    /// A channel that is not there.
    Channel(usize),
    /// Topics of a channel that are rejected.
    Rejected(usize),
    /// The clock.
    Clock,
    /// What fills gaps.
    Backfill,
}

/// The troubles of a source.
#[derive(Debug)]
pub(crate) struct Troubles {
    source: SourceName,
    known: Mutex<BTreeMap<About, String>>,
}

impl Troubles {
    pub(crate) fn new(source: SourceName) -> Self {
        Self {
            source,
            known: Mutex::default(),
        }
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<About, String>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows a trouble, and logs it if it is another than before.
    pub(crate) fn show(&self, about: About, what: &str) {
        let before = self.known().insert(about, what.to_owned());
        if before.as_deref() != Some(what) {
            tracing::warn!(source = %self.source, what, "the source has trouble; trying again");
        }
    }

    /// It is over.
    pub(crate) fn over(&self, about: About) {
        if let Some(what) = self.known().remove(&about) {
            tracing::info!(source = %self.source, what, "the source's trouble is over");
        }
    }

    /// All of them in one line.
    pub(crate) fn in_words(&self) -> Option<String> {
        let known = self.known();
        let lines: Vec<&str> = known.values().map(String::as_str).collect();
        (!lines.is_empty()).then(|| lines.join("; "))
    }
}
