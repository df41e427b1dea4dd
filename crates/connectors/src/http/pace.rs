//! Pacing: requests leave evenly spaced, also when many wait.
//!
//! Every request takes the next free moment. There is no saving up: after a pause the first goes at once and the
//! second waits its turn, so that no second has more than its share.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The next free moment of one destination.
#[derive(Debug)]
pub(super) struct Pace {
    every: Duration,
    next: Mutex<Option<Instant>>,
}

impl Pace {
    /// So many a second; none counts as one.
    pub(super) fn per_second(rate: u32) -> Self {
        Self {
            every: Duration::from_secs(1) / rate.max(1),
            next: Mutex::new(None),
        }
    }

    /// The longest that one of so many requests at once can wait.
    pub(super) fn longest_wait(&self, requests: usize) -> Duration {
        let requests = u32::try_from(requests).unwrap_or(u32::MAX);
        self.every.saturating_mul(requests)
    }

    /// Waits for the next free moment. A call that is dropped leaves its moment unused.
    pub(super) async fn turn(&self) {
        let at = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            let at = next.map_or(now, |next| next.max(now));
            *next = Some(at + self.every);
            at
        };
        tokio::time::sleep_until(at).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::future::join_all;

    #[tokio::test(start_paused = true)]
    async fn turns_are_evenly_spaced_over_all_who_wait() {
        let pace = Pace::per_second(4);
        let start = Instant::now();
        let at = |_| async {
            pace.turn().await;
            start.elapsed().as_millis()
        };
        let times = join_all((0..6).map(at)).await;
        assert_eq!(times, [0, 250, 500, 750, 1000, 1250]);
        assert_eq!(pace.longest_wait(8), Duration::from_secs(2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_saves_up_nothing() {
        let pace = Pace::per_second(10);
        pace.turn().await;
        tokio::time::advance(Duration::from_secs(60)).await;
        let start = Instant::now();
        for _ in 0..3 {
            pace.turn().await;
        }
        assert_eq!(start.elapsed(), Duration::from_millis(200));
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_that_nobody_waits_for_any_more_passes() {
        let pace = Pace::per_second(1);
        pace.turn().await;
        let given_up = tokio::time::timeout(Duration::from_millis(10), pace.turn()).await;
        assert!(given_up.is_err());
        let start = Instant::now();
        pace.turn().await;
        assert_eq!(start.elapsed(), Duration::from_millis(1990));
    }
}
