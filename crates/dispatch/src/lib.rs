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
mod control;
mod export;
mod filter;
pub mod metrics;
mod mistakes;
pub mod options;
mod outbox;
mod recovery;
mod redrive;
mod roster;
mod route;
mod settler;
pub mod sources;
mod status;
mod trouble;
mod window;
mod worker;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use domain::RouteName;
use domain::ports::{Backlogs, Routes};
use futures_util::FutureExt;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use control::{Control, ControlError};
pub use export::TargetSpec;
pub use filter::{Filter, FilterError, Wanted};
pub use metrics::Metrics;
pub use options::Options;
pub use route::{BacklogMax, BacklogPolicy, Ports, RoutePolicies, RouteSpec};
pub use sources::change_sources;

use alarm::Alarm;
use audit::Auditor;
use control::Shared;
use outbox::Bell;
use redrive::Redriver;
use roster::Roster;
use settler::Settler;
use status::RunningRoutes;

/// Callers that may wait for fresh statuses at once.
const ASKING: usize = 64;

/// Changes of the routes that may be under way at once.
const CHANGES: usize = 8;

/// The part of a shutdown's time that is kept for the last commit.
const LAST_COMMIT: Duration = Duration::from_secs(2);

/// All running routes. Dropping it abandons what is in flight, as a crash would.
#[derive(Debug)]
pub struct Dispatch {
    control: Control,
    settler: JoinSet<()>,
    auditor: JoinSet<()>,
    redriver: JoinSet<()>,
    stop_settler: CancellationToken,
}

impl Dispatch {
    /// Starts a worker a route. The routes must be registered in state, and `options` validated. Must
    /// be called within a tokio runtime.
    #[must_use]
    pub fn start(options: Options, routes: Vec<RouteSpec>, ports: Ports, metrics: Metrics) -> Self {
        let bell = Arc::new(Bell::default());
        let settled = Arc::new(Notify::new());
        let alarm = Alarm::new(CancellationToken::new());
        let (ask, asked) = mpsc::channel(ASKING);
        let (change, changes) = mpsc::channel(CHANGES);
        let statuses = audit::Statuses::default();
        let running = Arc::new(RunningRoutes {
            roster: Arc::new(Roster::default()),
            ports: ports.clone(),
            statuses: Arc::clone(&statuses),
            ask,
        });
        let shared = Shared::new(
            Arc::clone(&running),
            options.shares(),
            Arc::clone(&bell),
            change,
            metrics.clone(),
            alarm.clone(),
        );
        let control = Control::new(shared);
        let routes = control.open_all(routes);
        let interval = options.settle_interval.0;
        let settler = Settler::new(
            &routes,
            changes,
            ports.clone(),
            bell,
            interval,
            alarm.clone(),
            Arc::clone(&settled),
        );
        let auditor = Auditor::new(
            &routes,
            ports.clone(),
            settled,
            asked,
            Arc::clone(&statuses),
            metrics,
        );
        let begun = Arc::clone(&ports.redrive_begun);
        let redriver = Redriver::new(Arc::clone(&running.roster), ports, begun, statuses);
        let mut dispatch = Self {
            control,
            settler: JoinSet::new(),
            auditor: JoinSet::new(),
            redriver: JoinSet::new(),
            stop_settler: CancellationToken::new(),
        };
        for route in &routes {
            // Just made: nothing has stopped it.
            let _ = dispatch.control.spawn(route);
        }
        let settler = settler.run(dispatch.stop_settler.clone());
        let watched = |task, what: &str| watched(task, what.to_owned(), alarm.clone());
        dispatch
            .settler
            .spawn(watched(settler.boxed(), "the settler"));
        dispatch
            .auditor
            .spawn(watched(auditor.run().boxed(), "the auditor"));
        dispatch
            .redriver
            .spawn(watched(redriver.run().boxed(), "the redriver"));
        dispatch
    }

    /// Lets routes come and go while the others run on.
    #[must_use]
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// The routes as admin sees and switches them. Works on after [`Dispatch::stop`], showing what was
    /// last known.
    #[must_use]
    pub fn routes(&self) -> Arc<dyn Routes> {
        Arc::clone(self.control.running()) as Arc<dyn Routes>
    }

    /// The limits of what waits, for ingest to ask.
    #[must_use]
    pub fn backlogs(&self) -> Arc<dyn Backlogs> {
        Arc::clone(self.control.backlogs()) as Arc<dyn Backlogs>
    }

    /// Where to put what is found to be set up weaker at a route's destination than Forebay promises:
    /// whoever looked shows it in the route's status. `None`: no such route.
    #[must_use]
    pub fn findings(&self, route: &RouteName) -> Option<watch::Sender<Vec<String>>> {
        let found = self.control.running().roster.find(route);
        found.map(|route| route.findings.clone())
    }

    /// Shows why nothing more can be settled, once that is so. The process must then end.
    #[must_use]
    pub fn failure(&self) -> watch::Receiver<Option<String>> {
        self.control.alarm().heard()
    }

    /// Starts nothing new, waits for what is in flight, abandons what has not ended in time, and
    /// commits what was done. Returns within `deadline`.
    pub async fn stop(mut self, deadline: Duration) {
        let reserve = LAST_COMMIT.min(deadline / 4);
        self.redriver.abort_all();
        self.control.stop(deadline.saturating_sub(reserve)).await;
        self.stop_settler.cancel();
        let settled = async { while self.settler.join_next().await.is_some() {} };
        if tokio::time::timeout(reserve, settled).await.is_err() {
            tracing::warn!(
                "the last progress was not committed in time; it is delivered again after the next start"
            );
        }
    }
}

impl Drop for Dispatch {
    fn drop(&mut self) {
        self.control.abandon();
    }
}

/// Runs a task of ours; if it panics, that is a defect which must end the process and not one route
/// in silence.
pub(crate) async fn watched(task: impl Future<Output = ()>, what: String, alarm: Alarm) {
    if AssertUnwindSafe(task).catch_unwind().await.is_err() {
        alarm.raise(format!(
            "{what} panicked: a defect; what is not settled is delivered after a restart"
        ));
    }
}
