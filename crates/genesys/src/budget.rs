//! How many requests a client may send: one budget for all who use the client, wherever in the process they are.
//!
//! Genesys Cloud gives 300 requests a minute to a token of client credentials. What other processes send with the same
//! client counts as well, so what an answer's headers say goes over our own count.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::HeaderMap;
use tokio::time::Instant;

/// Requests in one [`WINDOW`]: "300 requests a minute for each client credentials token".
pub(crate) const REQUESTS: u32 = 300;

/// See [`REQUESTS`].
pub(crate) const WINDOW: Duration = Duration::from_secs(60);

/// A budget of requests. Waiting for one is in no order; dropping the wait takes none.
#[derive(Debug)]
pub struct Budget {
    window: Mutex<Window>,
}

#[derive(Debug, Clone, Copy)]
struct Window {
    /// When it is over and the count begins anew.
    ends: Instant,
    left: u32,
}

impl Default for Budget {
    fn default() -> Self {
        let window = Window {
            ends: Instant::now() + WINDOW,
            left: REQUESTS,
        };
        Self {
            window: Mutex::new(window),
        }
    }
}

impl Budget {
    fn lock(&self) -> MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until one more request may be sent, and counts it.
    pub(crate) async fn one(&self) {
        while let Err(until) = self.try_one() {
            tokio::time::sleep_until(until).await;
        }
    }

    /// # Errors
    /// When there is more.
    fn try_one(&self) -> Result<(), Instant> {
        let now = Instant::now();
        let mut window = self.lock();
        if now >= window.ends {
            *window = Window {
                ends: now + WINDOW,
                left: REQUESTS,
            };
        }
        if window.left == 0 {
            return Err(window.ends);
        }
        window.left -= 1;
        Ok(())
    }

    /// Takes over what an answer says of the count over there, if that is less than is left here.
    pub(crate) fn heed(&self, headers: &HeaderMap) {
        let number =
            |name| -> Option<u32> { headers.get(name)?.to_str().ok()?.trim().parse().ok() };
        let (Some(count), Some(allowed)) = (
            number("inin-ratelimit-count"),
            number("inin-ratelimit-allowed"),
        ) else {
            return;
        };
        let left = allowed.saturating_sub(count);
        let mut window = self.lock();
        if left < window.left {
            window.left = left;
            if let Some(reset) = number("inin-ratelimit-reset") {
                let reset = Duration::from_secs(reset.into()).min(WINDOW);
                window.ends = Instant::now() + reset;
            }
        }
    }

    /// Nothing more for so long: what a 429 asks for.
    pub(crate) fn pause(&self, time: Duration) {
        let mut window = self.lock();
        *window = Window {
            ends: Instant::now() + time,
            left: 0,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_request_after_the_last_of_a_minute_waits_for_the_next() {
        let budget = Budget::default();
        let began = Instant::now();
        for _ in 0..REQUESTS {
            budget.one().await;
        }
        assert_eq!(began.elapsed(), Duration::ZERO);
        budget.one().await;
        assert_eq!(began.elapsed(), WINDOW);
    }

    #[tokio::test(start_paused = true)]
    async fn what_others_have_used_counts() {
        let budget = Budget::default();
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("inin-ratelimit-count", "299"),
            ("inin-ratelimit-allowed", "300"),
            ("inin-ratelimit-reset", "20"),
        ] {
            headers.insert(name, value.parse().unwrap());
        }
        budget.heed(&headers);
        let began = Instant::now();
        budget.one().await;
        budget.one().await;
        assert_eq!(began.elapsed(), Duration::from_secs(20));
    }
}
