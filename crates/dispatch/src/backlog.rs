//! How much of a route waits in the journal, when that has a limit: asked by ingest before an event is
//! taken, kept near the truth by the auditor.
//!
//! The auditor counts about once a second; between two counts what ingest accepts is added, and what the
//! route's worker settles is taken off.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use domain::policy::OnFull;
use domain::ports::{Asking, Backlogs, OnItsWay, RouteFull};
use domain::{Event, RouteName, SourceName};

use crate::filter::Wanted;
use crate::route::{BacklogMax, BacklogPolicy, Route};

/// One route's backlog.
#[derive(Debug)]
pub(crate) struct Backlog {
    policy: BacklogPolicy,
    /// The most pending events; where the limit is in bytes, as many as that were at the last count.
    max: AtomicU64,
    /// Pending events at the last count.
    counted: AtomicU64,
    /// Accepted since, less what was settled since.
    since: AtomicI64,
    /// Settled by the worker, and pending still for who reads state.
    uncommitted: AtomicI64,
    /// How many counts were begun, and the number of the last one that ended.
    begun: AtomicU64,
    ended: AtomicU64,
}

impl Backlog {
    /// Full until it is counted for the first time would refuse without need: it begins as empty.
    pub(crate) fn new(policy: BacklogPolicy) -> Self {
        let max = match policy.max {
            BacklogMax::Events(max) => max,
            BacklogMax::JournalBytes(_) => u64::MAX,
        };
        Self {
            policy,
            max: AtomicU64::new(max),
            counted: AtomicU64::new(0),
            since: AtomicI64::new(0),
            uncommitted: AtomicI64::new(0),
            begun: AtomicU64::new(0),
            ended: AtomicU64::new(0),
        }
    }

    fn pending(&self) -> u64 {
        let counted = self.counted.load(Ordering::Relaxed);
        counted.saturating_add_signed(self.since.load(Ordering::Relaxed))
    }

    fn max(&self) -> u64 {
        self.max.load(Ordering::Relaxed)
    }

    /// Whether new events are turned away because of it.
    pub(crate) fn refuses(&self) -> bool {
        self.policy.on_full == OnFull::Refuse && self.pending() >= self.max()
    }

    /// How many events are to be buried, so that the rest is within the limit, by a count that began after
    /// [`Backlog::begun`] said `after`. 0 where new ones are refused instead.
    pub(crate) fn excess(&self, after: u64) -> u64 {
        let is_fresh = self.ended.load(Ordering::Relaxed) > after;
        match self.policy.on_full {
            OnFull::DeadLetter if is_fresh => self.pending().saturating_sub(self.max()),
            OnFull::DeadLetter | OnFull::Refuse => 0,
        }
    }

    /// How many counts were begun so far.
    pub(crate) fn begun(&self) -> u64 {
        self.begun.load(Ordering::Relaxed)
    }

    /// So many pending events were settled.
    pub(crate) fn settled(&self, events: u64) {
        let events = i64::try_from(events).unwrap_or(i64::MAX);
        self.uncommitted.fetch_add(events, Ordering::Relaxed);
        self.since.fetch_sub(events, Ordering::Relaxed);
    }

    /// So many of what was settled are committed.
    pub(crate) fn committed(&self, events: u64) {
        let events = i64::try_from(events).unwrap_or(i64::MAX);
        self.uncommitted.fetch_sub(events, Ordering::Relaxed);
    }

    /// Begins a count; [`Backlog::end_count`] ends it.
    pub(crate) fn begin_count(&self) -> Count {
        Count {
            number: self.begun.fetch_add(1, Ordering::Relaxed) + 1,
            // What is settled and not committed will be counted as pending: it stays taken off.
            since: self.since.load(Ordering::Relaxed) + self.uncommitted.load(Ordering::Relaxed),
        }
    }

    /// So many events are pending, and so much of the journal is behind the route's cursor.
    pub(crate) fn end_count(&self, count: Count, pending: u64, bytes: u64) {
        if let BacklogMax::JournalBytes(limit) = self.policy.max {
            let share = u128::from(pending) * u128::from(limit) / u128::from(bytes.max(1));
            let max = match bytes > limit {
                true => u64::try_from(share).unwrap_or(u64::MAX),
                false => u64::MAX,
            };
            self.max.store(max, Ordering::Relaxed);
        }
        self.counted.store(pending, Ordering::Relaxed);
        self.since.fetch_sub(count.since, Ordering::Relaxed);
        self.ended.store(count.number, Ordering::Relaxed);
    }
}

