//! Ports that answer from memory and record what they were asked.

mod releases;
mod subscriptions;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use admin::{Certificate, JournalUsage, Ports};
use async_trait::async_trait;
use domain::clock::ManualClock;
use domain::ports::{
    Append, AppendError, Archive, BatchLimit, BreakerState, Durability, EventPage, EventQuery,
    Fate, Import, ImportError, ImportRequest, ImportStatus, Imports, Journal, JournalError,
    KnownSource, LastError, Parked, Reader, Readiness, RetireFate, RouteControlError, RouteRecord,
    RouteStatus, Routes, Settlement, SourceStatus, Sources, State, StateError, TurnedAway,
};
use domain::{
    Cause, DedupKey, DestinationName, Event, EventId, InstallationId, Ledger, OrderKey, RouteName,
    Seq, SourceName, SourceSet, StoredEvent, Timestamp,
};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use state::SqliteState;
use tokio::sync::Notify;

pub(crate) use releases::FakeReleases;
pub(crate) use subscriptions::{FakeSubscriptions, subscription_id, troubles};

pub(crate) fn at(second: u64) -> Timestamp {
    Timestamp::from_second(1_790_000_000 + i64::try_from(second).unwrap()).unwrap()
}

pub(crate) fn source(name: &str) -> SourceName {
    SourceName::new(name).unwrap()
}

/// Event `seq` of a source, received in second `seq`.
pub(crate) fn event(seq: u64, name: &str, body: impl Into<Vec<u8>>) -> StoredEvent {
    let event = Event {
        source: source(name),
        received_at: at(seq),
        method: "POST".into(),
        path: format!("/in/{name}?n={seq}"),
        headers: [
            ("content-type", &b"application/json"[..]),
            ("x-odd", b"caf\xe9"),
        ]
        .into_iter()
        .collect(),
        body: body.into().into(),
        event_type: Some("message".into()),
        remote: Some("192.0.2.7:4711".into()),
        dedup: Some(DedupKey([0xab; 16])),
        only: None,
    };
    StoredEvent {
        seq: Seq(seq),
        id: id(seq),
        event: Arc::new(event),
    }
}

pub(crate) fn id(seq: u64) -> EventId {
    EventId::from_bytes((u128::from(seq) | 7 << 76).to_be_bytes())
}

pub(crate) fn route(name: &str, sources: &[&str]) -> RouteStatus {
    RouteStatus {
        name: RouteName::new(name).unwrap(),
        sources: sources.iter().map(|name| source(name)).collect(),
        destination: DestinationName::new("db").unwrap(),
        destination_type: "postgres".into(),
        breaker: BreakerState::Tripped,
        breaker_since: at(3),
        next_probe_at: Some(at(9)),
        paused: false,
        ledger: Ledger {
            accepted: 10,
            delivered: 4,
            pending: 3,
            parked: 1,
            dead: 1,
            discarded: 1,
            damaged: 0,
        },
        imbalance: 0,
        held: 0,
        full: false,
        at_parked_max: false,
        cursor: Seq(7),
        oldest_pending_seconds: 1.5,
        last_error: Some(LastError {
            at: at(2),
            cause: Cause::new("sqlstate 57P03", "the server is starting up"),
        }),
        exports: Vec::new(),
        findings: vec!["synchronous_commit is off".into()],
    }
}

/// Everything that is behind the listener, to be set and looked at by a test.
#[derive(Default)]
pub(crate) struct World {
    pub(crate) events: Mutex<Vec<StoredEvent>>,
    /// Found in state only.
    pub(crate) buried: Mutex<Vec<StoredEvent>>,
    pub(crate) fates: Mutex<BTreeMap<(String, u64), Fate>>,
    pub(crate) routes: Mutex<Vec<RouteStatus>>,
    pub(crate) not_ready: Mutex<Option<String>>,
    pub(crate) broken: Mutex<bool>,
    /// Makes [`Archive::find`] wait until it is freed.
    pub(crate) stuck: Mutex<bool>,
    waits: Notify,
    freed: Notify,
    /// Limits of the pages asked, and how many events were handed out.
    pub(crate) bites: Mutex<Vec<usize>>,
    pub(crate) handed_out: AtomicU64,
    pub(crate) fates_asked: AtomicU64,
    pub(crate) paused: Mutex<Vec<(String, bool)>>,
    pub(crate) brought: Mutex<Vec<RouteName>>,
    /// Dead letters and the quarantine are kept in a real state, in a folder of its own.
    letters: OnceLock<(tempfile::TempDir, Arc<SqliteState>)>,
    pub(crate) redrive_begun: Arc<Notify>,
    pub(crate) subscriptions: Arc<FakeSubscriptions>,
}

