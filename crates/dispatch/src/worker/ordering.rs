//! Order as the worker keeps it: each event gets its place when it is read, and what happens to one lets the
//! next of its lane go.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use domain::ports::{BatchLimit, BreakerState, JournalError, StateError};
use domain::{Cause, OrderKey, Seq, SeqRange, StoredEvent};

use super::lanes::{Placed, Turn, Wanted};
use super::sort::RowUnderWay;
use super::{Done, Worker};
use crate::window::{Waiting, Window};

/// The wait before what could not be read is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// Parked events looked at in one go for the keys that they have.
const REKEYED: BatchLimit = BatchLimit {
    events: 500,
    bytes: 4 << 20,
};

impl Worker {
    /// Finds out which lanes have parked events; tries until it has. Nothing is delivered before, or an event
    /// might overtake a parked one.
    pub(super) async fn load_lanes(&mut self) {
        loop {
            match self.try_load_lanes().await {
                Ok(()) => return,
                Err(error) => {
                    tracing::error!(route = %self.route.name, %error, "the keys of parked events cannot be read; the route tries again");
                    self.show_error(Cause::new("state", error.to_string()));
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
    }

    async fn try_load_lanes(&mut self) -> Result<(), StateError> {
        let (state, name) = (Arc::clone(&self.ports.state), self.route.name.clone());
        let has_keys = !state.parked_keys(&name).await?.is_empty();
        if self.route.record.parked > 0 && (self.lanes.is_on() || has_keys) {
            self.rekey().await?;
        }
        for (key, seq) in state.parked_keys(&name).await? {
            self.lanes.park(key, seq, false);
        }
        Ok(())
    }

    /// Gives the parked events the keys of the route's present order: they may have been parked under another.
    async fn rekey(&mut self) -> Result<(), StateError> {
        let (state, name) = (Arc::clone(&self.ports.state), self.route.name.clone());
        let mut after = Seq::ZERO;
        loop {
            let page = state.parked_page(&name, after, REKEYED).await?;
            let Some((last, _)) = page.last() else {
                return Ok(());
            };
            after = last.seq;
            let changed = page.iter().filter_map(|(stored, key)| {
                let now = self.lanes.key(&stored.event);
                (now != *key).then_some((stored.seq, now))
            });
            let changed: Vec<_> = changed.collect();
            if !changed.is_empty() {
                state.set_order_keys(&name, changed).await?;
            }
        }
    }

    /// Gives the events that were just read their places: those behind the first `waiting`.
    pub(super) fn place(&mut self, waiting: usize) {
        if !self.lanes.is_on() {
            return;
        }
        for event in self.window.newly_read(waiting) {
            match self.lanes.place(event) {
                Placed::Ready(event) => self.window.ready(event),
                Placed::Queued => {}
                Placed::Held(weight) => self.window.release(1, weight),
            }
        }
        self.show_held();
    }

    /// An event of a run is parked again: one behind it, that was let go when this one was buried, goes back
    /// behind it, unless it is in an attempt.
    pub(super) fn set_behind(&mut self, key: OrderKey) {
        let is_of_lane = |waiting: &Waiting| waiting.key == Some(key);
        let aside = self.aside.iter().position(is_of_lane);
        let aside = aside.map(|at| self.aside.swap_remove(at));
        if let Some(waiting) = self.window.take(key).or(aside) {
            let turn = self.lanes.take_back(waiting);
            self.take_turn(turn);
        }
    }

    /// Takes back live events whose attempt did not come to them.
    pub(super) fn put_back(&mut self, events: Vec<Waiting>) {
        if self.aside_until.is_some() {
            self.aside.extend(events);
            return;
        }
        if !self.lanes.is_on() {
            return self.window.put_back(events);
        }
        let mut again = Vec::with_capacity(events.len());
        for event in events {
            match self.lanes.take_back(event) {
                Turn::Live(event) => again.push(event),
                turn => self.take_turn(turn),
            }
        }
        self.window.put_back(again);
    }

    /// An event of a lane is parked.
    pub(super) fn stop_lane(&mut self, key: OrderKey, seq: Seq, was_live: bool) {
        let ((events, bytes), turn) = self.lanes.park(key, seq, was_live);
        self.window.release(events, bytes);
        self.take_turn(turn);
        self.show_held();
    }

    /// The row of an event is committed.
    pub(super) fn lane_after(&mut self, row: &RowUnderWay) {
        if row.was_parked && row.due_at.is_none() {
            // State may know a key that this order does not: the next of it may be due now.
            self.due.note(self.ports.clock.now());
        }
        let Some(key) = row.key else { return };
        let turn = match (row.due_at, row.was_parked) {
            (Some(_), true) => return self.lane_waits(key, row.seq),
            (Some(_), false) => return,
            (None, true) => {
                // Of a key only the first is ever found due: the next may be it now.
                self.due.note(self.ports.clock.now());
                self.lanes.parked_is_over(key, row.seq)
            }
            (None, false) => self.lanes.live_is_over(key),
        };
        self.take_turn(turn);
    }

    /// What was purged between its burial and the end of its run cannot be taken back, and must not hold its
    /// lane: looks which of the taken back are there. To be called when their step is committed.
    pub(super) fn make_sure(&mut self, unsure: Vec<(OrderKey, Seq)>) {
        let (state, route) = (Arc::clone(&self.ports.state), self.route.name.clone());
        self.tasks.spawn(async move {
            let there = state.parked_keys(&route).await;
            if there.is_err() {
                tokio::time::sleep(AGAIN).await;
            }
            Done::Keys(unsure, there)
        });
    }

    /// Lets go of what is not there.
    pub(super) fn sure(
        &mut self,
        unsure: Vec<(OrderKey, Seq)>,
        there: Result<Vec<(OrderKey, Seq)>, StateError>,
    ) {
        let there = match there {
            Ok(there) => there,
            Err(_) if self.stop.is_cancelled() => return,
            Err(_) => return self.make_sure(unsure),
        };
        let there: BTreeSet<_> = there.into_iter().collect();
        for (key, seq) in unsure {
            if !there.contains(&(key, seq)) {
                let turn = self.lanes.parked_is_over(key, seq);
                self.take_turn(turn);
            }
        }
    }

    /// A parked event whose attempt did not come to it waits as before.
    pub(super) fn lane_waits(&mut self, key: OrderKey, seq: Seq) {
        let ((events, bytes), turn) = self.lanes.let_go(key, seq);
        self.window.release(events, bytes);
        self.take_turn(turn);
        self.show_held();
    }

    /// A live event of a lane was delivered.
    pub(super) fn lane_passes(&mut self, key: OrderKey) {
        let turn = self.lanes.live_is_over(key);
        self.take_turn(turn);
    }

    fn take_turn(&mut self, turn: Turn) {
        match turn {
            Turn::Live(next) => self.window.ready(next),
            Turn::Parked => self.due.note(self.ports.clock.now()),
            Turn::Nobody => {}
        }
    }

    /// Begins to read again what is held and may go now.
    pub(super) fn start_reading_held(&mut self) {
        // Their bodies are read only where there is room for them, and when they may go.
        let may_go = match self.breaker.state() {
            BreakerState::Passing => true,
            // Or there might be nothing to try.
            BreakerState::Probing => self.window.waiting() == 0,
            BreakerState::Tripped => false,
        };
        let may_go = may_go && !self.route.board.paused();
        let read = BatchLimit {
            events: usize::MAX,
            bytes: usize::MAX,
        };
        let Some(limit) = self.window.room(read).filter(|_| may_go) else {
            return;
        };
        let Some(Wanted { key, seqs }) = self.lanes.begin_fetch(limit) else {
            return;
        };
        let archive = Arc::clone(&self.ports.archive);
        self.tasks.spawn(async move {
            let read = archive.at(seqs).await;
            if read.is_err() {
                tokio::time::sleep(AGAIN).await;
            }
            Done::Held(key, read)
        });
    }

    /// Held events came back.
    pub(super) fn held_came(
        &mut self,
        key: OrderKey,
        read: Result<Vec<Option<StoredEvent>>, JournalError>,
    ) {
        let found = match read {
            Ok(found) => Some(found),
            Err(error) => {
                if self.unreadable.is_worth_a_line("held") {
                    tracing::error!(route = %self.route.name, %error, "held events cannot be read; the route tries again");
                }
                self.show_error(Cause::new("journal", error.to_string()));
                None
            }
        };
        let returned = self.lanes.returned(key, found);
        let (events, bytes) = returned.charged;
        self.window.charge(events, bytes);
        for held in returned.lost {
            let range = SeqRange::single(held.seq);
            self.route.damage.found().extend([range]);
            self.route
                .outbox
                .add_progress(Window::lose_one(held.from, held.seq));
        }
        if let Some(next) = returned.ready {
            self.window.ready(next);
        }
        self.show_held();
    }

    /// Whether more may be read: not while too many events are parked and held.
    pub(super) fn may_read(&mut self) -> bool {
        let held = self.lanes.held() as u64;
        let most = self.route.policies.parked_max;
        // The board knows of those that were brought back, this worker of those since the last count.
        let parked = self.parked.max(self.route.board.parked());
        let at_most = parked + held >= most;
        self.route.board.show_at_parked_max(at_most);
        if !at_most {
            if self.overparked.has_passed() {
                tracing::info!(route = %self.route.name, "the route reads on");
            }
            return true;
        }
        if self.overparked.is_worth_a_line("parked") {
            tracing::warn!(route = %self.route.name, parked, held, parked_max = most,
                "so many events are parked and held that the route reads no further");
        }
        false
    }

    fn show_held(&self) {
        self.route.board.show_held(self.lanes.held() as u64);
    }
}
