//! The routes that run, for all who work for all of them: they come and go while the others run on.

use std::sync::{Arc, Mutex, PoisonError};

use domain::RouteName;
use tokio::sync::oneshot;

use crate::route::Route;

/// All running routes.
#[derive(Default)]
pub(crate) struct Roster(Mutex<Arc<[Arc<Route>]>>);

impl Roster {
    /// The routes now. Shared, not copied.
    pub(crate) fn all(&self) -> Arc<[Arc<Route>]> {
        Arc::clone(&self.lock())
    }

    /// The route of that name, if it runs.
    pub(crate) fn find(&self, name: &RouteName) -> Option<Arc<Route>> {
        let all = self.all();
        all.iter().find(|route| route.name == *name).cloned()
    }

    /// Adds a route.
    pub(crate) fn add(&self, route: Arc<Route>) {
        let mut all = self.lock();
        *all = all.iter().cloned().chain([route]).collect();
    }

    /// Takes a route out.
    pub(crate) fn remove(&self, name: &RouteName) {
        let mut all = self.lock();
        *all = all
            .iter()
            .filter(|route| route.name != *name)
            .cloned()
            .collect();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Arc<[Arc<Route>]>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A change of the routes, for those who keep something of each.
pub(crate) enum Change {
    /// A route comes; its worker is not started yet.
    Come(Arc<Route>),
    /// A route goes, its worker has ended. Answered once nothing is done for it any more.
    Go(RouteName, oneshot::Sender<()>),
}
