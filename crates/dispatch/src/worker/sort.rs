//! Sorting the outcomes of a batch: what is settled, what is parked, what is buried, what goes back.
//!
//! A pure function of the batch, its outcome, the policy and the time. It decides; the worker acts.

use std::time::Duration;

use domain::policy::{MAX_RETRY_AFTER, RetryPolicy};
use domain::ports::{Bury, Delivery, Park, Resolution, TakeBack};
use domain::{Cause, OrderKey, Outcome, Reason, Seq, SeqRange, Timestamp};
use jiff::SignedDuration;

use crate::attempt::{Attempted, Batch, LiveMark, Marks, ParkedMark};
use crate::completion::Completion;
use crate::metrics::RouteMetrics;
use crate::window::Waiting;
use crate::worker::run::Member;

/// An event whose row is on its way into state. It stays in the window until it is there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RowUnderWay {
    pub(crate) seq: Seq,
    pub(crate) weight: usize,
    /// Whether it came from among the parked, and so is in hand until its row is there. A live event's
    /// row may be fetched, and in hand for another attempt, before its commit is heard of.
    pub(crate) was_parked: bool,
    /// When it is due again, if it was parked; else it is gone from the route.
    pub(crate) due_at: Option<Timestamp>,
    /// What it is ordered by.
    pub(crate) key: Option<OrderKey>,
    /// It was given up by a rule and not by its own attempt.
    pub(crate) by_rule: bool,
    /// It belongs to a run that is taken back: the window does not count it.
    pub(crate) taken_back: bool,
}

impl RowUnderWay {
    /// Of an event that is taken back.
    pub(crate) fn taken_back(back: &TakeBack) -> Self {
        Self {
            seq: back.seq,
            weight: 0,
            was_parked: false,
            due_at: Some(back.due_at),
            key: back.key,
            by_rule: false,
            taken_back: true,
        }
    }

    /// Whether a live event is newly parked by it.
    pub(crate) fn is_new_parked(&self) -> bool {
        self.due_at.is_some() && !self.was_parked
    }
}

/// What became of a batch.
#[derive(Debug, Default)]
pub(crate) struct Sorted {
    /// Settled without rows.
    pub(crate) progress: Completion,
    /// Settled by a row each.
    pub(crate) rows: Completion,
    /// The events of `rows`, in the same order.
    pub(crate) under_way: Vec<RowUnderWay>,
    /// Live events to attempt again, unspent.
    pub(crate) put_back: Vec<Waiting>,
    /// Parked events to attempt again, unspent, with when they were due and their weight.
    pub(crate) still_parked: Vec<(Seq, ParkedMark)>,
    /// How many events were delivered.
    pub(crate) delivered: u64,
    /// Events and bytes of the window that are settled with `progress`.
    pub(crate) released: (usize, usize),
    /// How many events the destination failed or refused.
    pub(crate) answered: u64,
    /// The destination asked for a pause, perhaps of a certain length.
    pub(crate) throttled: Option<Option<Duration>>,
    /// The last cause met.
    pub(crate) cause: Option<Cause>,
    /// Keys of live events that were delivered.
    pub(crate) passed: Vec<OrderKey>,
    /// Keys of live events that are parked.
    pub(crate) stopped: Vec<(OrderKey, Seq)>,
    /// Events that got an answer which a broken destination gives to all, as they were before it.
    pub(crate) blanket: Vec<(Seq, Member)>,
}

/// What sorting needs to know besides the batch.
#[derive(Debug)]
pub(crate) struct Rules<'a> {
    pub(crate) retry: &'a RetryPolicy,
    pub(crate) metrics: &'a RouteMetrics,
    pub(crate) now: Timestamp,
}

/// Sorts a batch that came back.
pub(crate) fn sort(attempted: Attempted, rules: &Rules<'_>) -> Sorted {
    let Batch { deliveries, marks } = attempted.batch;
    let mut sorted = Sorted::default();
    let outcomes = attempted.outcome.outcomes;
    let events = deliveries.into_iter().zip(outcomes);
    match marks {
        Marks::Live(marks) => {
            for ((delivery, outcome), mark) in events.zip(marks) {
                sort_live(&mut sorted, delivery, outcome, mark, rules);
            }
        }
        Marks::Parked(marks) => {
            for ((delivery, outcome), mark) in events.zip(marks) {
                sort_parked(&mut sorted, delivery, outcome, mark, rules);
            }
        }
    }
    sorted.progress.counters.delivered = sorted.delivered - sorted.rows.counters.delivered;
    rules.metrics.attempts_delivered.inc_by(sorted.delivered);
    rules.metrics.delivered.inc_by(sorted.delivered);
    sorted
}

