//! The worker of one route: reads, forms batches, has several in flight, sorts what comes back.
//!
//! One task owns all of it, so nothing in here is locked; attempts, probes and fetches from state run
//! as tasks of their own and report back. It decides what may start now from the breaker, the
//! pause switch, the pause that a throttling destination asked for, the lanes, and the rules that bury. It never commits:
//! what is done goes into the outbox.

mod burying;
mod lanes;
mod ordering;
mod outage;
mod parked;
mod reading;
mod reports;
mod run;
pub(crate) mod sort;
mod suspects;
mod verdict;

use std::collections::VecDeque;
use std::sync::Arc;

use domain::policy::Order;
use domain::ports::{
    BatchLimit, BreakerState, Delivery, DestinationLimits, JournalError, StateError,
};
use domain::{OrderKey, Seq, StoredEvent, Unavailable};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::attempt::{self, Attempted, Batch, LiveMark, Marks};
use crate::breaker::Breaker;
use crate::options::Shares;
use crate::route::{Ports, Route};
use crate::trouble::Trouble;
use crate::window::{Waiting, Window};
use burying::Burying;
use lanes::Lanes;
use parked::{DueQueue, Fetched};
use reading::Reading;
use run::Run;
use sort::RowUnderWay;
use suspects::Suspects;
use verdict::Holding;

/// Read at once at least, also for a destination that takes smaller batches.
const READ_EVENTS: usize = 512;
const READ_BYTES: usize = 1 << 20;

/// What a task of the worker's reports.
enum Done {
    Attempt(Attempted),
    Probe(Result<(), Unavailable>),
    Due(Result<Fetched, StateError>),
    /// Events that were taken back, and the keys of all parked events since.
    Keys(
        Vec<(OrderKey, Seq)>,
        Result<Vec<(OrderKey, Seq)>, StateError>,
    ),
    /// Held events of a lane were read again.
    Held(OrderKey, Result<Vec<Option<StoredEvent>>, JournalError>),
}

/// One route's worker.
pub(crate) struct Worker {
    route: Arc<Route>,
    ports: Ports,
    limits: DestinationLimits,
    reading: Reading,
    shares: Shares,
    window: Window,
    due: DueQueue,
    /// Whether the last batch was of parked events: live ones and those take turns.
    due_had_turn: bool,
    /// Rows handed to the settler and not committed, in order; and how many were.
    under_way: VecDeque<RowUnderWay>,
    committed: u64,
    breaker: Breaker,
    suspects: Suspects,
    run: Run,
    lanes: Lanes,
    burying: Burying,
    /// Live events that failed while state had no room for their rows, until they are tried again.
    aside: Vec<Waiting>,
    aside_until: Option<Instant>,
    /// How often in a row, and whether just now something was answered that had no room.
    full_waits: u32,
    answered_without_room: bool,
    holding: Holding,
    /// Parked rows, as far as this worker knows.
    parked: u64,
    /// Failed probes with a live event: each tries another one.
    rotation: usize,
    /// The destination was asked and answered since the breaker began to probe.
    destination_answered: bool,
    /// A probe of the destination is under way.
    asking: bool,
    throttled_until: Option<Instant>,
    throttles: u32,
    tasks: JoinSet<Done>,
    attempts: usize,
    /// What keeps the journal from being read, parked events from being fetched, rows from being made, and the
    /// route from reading on.
    unreadable: Trouble,
    /// What `when` could not be asked of.
    unfiltered: Trouble,
    unfetched: Trouble,
    overfull: Trouble,
    overparked: Trouble,
    stop: CancellationToken,
}

