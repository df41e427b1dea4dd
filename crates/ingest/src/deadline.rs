//! Deadlines that are nearly always met: a timer that is set and cancelled for each of them costs more than
//! the rest of waiting, so it is left running and looked at when it fires.

use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// A deadline that costs next to nothing while it is met: it is moved by noting the time, and the timer
/// is set anew only when it fires too early.
#[derive(Debug)]
pub(crate) struct Deadline {
    after: Duration,
    due: Option<Instant>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Deadline {
    /// Of so much time from each arming.
    pub(crate) const fn new(after: Duration) -> Self {
        Self {
            after,
            due: None,
            sleep: None,
        }
    }

    /// Ready once it has been armed for its whole time. Arms it if it is not.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let after = self.after;
        let due = *self.due.get_or_insert_with(|| Instant::now() + after);
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

    /// What it waited for has come.
    pub(crate) fn disarm(&mut self) {
        self.due = None;
    }
}

/// A timer that the requests of one connection use one after the other. Where several are under way at
/// once, as in HTTP/2, the others make their own.
#[derive(Debug, Default)]
pub struct Patience(Mutex<Option<Deadline>>);

impl Patience {
    /// Waits for a future, but not longer than `limit`, which is the same for all who use this one.
    /// `None`: it was not ready in time.
    pub(crate) async fn wait<F: Future>(
        &self,
        limit: Duration,
        mut future: Pin<&mut F>,
    ) -> Option<F::Output> {
        let spare = self.spare().take();
        let mut deadline = spare.unwrap_or_else(|| Deadline::new(limit));
        let waited = std::future::poll_fn(|context| {
            if let Poll::Ready(output) = future.as_mut().poll(context) {
                return Poll::Ready(Some(output));
            }
            deadline.poll(context).map(|()| None)
        })
        .await;
        deadline.disarm();
        *self.spare() = Some(deadline);
        waited
    }

    fn spare(&self) -> MutexGuard<'_, Option<Deadline>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(2);

    #[tokio::test(start_paused = true)]
    async fn each_wait_has_the_whole_time_however_the_timer_was_left() {
        let patience = Patience::default();
        let after = |seconds| tokio::time::sleep(Duration::from_secs_f64(seconds));
        for _ in 0..3 {
            assert!(patience.wait(LIMIT, pin!(after(1.5))).await.is_some());
        }
        let begun = Instant::now();
        assert!(patience.wait(LIMIT, pin!(after(60.0))).await.is_none());
        assert_eq!(begun.elapsed().as_secs(), 2);
        assert!(patience.wait(LIMIT, pin!(after(1.9))).await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn waits_at_the_same_time_do_not_share_their_time() {
        let patience = Patience::default();
        let never = || std::future::pending::<()>();
        let begun = Instant::now();
        let first = async { patience.wait(LIMIT, pin!(never())).await };
        let second = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert!(patience.wait(LIMIT, pin!(never())).await.is_none());
            begun.elapsed().as_secs()
        };
        let (first, second) = tokio::join!(first, second);
        assert_eq!((first, second), (None, 3));
    }
}
