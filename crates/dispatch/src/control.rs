//! Routes that come and go while the others run on.
//!
//! A route comes in this order: the settler and the auditor know it, then everybody else, then its worker begins. It
//! goes the other way round: its worker ends, the settler commits what that had done, the auditor releases it, and
//! nothing is done for it any more. Then whoever had it stopped may settle for it alone.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::ports::Destination;
use domain::{DestinationName, RouteName, Seq};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::alarm::Alarm;
use crate::audit::Asked;
use crate::backlog::{Backlog, LimitedBacklogs};
use crate::board::Board;
use crate::export::{Exporter, Target};
use crate::filter::Wanted;
use crate::metrics::Metrics;
use crate::options::Shares;
use crate::outbox::{Bell, Outbox};
use crate::roster::Change;
use crate::route::{Committed, Damage, Route, RouteSpec};
use crate::status::RunningRoutes;
use crate::watched;
use crate::worker::Worker;

/// How often it is looked whether what is on its way into the journal is there.
const LOOK: Duration = Duration::from_millis(20);

/// Why no route came or went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// Dispatch is being stopped, or has failed.
    #[error("the server is being stopped")]
    Stopping,
    /// A route of that name runs already.
    #[error("a route of that name runs already")]
    Running,
}

/// Lets routes come and go. Cheap to clone; of no effect once dispatch was stopped.
#[derive(Clone)]
pub struct Control(Arc<Shared>);

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Control").field(&self.0.running).finish()
    }
}

/// What all routes share.
pub(crate) struct Shared {
    running: Arc<RunningRoutes>,
    shares: Shares,
    bell: Arc<Bell>,
    damage: Arc<Damage>,
    settler: mpsc::Sender<Change>,
    backlogs: Arc<LimitedBacklogs>,
    metrics: Metrics,
    alarm: Alarm,
    /// Batches in flight, by destination.
    slots: Mutex<HashMap<DestinationName, Arc<Semaphore>>>,
    /// `None` once dispatch was stopped.
    tasks: Mutex<Option<BTreeMap<RouteName, Tasks>>>,
}

/// What runs for one route.
struct Tasks {
    stop: CancellationToken,
    set: JoinSet<()>,
}

impl Shared {
    pub(crate) fn new(
        running: Arc<RunningRoutes>,
        shares: Shares,
        bell: Arc<Bell>,
        settler: mpsc::Sender<Change>,
        metrics: Metrics,
        alarm: Alarm,
    ) -> Self {
        Self {
            running,
            shares,
            bell,
            settler,
            metrics,
            alarm,
            damage: Arc::default(),
            backlogs: Arc::default(),
            slots: Mutex::default(),
            tasks: Mutex::new(Some(BTreeMap::new())),
        }
    }

    fn tasks(&self) -> MutexGuard<'_, Option<BTreeMap<RouteName, Tasks>>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn slots_of(&self, name: &DestinationName, destination: &dyn Destination) -> Arc<Semaphore> {
        let concurrency = destination.limits().concurrency;
        let concurrency = concurrency.clamp(1, Semaphore::MAX_PERMITS);
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let slots = slots
            .entry(name.clone())
            .or_insert_with(|| Arc::new(Semaphore::new(concurrency)));
        Arc::clone(slots)
    }

    fn open(&self, spec: RouteSpec) -> Route {
        let now = self.running.ports.clock.now();
        let targets = spec.targets.into_iter().map(|target| {
            let slots = self.slots_of(&target.name, &*target.destination);
            Arc::new(Target::new(target, slots, now))
        });
        let targets = targets.collect();
        let slots = self.slots_of(&spec.destination_name, &*spec.destination);
        let backlog = spec.policies.backlog;
        Route {
            metrics: match spec.has_own_metrics {
                true => self.metrics.of(&spec.name),
                false => self.metrics.of_the_rest(),
            },
            backlog: backlog.map(|policy| Arc::new(Backlog::new(policy))),
            name: spec.name,
            policies: spec.policies,
            sources: spec.sources,
            source_names: spec.source_names,
            wanted: Arc::new(Wanted {
                route: Some(spec.record.id),
                filter: spec.filter,
            }),
            destination: spec.destination,
            destination_name: spec.destination_name,
            findings: watch::Sender::default(),
            slots,
            targets,
            until: spec.until.unwrap_or(Seq(u64::MAX)),
            buried: watch::Sender::new(0),
            burials: Mutex::default(),
            open_run: Mutex::new(None),
            proved: AtomicBool::new(false),
            board: Arc::new(Board::new(spec.record.paused, now)),
            outbox: Outbox::new(Arc::clone(&self.bell), self.shares.limit().events),
            damage: Arc::clone(&self.damage),
            committed: Mutex::new(Committed {
                cursor: spec.record.cursor,
                ..Committed::default()
            }),
            record: spec.record,
        }
    }
}

