//! How many requests of a source are taken a second: a token bucket that anybody may look at, and that only what
//! was verified takes from, or what found a place in quarantine. So nobody who cannot sign can use up a sender's share
//! for longer than the quarantine has places.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

const SECOND: u64 = 1_000_000_000;

/// A source's `rate_limit`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateLimitOptions {
    /// Requests a second in the long run, from 1 to 1,000,000.
    pub per_second: u32,
    /// Requests that may come at once after a pause, from 1 to 1,000,000. Default: as `per_second`.
    #[serde(default)]
    pub burst: Option<u32>,
}

impl RateLimitOptions {
    /// Checks the numbers.
    pub(crate) fn validate(self) -> Result<(), String> {
        let burst = self.burst.unwrap_or(self.per_second);
        for (name, number) in [("per_second", self.per_second), ("burst", burst)] {
            if !(1..=1_000_000).contains(&number) {
                return Err(format!("{name} must be from 1 to 1000000"));
            }
        }
        Ok(())
    }
}

/// There is no token. A try may fare better after this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Over(pub Duration);

/// The bucket, as one number: when it will be full again. All its arithmetic is on nanoseconds since it was made.
#[derive(Debug)]
pub(crate) struct RateLimit {
    made: Instant,
    /// What one token takes to come.
    interval: u64,
    /// What a whole bucket takes to come.
    whole: u64,
    full_at: AtomicU64,
}

impl RateLimit {
    /// A full bucket. The options were checked.
    pub(crate) fn new(options: RateLimitOptions, now: Instant) -> Self {
        let interval = SECOND / u64::from(options.per_second.max(1));
        let burst = options.burst.unwrap_or(options.per_second);
        Self {
            made: now,
            interval,
            whole: interval * u64::from(burst.max(1)),
            full_at: AtomicU64::new(0),
        }
    }

    /// Whether there is a token, which stays.
    pub(crate) fn look(&self, now: Instant) -> Result<(), Over> {
        let full_at = self.full_at.load(Ordering::Relaxed);
        self.without_one(full_at, self.since_made(now)).map(|_| ())
    }

    /// Takes a token.
    pub(crate) fn take(&self, now: Instant) -> Result<(), Over> {
        let now = self.since_made(now);
        let mut full_at = self.full_at.load(Ordering::Relaxed);
        loop {
            let next = self.without_one(full_at, now)?;
            let order = Ordering::Relaxed;
            match self
                .full_at
                .compare_exchange_weak(full_at, next, order, order)
            {
                Ok(_) => return Ok(()),
                Err(other) => full_at = other,
            }
        }
    }

    /// When the bucket will be full again if a token is taken now.
    fn without_one(&self, full_at: u64, now: u64) -> Result<u64, Over> {
        let next = full_at.max(now) + self.interval;
        match (next - now).checked_sub(self.whole) {
            None | Some(0) => Ok(next),
            Some(lacks) => Err(Over(Duration::from_nanos(lacks))),
        }
    }

    fn since_made(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.made).as_nanos();
        u64::try_from(since).unwrap_or(u64::MAX / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(per_second: u32, burst: Option<u32>) -> (RateLimit, Instant) {
        let made = Instant::now();
        let options = RateLimitOptions { per_second, burst };
        options.validate().unwrap();
        (RateLimit::new(options, made), made)
    }

    fn taken_at(limit: &RateLimit, now: Instant) -> usize {
        (0..1_000).take_while(|_| limit.take(now).is_ok()).count()
    }

    #[test]
    fn a_burst_is_taken_at_once_and_then_so_many_a_second() {
        let (limit, made) = limit(10, Some(25));
        assert_eq!(taken_at(&limit, made), 25);
        for (millis, more) in [(99, 0), (100, 1), (350, 2), (1_400, 11)] {
            let now = made + Duration::from_millis(millis);
            assert_eq!(taken_at(&limit, now), more, "{millis}");
        }
        // However long it rests, it never holds more than a burst.
        assert_eq!(taken_at(&limit, made + Duration::from_hours(24)), 25);
    }

    #[test]
    fn without_a_burst_there_is_a_second_worth_of_it() {
        let (limit, made) = limit(7, None);
        assert_eq!(taken_at(&limit, made), 7);
    }

    #[test]
    fn looking_takes_nothing_and_who_comes_too_early_hears_when_to_come_again() {
        let (limit, made) = limit(1, Some(1));
        assert_eq!((limit.look(made), limit.look(made)), (Ok(()), Ok(())));
        limit.take(made).unwrap();
        let early = made + Duration::from_millis(400);
        let over = Err(Over(Duration::from_millis(600)));
        assert_eq!((limit.look(early), limit.take(early)), (over, over));
        // What was refused cost nothing.
        assert_eq!(limit.take(made + Duration::from_secs(1)), Ok(()));
    }

    #[test]
    fn a_clock_that_was_read_before_another_ones_take_does_no_harm() {
        let (limit, made) = limit(1_000_000, Some(1));
        limit.take(made + Duration::from_secs(5)).unwrap();
        let Over(wait) = limit.look(made).unwrap_err();
        assert_eq!(wait, Duration::from_micros(5_000_001));
    }

    #[test]
    fn numbers_that_are_none_are_refused() {
        for (per_second, burst) in [(0, None), (1, Some(0)), (1_000_001, None)] {
            let options = RateLimitOptions { per_second, burst };
            assert!(options.validate().is_err(), "{options:?}");
        }
    }
}
