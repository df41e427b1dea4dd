//! Floor 2: dispatch, what takes acknowledged events from the journal to their destinations.
//!
//! Owns a worker a route (`worker`), an exporter a dead-letter target (`export`), the breakers that guard them, the window of what is read and not
//! settled, the settler that commits for all of them, and the auditor that counts a second time and
//! releases the journal. Everything outside is a port: it knows no backend, and never looks at which
//! destination it talks to. Nothing unsettled is ever dropped here: what is not committed is delivered
//! again after the next start.

mod alarm;
mod attempt;
mod audit;
mod backlog;
mod board;
mod book;
mod breaker;
mod burials;
mod completion;
mod export;
pub mod metrics;
pub mod options;
mod outbox;
mod recovery;
mod redrive;
mod route;
mod settler;
pub mod sources;
mod status;
mod trouble;
mod window;
mod worker;

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use domain::ports::{Backlogs, Destination, Routes};
use domain::{DestinationName, RouteName};
use futures_util::FutureExt;
use tokio::sync::{Notify, Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use export::TargetSpec;
pub use metrics::Metrics;
pub use options::Options;
pub use route::{BacklogPolicy, Ports, RoutePolicies, RouteSpec};
pub use sources::change_sources;

use alarm::Alarm;
use audit::Auditor;
use backlog::{Backlog, LimitedBacklogs};
use board::Board;
use export::{Exporter, Target};
use outbox::{Bell, Outbox};
use redrive::Redriver;
use route::{Committed, Damage, Route};
use settler::Settler;
use status::RunningRoutes;
use worker::Worker;

/// Callers that may wait for fresh statuses at once.
const ASKING: usize = 64;

/// The part of a shutdown's time that is kept for the last commit.
const LAST_COMMIT: Duration = Duration::from_secs(2);

/// All running routes. Dropping it abandons what is in flight, as a crash would.
#[derive(Debug)]
pub struct Dispatch {
    routes: Arc<RunningRoutes>,
    workers: JoinSet<()>,
    settler: JoinSet<()>,
    auditor: JoinSet<()>,
    redriver: JoinSet<()>,
    backlogs: Arc<LimitedBacklogs>,
    stop_workers: CancellationToken,
    stop_settler: CancellationToken,
    alarm: Alarm,
}

impl Dispatch {
    /// Starts a worker a route. The routes must be registered in state, and `options` validated. Must
    /// be called within a tokio runtime.
    #[must_use]
    #[expect(
        clippy::needless_pass_by_value,
        reason = "a handle, handed over like the other parts"
    )]
    pub fn start(options: Options, routes: Vec<RouteSpec>, ports: Ports, metrics: Metrics) -> Self {
        let bell = Arc::new(Bell::default());
        let settled = Arc::new(Notify::new());
        let stop_workers = CancellationToken::new();
        let alarm = Alarm::new(stop_workers.clone());
        let mut slots = HashMap::new();
        let window = options.window(routes.len());
        let damage = Arc::new(Damage::default());
        let routes: Vec<Arc<Route>> = routes
            .into_iter()
            .map(|spec| {
                let damage = Arc::clone(&damage);
                let outbox = Outbox::new(Arc::clone(&bell), window.events);
                Arc::new(open(spec, outbox, damage, &mut slots, &ports, &metrics))
            })
            .collect();

        let mut backlogs = LimitedBacklogs::default();
        for route in &routes {
            if let Some(backlog) = &route.backlog {
                backlogs.add(&route.name, &route.source_names, backlog);
            }
        }
        let (ask, asked) = mpsc::channel(ASKING);
        let statuses = audit::Statuses::default();
        let redriver = Redriver::new(
            &routes,
            ports.clone(),
            Arc::clone(&ports.redrive_begun),
            Arc::clone(&statuses),
        );
        let auditor = Auditor::new(
            &routes,
            ports.clone(),
            Arc::clone(&settled),
            asked,
            Arc::clone(&statuses),
            metrics.clone(),
        );
        let settler = Settler::new(
            &routes,
            ports.clone(),
            bell,
            options.settle_interval.0,
            alarm.clone(),
            settled,
        );
        let mut dispatch = Self {
            workers: JoinSet::new(),
            settler: JoinSet::new(),
            auditor: JoinSet::new(),
            redriver: JoinSet::new(),
            backlogs: Arc::new(backlogs),
            stop_workers,
            stop_settler: CancellationToken::new(),
            alarm,
            routes: Arc::new(RunningRoutes {
                routes,
                ports,
                statuses,
                ask,
            }),
        };
        dispatch.spawn(options, settler, auditor, redriver);
        dispatch
    }

    fn spawn(&mut self, options: Options, settler: Settler, auditor: Auditor, redriver: Redriver) {
        let RunningRoutes { routes, ports, .. } = &*self.routes;
        let window = options.window(routes.len());
        for route in routes {
            let stop = self.stop_workers.clone();
            let worker = Worker::new(Arc::clone(route), ports.clone(), window, stop);
            let what = format!("the worker of route {}", route.name);
            self.workers
                .spawn(watched(worker.run(), what, self.alarm.clone()));
            for target in &route.targets {
                let (target, stop) = (Arc::clone(target), self.stop_workers.clone());
                let what = format!("the exports of route {} to {}", route.name, target.name);
                let exporter = Exporter::new(Arc::clone(route), target, ports.clone(), stop);
                self.workers
                    .spawn(watched(exporter.run(), what, self.alarm.clone()));
            }
        }
        let settler = settler.run(self.stop_settler.clone());
        self.settler
            .spawn(watched(settler, "the settler".into(), self.alarm.clone()));
        self.auditor.spawn(watched(
            auditor.run(),
            "the auditor".into(),
            self.alarm.clone(),
        ));
        self.redriver.spawn(watched(
            redriver.run(),
            "the redriver".into(),
            self.alarm.clone(),
        ));
    }

    /// The routes as admin sees and switches them. Works on after [`Dispatch::stop`], showing what was
    /// last known.
    #[must_use]
    pub fn routes(&self) -> Arc<dyn Routes> {
        Arc::clone(&self.routes) as Arc<dyn Routes>
    }

    /// The limits of what waits, for ingest to ask.
    #[must_use]
    pub fn backlogs(&self) -> Arc<dyn Backlogs> {
        Arc::clone(&self.backlogs) as Arc<dyn Backlogs>
    }

    /// Where to put what is found to be set up weaker at a route's destination than Forebay promises:
    /// whoever looked shows it in the route's status. `None`: no such route.
    #[must_use]
    pub fn findings(&self, route: &RouteName) -> Option<watch::Sender<Vec<String>>> {
        let mut routes = self.routes.routes.iter();
        let found = routes.find(|running| running.name == *route);
        found.map(|route| route.findings.clone())
    }

    /// Shows why nothing more can be settled, once that is so. The process must then end.
    #[must_use]
    pub fn failure(&self) -> watch::Receiver<Option<String>> {
        self.alarm.heard()
    }

    /// Starts nothing new, waits for what is in flight, abandons what has not ended in time, and
    /// commits what was done. Returns within `deadline`.
    pub async fn stop(mut self, deadline: Duration) {
        let reserve = LAST_COMMIT.min(deadline / 4);
        self.redriver.abort_all();
        self.stop_workers.cancel();
        let ended = async { while self.workers.join_next().await.is_some() {} };
        if tokio::time::timeout(deadline.saturating_sub(reserve), ended)
            .await
            .is_err()
        {
            tracing::warn!(
                "attempts under way are abandoned; their events are delivered after the next start"
            );
            self.workers.shutdown().await;
        }
        self.stop_settler.cancel();
        let settled = async { while self.settler.join_next().await.is_some() {} };
        if tokio::time::timeout(reserve, settled).await.is_err() {
            tracing::warn!(
                "the last progress was not committed in time; it is delivered again after the next start"
            );
        }
    }
}

