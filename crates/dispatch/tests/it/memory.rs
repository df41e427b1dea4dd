//! A journal and a state in memory, for tests under paused time: neither waits for a thread, so time
//! passes only where the code under test waits for it.

mod letters;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use dispatch::{Options, Ports};
use domain::clock::TimerClock;
use domain::ports::state::{CLOCK_SLACK, KnownSource};
use domain::ports::{
    Append, AppendError, Archive, BatchLimit, Bury, Counters, DeadLetters, DueOrder, Durability,
    EventPage, EventQuery, Exports, Fate, Journal, JournalError, Letter, Park, Parked, ReadBatch,
    Reader, Redrive, RetireFate, RouteRecord, Selection, Settlement, State, StateError, TakeBack,
};
use domain::{
    Clock, DedupKey, DestinationName, Event, EventId, InstallationId, OrderKey, RouteName, Seq,
    SeqRange, SourceSet, StoredEvent, Timestamp,
};
use tokio::sync::{Notify, watch};

use crate::rig::{Rig, Wanted};
use crate::world::{at, event, name};

/// The journal: a list.
pub(crate) struct MemoryJournal {
    events: Mutex<Vec<StoredEvent>>,
    damaged: Mutex<Vec<SeqRange>>,
    /// What readers that come by damage say is counted anew.
    recounted: Mutex<Vec<SeqRange>>,
    end: watch::Sender<Seq>,
    released: Mutex<BTreeMap<RouteName, Seq>>,
    miscounts: Mutex<u64>,
    fails: Mutex<bool>,
}

impl MemoryJournal {
    fn new() -> Self {
        Self {
            events: Mutex::default(),
            damaged: Mutex::default(),
            recounted: Mutex::default(),
            end: watch::Sender::new(Seq::ZERO),
            released: Mutex::default(),
            miscounts: Mutex::default(),
            fails: Mutex::default(),
        }
    }

    pub(crate) fn add(&self, source: &str, count: u64) {
        for n in 0..count {
            self.add_event(event(source, n));
        }
    }

    /// Events with a body of JSON whose `/k` is their number modulo `keys`.
    pub(crate) fn add_keyed(&self, source: &str, count: u64, keys: u64) {
        self.add_keyed_for(source, count, keys, None);
    }

    /// The same for one route only.
    pub(crate) fn add_keyed_for(
        &self,
        source: &str,
        count: u64,
        keys: u64,
        only: Option<domain::RouteId>,
    ) {
        let next = self.end.borrow().0;
        self.add_keyed_to(source, count, only, |n| (next + n + 1) % keys);
    }

    /// Events with a body of JSON whose `/k` is what `key` gives for the n-th of them, from 0.
    pub(crate) fn add_keyed_by(&self, source: &str, count: u64, key: impl Fn(u64) -> u64) {
        self.add_keyed_to(source, count, None, key);
    }

    fn add_keyed_to(
        &self,
        source: &str,
        count: u64,
        only: Option<domain::RouteId>,
        key: impl Fn(u64) -> u64,
    ) {
        for n in 0..count {
            self.add_event(Event {
                body: format!("{{\"n\":{n},\"k\":\"key {}\"}}", key(n))
                    .into_bytes()
                    .into(),
                only,
                ..event(source, 0)
            });
        }
    }

    /// One event with a body of so many bytes.
    pub(crate) fn add_large(&self, source: &str, bytes: usize) {
        self.add_event(Event {
            body: vec![b'x'; bytes].into(),
            ..event(source, 0)
        });
    }

    fn add_event(&self, event: Event) {
        let mut events = self.events.lock().unwrap();
        let seq = self.end.borrow().next();
        events.push(StoredEvent {
            seq,
            id: EventId::from_bytes(u128::from(seq.0).to_be_bytes()),
            event: Arc::new(event),
        });
        drop(events);
        self.end.send_replace(seq);
    }

    /// From now on counts so many events too many in every stretch that is not empty.
    pub(crate) fn miscount(&self, by: u64) {
        *self.miscounts.lock().unwrap() = by;
    }

    /// Whether its readers fail.
    pub(crate) fn fail_reads(&self, fail: bool) {
        *self.fails.lock().unwrap() = fail;
    }

    /// Loses events that were there: who read them before has them still.
    pub(crate) fn lose(&self, first: u64, last: u64) {
        let (first, last) = (Seq(first), Seq(last));
        let mut events = self.events.lock().unwrap();
        events.retain(|stored| stored.seq < first || stored.seq > last);
        self.damaged.lock().unwrap().push(SeqRange { first, last });
    }

