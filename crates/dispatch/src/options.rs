//! The `[dispatch]` section of the configuration: how much is read ahead, and how often progress is
//! written down.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use domain::{ByteSize, HumanDuration};
use serde::{Deserialize, Serialize};

/// Limits of dispatch. They bound memory; the backlog itself stays in the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// The most events that a route has read and not settled. Default 10,000, from 1 to 1,000,000.
    pub window_events: usize,
    /// The most memory for events read and not settled, all routes together; each route has an
    /// equal share, and at least one event. Default `"32MiB"`, at least `"1MiB"`.
    pub window_bytes: ByteSize,
    /// How often progress is committed while nothing more urgent is. Default `"200ms"`, from
    /// `"1ms"` to `"10s"`. After a crash at most so much is delivered a second time.
    pub settle_interval: HumanDuration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            window_events: 10_000,
            window_bytes: ByteSize::mib(32),
            settle_interval: HumanDuration::from_millis(200),
        }
    }
}

impl Options {
    /// Checks the limits.
    ///
    /// # Errors
    /// The key and what would be right.
    pub fn validate(&self) -> Result<(), (&'static str, String)> {
        if !(1..=1_000_000).contains(&self.window_events) {
            return Err(("window_events", "must be from 1 to 1000000".into()));
        }
        if self.window_bytes < ByteSize::mib(1) {
            return Err(("window_bytes", "must be at least 1MiB".into()));
        }
        let interval = self.settle_interval;
        if interval < HumanDuration::from_millis(1) || interval > HumanDuration::from_secs(10) {
            return Err(("settle_interval", "must be from 1ms to 10s".into()));
        }
        Ok(())
    }

    /// What all routes may hold together.
    pub(crate) fn shares(&self) -> Shares {
        Shares {
            events: self.window_events.max(1),
            bytes: usize::try_from(self.window_bytes.0).unwrap_or(usize::MAX),
            routes: Arc::default(),
        }
    }
}

/// The memory of all routes, and how many of them share it now.
#[derive(Debug, Clone)]
pub(crate) struct Shares {
    events: usize,
    bytes: usize,
    routes: Arc<AtomicUsize>,
}

impl Shares {
    /// So many routes share it from now on.
    pub(crate) fn set_routes(&self, routes: usize) {
        self.routes.store(routes, Ordering::Relaxed);
    }

    /// What one route may hold now.
    pub(crate) fn limit(&self) -> WindowLimit {
        WindowLimit {
            events: self.events,
            bytes: self.bytes / self.routes.load(Ordering::Relaxed).max(1),
        }
    }
}

/// One route's share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WindowLimit {
    pub(crate) events: usize,
    pub(crate) bytes: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_that_cannot_work_are_named() {
        let key = |change: fn(&mut Options)| {
            let mut options = Options::default();
            change(&mut options);
            options.validate().map_err(|(key, _)| key)
        };
        assert_eq!(key(|_| ()), Ok(()));
        assert_eq!(
            key(|options| options.window_events = 0),
            Err("window_events")
        );
        assert_eq!(
            key(|options| options.window_bytes = ByteSize(1000)),
            Err("window_bytes")
        );
        assert_eq!(
            key(|options| options.settle_interval = HumanDuration::from_secs(60)),
            Err("settle_interval")
        );
    }
}