impl World {
    pub(crate) fn ports(self: &Arc<Self>) -> Ports {
        let mut registry = Registry::default();
        let counter = Counter::<u64>::default();
        counter.inc_by(3);
        registry.register("forebay_events_accepted", "Events", counter);
        Ports {
            routes: Arc::clone(self) as _,
            sources: Arc::clone(self) as _,
            archive: Arc::clone(self) as _,
            journal: Arc::clone(self) as _,
            state: Arc::clone(self) as _,
            dead_letters: self.letters() as _,
            dead_letters_kept: Arc::new(|_| Duration::from_secs(3600)),
            imports: Arc::new(FakeImports::default()) as _,
            subscriptions: Arc::clone(&self.subscriptions) as _,
            gaps: self.letters() as _,
            quarantine: self.letters() as _,
            releases: Arc::new(FakeReleases(self.letters())),
            redrive_begun: Arc::clone(&self.redrive_begun),
            readiness: Arc::clone(self) as _,
            journal_usage: Arc::new(|| JournalUsage {
                bytes: 1000,
                damaged_events: 2,
                disk_free_bytes: Some(5000),
            }),
            certificate: Arc::new(|| {
                Some(Certificate {
                    expires_at: Some(at(500)),
                    warning: Some("expires soon".to_owned()),
                })
            }),
            clock: Arc::new(ManualClock::new(at(100))),
            registry: Arc::new(registry),
            version: "1.2.3",
        }
    }

    /// The state that holds the dead letters.
    pub(crate) fn letters(&self) -> Arc<SqliteState> {
        let (_, state) = self.letters.get_or_init(|| {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("state.db");
            let metrics = state::Metrics::register(&mut Registry::default());
            let options = state::Options::default();
            let state = SqliteState::open(&path, options, metrics).unwrap();
            (directory, Arc::new(state))
        });
        Arc::clone(state)
    }

    pub(crate) fn set_fate(&self, route: &str, seq: u64, fate: Fate) {
        self.fates.lock().unwrap().insert((route.into(), seq), fate);
    }

    /// Waits until a request is stuck.
    pub(crate) async fn waiting(&self) {
        self.waits.notified().await;
    }

    /// Lets one stuck request go on.
    pub(crate) fn free(&self) {
        self.freed.notify_one();
    }

    fn check(&self) -> Result<(), StateError> {
        match *self.broken.lock().unwrap() {
            true => Err(StateError::Failed("disk I/O error".into())),
            false => Ok(()),
        }
    }
}

#[async_trait]
impl Routes for World {
    async fn statuses(&self) -> Vec<RouteStatus> {
        self.routes.lock().unwrap().clone()
    }

    async fn set_paused(&self, name: &str, paused: bool) -> Result<(), RouteControlError> {
        self.check()?;
        if !self
            .routes
            .lock()
            .unwrap()
            .iter()
            .any(|route| route.name.as_str() == name)
        {
            return Err(RouteControlError::Unknown(name.into()));
        }
        self.paused.lock().unwrap().push((name.into(), paused));
        Ok(())
    }

    fn brought(&self, route: &RouteName) {
        self.brought.lock().unwrap().push(route.clone());
    }
}

impl Sources for World {
    fn statuses(&self) -> Vec<SourceStatus> {
        let http = SourceStatus {
            name: source("a"),
            kind: "http".into(),
            reads: None,
            last_error: None,
            paths: vec!["/in/a".into()],
            scheme: "hmac".into(),
            accepted: 1,
            discarded: 0,
            retry_window_seconds: Some(85.0),
            refusing: None,
            duplicates: 2,
            refused: 3,
            quarantined: 4,
            last_refusal: Some("not-verified".into()),
            last_refusal_at: Some(at(1)),
            turned_away: vec![TurnedAway {
                code: "not-verified".into(),
                reason: Some("signature wrong".into()),
                since: at(1),
                last_at: at(1),
                requests: 3,
                accepted_meanwhile: 0,
            }],
            last_accepted_at: Some(at(1)),
        };
        let queue = SourceStatus {
            name: source("q"),
            kind: "sqs".into(),
            reads: Some("queue q".into()),
            last_error: Some("queue: there is no such queue".into()),
            paths: Vec::new(),
            scheme: "queue".into(),
            turned_away: Vec::new(),
            ..http.clone()
        };
        let channels = SourceStatus {
            name: source("n"),
            kind: domain::ports::NOTIFICATIONS.into(),
            reads: Some("1 topic of mypurecloud.de".into()),
            last_error: None,
            ..queue.clone()
        };
        vec![http, queue, channels]
    }
}

