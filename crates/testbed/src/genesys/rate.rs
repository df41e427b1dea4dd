//! The request limit of a token: so many in a window of a minute, counted from its first request.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::answer::{Answer, Refusal};
use super::fault::Wait;

const WINDOW: Duration = Duration::from_secs(60);
/// 300 a minute for a token of the client-credentials grant.
const ALLOWED: u32 = 300;

/// The windows of all tokens.
#[derive(Debug)]
pub(super) struct Rate {
    pub(super) allowed: u32,
    pub(super) wait: Wait,
    windows: HashMap<String, Window>,
}

#[derive(Debug)]
struct Window {
    start: Instant,
    count: u32,
}

/// What the answer to a request says of its window.
#[derive(Debug, Clone, Copy)]
pub(super) struct Standing {
    count: u32,
    allowed: u32,
    /// Whole seconds until the window ends, at least 1.
    reset: u64,
    wait: Wait,
}

impl Rate {
    pub(super) fn new() -> Self {
        Self {
            allowed: ALLOWED,
            wait: Wait::RetryAfter(0),
            windows: HashMap::new(),
        }
    }

    /// Counts a request.
    pub(super) fn count(&mut self, token: &str, now: Instant) -> Standing {
        self.windows.retain(|_, it| now < it.start + WINDOW);
        let window = self.windows.entry(token.to_owned()).or_insert(Window {
            start: now,
            count: 0,
        });
        window.count += 1;
        let left = (window.start + WINDOW).saturating_duration_since(now);
        Standing {
            count: window.count,
            allowed: self.allowed,
            reset: left.as_millis().div_ceil(1000).try_into().unwrap_or(60),
            wait: self.wait,
        }
    }
}

impl Standing {
    /// The refusal, when the request was one too many.
    pub(super) fn check(self) -> Result<(), Refusal> {
        if self.count <= self.allowed {
            return Ok(());
        }
        Err(refusal(match self.wait {
            Wait::RetryAfter(_) => Wait::RetryAfter(self.reset),
            Wait::Reset(_) => Wait::Reset(self.reset),
            Wait::Unsaid => Wait::Unsaid,
        }))
    }

    /// The answer with the headers that every answer has. What a 429 says of the reset is its own.
    pub(super) fn put(self, answer: Answer) -> Answer {
        let too_many = answer.status == 429;
        let answer = answer
            .header("inin-ratelimit-count", &self.count)
            .header("inin-ratelimit-allowed", &self.allowed);
        if too_many {
            answer
        } else {
            answer.header("inin-ratelimit-reset", &self.reset)
        }
    }
}

/// A 429 that says when to come again, or does not.
pub(super) fn refusal(wait: Wait) -> Refusal {
    let (Wait::RetryAfter(seconds) | Wait::Reset(seconds)) = wait else {
        return Refusal::new(429, "too.many.requests", "Rate limit exceeded the maximum.");
    };
    let message =
        format!("Rate limit exceeded the maximum. Retry the request in [{seconds}] seconds");
    let refusal =
        Refusal::new(429, "too.many.requests", message).header("inin-ratelimit-reset", &seconds);
    if matches!(wait, Wait::RetryAfter(_)) {
        refusal.header("retry-after", &seconds)
    } else {
        refusal
    }
}
