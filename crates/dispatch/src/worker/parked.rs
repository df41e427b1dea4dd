//! Parked events of one route that are due: fetched from state, attempted among live batches.
//!
//! State is the truth; here is only which rows are in hand (fetched, in flight, or with a row under
//! way), so that none is fetched twice, and when the next one is due.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use domain::ports::{BatchLimit, Delivery, DueOrder, Parked, State, StateError};
use domain::{Clock, OrderKey, RouteName, Seq, StoredEvent, Timestamp};
use tokio::time::Instant;

use super::lanes::NotYet;
use crate::attempt::{Batch, Marks, ParkedMark};

/// Fetched at once at most, whatever room the window has: the next fetch waits until all of one are
/// under way. No more rows than that are in hand either.
const FETCH: BatchLimit = BatchLimit {
    events: 500,
    bytes: 4 << 20,
};

/// The longest wait before state is asked again by what the wall clock says then: it may have jumped, in
/// either direction.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// What a fetch gives.
#[derive(Debug)]
pub(crate) struct Fetched {
    rows: Vec<Parked>,
    next: Option<Timestamp>,
}

/// The parked events in hand.
#[derive(Debug)]
pub(crate) struct DueQueue {
    fetched: VecDeque<(Delivery, ParkedMark)>,
    busy: BTreeSet<Seq>,
    /// Those that a probe tried in vain since the last delivery. The others come first.
    tried: BTreeSet<Seq>,
    next: Option<Timestamp>,
    /// Which rows the next fetch prefers: both take turns, so that neither a redrive of millions nor a storm of
    /// retries keeps the other waiting.
    order: DueOrder,
    /// When state was asked last.
    asked: Instant,
    fetching: bool,
}

impl DueQueue {
    /// At the start: something may be due at once.
    pub(crate) fn new(parked: u64, now: Timestamp) -> Self {
        Self {
            fetched: VecDeque::new(),
            busy: BTreeSet::new(),
            tried: BTreeSet::new(),
            next: (parked > 0).then_some(now),
            order: DueOrder::LongestFirst,
            asked: Instant::now(),
            fetching: false,
        }
    }

    /// Notes that a row in state is due then.
    pub(crate) fn note(&mut self, due_at: Timestamp) {
        self.next = Some(self.next.map_or(due_at, |next| next.min(due_at)));
    }

    /// Whether the row is in hand: fetched, in an attempt, or with its row under way.
    pub(crate) fn is_busy(&self, seq: Seq) -> bool {
        self.busy.contains(&seq)
    }

    /// How many rows wait to be tried.
    pub(crate) fn in_hand(&self) -> usize {
        self.fetched.len()
    }

    /// Gives back what was fetched and cannot go: others are fetched. Returns the events and bytes that are in
    /// hand no more.
    pub(crate) fn pass_over(&mut self) -> (usize, usize) {
        let mut freed = (0, 0);
        for (delivery, mark) in std::mem::take(&mut self.fetched) {
            freed.0 += 1;
            freed.1 += mark.weight;
            self.tried_in_vain(delivery.stored.seq);
            self.note(mark.due_at);
        }
        freed
    }

    /// Lets go of a row in hand: it is gone, or state has it again.
    pub(crate) fn let_go(&mut self, seq: Seq) {
        self.busy.remove(&seq);
    }

    /// Lets go of a row that a probe tried in vain: it comes again once every other that is due was tried,
    /// however few of them are fetched at once. No more are remembered than one fetch may give.
    pub(crate) fn tried_in_vain(&mut self, seq: Seq) {
        self.let_go(seq);
        if self.tried.len() >= FETCH.events {
            self.tried.clear();
        }
        self.tried.insert(seq);
    }

    /// Something was delivered: whatever was tried in vain takes its place again.
    pub(crate) fn others_pass(&mut self) {
        self.tried.clear();
    }

