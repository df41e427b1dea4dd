//! Outage that looks like poison: a run of answers that a destination which is broken as a whole gives to
//! every event.
//!
//! A 404 for every event is a broken deployment, and an application whose database is down answers 500 to all.
//! A run is of different events that a policy has not brought back from the dead, with nothing delivered
//! between. When it is long enough, the route's breaker trips, and the events of the run go back to where they
//! were before it, with no attempt spent.

use std::collections::{BTreeMap, BTreeSet};

use domain::ports::TakeBack;
use domain::{OrderKey, Seq, Timestamp};

/// An event of a run as it was before.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Member {
    /// Attempts spent before the run.
    pub(crate) attempts: u32,
    pub(crate) key: Option<OrderKey>,
}

/// The run of one route.
#[derive(Debug)]
pub(super) struct Run {
    /// How long is long enough; 0: there are no runs.
    limit: usize,
    members: BTreeMap<Seq, Member>,
    /// Events that got such an answer when state had no room for their rows: they are where they were.
    without_rows: BTreeSet<Seq>,
    /// When the first of them failed.
    since: Option<Timestamp>,
}

impl Run {
    pub(super) fn new(limit: u32) -> Self {
        Self {
            limit: limit as usize,
            members: BTreeMap::new(),
            without_rows: BTreeSet::new(),
            since: None,
        }
    }

    /// When the first event of the run failed that has a row, if there is one.
    pub(super) fn since(&self) -> Option<Timestamp> {
        self.since
    }

    /// Whether runs are looked for.
    pub(super) fn is_on(&self) -> bool {
        self.limit > 0
    }

    /// An event got such an answer. One that the run has already counts once, as it was then.
    pub(super) fn add(&mut self, seq: Seq, member: Member, now: Timestamp) {
        if self.is_on() {
            self.since.get_or_insert(now);
            self.members.entry(seq).or_insert(member);
        }
    }

    /// An event got such an answer, and has no row that could be taken back.
    pub(super) fn add_without_row(&mut self, seq: Seq) {
        if self.is_on() {
            self.without_rows.insert(seq);
        }
    }

    /// Something was delivered: what was answered before was said of those events alone.
    pub(super) fn end(&mut self) {
        self.members.clear();
        self.without_rows.clear();
        self.since = None;
    }

    /// Whether the run is long enough to be an outage.
    pub(super) fn is_an_outage(&self) -> bool {
        self.is_on() && self.members.len() + self.without_rows.len() >= self.limit
    }

    /// Ends the run as an outage: what is to be taken back, in order.
    pub(super) fn take_back(&mut self, now: Timestamp) -> Vec<TakeBack> {
        self.without_rows.clear();
        self.since = None;
        let members = std::mem::take(&mut self.members);
        let back = members.into_iter().map(|(seq, member)| TakeBack {
            seq,
            attempts: member.attempts,
            due_at: now,
            key: member.key,
        });
        back.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRESH: Member = Member {
        attempts: 0,
        key: None,
    };

    #[test]
    fn a_run_is_of_different_events_with_nothing_delivered_between() {
        let mut run = Run::new(3);
        for seq in [1, 2, 2, 1] {
            run.add(Seq(seq), FRESH, Timestamp::UNIX_EPOCH);
        }
        assert!(!run.is_an_outage());
        run.end();
        for seq in [3, 4, 5] {
            assert!(!run.is_an_outage());
            run.add(Seq(seq), FRESH, Timestamp::UNIX_EPOCH);
        }
        assert!(run.is_an_outage());
    }

    #[test]
    fn its_events_are_as_they_were_before_it() {
        let mut run = Run::new(2);
        let retried = |attempts| Member {
            attempts,
            key: None,
        };
        run.add(Seq(9), retried(2), Timestamp::UNIX_EPOCH);
        run.add(Seq(9), retried(3), Timestamp::UNIX_EPOCH);
        run.add(Seq(4), FRESH, Timestamp::UNIX_EPOCH);
        let now = Timestamp::UNIX_EPOCH;
        let back = run.take_back(now);
        let found: Vec<_> = back.iter().map(|back| (back.seq, back.attempts)).collect();
        assert_eq!(found, [(Seq(4), 0), (Seq(9), 2)]);
        assert!(run.take_back(now).is_empty() && !run.is_an_outage());
    }

    #[test]
    fn a_limit_of_0_looks_for_none() {
        let mut run = Run::new(0);
        run.add(Seq(1), FRESH, Timestamp::UNIX_EPOCH);
        assert!(!run.is_on() && !run.is_an_outage());
    }
}
