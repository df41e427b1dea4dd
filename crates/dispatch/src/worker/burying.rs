//! Burying by a rule: what waited too long for a destination that is away, and what is too much of a backlog.
//!
//! No attempt says anything of these events: they are taken from the oldest on. Burying yields to everything
//! else: one batch at a time, and after it as long a pause as its commit took.

use std::time::Duration;

use domain::policy::OnOutage;
use domain::ports::{BatchLimit, BreakerState, Bury, Delivery};
use domain::{Cause, Reason, Seq, SeqRange, Timestamp};
use tokio::time::Instant;

use super::Worker;
use super::outage::Outage;
use super::sort::RowUnderWay;
use crate::attempt::ParkedMark;
use crate::completion::Completion;
use crate::window::Waiting;

/// What is buried at once.
const BATCH: BatchLimit = BatchLimit {
    events: 500,
    bytes: 1 << 20,
};

/// The shortest pause after a batch; the pause while state has no room, and between two looks at parked events.
const PAUSE: Duration = Duration::from_millis(1);
const ROOM_AGAIN: Duration = Duration::from_secs(1);
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The rules of one route, and where they are.
#[derive(Debug)]
pub(super) struct Burying {
    /// The present outage, where what waits through one is buried.
    outage: Option<Outage>,
    /// Why the destination was away last, and since when.
    cause: Option<(Cause, Timestamp)>,
    /// Rows under way, and since when.
    under_way: usize,
    begun: Instant,
    /// Not before.
    again: Option<Instant>,
    /// Counts of the backlog that were begun when the last batch was committed.
    counts: u64,
}

impl Burying {
    pub(super) fn new(on_outage: OnOutage) -> Self {
        let outage = match on_outage {
            OnOutage::DeadLetterAfter(bury) => Some(Outage::new(bury.dead_letter_after.0)),
            OnOutage::Hold | OnOutage::Retry => None,
        };
        Self {
            outage,
            cause: None,
            under_way: 0,
            begun: Instant::now(),
            again: None,
            counts: 0,
        }
    }

    /// When the rules must be looked at again although nothing happens.
    pub(super) fn next_look(&self) -> Option<Instant> {
        let outage = self.outage.as_ref().and_then(Outage::next);
        match (self.under_way, self.again) {
            (0, None) => outage,
            (0, again) => again,
            // Its commit wakes the worker.
            _ => None,
        }
    }

    /// The destination is away.
    pub(super) fn is_away(&mut self, cause: &Cause, now: Timestamp) {
        let since = self.cause.as_ref().map_or(now, |(_, since)| *since);
        self.cause = Some((cause.clone(), since));
    }

    /// It is back.
    pub(super) fn is_back(&mut self) {
        self.cause = None;
        if let Some(outage) = &mut self.outage {
            outage.ends();
        }
    }

    /// A row of a batch is committed; `counts`: how many counts of the backlog were begun.
    pub(super) fn committed(&mut self, counts: u64, now: Instant) {
        self.under_way -= 1;
        if self.under_way == 0 {
            let took = now.saturating_duration_since(self.begun);
            self.again = Some(now + took.max(PAUSE));
            self.counts = counts;
        }
    }
}