    /// Has its readers say with any damage that these numbers are counted anew.
    pub(crate) fn recount(&self, first: u64, last: u64) {
        let (first, last) = (Seq(first), Seq(last));
        self.recounted
            .lock()
            .unwrap()
            .push(SeqRange { first, last });
    }

    /// Numbers that are gone.
    pub(crate) fn damage(&self, count: u64) {
        let first = self.end.borrow().next();
        let last = Seq(first.0 + count - 1);
        self.damaged.lock().unwrap().push(SeqRange { first, last });
        self.end.send_replace(last);
    }

    pub(crate) fn released(&self, route: &str) -> Option<Seq> {
        self.released.lock().unwrap().get(&name(route)).copied()
    }

    /// As after a start.
    pub(crate) fn forget_releases(&self) {
        self.released.lock().unwrap().clear();
    }

    fn of(&self, sources: &SourceSet, after: Seq, through: Seq) -> Vec<StoredEvent> {
        let events = self.events.lock().unwrap();
        let wanted = events.iter().filter(|stored| {
            stored.seq > after
                && stored.seq <= through
                && sources.contains(stored.event.source.as_str())
        });
        wanted.cloned().collect()
    }
}

struct MemoryReader {
    journal: Arc<MemoryJournal>,
    sources: SourceSet,
    position: Seq,
    end: watch::Receiver<Seq>,
}

#[async_trait]
impl Reader for MemoryReader {
    async fn read(&mut self, limit: BatchLimit) -> Result<ReadBatch, JournalError> {
        if *self.journal.fails.lock().unwrap() {
            return Err(JournalError("Input/output error".into()));
        }
        let position = self.position;
        let end = *self.end.wait_for(|end| *end > position).await.unwrap();
        let mut events = self.journal.of(&self.sources, position, end);
        let mut through = end;
        if events.len() > limit.events {
            events.truncate(limit.events);
            through = events[limit.events - 1].seq;
        }
        let damaged = self.journal.damaged.lock().unwrap();
        let damaged = damaged
            .iter()
            .filter(|range| range.first > position && range.first <= through);
        let damaged: Vec<_> = damaged.copied().collect();
        self.position = damaged.iter().fold(through, |at, range| at.max(range.last));
        let recounted = match damaged.is_empty() {
            true => Vec::new(),
            false => self.journal.recounted.lock().unwrap().clone(),
        };
        Ok(ReadBatch {
            events,
            damaged,
            recounted,
            through: self.position,
        })
    }
}

/// The journal port needs a handle to itself for its readers.
pub(crate) struct JournalHandle(pub(crate) Arc<MemoryJournal>);

#[async_trait]
impl Journal for JournalHandle {
    fn append(&self, _: Vec<Event>) -> Append {
        unreachable!("dispatch never appends")
    }

    async fn reader(
        &self,
        _: &RouteName,
        after: Seq,
        sources: SourceSet,
    ) -> Result<Box<dyn Reader>, JournalError> {
        Ok(Box::new(MemoryReader {
            end: self.0.end.subscribe(),
            journal: Arc::clone(&self.0),
            sources,
            position: after,
        }))
    }

    fn release(&self, route: &RouteName, cursor: Seq) {
        let before = self
            .0
            .released
            .lock()
            .unwrap()
            .insert(route.clone(), cursor);
        assert!(before <= Some(cursor), "a release goes forward");
    }

    fn bytes_after(&self, seq: Seq) -> u64 {
        (self.end().0.saturating_sub(seq.0)) * 100
    }

    async fn count(
        &self,
        sources: &SourceSet,
        after: Seq,
        through: Seq,
    ) -> Result<u64, JournalError> {
        let events = self.0.of(sources, after, through).len() as u64;
        let too_many = *self.0.miscounts.lock().unwrap();
        Ok(if events > 0 { events + too_many } else { 0 })
    }

    fn end(&self) -> Seq {
        *self.0.end.borrow()
    }

    fn durability(&self) -> Durability {
        Durability::ProcessCrashOnly
    }

    fn can_append(&self) -> Result<(), AppendError> {
        Ok(())
    }

    async fn close(&self, _: Duration) -> Result<(), AppendError> {
        Ok(())
    }
}