impl Readiness for World {
    fn ready(&self) -> Result<(), String> {
        self.not_ready.lock().unwrap().clone().map_or(Ok(()), Err)
    }
}

#[async_trait]
impl Archive for World {
    async fn find(&self, id: EventId) -> Result<Option<StoredEvent>, JournalError> {
        let stuck = *self.stuck.lock().unwrap();
        if stuck {
            self.waits.notify_one();
            self.freed.notified().await;
        }
        if *self.broken.lock().unwrap() {
            return Err(JournalError("00000000000000000001.journal: EIO".into()));
        }
        let events = self.events.lock().unwrap();
        Ok(events.iter().find(|stored| stored.id == id).cloned())
    }

    async fn at(&self, _: Vec<Seq>) -> Result<Vec<Option<StoredEvent>>, JournalError> {
        unreachable!()
    }

    async fn page(&self, query: &EventQuery) -> Result<EventPage, JournalError> {
        self.bites.lock().unwrap().push(query.limit);
        let events = self.events.lock().unwrap();
        let fits = |stored: &&StoredEvent| {
            let event = &stored.event;
            query.below.is_none_or(|below| stored.seq < below)
                && query
                    .source
                    .as_ref()
                    .is_none_or(|name| event.source == *name)
                && query.after.is_none_or(|after| event.received_at >= after)
                && query.before.is_none_or(|before| event.received_at < before)
        };
        let mut page: Vec<_> = events
            .iter()
            .rev()
            .filter(fits)
            .take(query.limit + 1)
            .cloned()
            .collect();
        let more = page.len() > query.limit;
        page.truncate(query.limit);
        self.handed_out
            .fetch_add(page.len() as u64, Ordering::Relaxed);
        Ok(EventPage {
            next: page.last().filter(|_| more).map(|stored| stored.seq),
            events: page,
        })
    }

    async fn first_after(
        &self,
        _: &SourceSet,
        _: Seq,
    ) -> Result<Option<StoredEvent>, JournalError> {
        unreachable!("admin does not ask")
    }

    async fn recent_keys(&self, _: usize) -> Result<Vec<(DedupKey, EventId)>, JournalError> {
        unreachable!("admin does not ask")
    }
}

#[async_trait]
impl Journal for World {
    fn append(&self, _: Vec<Event>) -> Append {
        unreachable!("admin never appends")
    }

    async fn reader(
        &self,
        _: &RouteName,
        _: Seq,
        _: SourceSet,
    ) -> Result<Box<dyn Reader>, JournalError> {
        unreachable!("admin never reads on")
    }

    fn release(&self, _: &RouteName, _: Seq) {
        unreachable!("admin never releases")
    }

    fn bytes_after(&self, _: Seq) -> u64 {
        0
    }

    async fn count(&self, _: &SourceSet, _: Seq, _: Seq) -> Result<u64, JournalError> {
        unreachable!("admin never counts")
    }

    fn end(&self) -> Seq {
        Seq(42)
    }

    fn durability(&self) -> Durability {
        Durability::Disk
    }

    fn can_append(&self) -> Result<(), AppendError> {
        Ok(())
    }

    async fn close(&self, _: Duration) -> Result<(), AppendError> {
        unreachable!("admin never closes")
    }
}

#[async_trait]
impl State for World {
    async fn fate(&self, route: &RouteName, seq: Seq) -> Result<Fate, StateError> {
        self.check()?;
        self.fates_asked.fetch_add(1, Ordering::Relaxed);
        let fates = self.fates.lock().unwrap();
        let fate = fates.get(&(route.as_str().to_owned(), seq.0));
        Ok(fate.cloned().unwrap_or(Fate::Pending))
    }

    async fn find(&self, id: EventId) -> Result<Option<StoredEvent>, StateError> {
        let buried = self.buried.lock().unwrap();
        Ok(buried.iter().find(|stored| stored.id == id).cloned())
    }