impl std::fmt::Debug for RunningRoutes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&RouteName> = self.routes.iter().map(|route| &route.name).collect();
        f.debug_tuple("RunningRoutes").field(&names).finish()
    }
}

fn open(
    spec: RouteSpec,
    outbox: Outbox,
    damage: Arc<Damage>,
    slots: &mut HashMap<DestinationName, Arc<Semaphore>>,
    ports: &Ports,
    metrics: &Metrics,
) -> Route {
    let mut slots_of = |name: &DestinationName, destination: &dyn Destination| {
        let concurrency = destination.limits().concurrency;
        let concurrency = concurrency.clamp(1, Semaphore::MAX_PERMITS);
        let slots = slots
            .entry(name.clone())
            .or_insert_with(|| Arc::new(Semaphore::new(concurrency)));
        Arc::clone(slots)
    };
    let now = ports.clock.now();
    let targets = spec.targets.into_iter().map(|target| {
        let slots = slots_of(&target.name, &*target.destination);
        Arc::new(Target::new(target, slots, now))
    });
    let targets = targets.collect();
    let slots = slots_of(&spec.destination_name, &*spec.destination);
    Route {
        metrics: metrics.of(&spec.name),
        backlog: spec
            .policies
            .backlog
            .map(|policy| Arc::new(Backlog::new(policy))),
        name: spec.name,
        policies: spec.policies,
        sources: spec.sources,
        source_names: spec.source_names,
        destination: spec.destination,
        destination_name: spec.destination_name,
        findings: watch::Sender::default(),
        slots,
        targets,
        buried: watch::Sender::new(0),
        burials: std::sync::Mutex::default(),
        open_run: std::sync::Mutex::new(None),
        proved: AtomicBool::new(false),
        board: Arc::new(Board::new(spec.record.paused, now)),
        outbox,
        damage,
        committed: std::sync::Mutex::new(Committed {
            cursor: spec.record.cursor,
            ..Committed::default()
        }),
        record: spec.record,
    }
}

/// Runs a task of ours; if it panics, that is a defect which must end the process and not one route
/// in silence.
async fn watched(task: impl Future<Output = ()>, what: String, alarm: Alarm) {
    if AssertUnwindSafe(task).catch_unwind().await.is_err() {
        alarm.raise(format!(
            "{what} panicked: a defect; what is not settled is delivered after a restart"
        ));
    }
}
