//! What a destination says of an attempt.
//!
//! A destination classifies its own errors into these words, beside its client; dispatch acts on the
//! words alone and never looks at which destination it talks to. ARCHITECTURE.md has the table.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The longest text kept of an error, in bytes.
pub const MAX_ERROR_BYTES: usize = 1024;

/// Why an attempt failed, in words that are safe to log and store: no secret, no payload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// A stable, short code: an HTTP status (`"http 422"`) or an SQLSTATE (`"sqlstate 23514"`).
    pub code: String,
    /// One line for a person: the code's meaning and what it names (a constraint, a column). At
    /// most [`MAX_ERROR_BYTES`].
    pub detail: String,
    /// Identifies the cause without its changing parts (ids, numbers), so that dead letters with
    /// the same cause group together.
    pub fingerprint: String,
    /// Whether a destination that is broken as a whole would say the same of every event: HTTP 401, 403,
    /// 404 and 5xx. A run of such answers is an outage that looks like poison. Known while the attempt
    /// is judged; state does not keep it.
    #[serde(skip)]
    pub blanket: bool,
    /// Whether it is not the destination that failed but what this event needs besides it: others go past it, and say
    /// nothing of it. State does not keep it.
    #[serde(skip)]
    pub aside: bool,
}

impl Cause {
    /// A cause whose fingerprint is its code as it is, and its detail with every digit run folded to `#`.
    #[must_use]
    pub fn new(code: impl Into<String>, detail: impl Into<String>) -> Self {
        let code = code.into();
        let mut detail = detail.into();
        truncate(&mut detail, MAX_ERROR_BYTES);
        let fingerprint = format!("{code}: {}", fold_digits(&detail));
        Self {
            code,
            detail,
            fingerprint,
            blanket: false,
            aside: false,
        }
    }

    /// The same cause, as one that a broken destination gives for every event.
    #[must_use]
    pub fn blanket(mut self) -> Self {
        self.blanket = true;
        self
    }

    /// The same cause, as one of what an event needs besides its destination.
    #[must_use]
    pub fn aside(mut self) -> Self {
        (self.aside, self.blanket) = (true, false);
        self
    }
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code, self.detail)
    }
}

fn truncate(text: &mut String, max: usize) {
    let mut end = max.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
}

fn fold_digits(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if !c.is_ascii_digit() {
            out.push(c);
        } else if !out.ends_with('#') {
            out.push('#');
        }
    }
    out
}

/// What became of one event in an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Durable over there; or it was there already, by its id and nothing else.
    Delivered,
    /// Not now. Parked until the later of the policy's backoff and `after` (at most an hour).
    Retry {
        /// What went wrong.
        cause: Cause,
        /// How long the destination asked to wait.
        after: Option<Duration>,
    },
    /// The destination wants fewer: the route pauses, and no attempt is spent.
    Throttled {
        /// How long the destination asked to wait.
        after: Option<Duration>,
    },
    /// Never this event. It becomes a dead letter.
    Reject {
        /// What is wrong with it.
        cause: Cause,
    },
    /// The destination went away before it came to this event. Nothing is known, no attempt spent.
    NotDone,
}

/// The destination as a whole is not there: down, unreachable, or needing somebody to mend it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{cause}")]
pub struct Unavailable {
    /// Why, as the client saw it.
    pub cause: Cause,
}

impl Unavailable {
    /// With a [`Cause`] made of `code` and `detail`.
    #[must_use]
    pub fn new(code: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            cause: Cause::new(code, detail),
        }
    }
}

/// What a destination says of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchOutcome {
    /// One outcome an event, in the order of the batch.
    pub outcomes: Vec<Outcome>,
    /// Set when the destination went away during the batch; what it finished before stays
    /// [`Outcome::Delivered`], the rest is [`Outcome::NotDone`].
    pub unavailable: Option<Unavailable>,
}

impl BatchOutcome {
    /// All `count` events were delivered.
    #[must_use]
    pub fn all_delivered(count: usize) -> Self {
        Self {
            outcomes: vec![Outcome::Delivered; count],
            unavailable: None,
        }
    }

    /// Nothing of the `count` events was done because the destination is not there.
    #[must_use]
    pub fn unavailable(count: usize, why: Unavailable) -> Self {
        Self {
            outcomes: vec![Outcome::NotDone; count],
            unavailable: Some(why),
        }
    }
}

/// Why an event became a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// The destination refused this event for good.
    Rejected,
    /// Every attempt that the policy allows was spent.
    RetriesExhausted,
    /// It waited longer than `dead_letter_after` for a destination that was away.
    Outage,
    /// It was the oldest of a route at its `max_backlog` with `on_full = "dead_letter"`.
    Backlog,
    /// Its route was retired with `--pending dead-letter`.
    Retired,
}

impl Reason {
    /// All there are.
    pub const ALL: [Self; 5] = [
        Self::Rejected,
        Self::RetriesExhausted,
        Self::Outage,
        Self::Backlog,
        Self::Retired,
    ];

    /// The word used in state, API, metrics and dead-letter metadata.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rejected => "rejected",
            Self::RetriesExhausted => "retries-exhausted",
            Self::Outage => "outage",
            Self::Backlog => "backlog",
            Self::Retired => "retired",
        }
    }

    /// The reason that [`Reason::as_str`] names so.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_that_differ_in_numbers_only_share_a_fingerprint() {
        let one = Cause::new("sqlstate 23505", "duplicate key (id)=(1)");
        let two = Cause::new("sqlstate 23505", "duplicate key (id)=(20)");
        assert_eq!(one.fingerprint, "sqlstate 23505: duplicate key (id)=(#)");
        assert_eq!(one.fingerprint, two.fingerprint);
        // The code says what it is, digit by digit.
        let other = Cause::new("sqlstate 23514", "duplicate key (id)=(1)");
        assert_ne!(one.fingerprint, other.fingerprint);
        assert_ne!(one.detail, two.detail);
        assert_ne!(
            one.fingerprint,
            Cause::new("sqlstate 23514", "check violated").fingerprint
        );
    }

    #[test]
    fn a_long_detail_is_cut_at_a_character() {
        let cause = Cause::new("x", "ä".repeat(2000));
        assert!(cause.detail.len() <= MAX_ERROR_BYTES);
        assert!(cause.detail.chars().all(|c| c == 'ä'));
    }

    #[test]
    fn reasons_read_back() {
        for reason in Reason::ALL {
            assert_eq!(Reason::parse(reason.as_str()), Some(reason));
        }
        assert_eq!(Reason::parse("bored"), None);
    }
}
