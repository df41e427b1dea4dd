//! What a route has read and not settled: waiting, in flight, or waiting for its rows' commit.
//!
//! Bounded by count and bytes. Gives every number that the reader passes to one stretch: that of the
//! event that follows it, or of damage, or of other sources' numbers at the end of a read. What state
//! had settled before the start is skipped. Owned by the route's worker; holds no lock.

use std::collections::VecDeque;

use domain::ports::{BatchLimit, ReadBatch, SettledRange};
use domain::{OrderKey, Seq, SeqRange, StoredEvent, Timestamp};

use crate::completion::Completion;
use crate::options::WindowLimit;

/// An event that was read and waits for its attempt.
#[derive(Debug, Clone)]
pub(crate) struct Waiting {
    /// Where its stretch begins: after the one before it. The event's own number ends it.
    pub(crate) from: Seq,
    /// Its share of the window, in bytes.
    pub(crate) weight: usize,
    /// The event.
    pub(crate) stored: StoredEvent,
    /// What it is ordered by, once it has its place.
    pub(crate) key: Option<OrderKey>,
}

/// The window of one route.
#[derive(Debug)]
pub(crate) struct Window {
    limit: WindowLimit,
    waiting: VecDeque<Waiting>,
    /// Events and bytes that are not settled, wherever they are.
    events: usize,
    bytes: usize,
    /// The first number that no stretch has yet.
    next: Seq,
    /// What state had settled above the cursor at the start, and the reader has not come to.
    settled: VecDeque<SeqRange>,
}

impl Window {
    /// An empty window after `cursor`; what lies in `settled` will be skipped.
    pub(crate) fn new(limit: WindowLimit, cursor: Seq, settled: &[SettledRange]) -> Self {
        Self {
            limit,
            waiting: VecDeque::new(),
            events: 0,
            bytes: 0,
            next: cursor.next(),
            settled: settled.iter().map(|settled| settled.range).collect(),
        }
    }

    /// Changes the limit. What is over it stays until it is settled.
    pub(crate) fn resize(&mut self, limit: WindowLimit) {
        self.limit = limit;
    }

    /// How much may be read now, at most a batch; `None` while the window is full.
    pub(crate) fn room(&self, batch: BatchLimit) -> Option<BatchLimit> {
        let events = self.limit.events.saturating_sub(self.events);
        let bytes = self.limit.bytes.saturating_sub(self.bytes);
        // One event is always let in, however large, or a route could never deliver it.
        if self.events > 0 && (events == 0 || bytes == 0) {
            return None;
        }
        Some(BatchLimit {
            events: events.clamp(1, batch.events.max(1)),
            bytes: bytes.clamp(1, batch.bytes.max(1)),
        })
    }

    /// How many events wait for their attempt.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Takes in what was read. Returns what is settled by having been read: damage, events that are not `wanted`, and
    /// numbers of other sources behind the last event.
    pub(crate) fn take_in(
        &mut self,
        read: ReadBatch,
        now: Timestamp,
        mut wanted: impl FnMut(&StoredEvent) -> bool,
    ) -> Completion {
        let mut done = Completion::default();
        let mut damaged = read.damaged.into_iter().peekable();
        for stored in read.events {
            while let Some(range) = damaged.next_if(|range| range.first < stored.seq) {
                self.lose(range, &mut done);
            }
            self.come_to(stored, now, &mut wanted, &mut done);
        }
        for range in damaged {
            self.lose(range, &mut done);
        }
        self.skip_settled(read.through, &mut done);
        self.pass(read.through, &mut done);
        done
    }

    /// Settles what the start's ranges leave of other sources' numbers below `through`, and forgets
    /// the ranges that begin there.
    fn skip_settled(&mut self, through: Seq, done: &mut Completion) {
        while let Some(range) = self.settled.front().copied() {
            if range.first > through {
                break;
            }
            self.pass(range.first.previous(), done);
            self.next = self.next.max(range.last.next());
            self.settled.pop_front();
        }
    }

    /// Settles the numbers up to `through` that are nobody's.
    fn pass(&mut self, through: Seq, done: &mut Completion) {
        if let Some(range) = SeqRange::new(self.next, through) {
            done.settle(range, 0);
            self.next = through.next();
        }
    }

    fn come_to(
        &mut self,
        stored: StoredEvent,
        now: Timestamp,
        wanted: &mut impl FnMut(&StoredEvent) -> bool,
        done: &mut Completion,
    ) {
        self.skip_settled(stored.seq, done);
        if stored.seq < self.next {
            return;
        }
        if !wanted(&stored) {
            self.discard(stored.seq, now, done);
            return;
        }
        let weight = stored.event.weight();
        let from = std::mem::replace(&mut self.next, stored.seq.next());
        self.charge(1, weight);
        self.waiting.push_back(Waiting {
            from,
            weight,
            stored,
            key: None,
        });
    }

