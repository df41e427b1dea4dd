//! How long a body may take to come: so long in all, and never much slower than so many bytes a second.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

use crate::limits::Limits;

/// A body has so long before its rate counts.
const GRACE: Duration = Duration::from_secs(10);

/// What no process lives to see; more than that may be no time at all.
const FOR_EVER: Duration = Duration::from_hours(24 * 365 * 30);

/// The time of one body. No clock is read and no timer set for one that has come with its head.
#[derive(Debug)]
pub(crate) struct Pace {
    timeout: Duration,
    /// Bytes a second; 0: as slow as it likes.
    rate: u64,
    begun: Option<Instant>,
    /// Left running when more has come, and moved when it fires.
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Pace {
    pub(crate) const fn new(limits: &Limits) -> Self {
        Self {
            timeout: limits.body_timeout,
            rate: limits.min_body_rate,
            begun: None,
            sleep: None,
        }
    }

    /// Called when there is nothing to read: ready when a body of which so much has come is too slow.
    pub(crate) fn poll_too_slow(&mut self, context: &mut Context<'_>, came: u64) -> Poll<()> {
        let begun = *self.begun.get_or_insert_with(Instant::now);
        let due = begun.checked_add(self.allowed(came));
        let due = due.unwrap_or_else(|| begun + FOR_EVER);
        let sleep = self
            .sleep
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
        loop {
            ready!(sleep.as_mut().poll(context));
            if sleep.deadline() >= due {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(due);
        }
    }

    /// By when more must have come than this.
    fn allowed(&self, came: u64) -> Duration {
        if self.rate == 0 {
            return self.timeout;
        }
        let earned = came.saturating_mul(1_000) / self.rate;
        let allowed = GRACE.saturating_add(Duration::from_millis(earned));
        allowed.min(self.timeout)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    fn pace(timeout: u64, rate: u64) -> Pace {
        Pace {
            timeout: Duration::from_secs(timeout),
            rate,
            begun: None,
            sleep: None,
        }
    }

    #[test]
    fn each_byte_earns_time_up_to_the_whole() {
        for (timeout, rate, came, allowed) in [
            (30, 100, 0, 10.0),
            (30, 100, 50, 10.5),
            (30, 100, 1_900, 29.0),
            (30, 100, 1_000_000, 30.0),
            (30, 100, u64::MAX, 30.0),
            (5, 100, 0, 5.0),
            (30, 0, 0, 30.0),
        ] {
            let allowed = Duration::from_secs_f64(allowed);
            assert_eq!(pace(timeout, rate).allowed(came), allowed, "{came}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_counts_from_the_first_wait_and_a_timer_that_fires_too_early_is_moved() {
        let mut pace = pace(30, 100);
        let begun = Instant::now();
        let wait = |seconds| tokio::time::sleep(Duration::from_secs(seconds));
        tokio::select! {
            () = poll_fn(|context| pace.poll_too_slow(context, 0)) => panic!("too early"),
            () = wait(9) => {}
        }
        poll_fn(|context| pace.poll_too_slow(context, 500)).await;
        assert_eq!(begun.elapsed().as_secs(), 15);
    }
}