impl Control {
    pub(crate) fn new(shared: Shared) -> Self {
        Self(Arc::new(shared))
    }

    pub(crate) fn running(&self) -> &Arc<RunningRoutes> {
        &self.0.running
    }

    pub(crate) fn backlogs(&self) -> &Arc<LimitedBacklogs> {
        &self.0.backlogs
    }

    pub(crate) fn alarm(&self) -> &Alarm {
        &self.0.alarm
    }

    /// Makes the routes of the start and shows them to everybody; none is begun.
    pub(crate) fn open_all(&self, specs: Vec<RouteSpec>) -> Vec<Arc<Route>> {
        let open = |spec| Arc::new(self.0.open(spec));
        let routes: Vec<Arc<Route>> = specs.into_iter().map(open).collect();
        for route in &routes {
            self.show(route);
        }
        routes
    }

    fn show(&self, route: &Arc<Route>) {
        let Shared { running, .. } = &*self.0;
        running.roster.add(Arc::clone(route));
        self.show_backlog(route);
        self.0.shares.set_routes(running.roster.all().len());
    }

    /// One that takes nothing new has no say in what is taken.
    fn show_backlog(&self, route: &Route) {
        let backlogs = &self.0.backlogs;
        match route.until == Seq(u64::MAX) {
            true => backlogs.add(route),
            false => backlogs.remove(&route.name),
        }
    }

    fn hide(&self, name: &RouteName) {
        let Shared { running, .. } = &*self.0;
        running.roster.remove(name);
        self.0.shares.set_routes(running.roster.all().len());
        let mut slots = self.0.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.retain(|_, slots| Arc::strong_count(slots) > 1);
    }

    /// Begins the route's work.
    ///
    /// # Errors
    /// [`ControlError`]; then nothing was begun.
    pub(crate) fn spawn(&self, route: &Arc<Route>) -> Result<(), ControlError> {
        let mut tasks = self.0.tasks();
        let tasks = tasks.as_mut().ok_or(ControlError::Stopping)?;
        if tasks.contains_key(&route.name) {
            return Err(ControlError::Running);
        }
        let (alarm, ports) = (&self.0.alarm, &self.0.running.ports);
        let stop = alarm.stop_workers().child_token();
        let mut set = JoinSet::new();
        let (shares, ended) = (self.0.shares.clone(), stop.clone());
        let worker = Worker::new(Arc::clone(route), ports.clone(), shares, ended);
        let what = format!("the worker of route {}", route.name);
        set.spawn(watched(worker.run(), what, alarm.clone()));
        for target in &route.targets {
            let (target, stop) = (Arc::clone(target), stop.clone());
            let what = format!("the exports of route {} to {}", route.name, target.name);
            let exporter = Exporter::new(Arc::clone(route), target, ports.clone(), stop);
            set.spawn(watched(exporter.run(), what, alarm.clone()));
        }
        tasks.insert(route.name.clone(), Tasks { stop, set });
        Ok(())
    }

    /// Lets a route come. It must be registered in state, and no other of its name may run. Must be called within a
    /// tokio runtime. Not cancellation safe.
    ///
    /// # Errors
    /// [`ControlError`]; then the route does not run.
    pub async fn add(&self, spec: RouteSpec) -> Result<(), ControlError> {
        match &*self.0.tasks() {
            None => return Err(ControlError::Stopping),
            Some(tasks) if tasks.contains_key(&spec.name) => return Err(ControlError::Running),
            Some(_) => {}
        }
        let route = Arc::new(self.0.open(spec));
        let come = || Change::Come(Arc::clone(&route));
        let settler = self.0.settler.send(come()).await;
        let auditor = self.0.running.ask.send(Asked::Change(come())).await;
        if settler.is_err() || auditor.is_err() {
            return Err(ControlError::Stopping);
        }
        self.show(&route);
        self.spawn(&route)
    }

