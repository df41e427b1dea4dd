//! Poison that looks like an outage: events in whose attempts the destination went away.
//!
//! One event that hangs the application must not stop its route for ever. What was not done in an
//! attempt that ended in an outage is suspected, and travels in ever smaller company until it is
//! delivered. An event that was alone with an outage three times, while others were delivered in
//! between, is to blame: its outcome is `retry`. A real outage blames nobody, since nothing is
//! delivered during it.

use std::collections::HashMap;

use domain::{BatchOutcome, Cause, Outcome, Seq};

use crate::attempt::Batch;

/// Strikes until an event is to blame.
const STRIKES: u8 = 3;

/// By what the company of a suspect shrinks each time: a thousand is one after four.
const SHRINK: usize = 8;

#[derive(Debug, Clone, Copy)]
struct Suspect {
    /// The most events in its next batch.
    company: usize,
    strikes: u8,
    /// The era of the last strike.
    era: u64,
}

/// The suspects of one route; never more than its window holds.
#[derive(Debug, Default)]
pub(super) struct Suspects {
    /// Grows each time the breaker passes again.
    era: u64,
    events: HashMap<Seq, Suspect>,
}

impl Suspects {
    /// The breaker passes again: others are delivered.
    pub(super) fn others_pass(&mut self) {
        self.era += 1;
    }

    /// The largest batch that the event may travel in.
    pub(super) fn company(&self, seq: Seq) -> usize {
        self.events
            .get(&seq)
            .map_or(usize::MAX, |suspect| suspect.company)
    }

    /// Looks at a batch that came back: forgets what got an answer, suspects what an outage left
    /// undone, and turns the outcome of an event that is to blame into `retry`.
    pub(super) fn look(&mut self, batch: &Batch, outcome: &mut BatchOutcome) {
        let Some(unavailable) = &outcome.unavailable else {
            if !self.events.is_empty() {
                self.forget(batch, outcome);
            }
            return;
        };
        let cause = unavailable.cause.clone();
        self.forget(batch, outcome);
        let undone = |outcome: &Outcome| *outcome == Outcome::NotDone;
        let count = outcome.outcomes.iter().filter(|told| undone(told)).count();
        for (delivery, told) in batch.deliveries.iter().zip(&mut outcome.outcomes) {
            if undone(told) && self.suspect(delivery.stored.seq, count) {
                *told = blamed(&cause);
            }
        }
    }

    /// An event was given up by a rule.
    pub(super) fn forget_one(&mut self, seq: Seq) {
        self.events.remove(&seq);
    }

    fn forget(&mut self, batch: &Batch, outcome: &BatchOutcome) {
        for (delivery, told) in batch.deliveries.iter().zip(&outcome.outcomes) {
            if !matches!(told, Outcome::NotDone | Outcome::Throttled { .. }) {
                self.events.remove(&delivery.stored.seq);
            }
        }
    }

    /// Suspects an event of `count` that were undone together. Whether it is to blame.
    fn suspect(&mut self, seq: Seq, count: usize) -> bool {
        let era = self.era;
        let suspect = self.events.entry(seq).or_insert(Suspect {
            company: usize::MAX,
            strikes: 0,
            era,
        });
        suspect.company = suspect.company.min((count / SHRINK).max(1));
        if count == 1 && (suspect.strikes == 0 || suspect.era < era) {
            suspect.strikes += 1;
            suspect.era = era;
        }
        let to_blame = suspect.strikes >= STRIKES;
        if to_blame {
            self.events.remove(&seq);
        }
        to_blame
    }
}

fn blamed(cause: &Cause) -> Outcome {
    let detail = format!(
        "the destination went away {STRIKES} times in an attempt of this event alone: {}",
        cause.detail
    );
    Outcome::Retry {
        cause: Cause::new(cause.code.clone(), detail),
        after: None,
    }
}
