//! Order as the worker keeps it: each event gets its place when it is read, and what happens to one lets the
//! next of its lane go.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use domain::ports::{JournalError, StateError};
use domain::{Cause, OrderKey, Seq, SeqRange, StoredEvent};

use super::lanes::{Placed, Turn, Wanted};
use super::sort::RowUnderWay;
use super::{Done, Worker};
use crate::window::{Waiting, Window};

/// The wait before what could not be read is tried again.
const AGAIN: Duration = Duration::from_secs(1);

impl Worker {
    /// Finds out which lanes have parked events; tries until it has. Nothing is delivered before, or an event
    /// might overtake a parked one.
    pub(super) async fn load_lanes(&mut self) {
        if !self.lanes.is_on() {
            return;
        }
        loop {
            match self.ports.state.parked_keys(&self.route.name).await {
                Ok(keys) => {
                    for (key, seq) in keys {
                        self.lanes.park(key, seq, false);
                    }
                    return;
                }
                Err(error) => {
                    tracing::error!(route = %self.route.name, %error, "the keys of parked events cannot be read; the route tries again");
                    self.show_error(Cause::new("state", error.to_string()));
                    tokio::time::sleep(AGAIN).await;
                }
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
        let Some(key) = row.key else { return };
        let turn = match (row.due_at, row.was_parked) {
            (Some(_), true) => self.lanes.let_go(key, row.seq),
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
        let Ok(there) = there else {
            return self.make_sure(unsure);
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
        let turn = self.lanes.let_go(key, seq);
        self.take_turn(turn);
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
        let Some(Wanted { key, seqs }) = self.lanes.begin_fetch() else {
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
        if parked + held < most {
            if self.overparked.has_passed() {
                tracing::info!(route = %self.route.name, "the route reads on");
            }
            return true;
        }
        let detail = format!(
            "{parked} events are parked and {held} held: at parked_max ({most}) the route reads no further"
        );
        if self.overparked.is_worth_a_line("parked") {
            tracing::warn!(route = %self.route.name, "{detail}");
        }
        self.show_error(Cause::new("parked max", detail));
        false
    }

    fn show_held(&self) {
        self.route.board.show_held(self.lanes.held() as u64);
    }
}
