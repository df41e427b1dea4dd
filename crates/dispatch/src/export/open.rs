//! A letter that its target has not dealt with, and what is known of the two.

use std::time::Duration;

use domain::HumanDuration;
use domain::policy::{Backoff, RetryPolicy};
use domain::ports::{Delivery, Letter};
use tokio::time::Instant;

/// How often a target fails at a letter, or goes away at it, while it takes others.
const TRIES: u32 = 5;

#[derive(Debug)]
pub(super) struct Open {
    pub(super) letter: Letter,
    pub(super) delivery: Delivery,
    /// With how many it may travel, itself included.
    pub(super) company: usize,
    pub(super) due: Instant,
    /// What it needs besides the target is not there: what becomes of others says nothing of it.
    pub(super) aside: bool,
    /// Tries that count: the target took others.
    tries: u32,
    /// Since it was tried first, or what it needs came back.
    waits: u32,
    /// How many letters the target had taken before it was tried first, and when it had been tried last.
    first: Option<u64>,
    last: Option<u64>,
}

impl Open {
    pub(super) fn new(letter: Letter, delivery: Delivery, now: Instant) -> Self {
        Self {
            letter,
            delivery,
            company: usize::MAX,
            due: now,
            aside: false,
            tries: 0,
            waits: 0,
            first: None,
            last: None,
        }
    }

    pub(super) fn is_untried(&self) -> bool {
        self.last.is_none()
    }

    /// Which try comes next.
    pub(super) fn next_try(&self) -> u32 {
        self.tries.saturating_add(1)
    }

    /// Whether only what becomes of others can tell more of it, after so many that the target has taken.
    pub(super) fn needs_others(&self, taken: u64) -> bool {
        !self.aside && self.last == Some(taken)
    }

    /// It was tried, among others of which so many were taken, with which the target has taken `taken`. Gives whether it
    /// has taken any since the try before.
    pub(super) fn was_tried(&mut self, among: u64, taken: u64) -> bool {
        self.aside = false;
        self.first.get_or_insert(taken.saturating_sub(among));
        self.last.replace(taken).is_some_and(|last| last < taken)
    }

    /// Whether the target took others at its first try or since.
    pub(super) fn others_are_taken(&self) -> bool {
        self.first < self.last
    }

    /// One of the tries that count. Gives whether it was the last.
    pub(super) fn counts(&mut self) -> bool {
        self.tries += 1;
        self.tries >= TRIES
    }

    /// Lets it wait, the longer the more often.
    pub(super) fn wait(&mut self, at_least: Duration) {
        self.waits = self.waits.saturating_add(1);
        let wait = policy().wait(self.waits, rand::random());
        self.due = Instant::now() + wait.max(at_least);
    }
}

/// When a letter that the target failed at is offered again.
fn policy() -> RetryPolicy {
    RetryPolicy {
        max_retries: TRIES,
        retry_interval: HumanDuration::from_secs(1),
        backoff: Backoff::Exponential,
        max_interval: HumanDuration::from_secs(60),
        jitter: 0.2,
    }
}
