//! What a worker hands to the settler: stretches that are done, and the rows that say how.
//!
//! A [`Completion`] can be applied on its own or together with any others of its route, in any order.
//! It keeps its stretches merged while they come in order, so a drained backlog costs an entry a
//! batch and not one an event.

use domain::ports::{Bury, Counters, DeliveredRange, Park, Resolution, SettledRange, TakeBack};
use domain::{Seq, SeqRange};

/// Settled stretches of one route with their rows; not yet committed.
#[derive(Debug, Default)]
pub(crate) struct Completion {
    /// Stretches that are done.
    pub(crate) settled: Vec<SettledRange>,
    /// Those of them whose events were delivered.
    pub(crate) delivered: Vec<DeliveredRange>,
    /// Those of them that damage took: each number counts as an event.
    pub(crate) lost: Vec<SeqRange>,
    /// Events to park.
    pub(crate) parks: Vec<Park>,
    /// Events given up on.
    pub(crate) buries: Vec<Bury>,
    /// Parked events that left.
    pub(crate) resolved: Vec<(Seq, Resolution)>,
    /// Events of a run that is taken back.
    pub(crate) taken_back: Vec<TakeBack>,
    /// By how much the counters grow.
    pub(crate) counters: Counters,
}

impl Completion {
    /// Whether there is nothing in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.settled.is_empty() && self.rows() == 0
    }

    /// How many rows of single events it has. A completion with rows is waited for.
    pub(crate) fn rows(&self) -> usize {
        self.parks.len() + self.buries.len() + self.resolved.len() + self.taken_back.len()
    }

    /// Adds a settled stretch; one that goes on where the last ended lengthens it.
    pub(crate) fn settle(&mut self, range: SeqRange, events: u64) {
        match self.settled.last_mut() {
            Some(last) if last.range.last.next() == range.first => {
                last.range.last = range.last;
                last.events += events;
            }
            _ => self.settled.push(SettledRange { range, events }),
        }
    }

    /// Adds a delivered stretch; one that goes on where the last ended lengthens it.
    pub(crate) fn deliver(&mut self, range: SeqRange, at: domain::Timestamp) {
        match self.delivered.last_mut() {
            Some(last) if last.range.last.next() == range.first => {
                last.range.last = range.last;
                last.at = at;
            }
            _ => self.delivered.push(DeliveredRange { range, at }),
        }
    }

    /// Takes everything of `other`, after its own.
    pub(crate) fn absorb(&mut self, other: Self) {
        for settled in other.settled {
            self.settle(settled.range, settled.events);
        }
        for delivered in other.delivered {
            self.deliver(delivered.range, delivered.at);
        }
        self.lost.extend(other.lost);
        self.parks.extend(other.parks);
        self.buries.extend(other.buries);
        self.resolved.extend(other.resolved);
        self.taken_back.extend(other.taken_back);
        self.counters.delivered += other.counters.delivered;
        self.counters.discarded += other.counters.discarded;
        self.counters.damaged += other.counters.damaged;
    }

    /// The delivered stretches in order, adjacent ones merged: batches end in any order.
    pub(crate) fn delivered_in_order(&self) -> Vec<DeliveredRange> {
        let mut sorted = self.delivered.clone();
        sorted.sort_unstable_by_key(|delivered| delivered.range.first);
        let mut merged: Vec<DeliveredRange> = Vec::with_capacity(sorted.len());
        for next in sorted {
            match merged.last_mut() {
                Some(last) if last.range.last.next() == next.range.first => {
                    last.range.last = next.range.last;
                    last.at = last.at.max(next.at);
                }
                _ => merged.push(next),
            }
        }
        merged
    }
}