#[async_trait]
impl Archive for JournalHandle {
    async fn find(&self, _: EventId) -> Result<Option<StoredEvent>, JournalError> {
        Ok(None)
    }

    async fn at(&self, seqs: Vec<Seq>) -> Result<Vec<Option<StoredEvent>>, JournalError> {
        let events = self.0.events.lock().unwrap();
        let find = |seq: &Seq| events.iter().find(|stored| stored.seq == *seq).cloned();
        Ok(seqs.iter().map(find).collect())
    }

    async fn page(&self, _: &EventQuery) -> Result<EventPage, JournalError> {
        Ok(EventPage::default())
    }

    async fn first_after(
        &self,
        sources: &SourceSet,
        after: Seq,
    ) -> Result<Option<StoredEvent>, JournalError> {
        Ok(self.0.of(sources, after, Seq(u64::MAX)).into_iter().next())
    }

    async fn recent_keys(&self, _: usize) -> Result<Vec<(DedupKey, EventId)>, JournalError> {
        Ok(Vec::new())
    }
}

#[derive(Default)]
struct Rows {
    record: Option<RouteRecord>,
    parked: BTreeMap<Seq, Park>,
    dead: BTreeMap<Seq, Bury>,
    /// The numbers of the dead letters.
    letters: BTreeMap<Seq, Letter>,
    /// Every event that was dead at some time.
    ever_dead: BTreeSet<u64>,
    /// How often each event was brought back.
    redrives: BTreeMap<Seq, u32>,
    /// How far each target has come.
    exported: BTreeMap<DestinationName, Letter>,
    /// What a target would not take.
    refused: Vec<(DestinationName, Letter)>,
}

/// State: maps. Refuses what the real one would, and can be full or fail.
#[derive(Default)]
pub(crate) struct MemoryState {
    routes: Mutex<BTreeMap<RouteName, Rows>>,
    /// What settling rows meets.
    rows_meet: Mutex<Option<StateError>>,
    /// What any settling meets.
    all_meet: Mutex<Option<StateError>>,
    /// What listing the routes meets.
    lists_meet: Mutex<Option<StateError>>,
    /// What room says.
    full: Mutex<Option<String>>,
    /// How long after a commit the settler hears of it.
    slow: Mutex<Duration>,
    commits: Mutex<Vec<tokio::time::Instant>>,
    buried: Mutex<u64>,
    jobs: Mutex<Vec<Redrive>>,
}

impl MemoryState {
    pub(crate) fn rows_meet(&self, error: Option<StateError>) {
        *self.rows_meet.lock().unwrap() = error;
    }

    pub(crate) fn all_meet(&self, error: Option<StateError>) {
        *self.all_meet.lock().unwrap() = error;
    }

    pub(crate) fn lists_meet(&self, error: Option<StateError>) {
        *self.lists_meet.lock().unwrap() = error;
    }

    /// Whether there is no room for more rows.
    pub(crate) fn set_full(&self, why: Option<&str>) {
        *self.full.lock().unwrap() = why.map(str::to_owned);
    }

    /// From now on the settler hears of a commit so long after everybody else can see it.
    pub(crate) fn set_slow(&self, slow: Duration) {
        *self.slow.lock().unwrap() = slow;
    }

    pub(crate) fn parked(&self, route: &str) -> Vec<Park> {
        let routes = self.routes.lock().unwrap();
        routes[&name(route)].parked.values().cloned().collect()
    }

    pub(crate) fn dead(&self, route: &str) -> Vec<Bury> {
        let routes = self.routes.lock().unwrap();
        routes[&name(route)].dead.values().cloned().collect()
    }

    /// The numbers of all that is parked or dead.
    pub(crate) fn everywhere(&self, route: &str) -> Vec<u64> {
        let routes = self.routes.lock().unwrap();
        let rows = &routes[&name(route)];
        let both = rows.parked.keys().chain(rows.dead.keys());
        both.map(|seq| seq.0).collect()
    }

    /// Whether the event is parked.
    pub(crate) fn is_parked(&self, route: &str, seq: u64) -> bool {
        let routes = self.routes.lock().unwrap();
        routes[&name(route)].parked.contains_key(&Seq(seq))
    }

    /// Whether the event is not known to have come to an end: it is parked, or not settled.
    pub(crate) fn is_open(&self, route: &str, seq: u64) -> bool {
        let routes = self.routes.lock().unwrap();
        let rows = &routes[&name(route)];
        let record = rows.record.as_ref().unwrap();
        let settled = seq <= record.cursor.0
            || record
                .ranges
                .iter()
                .any(|settled| settled.range.contains(Seq(seq)));
        !settled || rows.parked.contains_key(&Seq(seq))
    }