    async fn parked_keys(&self, _: &RouteName) -> Result<Vec<(OrderKey, Seq)>, StateError> {
        unreachable!()
    }
    async fn parked_page(
        &self,
        _: &RouteName,
        _: Seq,
        _: BatchLimit,
    ) -> Result<Vec<(StoredEvent, Option<OrderKey>)>, StateError> {
        unreachable!()
    }
    async fn set_order_keys(
        &self,
        _: &RouteName,
        _: Vec<(Seq, Option<OrderKey>)>,
    ) -> Result<(), StateError> {
        unreachable!()
    }
    async fn imbalance(&self, _: &RouteName) -> Result<i64, StateError> {
        unreachable!()
    }
    fn room(&self) -> Result<(), String> {
        Ok(())
    }
    async fn bytes(&self) -> Result<u64, StateError> {
        self.check()?;
        Ok(77)
    }

    async fn installation(&self) -> Result<Option<InstallationId>, StateError> {
        unreachable!("admin does not ask")
    }

    async fn bind_installation(&self, _: InstallationId) -> Result<(), StateError> {
        unreachable!("admin does not ask")
    }

    async fn sources(&self) -> Result<Vec<KnownSource>, StateError> {
        self.check()?;
        let known = ["a", "b", "gone"].map(|name| KnownSource {
            name: source(name),
            paths: vec![format!("/in/{name}")],
        });
        Ok(known.into())
    }

    async fn remember_sources(&self, _: Vec<KnownSource>) -> Result<(), StateError> {
        unreachable!("admin does not ask")
    }

    async fn forget_source(&self, _: &SourceName) -> Result<bool, StateError> {
        unreachable!("admin does not ask")
    }

    async fn routes(&self) -> Result<Vec<RouteRecord>, StateError> {
        unreachable!("admin asks dispatch")
    }

    async fn register_route(&self, _: &RouteName, _: Seq, _: Timestamp) -> Result<(), StateError> {
        unreachable!("admin does not ask")
    }

    async fn set_route_filter(&self, _: &RouteName, _: Option<String>) -> Result<(), StateError> {
        unreachable!("admin does not ask")
    }

    async fn set_route_sources(&self, _: &RouteName, _: Vec<SourceName>) -> Result<(), StateError> {
        unreachable!("admin does not ask")
    }

    async fn route_sources(&self, _: &RouteName) -> Result<Vec<SourceName>, StateError> {
        unreachable!("admin asks dispatch")
    }

    async fn rename_route(&self, _: &RouteName, _: &RouteName) -> Result<(), StateError> {
        unreachable!("admin does not ask")
    }

    async fn retire_route(
        &self,
        _: &RouteName,
        _: RetireFate,
        _: Timestamp,
    ) -> Result<(), StateError> {
        unreachable!("admin does not ask")
    }

    async fn set_paused(&self, _: &RouteName, _: bool) -> Result<(), StateError> {
        unreachable!("admin asks dispatch")
    }

    async fn settle(&self, _: Vec<Settlement>) -> Result<(), StateError> {
        unreachable!("admin never settles")
    }

    async fn due(
        &self,
        _: &RouteName,
        _: Timestamp,
        _: &[Seq],
        _: BatchLimit,
        _: domain::ports::DueOrder,
    ) -> Result<Vec<Parked>, StateError> {
        unreachable!("admin does not ask")
    }

    async fn next_due(
        &self,
        _: &RouteName,
        _: Timestamp,
        _: &[Seq],
    ) -> Result<Option<Timestamp>, StateError> {
        unreachable!("admin does not ask")
    }

    async fn expire_delivered(&self, _: Timestamp) -> Result<(), StateError> {
        unreachable!("admin does not ask")
    }
}

/// Imports from a queue `ops`; one runs at a time.
#[derive(Default)]
struct FakeImports(Mutex<Vec<Import>>);

#[async_trait]
impl Imports for FakeImports {
    async fn begin(&self, request: ImportRequest) -> Result<Import, ImportError> {
        if request.from.as_str() != "ops" {
            return Err(ImportError::Unknown(request.from));
        }
        let mut imports = self.0.lock().unwrap();
        if let Some(last) = imports.last() {
            return Err(ImportError::Running(last.id));
        }
        let import = Import {
            id: 1,
            from: request.from,
            status: ImportStatus::Running,
            redriven: 1,
            known: 2,
            fresh: 3,
            error: None,
            created_at: at(1),
            finished_at: None,
        };
        imports.push(import.clone());
        Ok(import)
    }

    fn list(&self) -> Vec<Import> {
        self.0.lock().unwrap().clone()
    }

    fn cancel(&self, id: u64) -> Option<Import> {
        self.list().into_iter().find(|import| import.id == id)
    }
}
