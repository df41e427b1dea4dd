//! Faults that a test sets for the requests that come next.

use std::collections::VecDeque;
use std::time::Duration;

/// How a request fares instead of well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// 429, and how it says when to come again.
    TooManyRequests(Wait),
    /// This status, with the body that the real one has beside it. Nothing was done.
    Status(u16),
    /// The connection breaks before an answer. Nothing was done.
    Cut,
    /// The request is done, and the connection breaks before the answer.
    CutAfterwards,
    /// No answer ever comes. Nothing was done.
    Silent,
    /// The request is done and answered after so long.
    Late(Duration),
    /// 200 with a body that is no JSON. Nothing was done.
    Garbage,
}

/// How a 429 says when to come again. The seconds are of both headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// By `Retry-After`, in seconds, and by `inin-ratelimit-reset`.
    RetryAfter(u64),
    /// By `inin-ratelimit-reset` alone.
    Reset(u64),
    /// Not at all.
    Unsaid,
}

/// The faults that wait for their requests.
#[derive(Debug, Default)]
pub(super) struct Faults(VecDeque<Waiting>);

#[derive(Debug)]
struct Waiting {
    prefix: String,
    left: usize,
    fault: Fault,
}

impl Faults {
    pub(super) fn add(&mut self, prefix: &str, left: usize, fault: Fault) {
        let prefix = prefix.to_owned();
        self.0.push_back(Waiting {
            prefix,
            left,
            fault,
        });
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// The fault of a request, used up once.
    pub(super) fn take(&mut self, method: &str, path: &str) -> Option<Fault> {
        let fits = |waiting: &Waiting| match waiting.prefix.split_once(' ') {
            Some((verb, prefix)) => verb == method && path.starts_with(prefix),
            None => path.starts_with(&waiting.prefix),
        };
        let at = self.0.iter().position(|it| it.left > 0 && fits(it))?;
        let waiting = self.0.get_mut(at)?;
        waiting.left -= 1;
        let fault = waiting.fault;
        if waiting.left == 0 {
            self.0.remove(at);
        }
        Some(fault)
    }
}