    /// The numbers of all that was dead at some time.
    pub(crate) fn ever_dead(&self, route: &str) -> BTreeSet<u64> {
        let routes = self.routes.lock().unwrap();
        routes[&name(route)].ever_dead.clone()
    }

    pub(crate) fn commits(&self) -> Vec<tokio::time::Instant> {
        self.commits.lock().unwrap().clone()
    }

    pub(crate) fn register(&self, route: &str) {
        let record = RouteRecord {
            id: domain::RouteId(1),
            name: name(route),
            filter: None,
            cursor: Seq::ZERO,
            ranges: Vec::new(),
            accepted: 0,
            counters: Counters::default(),
            parked: 0,
            dead: 0,
            paused: false,
            created_at: at(),
        };
        let rows = Rows {
            record: Some(record),
            ..Rows::default()
        };
        self.routes.lock().unwrap().insert(name(route), rows);
    }
}

fn apply(rows: &mut Rows, step: Settlement, buried: &mut u64) {
    let record = rows.record.as_mut().unwrap();
    assert!(step.cursor >= record.cursor, "a cursor never goes back");
    record.cursor = step.cursor;
    record.accepted += step.accepted;
    record.ranges = step.ranges;
    record.counters.delivered += step.counters.delivered;
    record.counters.discarded += step.counters.discarded;
    record.counters.damaged += step.counters.damaged;
    for (seq, _) in step.resolved {
        assert!(rows.parked.remove(&seq).is_some(), "{seq} was not parked");
    }
    for park in step.parks {
        rows.parked.insert(park.stored.seq, park);
    }
    for bury in step.buries {
        rows.parked.remove(&bury.stored.seq);
        *buried += 1;
        rows.letters.insert(bury.stored.seq, Letter(*buried));
        rows.ever_dead.insert(bury.stored.seq.0);
        let seq = bury.stored.seq;
        let before = rows.dead.insert(seq, bury);
        assert!(before.is_none(), "{seq} was buried twice");
    }
    for back in step.taken_back {
        take_back(rows, back);
    }
    count(rows);
}

fn count(rows: &mut Rows) {
    let record = rows.record.as_mut().unwrap();
    record.parked = rows.parked.len() as u64;
    record.dead = rows.dead.len() as u64;
    assert_eq!(record.ledger(0).imbalance(), 0, "{record:?}");
}

fn take_back(rows: &mut Rows, back: TakeBack) {
    let exhumed = rows.dead.remove(&back.seq).map(|bury| Park {
        stored: bury.stored,
        attempts: 0,
        due_at: back.due_at,
        first_failure_at: bury.first_failure_at,
        last_failure_at: bury.last_failure_at,
        cause: bury.cause,
        key: bury.key,
    });
    if let Some(park) = exhumed.or_else(|| rows.parked.remove(&back.seq)) {
        let park = Park {
            attempts: back.attempts,
            due_at: back.due_at.min(park.last_failure_at),
            key: back.key,
            ..park
        };
        rows.parked.insert(back.seq, park);
    }
}

fn is_due(park: &Park, now: Timestamp) -> bool {
    park.due_at <= now || park.last_failure_at > now + CLOCK_SLACK
}

/// Whether another parked event of its key comes before it.
fn is_behind(parked: &BTreeMap<Seq, Park>, park: &Park) -> bool {
    let mut before = parked.range(..park.stored.seq);
    park.key.is_some() && before.any(|(_, ahead)| ahead.key == park.key)
}

#[async_trait]
impl State for MemoryState {
    async fn routes(&self) -> Result<Vec<RouteRecord>, StateError> {
        if let Some(error) = &*self.lists_meet.lock().unwrap() {
            return Err(error.clone());
        }
        let routes = self.routes.lock().unwrap();
        Ok(routes
            .values()
            .filter_map(|rows| rows.record.clone())
            .collect())
    }

    async fn set_paused(&self, name: &RouteName, paused: bool) -> Result<(), StateError> {
        let mut routes = self.routes.lock().unwrap();
        routes
            .get_mut(name)
            .unwrap()
            .record
            .as_mut()
            .unwrap()
            .paused = paused;
        Ok(())
    }