/// A count under way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Count {
    number: u64,
    /// What was accepted and settled before it, and is in it.
    since: i64,
}

/// What is asked of the routes of one source.
#[derive(Debug, Default)]
struct OfSource {
    /// All routes that take from it, with what they want of it.
    routes: Vec<(RouteName, Arc<Wanted>)>,
    /// Those whose backlogs have a limit.
    limited: Vec<(RouteName, Arc<Backlog>)>,
    /// Held once more by each event on its way into the journal.
    entering: OnItsWay,
}

impl OfSource {
    fn remove(&mut self, route: &RouteName) {
        self.routes.retain(|(name, _)| name != route);
        self.limited.retain(|(name, _)| name != route);
    }
}

/// The backlogs that have a limit, by source. Read with every request, written when routes come and go.
#[derive(Debug, Default)]
pub(crate) struct LimitedBacklogs {
    by_source: RwLock<HashMap<SourceName, OfSource>>,
}

impl LimitedBacklogs {
    /// Adds a route that takes from `sources`, from now on from no others: one that comes again is never out in between.
    pub(crate) fn add(&self, route: &Route) {
        let wanted = &route.wanted;
        self.add_wanting(
            &route.name,
            &route.source_names,
            wanted,
            route.backlog.as_ref(),
        );
    }

    fn add_wanting(
        &self,
        route: &RouteName,
        sources: &[SourceName],
        wanted: &Arc<Wanted>,
        backlog: Option<&Arc<Backlog>>,
    ) {
        let mut by_source = self
            .by_source
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        for of_source in by_source.values_mut() {
            of_source.remove(route);
        }
        for source in sources {
            let of_source = by_source.entry(source.clone()).or_default();
            of_source.routes.push((route.clone(), Arc::clone(wanted)));
            let limited = backlog.map(|backlog| (route.clone(), Arc::clone(backlog)));
            of_source.limited.extend(limited);
        }
    }

    /// Takes a route out.
    pub(crate) fn remove(&self, route: &RouteName) {
        let mut by_source = self
            .by_source
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        for of_source in by_source.values_mut() {
            of_source.remove(route);
        }
    }

    /// Whether an event of the source is on its way that nobody takes any more.
    pub(crate) fn leaves_behind(&self, source: &SourceName) -> bool {
        let by_source = self.read();
        by_source.get(source).is_some_and(|of_source| {
            of_source.routes.is_empty() && Arc::strong_count(&of_source.entering) > 1
        })
    }

    fn read(&self) -> RwLockReadGuard<'_, HashMap<SourceName, OfSource>> {
        self.by_source
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Backlogs for LimitedBacklogs {
    fn admits(&self, source: &SourceName) -> Result<(), RouteFull> {
        let by_source = self.read();
        let limited = by_source.get(source).map(|of_source| &of_source.limited);
        let full = limited
            .into_iter()
            .flatten()
            .find(|(_, backlog)| backlog.refuses());
        match full {
            Some((route, _)) => Err(RouteFull(route.clone())),
            None => Ok(()),
        }
    }

    fn entering(&self, source: &SourceName) -> OnItsWay {
        if let Some(of_source) = self.read().get(source) {
            return Arc::clone(&of_source.entering);
        }
        let mut by_source = self
            .by_source
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&by_source.entry(source.clone()).or_default().entering)
    }

    fn taken(&self, source: &SourceName) -> bool {
        let by_source = self.read();
        by_source
            .get(source)
            .is_some_and(|of_source| !of_source.routes.is_empty())
    }

    fn asking(&self, source: &SourceName, bytes: usize) -> Asking {
        let by_source = self.read();
        let routes = by_source.get(source).map(|of_source| &of_source.routes);
        let wanted = routes.into_iter().flatten().map(|(_, wanted)| wanted);
        if wanted.clone().any(|wanted| wanted.is_all()) {
            return Asking::Nothing;
        }
        match wanted.into_iter().all(|wanted| wanted.is_quick(bytes)) {
            true => Asking::Quick,
            false => Asking::Long,
        }
    }

    fn wants(&self, event: &Event) -> bool {
        let routes: Vec<Arc<Wanted>> = {
            let by_source = self.read();
            let Some(of_source) = by_source.get(&event.source) else {
                return false;
            };
            let wanted = of_source.routes.iter().map(|(_, wanted)| wanted);
            wanted.map(Arc::clone).collect()
        };
        // Asked without the lock: an expression takes its time.
        routes
            .iter()
            .any(|wanted| wanted.wants(event).unwrap_or(false))
    }

