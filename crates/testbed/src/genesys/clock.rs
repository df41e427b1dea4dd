//! The cloud's clock: a fixed start, and what tokio's clock has run since.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// 2026-03-02T08:00:00Z, when every cloud begins.
const START: i64 = 1_772_438_400;

/// Translates tokio's instants into times of day.
#[derive(Debug)]
pub(super) struct Clock {
    origin: Mutex<(Instant, Timestamp)>,
}

impl Clock {
    pub(super) fn new() -> Self {
        let start = Timestamp::from_second(START).unwrap_or(Timestamp::UNIX_EPOCH);
        Self {
            origin: Mutex::new((Instant::now(), start)),
        }
    }

    #[expect(
        clippy::unused_self,
        reason = "whose clock it is stays visible where it is read"
    )]
    pub(super) fn instant(&self) -> Instant {
        Instant::now()
    }

    pub(super) fn now(&self) -> Timestamp {
        self.at(Instant::now())
    }

    pub(super) fn set(&self, now: Timestamp) {
        *self.origin() = (Instant::now(), now);
    }

    /// The time of day of an instant, before or after the start.
    pub(super) fn at(&self, instant: Instant) -> Timestamp {
        let (origin, start) = *self.origin();
        let ahead = signed(instant.saturating_duration_since(origin));
        let behind = signed(origin.saturating_duration_since(instant));
        start
            .checked_add(ahead)
            .and_then(|time| time.checked_sub(behind))
            .unwrap_or(start)
    }

    fn origin(&self) -> std::sync::MutexGuard<'_, (Instant, Timestamp)> {
        self.origin.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}

/// As Genesys writes times: `2026-03-02T08:00:00.000Z`.
pub(super) fn text(time: Timestamp) -> String {
    format!("{time:.3}")
}
