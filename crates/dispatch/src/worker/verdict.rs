//! What the route's policies make of what a destination said, before it is sorted.
//!
//! The words of a destination are about one attempt. Whether they spend one of an event's attempts depends on
//! the outage policy, on the breaker, and on whether state has room for a row.

use std::collections::BTreeSet;

use domain::policy::OnOutage;
use domain::ports::BreakerState;
use domain::{Cause, Outcome, Seq, Unavailable};
use tokio::time::Instant;

use super::Worker;
use crate::attempt::{Attempted, Marks};
use crate::route::RoutePolicies;

/// How many answers in a row are an outage; 0 where the policy says that an outage spends attempts.
pub(super) fn run_limit(policies: &RoutePolicies) -> u32 {
    match policies.on_outage {
        OnOutage::Retry => 0,
        OnOutage::Hold | OnOutage::DeadLetterAfter(_) => policies.breaker.run,
    }
}

impl Worker {
    /// Turns outcomes into what they are to this route.
    pub(super) fn weigh(&mut self, attempted: &mut Attempted) {
        if attempted.withheld {
            return;
        }
        if self.route.policies.on_outage == OnOutage::Retry {
            spend(attempted);
        } else if self.breaker.state() != BreakerState::Passing && self.run.is_on() {
            self.hold(attempted);
        }
        self.suspects.look(&attempted.batch, &mut attempted.outcome);
        self.keep_what_has_no_room(attempted);
    }

    /// Live events that would need a new row in state, which has no room: they stay in the journal, and are
    /// tried again later. Parked ones have their row.
    fn keep_what_has_no_room(&mut self, attempted: &mut Attempted) {
        let is_live = matches!(attempted.batch.marks, Marks::Live(_));
        let needs_row =
            |told: &Outcome| matches!(told, Outcome::Retry { .. } | Outcome::Reject { .. });
        if !is_live || !attempted.outcome.outcomes.iter().any(needs_row) {
            return;
        }
        let Err(full) = self.ports.state.room() else {
            self.overfull.has_passed();
            self.full_waits = 0;
            return;
        };
        let outcomes = &mut attempted.outcome.outcomes;
        for (delivery, told) in attempted.batch.deliveries.iter().zip(outcomes) {
            let (Outcome::Retry { cause, .. } | Outcome::Reject { cause }) = &*told else {
                continue;
            };
            if cause.blanket {
                self.run.add_without_row(delivery.stored.seq);
            }
            *told = Outcome::NotDone;
        }
        self.answered_without_room = true;
        self.without_room(full);
        self.full_waits = self.full_waits.saturating_add(1);
        let wait = self.route.policies.probe.wait(self.full_waits, 1.0);
        self.aside_until = Some(Instant::now() + wait);
    }

    /// While the destination is taken for away, an answer that a broken one gives to every event says that it
    /// still is: as long as there are others to try, or as many events were answered so as make a run. When all
    /// there are were tried, and they are fewer, it is an answer like any other.
    fn hold(&mut self, attempted: &mut Attempted) {
        let limit = self.route.policies.breaker.run as usize;
        let others = self.window.waiting() + self.due.in_hand();
        let outcome = &mut attempted.outcome;
        let redriven = |at: usize| match &attempted.batch.marks {
            Marks::Live(_) => false,
            Marks::Parked(marks) => marks[at].redriven,
        };
        let told = attempted.batch.deliveries.iter().zip(&mut outcome.outcomes);
        for (at, (delivery, told)) in told.enumerate() {
            if redriven(at) {
                continue;
            }
            let (Outcome::Retry { cause, .. } | Outcome::Reject { cause }) = &*told else {
                continue;
            };
            if !cause.blanket || !self.holding.holds(delivery.stored.seq, others, limit) {
                continue;
            }
            let cause = cause.clone();
            outcome.unavailable.get_or_insert(Unavailable { cause });
            *told = Outcome::NotDone;
        }
    }

    /// Says that state has no room.
    pub(super) fn without_room(&mut self, full: String) {
        if self.overfull.is_worth_a_line("room") {
            tracing::warn!(route = %self.route.name, full, "state has no room: what fails stays in the journal, and burying waits");
        }
        self.show_error(Cause::new("state full", full));
    }
}

/// An outage spends attempts, as any failure does.
fn spend(attempted: &mut Attempted) {
    let Some(Unavailable { cause }) = attempted.outcome.unavailable.take() else {
        return;
    };
    for told in &mut attempted.outcome.outcomes {
        if *told == Outcome::NotDone {
            *told = Outcome::Retry {
                cause: cause.clone(),
                after: None,
            };
        }
    }
}

/// What was answered, while the destination was taken for away, as a broken one answers everything.
#[derive(Debug, Default)]
pub(super) struct Holding {
    /// There were as many as make a run.
    is_run: bool,
    tried: BTreeSet<Seq>,
}

impl Holding {
    /// The destination takes events again.
    pub(super) fn end(&mut self) {
        *self = Self::default();
    }

    /// The outage began as a run.
    pub(super) fn is_run(&mut self) {
        self.is_run = true;
        self.tried.clear();
    }

    /// Whether such an answer to this event says that the outage lasts. `others` wait to be tried; `limit`
    /// different events are a run.
    fn holds(&mut self, seq: Seq, others: usize, limit: usize) -> bool {
        if self.is_run {
            return true;
        }
        self.tried.insert(seq);
        if self.tried.len() >= limit {
            self.is_run();
            return true;
        }
        self.tried.len() <= others
    }
}