    fn accepted(&self, source: &SourceName) {
        let by_source = self.read();
        let limited = by_source.get(source).map(|of_source| &of_source.limited);
        for (_, backlog) in limited.into_iter().flatten() {
            backlog.since.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(max: u64, on_full: OnFull) -> (LimitedBacklogs, Arc<Backlog>, SourceName) {
        let max = BacklogMax::Events(max);
        let backlog = Arc::new(Backlog::new(BacklogPolicy { max, on_full }));
        let source = SourceName::new("s").unwrap();
        let all = LimitedBacklogs::default();
        let route = RouteName::new("r").unwrap();
        all.add_wanting(
            &route,
            std::slice::from_ref(&source),
            &Arc::default(),
            Some(&backlog),
        );
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
        backlog.end_count(count, 0, 0);
        assert_eq!(backlog.pending(), 1, "what came during the count stays");
        assert_eq!(all.admits(&source), Ok(()));
        assert_eq!(backlog.excess(0), 0);
    }

    #[test]
    fn a_route_that_keeps_up_is_never_full() {
        for on_full in [OnFull::DeadLetter, OnFull::Refuse] {
            let (all, backlog, source) = with(2, on_full);
            let count = backlog.begin_count();
            backlog.end_count(count, 0, 0);
            for _ in 0..5 {
                all.accepted(&source);
                backlog.settled(1);
            }
            assert_eq!(backlog.excess(0), 0);
            assert_eq!(all.admits(&source), Ok(()));
        }
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
        backlog.end_count(count, 5, 0);
        assert_eq!(backlog.excess(0), 3);
        assert_eq!(backlog.excess(backlog.begun()), 0, "not twice by one count");
        backlog.settled(3);
        assert_eq!(backlog.excess(0), 0);
    }

    #[test]
    fn of_a_limit_in_bytes_as_many_events_are_left_as_lie_in_them() {
        let max = BacklogMax::JournalBytes(1000);
        let on_full = OnFull::DeadLetter;
        let backlog = Backlog::new(BacklogPolicy { max, on_full });
        let excess = |pending, bytes| {
            let count = backlog.begin_count();
            backlog.end_count(count, pending, bytes);
            backlog.excess(0)
        };
        assert_eq!(excess(50, 1000), 0);
        assert_eq!(excess(50, 2000), 25, "half of them are too much");
        assert_eq!(
            excess(0, 9000),
            0,
            "others' events are none of its business"
        );
        assert_eq!(excess(10, 0), 0);
    }

    #[test]
    fn what_is_on_its_way_is_left_behind_when_the_last_route_of_its_source_goes() {
        let all = LimitedBacklogs::default();
        let source = SourceName::new("s").unwrap();
        let early = all.entering(&source);
        let [first, second] = ["a", "b"].map(|name| RouteName::new(name).unwrap());
        for route in [&first, &second] {
            all.add_wanting(route, std::slice::from_ref(&source), &Arc::default(), None);
        }
        drop(early);
        let on_its_way = all.entering(&source);
        all.remove(&first);
        assert!(!all.leaves_behind(&source), "another takes it");
        all.remove(&second);
        assert!(all.leaves_behind(&source));
        drop(on_its_way);
        assert!(!all.leaves_behind(&source));
    }

    #[test]
    fn a_route_that_comes_again_takes_from_its_new_sources_only() {
        let all = LimitedBacklogs::default();
        let [before, after] = ["s", "t"].map(|name| SourceName::new(name).unwrap());
        let route = RouteName::new("a").unwrap();
        all.add_wanting(&route, std::slice::from_ref(&before), &Arc::default(), None);
        all.add_wanting(&route, std::slice::from_ref(&after), &Arc::default(), None);
        assert!(!all.taken(&before) && all.taken(&after));
        all.remove(&route);
        assert!(!all.taken(&after));
    }

    #[test]
    fn a_source_is_taken_as_long_as_a_route_takes_it() {
        let all = LimitedBacklogs::default();
        let [source, other] = ["s", "t"].map(|name| SourceName::new(name).unwrap());
        let [first, second] = ["a", "b"].map(|name| RouteName::new(name).unwrap());
        assert!(!all.taken(&source));
        all.add_wanting(&first, std::slice::from_ref(&source), &Arc::default(), None);
        all.add_wanting(
            &second,
            &[source.clone(), other.clone()],
            &Arc::default(),
            None,
        );
        all.remove(&first);
        assert!(all.taken(&source) && all.taken(&other));
        all.remove(&second);
        assert!(!all.taken(&source) && !all.taken(&other));
    }
}