    /// Begins a fetch if one is due and none is under way: the call to make. Rows that are `set_back` are not
    /// looked for.
    pub(crate) fn begin(
        &mut self,
        state: Arc<dyn State>,
        route: &RouteName,
        now: Timestamp,
        set_back: &[Seq],
    ) -> Option<impl Future<Output = Result<Fetched, StateError>> + Send + use<>> {
        let again = self.asked.elapsed() >= ASK_AGAIN;
        let due = self.next.is_some_and(|next| again || next <= now);
        if !due || self.fetching || !self.fetched.is_empty() || self.busy.len() >= FETCH.events {
            return None;
        }
        self.fetching = true;
        self.asked = Instant::now();
        self.next = None;
        let mut busy: Vec<Seq> = self.busy.iter().chain(set_back).copied().collect();
        let others = busy.iter().chain(&self.tried).copied();
        let others: Vec<Seq> = others.collect();
        let (route, order) = (route.clone(), self.order);
        self.order = match order {
            DueOrder::LongestFirst => DueOrder::LatestFirst,
            DueOrder::LatestFirst => DueOrder::LongestFirst,
        };
        Some(async move {
            let rows = state.due(&route, now, &others, FETCH, order).await?;
            busy.extend(rows.iter().map(|row| row.park.stored.seq));
            let next = state.next_due(&route, now, &busy).await?;
            Ok(Fetched { rows, next })
        })
    }

    /// Ends a fetch. Returns the events and bytes that are in hand now. A row that may not be tried
    /// yet is left to state until it is noted again.
    pub(crate) fn end(
        &mut self,
        fetched: Fetched,
        mut may_try: impl FnMut(&StoredEvent) -> Result<Option<OrderKey>, NotYet>,
    ) -> (usize, usize) {
        self.fetching = false;
        if let Some(next) = fetched.next {
            self.note(next);
        }
        if fetched.rows.is_empty() {
            // Nothing else is due.
            self.tried.clear();
        }
        let mut charged = (0, 0);
        for Parked { park, redrives } in fetched.rows {
            let Ok(key) = may_try(&park.stored) else {
                continue;
            };
            let weight = park.stored.event.weight();
            charged.0 += 1;
            charged.1 += weight;
            self.busy.insert(park.stored.seq);
            let mark = ParkedMark {
                first_failure_at: park.first_failure_at,
                due_at: park.due_at,
                weight,
                key,
                redriven: redrives > 0,
            };
            let delivery = Delivery {
                stored: park.stored,
                attempt: park.attempts.saturating_add(1),
                letter: None,
            };
            self.fetched.push_back((delivery, mark));
        }
        charged
    }

    /// Ends a fetch that failed; the next is tried at `again`.
    pub(crate) fn failed(&mut self, again: Timestamp) {
        self.fetching = false;
        self.note(again);
    }

    /// The next events for an attempt; of each, `company` says how many may travel together with it at
    /// most. `None` when none is in hand.
    pub(crate) fn next_batch(
        &mut self,
        limit: BatchLimit,
        company: impl Fn(Seq) -> usize,
    ) -> Option<Batch> {
        let (mut count, mut weight, mut most) = (0, 0, limit.events);
        for (delivery, mark) in &self.fetched {
            weight += mark.weight;
            most = most.min(company(delivery.stored.seq));
            if count > 0 && (count >= most || weight > limit.bytes) {
                break;
            }
            count += 1;
        }
        let (deliveries, marks): (Vec<_>, _) = self.fetched.drain(..count).unzip();
        (!deliveries.is_empty()).then_some(Batch {
            deliveries,
            marks: Marks::Parked(marks),
        })
    }

    /// Takes out of what was fetched the events that `ripe` says so of, at most a batch.
    pub(crate) fn take_ripe(
        &mut self,
        limit: BatchLimit,
        ripe: impl Fn(Seq, &ParkedMark) -> bool,
    ) -> Vec<(Delivery, ParkedMark)> {
        let (mut taken, mut bytes) = (Vec::new(), 0);
        let mut at = 0;
        while let Some((delivery, mark)) = self.fetched.get(at) {
            if !ripe(delivery.stored.seq, mark) {
                at += 1;
                continue;
            }
            bytes += mark.weight;
            if taken.len() >= limit.events || (bytes > limit.bytes && !taken.is_empty()) {
                break;
            }
            taken.extend(self.fetched.remove(at));
        }
        taken
    }

    /// How long to sleep until the next fetch, as far as the wall clock now tells.
    pub(crate) fn sleep(&self, clock: &dyn Clock) -> Option<Duration> {
        if self.fetching || !self.fetched.is_empty() || self.busy.len() >= FETCH.events {
            return None;
        }
        let until = self.next?.duration_since(clock.now());
        let until = Duration::try_from(until).unwrap_or_default();
        let again = ASK_AGAIN.saturating_sub(self.asked.elapsed());
        // Never quite zero: a row due now is fetched by the worker's next round.
        Some(until.min(again).max(Duration::from_millis(1)))
    }
}
