//! What the route's policies make of what a destination said, before it is sorted.
//!
//! The words of a destination are about one attempt. Whether they spend one of an event's attempts depends on
//! the outage policy, on the breaker, and on whether state has room for a row.

use std::time::Duration;

use domain::policy::OnOutage;
use domain::ports::BreakerState;
use domain::{Cause, Outcome, Unavailable};
use tokio::time::Instant;

use super::Worker;
use crate::attempt::{Attempted, Marks};
use crate::route::RoutePolicies;

/// How long a live event that failed is left alone while state has no room for its row.
const ROOM_AGAIN: Duration = Duration::from_secs(1);

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
            hold(attempted);
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
            return;
        };
        for told in &mut attempted.outcome.outcomes {
            if needs_row(told) {
                *told = Outcome::NotDone;
            }
        }
        self.without_room(full);
        self.aside_until = Some(Instant::now() + ROOM_AGAIN);
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

/// While the destination is taken for away, an answer that a broken one gives to every event says that it
/// still is.
fn hold(attempted: &mut Attempted) {
    let outcome = &mut attempted.outcome;
    for told in &mut outcome.outcomes {
        let (Outcome::Retry { cause, .. } | Outcome::Reject { cause }) = &*told else {
            continue;
        };
        if cause.blanket {
            let cause = cause.clone();
            outcome.unavailable.get_or_insert(Unavailable { cause });
            *told = Outcome::NotDone;
        }
    }
}
