//! Wall-clock time as a port, so that tests can set it.
//!
//! Waiting is not here: tasks wait on tokio's timers, which tests pause. This clock only answers
//! "what time is it", for timestamps that are stored or shown.

use std::sync::Mutex;

use jiff::{SignedDuration, Timestamp};

/// Tells the wall-clock time.
///
/// The answer may jump in either direction (NTP, an operator, a suspended machine), so nothing may
/// depend on it being monotonic.
pub trait Clock: Send + Sync + std::fmt::Debug + 'static {
    /// The time now, in UTC.
    fn now(&self) -> Timestamp;
}

/// The machine's own clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that reads the machine's clock"
    )]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// A clock that stands still until it is moved. For tests and simulations.
#[derive(Debug)]
pub struct ManualClock {
    now: Mutex<Timestamp>,
}

impl ManualClock {
    /// A clock that shows `start`.
    #[must_use]
    pub fn new(start: Timestamp) -> Self {
        Self {
            now: Mutex::new(start),
        }
    }

    /// Moves the clock by `by`, which may be negative. Saturates at the ends of the calendar.
    pub fn advance(&self, by: SignedDuration) {
        let mut now = self
            .now
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        *now = now.saturating_add(by).unwrap_or(*now);
    }

    /// Sets the clock to `to`.
    pub fn set(&self, to: Timestamp) {
        *self
            .now
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = to;
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        *self
            .now
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// A clock that moves with tokio's timers: under paused time it jumps exactly as far as the timers
/// do, so that a test of a policy sees waits and timestamps agree. For tests.
#[derive(Debug)]
pub struct TimerClock {
    start: Timestamp,
    origin: tokio::time::Instant,
}

impl TimerClock {
    /// A clock that shows `start` now, and from here on follows `tokio::time`.
    #[must_use]
    pub fn new(start: Timestamp) -> Self {
        Self {
            start,
            origin: tokio::time::Instant::now(),
        }
    }
}

impl Clock for TimerClock {
    fn now(&self) -> Timestamp {
        let passed = SignedDuration::try_from(self.origin.elapsed()).unwrap_or(SignedDuration::MAX);
        self.start.saturating_add(passed).unwrap_or(self.start)
    }
}