    /// From now on the route has no say in what is taken: events of a source that no other route takes are refused. When
    /// it returns, the journal has those that were taken for this route before. If that takes longer than `patience`
    /// nothing has changed, and the answer is `false`. Otherwise it holds until the route comes again. Not cancellation
    /// safe.
    pub async fn close(&self, name: &RouteName, patience: Duration) -> bool {
        let Shared {
            running, backlogs, ..
        } = &*self.0;
        let Some(route) = running.roster.find(name) else {
            backlogs.remove(name);
            return true;
        };
        backlogs.remove(name);
        let sources = &route.source_names;
        let quiet = async {
            while sources.iter().any(|source| backlogs.leaves_behind(source)) {
                tokio::time::sleep(LOOK).await;
            }
        };
        let is_quiet = tokio::time::timeout(patience, quiet).await.is_ok();
        if !is_quiet {
            self.show_backlog(&route);
        }
        is_quiet
    }

    /// Whether routes run, and this one does not.
    #[must_use]
    pub fn lacks(&self, name: &RouteName) -> bool {
        let tasks = self.0.tasks();
        tasks
            .as_ref()
            .is_some_and(|tasks| !tasks.contains_key(name))
    }

    /// Runs a task that must not end by itself for as long as dispatch does: if it panics, that is a defect which ends
    /// the process, and not one part of it in silence.
    pub async fn watch(&self, task: impl Future<Output = ()>, what: &str) {
        watched(task, what.to_owned(), self.0.alarm.clone()).await;
    }

    /// Lets a route go, for good or to come again (then it takes what is accepted meanwhile, too): what is under way is
    /// waited for as long as `patience`, then abandoned. When it returns, what the route did is committed as far as state
    /// took it, and nobody settles for it or releases it any more. Nothing happens if no such route runs. Not
    /// cancellation safe.
    ///
    /// # Errors
    /// [`ControlError::Stopping`]; then others may settle for the route still.
    pub async fn remove(&self, name: &RouteName, patience: Duration) -> Result<(), ControlError> {
        let removed = match &mut *self.0.tasks() {
            None => return Err(ControlError::Stopping),
            Some(tasks) => tasks.remove(name),
        };
        let Some(Tasks { stop, mut set }) = removed else {
            return Ok(());
        };
        stop.cancel();
        let ended = async { while set.join_next().await.is_some() {} };
        if tokio::time::timeout(patience, ended).await.is_err() {
            set.shutdown().await;
        }
        let (done, committed) = oneshot::channel();
        let settler = self.0.settler.send(Change::Go(name.clone(), done)).await;
        if settler.is_err() || committed.await.is_err() {
            return Err(ControlError::Stopping);
        }
        let (done, released) = oneshot::channel();
        let go = Asked::Change(Change::Go(name.clone(), done));
        if self.0.running.ask.send(go).await.is_err() || released.await.is_err() {
            return Err(ControlError::Stopping);
        }
        self.hide(name);
        self.0.metrics.forget(name);
        Ok(())
    }

    /// Ends the work of all routes, and takes no more of them. What has not ended within `patience` is abandoned.
    pub(crate) async fn stop(&self, patience: Duration) {
        let Some(mut tasks) = self.0.tasks().take() else {
            return;
        };
        self.0.alarm.stop_workers().cancel();
        let ended = async {
            for Tasks { set, .. } in tasks.values_mut() {
                while set.join_next().await.is_some() {}
            }
        };
        if tokio::time::timeout(patience, ended).await.is_err() {
            tracing::warn!(
                "attempts under way are abandoned; their events are delivered after the next start"
            );
            for Tasks { set, .. } in tasks.values_mut() {
                set.shutdown().await;
            }
        }
    }

    /// Ends everything at once.
    pub(crate) fn abandon(&self) {
        drop(self.0.tasks().take());
    }
}