    async fn settle(&self, steps: Vec<Settlement>) -> Result<(), StateError> {
        if let Some(error) = &*self.all_meet.lock().unwrap() {
            return Err(error.clone());
        }
        let rows = steps
            .iter()
            .any(|step| !(step.parks.is_empty() && step.buries.is_empty()));
        if let Some(error) = &*self.rows_meet.lock().unwrap()
            && rows
        {
            return Err(error.clone());
        }
        {
            let mut routes = self.routes.lock().unwrap();
            for step in steps {
                let rows = routes.get_mut(&step.route).unwrap();
                apply(rows, step, &mut self.buried.lock().unwrap());
            }
        }
        self.commits
            .lock()
            .unwrap()
            .push(tokio::time::Instant::now());
        let slow = *self.slow.lock().unwrap();
        if !slow.is_zero() {
            tokio::time::sleep(slow).await;
        }
        Ok(())
    }

    async fn due(
        &self,
        route: &RouteName,
        now: Timestamp,
        busy: &[Seq],
        limit: BatchLimit,
        order: DueOrder,
    ) -> Result<Vec<Parked>, StateError> {
        let routes = self.routes.lock().unwrap();
        let mut due: Vec<_> = routes[route].parked.values().cloned().collect();
        let ahead = |park: &Park| is_behind(&routes[route].parked, park);
        due.retain(|park| is_due(park, now) && !busy.contains(&park.stored.seq) && !ahead(park));
        due.sort_by_key(|park| (park.due_at, park.stored.seq));
        if order == DueOrder::LatestFirst {
            due.reverse();
        }
        due.truncate(limit.events);
        let mut bytes = 0;
        let mut fits = |park: &Park| {
            bytes += park.stored.event.weight();
            bytes <= limit.bytes
        };
        let fitting = due.iter().take_while(|park| fits(park)).count();
        due.truncate(fitting.max(1));
        let redrives = &routes[route].redrives;
        let parked = |park: Park| Parked {
            redrives: redrives.get(&park.stored.seq).copied().unwrap_or(0),
            park,
        };
        Ok(due.into_iter().map(parked).collect())
    }

    async fn next_due(
        &self,
        route: &RouteName,
        now: Timestamp,
        busy: &[Seq],
    ) -> Result<Option<Timestamp>, StateError> {
        let routes = self.routes.lock().unwrap();
        let rows = &routes[route].parked;
        let free = rows
            .values()
            .filter(|park| !busy.contains(&park.stored.seq) && !is_behind(rows, park));
        let due = |park: &Park| if is_due(park, now) { now } else { park.due_at };
        Ok(free.map(due).min())
    }

    async fn installation(&self) -> Result<Option<InstallationId>, StateError> {
        unreachable!()
    }
    async fn bind_installation(&self, _: InstallationId) -> Result<(), StateError> {
        unreachable!()
    }
    async fn sources(&self) -> Result<Vec<KnownSource>, StateError> {
        unreachable!()
    }
    async fn remember_sources(&self, _: Vec<KnownSource>) -> Result<(), StateError> {
        unreachable!()
    }
    async fn forget_source(&self, _: &domain::SourceName) -> Result<bool, StateError> {
        unreachable!()
    }
    async fn set_route_filter(&self, _: &RouteName, _: Option<String>) -> Result<(), StateError> {
        unreachable!()
    }
    async fn set_route_sources(
        &self,
        _: &RouteName,
        _: Vec<domain::SourceName>,
    ) -> Result<(), StateError> {
        unreachable!()
    }
    async fn route_sources(&self, _: &RouteName) -> Result<Vec<domain::SourceName>, StateError> {
        unreachable!()
    }
    async fn register_route(&self, _: &RouteName, _: Seq, _: Timestamp) -> Result<(), StateError> {
        unreachable!()
    }
    async fn rename_route(&self, from: &RouteName, to: &RouteName) -> Result<(), StateError> {
        let mut routes = self.routes.lock().unwrap();
        let mut rows = routes.remove(from).unwrap();
        rows.record.as_mut().unwrap().name = to.clone();
        assert!(
            routes.insert(to.clone(), rows).is_none(),
            "the name is taken"
        );
        for job in &mut *self.jobs.lock().unwrap() {
            if let Selection::Filter(filter) = &mut job.selection
                && filter.route.as_ref() == Some(from)
            {
                filter.route = Some(to.clone());
            }
        }
        Ok(())
    }
    async fn retire_route(
        &self,
        _: &RouteName,
        _: RetireFate,
        _: Timestamp,
    ) -> Result<(), StateError> {
        unreachable!()
    }
    async fn fate(&self, _: &RouteName, _: Seq) -> Result<Fate, StateError> {
        unreachable!()
    }
    async fn find(&self, _: EventId) -> Result<Option<StoredEvent>, StateError> {
        unreachable!()
    }
    async fn expire_delivered(&self, _: Timestamp) -> Result<(), StateError> {
        unreachable!()
    }
    async fn bytes(&self) -> Result<u64, StateError> {
        unreachable!()
    }

