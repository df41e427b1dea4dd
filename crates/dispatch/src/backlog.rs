//! How much of a route waits in the journal, when that has a limit: asked by ingest before an event is
//! taken, kept near the truth by the auditor.
//!
//! The auditor counts about once a second; what ingest accepts meanwhile is added, what dispatch settles
//! meanwhile is not taken off. So a route may refuse up to a second longer than it must, and never takes in
//! more than the requests that are under way.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use domain::policy::OnFull;
use domain::ports::{Backlogs, RouteFull};
use domain::{RouteName, SourceName};

use crate::route::BacklogPolicy;

/// One route's backlog.
#[derive(Debug)]
pub(crate) struct Backlog {
    policy: BacklogPolicy,
    /// Pending events at the last count.
    counted: AtomicU64,
    /// Accepted since.
    since: AtomicU64,
    /// How many counts were begun, and the number of the last one that ended.
    begun: AtomicU64,
    ended: AtomicU64,
}

impl Backlog {
    /// Full until it is counted for the first time would refuse without need: it begins as empty.
    pub(crate) fn new(policy: BacklogPolicy) -> Self {
        Self {
            policy,
            counted: AtomicU64::new(0),
            since: AtomicU64::new(0),
            begun: AtomicU64::new(0),
            ended: AtomicU64::new(0),
        }
    }

    fn pending(&self) -> u64 {
        let counted = self.counted.load(Ordering::Relaxed);
        counted.saturating_add(self.since.load(Ordering::Relaxed))
    }

    /// How many events are to be buried, so that the rest is within the limit, by a count that began after
    /// [`Backlog::begun`] said `after`. 0 where new ones are refused instead.
    pub(crate) fn excess(&self, after: u64) -> u64 {
        let is_fresh = self.ended.load(Ordering::Relaxed) > after;
        match self.policy.on_full {
            OnFull::DeadLetter if is_fresh => self.pending().saturating_sub(self.policy.max),
            OnFull::DeadLetter | OnFull::Refuse => 0,
        }
    }

    /// How many counts were begun so far.
    pub(crate) fn begun(&self) -> u64 {
        self.begun.load(Ordering::Relaxed)
    }

    /// So many events were settled: what was counted is that much less.
    pub(crate) fn settled(&self, events: u64) {
        let less = |counted: u64| Some(counted.saturating_sub(events));
        // The closure never gives nothing.
        let _ = self
            .counted
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    /// Begins a count; [`Backlog::end_count`] ends it.
    pub(crate) fn begin_count(&self) -> Count {
        Count {
            number: self.begun.fetch_add(1, Ordering::Relaxed) + 1,
            since: self.since.load(Ordering::Relaxed),
        }
    }

    /// So many events are pending.
    pub(crate) fn end_count(&self, count: Count, pending: u64) {
        self.counted.store(pending, Ordering::Relaxed);
        self.since.fetch_sub(count.since, Ordering::Relaxed);
        self.ended.store(count.number, Ordering::Relaxed);
    }
}

/// A count under way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Count {
    number: u64,
    /// What was accepted before it, and is in it.
    since: u64,
}

/// The backlogs that have a limit, by source.
#[derive(Debug, Default)]
pub(crate) struct LimitedBacklogs {
    by_source: HashMap<SourceName, Vec<(RouteName, Arc<Backlog>)>>,
}

impl LimitedBacklogs {
    /// Adds a route that takes from `sources`.
    pub(crate) fn add(
        &mut self,
        route: &RouteName,
        sources: &[SourceName],
        backlog: &Arc<Backlog>,
    ) {
        for source in sources {
            let routes = self.by_source.entry(source.clone()).or_default();
            routes.push((route.clone(), Arc::clone(backlog)));
        }
    }
}

impl Backlogs for LimitedBacklogs {
    fn admits(&self, source: &SourceName) -> Result<(), RouteFull> {
        let Some(routes) = self.by_source.get(source) else {
            return Ok(());
        };
        let full = routes.iter().find(|(_, backlog)| {
            backlog.policy.on_full == OnFull::Refuse && backlog.pending() >= backlog.policy.max
        });
        match full {
            Some((route, _)) => Err(RouteFull(route.clone())),
            None => Ok(()),
        }
    }

    fn accepted(&self, source: &SourceName) {
        for (_, backlog) in self.by_source.get(source).into_iter().flatten() {
            backlog.since.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(max: u64, on_full: OnFull) -> (LimitedBacklogs, Arc<Backlog>, SourceName) {
        let backlog = Arc::new(Backlog::new(BacklogPolicy { max, on_full }));
        let source = SourceName::new("s").unwrap();
        let mut all = LimitedBacklogs::default();
        let route = RouteName::new("r").unwrap();
        all.add(&route, std::slice::from_ref(&source), &backlog);
        (all, backlog, source)
    }

    #[test]
    fn a_source_is_refused_at_the_limit_of_a_route_and_taken_again_below_it() {
        let (all, backlog, source) = with(2, OnFull::Refuse);
        for _ in 0..2 {
            assert_eq!(all.admits(&source), Ok(()));
            all.accepted(&source);
        }
        let full = all.admits(&source).unwrap_err();
        assert_eq!(full.0.as_str(), "r");
        assert_eq!(all.admits(&SourceName::new("other").unwrap()), Ok(()));
        let count = backlog.begin_count();
        all.accepted(&source);
        backlog.end_count(count, 0);
        assert_eq!(backlog.pending(), 1, "what came during the count stays");
        assert_eq!(all.admits(&source), Ok(()));
        assert_eq!(backlog.excess(0), 0);
    }

    #[test]
    fn a_route_that_buries_what_is_too_much_refuses_nobody() {
        let (all, backlog, source) = with(2, OnFull::DeadLetter);
        for _ in 0..5 {
            assert_eq!(all.admits(&source), Ok(()));
            all.accepted(&source);
        }
        let count = backlog.begin_count();
        assert_eq!(backlog.excess(0), 0, "nothing is counted yet");
        backlog.end_count(count, 5);
        assert_eq!(backlog.excess(0), 3);
        assert_eq!(backlog.excess(backlog.begun()), 0, "not twice by one count");
        backlog.settled(3);
        assert_eq!(backlog.excess(0), 0);
    }
}