impl Worker {
    pub(crate) fn new(
        route: Arc<Route>,
        ports: Ports,
        shares: Shares,
        stop: CancellationToken,
    ) -> Self {
        let record = &route.record;
        let policies = &route.policies;
        Self {
            limits: limits(&route),
            run: Run::new(verdict::run_limit(policies)),
            lanes: Lanes::new(policies.order.clone()),
            burying: Burying::new(policies.on_outage),
            aside: Vec::new(),
            aside_until: None,
            full_waits: 0,
            answered_without_room: false,
            holding: Holding::default(),
            parked: record.parked,
            overfull: Trouble::default(),
            overparked: Trouble::default(),
            reading: Reading::new(&route),
            window: Window::new(shares.limit(), record.cursor, &record.ranges),
            shares,
            due: DueQueue::new(record.parked, ports.clock.now()),
            due_had_turn: false,
            under_way: VecDeque::new(),
            committed: 0,
            breaker: Breaker::new(policies.probe),
            suspects: Suspects::default(),
            rotation: 0,
            destination_answered: false,
            asking: false,
            throttled_until: None,
            throttles: 0,
            tasks: JoinSet::new(),
            attempts: 0,
            unreadable: Trouble::default(),
            unfiltered: Trouble::default(),
            unfetched: Trouble::default(),
            route,
            ports,
            stop,
        }
    }

    /// Works until it is told to stop, and then until the attempts under way have ended. Dropping it
    /// abandons those: their events stay unsettled and are delivered again after the next start.
    pub(crate) async fn run(mut self) {
        let mut committed = self.route.outbox.committed();
        let (route, stop) = (Arc::clone(&self.route), self.stop.clone());
        tokio::select! {
            () = stop.cancelled() => return,
            () = self.load_lanes() => {}
        }
        while !stop.is_cancelled() {
            self.start_what_may();
            let wake = self.next_wake();
            tokio::select! {
                () = stop.cancelled() => {}
                Some(done) = self.tasks.join_next() => self.report(done),
                read = self.reading.came() => self.take_in(read),
                _ = committed.changed() => {}
                () = route.board.changed() => self.look_at_board(),
                () = sleep_until(wake) => {}
            }
            let count = *committed.borrow_and_update();
            self.rows_committed(count);
        }
        while let Some(done) = self.tasks.join_next().await {
            self.report(done);
        }
    }

    /// When the worker must look again although nothing reports.
    fn next_wake(&self) -> Option<Instant> {
        if self.route.board.paused() {
            return self.aside_until;
        }
        let rule = self.burying.next_look();
        // While throttled nothing is started at all, so its end is the only thing to wait for: a probe that
        // fell due meanwhile would wake the worker again and again.
        if self.throttled_until.is_some() {
            return [rule, self.throttled_until].into_iter().flatten().min();
        }
        let may_fetch = match self.breaker.state() {
            BreakerState::Passing => true,
            BreakerState::Probing => !self.is_trying() && self.window.waiting() == 0,
            BreakerState::Tripped => false,
        };
        let sleep = may_fetch.then(|| self.due.sleep(&*self.ports.clock));
        let due = sleep.flatten().map(|sleep| Instant::now() + sleep);
        [due, self.breaker.next_probe(), self.aside_until, rule]
            .into_iter()
            .flatten()
            .min()
    }

    fn start_what_may(&mut self) {
        let read = BatchLimit {
            events: self.limits.batch_events.max(READ_EVENTS),
            bytes: self.limits.batch_bytes.max(READ_BYTES),
        };
        let now = Instant::now();
        if self.aside_until.is_some_and(|until| until <= now) {
            self.aside_until = None;
            let aside = std::mem::take(&mut self.aside);
            self.put_back(aside);
        }
        self.bury_by_rule(now);
        self.window.resize(self.shares.limit());
        if self.may_read()
            && let Some(limit) = self.window.room(read)
        {
            self.reading.begin(&self.route, &self.ports, limit);
        }
        self.start_reading_held();
        if self.route.board.paused() || self.throttled_until.is_some_and(|until| now < until) {
            return;
        }
        self.throttled_until = None;
        if self.breaker.begin_probe(now) {
            self.destination_answered = false;
            self.show_breaker();
        }
        match self.breaker.state() {
            BreakerState::Passing => {
                self.start_fetching();
                self.start_batches();
            }
            BreakerState::Probing => self.start_probing(),
            BreakerState::Tripped => {}
        }
    }

    fn batch_limit(&self) -> BatchLimit {
        BatchLimit {
            events: self.limits.batch_events.max(1),
            bytes: self.limits.batch_bytes.max(1),
        }
    }