    async fn parked_keys(&self, route: &RouteName) -> Result<Vec<(OrderKey, Seq)>, StateError> {
        let routes = self.routes.lock().unwrap();
        let parked = routes[route].parked.values();
        let keyed = parked.filter_map(|park| Some((park.key?, park.stored.seq)));
        Ok(keyed.collect())
    }

    async fn parked_page(
        &self,
        route: &RouteName,
        after: Seq,
        limit: BatchLimit,
    ) -> Result<Vec<(StoredEvent, Option<OrderKey>)>, StateError> {
        let routes = self.routes.lock().unwrap();
        let rows = routes[route].parked.range(after.next()..);
        let page = rows.map(|(_, park)| (park.stored.clone(), park.key));
        Ok(page.take(limit.events).collect())
    }

    async fn set_order_keys(
        &self,
        route: &RouteName,
        keys: Vec<(Seq, Option<OrderKey>)>,
    ) -> Result<(), StateError> {
        let mut routes = self.routes.lock().unwrap();
        let rows = routes.get_mut(route).unwrap();
        for (seq, key) in keys {
            rows.parked.get_mut(&seq).unwrap().key = key;
        }
        Ok(())
    }

    /// What it applies it asserts to balance.
    async fn imbalance(&self, _: &RouteName) -> Result<i64, StateError> {
        Ok(0)
    }

    fn room(&self) -> Result<(), String> {
        match &*self.full.lock().unwrap() {
            Some(why) => Err(why.clone()),
            None => Ok(()),
        }
    }
}

/// A clock that moves with tokio's timers, and may be wrong by some seconds.
#[derive(Debug)]
pub(crate) struct WallClock {
    right: TimerClock,
    ahead: Mutex<i64>,
}

impl WallClock {
    pub(crate) fn set_ahead(&self, seconds: i64) {
        *self.ahead.lock().unwrap() = seconds;
    }
}

impl Clock for WallClock {
    fn now(&self) -> Timestamp {
        let ahead = *self.ahead.lock().unwrap();
        Timestamp::from_microsecond(self.right.now().as_microsecond() + ahead * 1_000_000).unwrap()
    }
}

/// Both, and a clock.
pub(crate) struct Memory {
    pub(crate) journal: Arc<MemoryJournal>,
    pub(crate) state: Arc<MemoryState>,
    pub(crate) clock: Arc<WallClock>,
    pub(crate) redrive_begun: Arc<Notify>,
}

impl Memory {
    pub(crate) fn new(routes: &[&str]) -> Self {
        let state = MemoryState::default();
        for route in routes {
            state.register(route);
        }
        Self {
            journal: Arc::new(MemoryJournal::new()),
            state: Arc::new(state),
            clock: Arc::new(WallClock {
                right: TimerClock::new(at()),
                ahead: Mutex::default(),
            }),
            redrive_begun: Arc::default(),
        }
    }

    pub(crate) async fn start(&self, wanted: &[Wanted<'_>]) -> Rig {
        self.start_with(Options::default(), wanted).await
    }

    pub(crate) async fn start_with(&self, options: Options, wanted: &[Wanted<'_>]) -> Rig {
        let journal = Arc::new(JournalHandle(Arc::clone(&self.journal)));
        let ports = Ports {
            journal: Arc::clone(&journal) as Arc<dyn Journal>,
            archive: journal as Arc<dyn Archive>,
            state: Arc::clone(&self.state) as Arc<dyn State>,
            dead_letters: Arc::clone(&self.state) as Arc<dyn DeadLetters>,
            exports: Arc::clone(&self.state) as Arc<dyn Exports>,
            redrive_begun: Arc::clone(&self.redrive_begun),
            clock: Arc::clone(&self.clock) as Arc<dyn Clock>,
        };
        Rig::start(ports, options, wanted).await
    }
}