fn sort_live(
    sorted: &mut Sorted,
    delivery: Delivery,
    outcome: Outcome,
    mark: LiveMark,
    rules: &Rules<'_>,
) {
    let range = SeqRange {
        first: mark.from,
        last: delivery.stored.seq,
    };
    let failure = match outcome {
        Outcome::Delivered => {
            sorted.delivered += 1;
            sorted.passed.extend(mark.key);
            sorted.progress.settle(range, 1);
            sorted.progress.deliver(range, rules.now);
            sorted.released.0 += 1;
            sorted.released.1 += mark.weight;
            return;
        }
        Outcome::NotDone | Outcome::Throttled { .. } => {
            sorted.unspent(&outcome, rules.metrics);
            sorted.put_back.push(Waiting {
                from: mark.from,
                weight: mark.weight,
                stored: delivery.stored,
                key: mark.key,
            });
            return;
        }
        Outcome::Retry { cause, after } => Failure {
            cause,
            after: Some(after),
        },
        Outcome::Reject { cause } => Failure { cause, after: None },
    };
    sorted.rows.settle(range, 1);
    sorted.fail(delivery, failure, Before::Live(mark), rules);
}

fn sort_parked(
    sorted: &mut Sorted,
    delivery: Delivery,
    outcome: Outcome,
    mark: ParkedMark,
    rules: &Rules<'_>,
) {
    let seq = delivery.stored.seq;
    let failure = match outcome {
        Outcome::Delivered => {
            sorted.delivered += 1;
            sorted.rows.counters.delivered += 1;
            sorted.rows.resolved.push((seq, Resolution::Delivered));
            sorted.rows.deliver(SeqRange::single(seq), rules.now);
            sorted.row(seq, Before::Parked(mark), None);
            return;
        }
        Outcome::NotDone | Outcome::Throttled { .. } => {
            sorted.unspent(&outcome, rules.metrics);
            sorted.still_parked.push((seq, mark));
            return;
        }
        Outcome::Retry { cause, after } => Failure {
            cause,
            after: Some(after),
        },
        Outcome::Reject { cause } => Failure { cause, after: None },
    };
    sorted.fail(delivery, failure, Before::Parked(mark), rules);
}

/// What an event was before its attempt.
#[derive(Clone, Copy)]
enum Before {
    Live(LiveMark),
    Parked(ParkedMark),
}

/// A failed attempt of one event.
struct Failure {
    cause: Cause,
    /// What the destination asked for if another attempt may help; `None`: never this event.
    after: Option<Option<Duration>>,
}

impl Sorted {
    fn unspent(&mut self, outcome: &Outcome, metrics: &RouteMetrics) {
        if let Outcome::Throttled { after } = outcome {
            metrics.attempts_throttled.inc();
            let longest = self.throttled.flatten().max(*after);
            self.throttled = Some(longest);
        } else {
            metrics.attempts_not_done.inc();
        }
    }

    fn row(&mut self, seq: Seq, before: Before, due_at: Option<Timestamp>) {
        let (was_parked, weight, key) = match before {
            Before::Live(mark) => (false, mark.weight, mark.key),
            Before::Parked(mark) => (true, mark.weight, mark.key),
        };
        if let (false, Some(key), Some(_)) = (was_parked, key, due_at) {
            self.stopped.push((key, seq));
        }
        self.under_way.push(RowUnderWay {
            seq,
            weight,
            was_parked,
            due_at,
            key,
            by_rule: false,
            taken_back: false,
        });
    }

    /// Parks an event that may be tried again, and buries any other.
    fn fail(&mut self, delivery: Delivery, failure: Failure, before: Before, rules: &Rules<'_>) {
        let (first_failure_at, key, redriven) = match before {
            Before::Live(mark) => (rules.now, mark.key, false),
            Before::Parked(mark) => (mark.first_failure_at, mark.key, mark.redriven),
        };
        let Delivery {
            stored, attempt, ..
        } = delivery;
        let Failure { cause, after } = failure;
        self.answered += 1;
        self.cause = Some(cause.clone());
        let seq = stored.seq;
        if cause.blanket && !redriven {
            let attempts = attempt.saturating_sub(1);
            self.blanket.push((seq, Member { attempts, key }));
        }
        let reason = match after {
            None => {
                rules.metrics.attempts_reject.inc();
                Reason::Rejected
            }
            Some(after) => {
                rules.metrics.attempts_retry.inc();
                if attempt <= rules.retry.max_retries {
                    let due_at = due(rules, attempt, after);
                    self.rows.parks.push(Park {
                        stored,
                        attempts: attempt,
                        due_at,
                        first_failure_at,
                        last_failure_at: rules.now,
                        cause,
                        key,
                    });
                    self.row(seq, before, Some(due_at));
                    return;
                }
                Reason::RetriesExhausted
            }
        };
        self.rows.buries.push(Bury {
            stored,
            attempts: attempt,
            reason,
            cause,
            first_failure_at,
            last_failure_at: rules.now,
            key,
        });
        self.row(seq, before, None);
    }
}

/// When the retry after attempt number `attempt` is due: the policy's wait, or what the destination
/// asked for if that is longer.
fn due(rules: &Rules<'_>, attempt: u32, after: Option<Duration>) -> Timestamp {
    let backoff = rules.retry.wait(attempt, rand::random());
    let wait = backoff.max(after.unwrap_or_default().min(MAX_RETRY_AFTER));
    later(rules.now, wait)
}

/// `now` and `wait` more; at the end of the calendar it stays there.
pub(crate) fn later(now: Timestamp, wait: Duration) -> Timestamp {
    let wait = SignedDuration::try_from(wait).unwrap_or(SignedDuration::MAX);
    now.saturating_add(wait).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests;