    fn start_fetching(&mut self) {
        let now = self.ports.clock.now();
        let state = Arc::clone(&self.ports.state);
        let set_back: Vec<_> = self.lanes.set_back().collect();
        let fetch = self.due.begin(state, &self.route.name, now, &set_back);
        if let Some(fetch) = fetch {
            self.tasks.spawn(async move { Done::Due(fetch.await) });
        }
    }

    /// Starts batches while the destination takes more and there is something to take.
    fn start_batches(&mut self) {
        while self.attempts < self.limits.concurrency.max(1) && !self.route.outbox.is_full() {
            let Some(batch) = self.next_batch() else {
                return;
            };
            self.start(batch);
        }
    }

    /// Parked events that are due and live ones take turns.
    fn next_batch(&mut self) -> Option<Batch> {
        let due_first = !self.due_had_turn || self.window.waiting() == 0;
        let limit = self.batch_limit();
        let suspects = &self.suspects;
        let company = |seq| suspects.company(seq);
        if due_first && let Some(batch) = self.due.next_batch(limit, company) {
            self.due_had_turn = true;
            return Some(batch);
        }
        self.due_had_turn = false;
        if self.waits_for_a_fuller_batch() {
            return None;
        }
        let suspects = &self.suspects;
        let company = |seq| suspects.company(seq);
        let events = self.window.next_batch(limit, company);
        (!events.is_empty()).then(|| live(events))
    }

    /// With a backlog a small batch waits for the read that is at hand; but never while nothing is in
    /// flight, and never once the window is full.
    fn waits_for_a_fuller_batch(&self) -> bool {
        self.attempts > 0
            && self.window.waiting() < self.limits.batch_events
            && self.reading.is_under_way()
            && self.reading.through() < self.ports.journal.end()
    }

    /// Whether a probe of the destination or an attempt is under way.
    fn is_trying(&self) -> bool {
        self.asking || self.attempts > 0
    }

    /// While probing: first the destination itself is asked, then one waiting event is tried. Parked events
    /// that are due and live ones take turns: whichever of them are poison, the others are come to.
    fn start_probing(&mut self) {
        if self.is_trying() || self.route.outbox.is_full() {
            return;
        }
        if !self.destination_answered {
            self.asking = true;
            let destination = Arc::clone(&self.route.destination);
            self.tasks
                .spawn(async move { Done::Probe(attempt::probe(destination).await) });
            return;
        }
        let one = BatchLimit {
            events: 1,
            bytes: 1,
        };
        if !self.due_had_turn || self.window.waiting() == 0 {
            if let Some(batch) = self.due.next_batch(one, |_| 1) {
                self.due_had_turn = true;
                self.start(batch);
                return;
            }
            self.start_fetching();
        }
        if let Some(event) = self.window.one(self.rotation) {
            self.due_had_turn = false;
            self.start(live(vec![event]));
        }
    }

    fn start(&mut self, batch: Batch) {
        self.attempts += 1;
        let route = &self.route;
        let attempt = attempt::run(
            batch,
            Arc::clone(&route.destination),
            Arc::clone(&route.slots),
            Arc::clone(&route.board),
        );
        self.tasks
            .spawn(async move { Done::Attempt(attempt.await) });
    }
}

/// What the destination takes at once; one event after the other where the order is strict.
fn limits(route: &Route) -> DestinationLimits {
    let limits = route.destination.limits();
    match route.policies.order {
        Order::Strict => DestinationLimits {
            batch_events: 1,
            concurrency: 1,
            ..limits
        },
        Order::None | Order::Key(_) => limits,
    }
}

fn live(events: Vec<Waiting>) -> Batch {
    let mut deliveries = Vec::with_capacity(events.len());
    let mut marks = Vec::with_capacity(events.len());
    for Waiting {
        from,
        weight,
        stored,
        key,
    } in events
    {
        deliveries.push(Delivery {
            stored,
            attempt: 1,
            letter: None,
        });
        marks.push(LiveMark { from, weight, key });
    }
    Batch {
        deliveries,
        marks: Marks::Live(marks),
    }
}

async fn sleep_until(wake: Option<Instant>) {
    match wake {
        Some(wake) => tokio::time::sleep_until(wake).await,
        None => std::future::pending().await,
    }
}