    /// Settles an event that the route does not want. Among what was delivered it has no stretch of its own: else there
    /// would be a row for each change from one to the other. Who wants to know asks what the route wants.
    fn discard(&mut self, seq: Seq, now: Timestamp, done: &mut Completion) {
        if let Some(range) = SeqRange::new(self.next, seq) {
            done.settle(range, 1);
            done.deliver(range, now);
            done.counters.discarded += 1;
        }
        self.next = seq.next();
    }

    /// Settles a stretch that damage took, less what was settled before.
    fn lose(&mut self, range: SeqRange, done: &mut Completion) {
        self.skip_settled(range.first.previous(), done);
        self.pass(range.first.previous(), done);
        while self.next <= range.last {
            let settled = self.settled.front().copied();
            let until = match settled {
                Some(settled) if settled.first <= self.next => {
                    self.next = self.next.max(settled.last.next());
                    self.settled.pop_front();
                    continue;
                }
                Some(settled) => range.last.min(settled.first.previous()),
                None => range.last,
            };
            let lost = SeqRange {
                first: self.next,
                last: until,
            };
            done.settle(lost, lost.count());
            done.lost.push(lost);
            done.counters.damaged += lost.count();
            self.next = until.next();
        }
    }

    /// The next events for an attempt, oldest first; of each, `company` says how many may travel
    /// together with it at most. Empty when none waits.
    pub(crate) fn next_batch(
        &mut self,
        limit: BatchLimit,
        company: impl Fn(Seq) -> usize,
    ) -> Vec<Waiting> {
        let (mut count, mut bytes, mut most) = (0, 0, limit.events.max(1));
        for waiting in &self.waiting {
            bytes += waiting.weight;
            most = most.min(company(waiting.stored.seq));
            if count > 0 && (count >= most || bytes > limit.bytes) {
                break;
            }
            count += 1;
        }
        self.waiting.drain(..count).collect()
    }

    /// Takes out what came in behind the first `count` waiting events: to be given a place.
    pub(crate) fn newly_read(&mut self, count: usize) -> VecDeque<Waiting> {
        self.waiting.split_off(count.min(self.waiting.len()))
    }

    /// Lets an event wait for its attempt. It is counted already.
    pub(crate) fn ready(&mut self, waiting: Waiting) {
        let in_order = self
            .waiting
            .back()
            .is_none_or(|last| last.stored.seq < waiting.stored.seq);
        if in_order {
            self.waiting.push_back(waiting);
        } else {
            self.put_back(vec![waiting]);
        }
    }

    /// The waiting event of a lane, if it is here.
    pub(crate) fn take(&mut self, key: OrderKey) -> Option<Waiting> {
        let at = self
            .waiting
            .iter()
            .position(|waiting| waiting.key == Some(key))?;
        self.waiting.remove(at)
    }

    /// The oldest waiting events, at most so many and through this number: to be given up on.
    pub(crate) fn oldest(&mut self, limit: BatchLimit, through: Seq) -> Vec<Waiting> {
        let (mut count, mut bytes) = (0, 0);
        for waiting in &self.waiting {
            bytes += waiting.weight;
            let over = count > 0 && bytes > limit.bytes;
            if waiting.stored.seq > through || count >= limit.events || over {
                break;
            }
            count += 1;
        }
        self.waiting.drain(..count).collect()
    }

    /// Settles an event that is gone: it was held, and damage took it from the journal meanwhile.
    pub(crate) fn lose_one(from: Seq, seq: Seq) -> Completion {
        let mut done = Completion::default();
        if let Some(before) = SeqRange::new(from, seq.previous()) {
            done.settle(before, 0);
        }
        let lost = SeqRange::single(seq);
        done.settle(lost, 1);
        done.lost.push(lost);
        done.counters.damaged += 1;
        done
    }

    /// One waiting event, the oldest for 0 and others for other numbers: for probing.
    pub(crate) fn one(&mut self, rotation: usize) -> Option<Waiting> {
        let at = rotation.checked_rem(self.waiting.len())?;
        self.waiting.remove(at)
    }

    /// Takes back events whose attempt did not come to them.
    pub(crate) fn put_back(&mut self, events: Vec<Waiting>) {
        if events.is_empty() {
            return;
        }
        self.waiting.extend(events);
        self.waiting
            .make_contiguous()
            .sort_by_key(|waiting| waiting.stored.seq);
    }

    /// Counts events in that did not come by reading: parked ones that are due.
    pub(crate) fn charge(&mut self, events: usize, bytes: usize) {
        self.events += events;
        self.bytes += bytes;
    }

    /// Counts events out: settled, and where they have rows, committed.
    pub(crate) fn release(&mut self, events: usize, bytes: usize) {
        self.events = self.events.saturating_sub(events);
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

#[cfg(test)]
mod tests;