impl Worker {
    /// Buries the next batch of what a rule says, if it is time for one.
    pub(super) fn bury_by_rule(&mut self, now: Instant) {
        if self.route.board.paused() {
            // An operator's pause is no outage, and what waits through one is nobody's to give up.
            if let Some(outage) = &mut self.burying.outage {
                outage.ends();
            }
            self.burying.again = None;
            return;
        }
        let away = self.breaker.state() != BreakerState::Passing;
        let end = self.ports.journal.end();
        let ripe = match &mut self.burying.outage {
            Some(outage) if away => outage.lasts(now, end),
            _ => Seq::ZERO,
        };
        let busy = self.burying.under_way > 0 || self.burying.again.is_some_and(|at| now < at);
        if busy {
            return;
        }
        self.burying.again = None;
        let backlog = self.route.backlog.as_ref();
        let excess = backlog.map_or(0, |backlog| backlog.excess(self.burying.counts));
        if ripe == Seq::ZERO && excess == 0 {
            return;
        }
        if let Err(full) = self.ports.state.room() {
            self.without_room(full);
            self.burying.again = Some(now + ROOM_AGAIN);
            return;
        }
        self.overfull.has_passed();
        if excess > 0 {
            let events = BATCH
                .events
                .min(usize::try_from(excess).unwrap_or(usize::MAX));
            let limit = BatchLimit { events, ..BATCH };
            let oldest = self.window.oldest(limit, Seq(u64::MAX));
            self.bury(oldest, Vec::new(), Reason::Backlog, now);
        }
        if ripe > Seq::ZERO && self.burying.under_way == 0 {
            let waiting = self.window.oldest(BATCH, ripe);
            let parked = if waiting.is_empty() {
                self.ripe_parked(ripe)
            } else {
                Vec::new()
            };
            self.bury(waiting, parked, Reason::Outage, now);
        }
    }

    /// Parked events that are due and have waited through the outage. Those that were brought back have not.
    fn ripe_parked(&mut self, ripe: Seq) -> Vec<(Delivery, ParkedMark)> {
        let taken = self
            .due
            .take_ripe(BATCH, |seq, mark| seq <= ripe && !mark.redriven);
        if taken.is_empty() && self.breaker.state() == BreakerState::Tripped {
            let (events, bytes) = self.due.pass_over();
            self.window.release(events, bytes);
            self.start_fetching();
            // Not at once again, or it would turn in circles over those that are not ripe.
            self.burying.again = Some(Instant::now() + LOOK_AGAIN);
        }
        taken
    }

    fn bury(
        &mut self,
        waiting: Vec<Waiting>,
        parked: Vec<(Delivery, ParkedMark)>,
        reason: Reason,
        now: Instant,
    ) {
        let count = waiting.len() + parked.len();
        if count == 0 {
            return;
        }
        let at = self.ports.clock.now();
        let (cause, since) = self.cause_of(reason, at);
        let mut rows = Completion::default();
        for Waiting {
            from,
            weight,
            stored,
            key,
        } in waiting
        {
            let seq = stored.seq;
            self.suspects.forget_one(seq);
            rows.settle(
                SeqRange {
                    first: from,
                    last: seq,
                },
                1,
            );
            rows.buries.push(Bury {
                stored,
                attempts: 0,
                reason,
                cause: cause.clone(),
                first_failure_at: since,
                last_failure_at: at,
                key,
            });
            self.under_way.push_back(by_rule(seq, weight, key, false));
        }
        for (delivery, mark) in parked {
            let Delivery {
                stored, attempt, ..
            } = delivery;
            let seq = stored.seq;
            self.suspects.forget_one(seq);
            rows.buries.push(Bury {
                stored,
                attempts: attempt.saturating_sub(1),
                reason,
                cause: cause.clone(),
                first_failure_at: mark.first_failure_at,
                last_failure_at: at,
                key: mark.key,
            });
            self.under_way
                .push_back(by_rule(seq, mark.weight, mark.key, true));
        }
        if let Some(backlog) = &self.route.backlog {
            backlog.settled(count as u64);
        }
        tracing::debug!(route = %self.route.name, count, reason = reason.as_str(), "buried by rule");
        self.burying.under_way = count;
        self.burying.begun = now;
        self.route.outbox.add_rows(rows);
    }

    fn cause_of(&self, reason: Reason, now: Timestamp) -> (Cause, Timestamp) {
        if reason == Reason::Backlog {
            let why = "the route had more events waiting than its max_backlog allows";
            return (Cause::new("backlog", why), now);
        }
        let away = || (Cause::new("outage", "the destination was away"), now);
        self.burying.cause.clone().unwrap_or_else(away)
    }
}

fn by_rule(
    seq: Seq,
    weight: usize,
    key: Option<domain::OrderKey>,
    was_parked: bool,
) -> RowUnderWay {
    RowUnderWay {
        seq,
        weight,
        was_parked,
        due_at: None,
        key,
        by_rule: true,
        taken_back: false,
    }
}
