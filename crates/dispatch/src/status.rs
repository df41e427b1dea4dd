//! The routes as admin sees and switches them: [`domain::ports::Routes`] over the running workers.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use domain::ports::{RouteControlError, RouteStatus, Routes};
use domain::{RouteId, RouteName, SourceName, StoredEvent};
use tokio::sync::{mpsc, oneshot};

use crate::audit::{Asked, Statuses};
use crate::roster::Roster;
use crate::route::Ports;

/// The longest that somebody who asks waits for a fresh answer before getting the last one.
const PATIENCE: Duration = Duration::from_secs(1);

/// A handle to all routes; cheap to share.
pub(crate) struct RunningRoutes {
    pub(crate) roster: Arc<Roster>,
    pub(crate) ports: Ports,
    pub(crate) statuses: Statuses,
    pub(crate) ask: mpsc::Sender<Asked>,
}

#[async_trait]
impl Routes for RunningRoutes {
    async fn statuses(&self) -> Vec<RouteStatus> {
        let (asked, answer) = oneshot::channel();
        let fresh = async {
            if self.ask.send(Asked::Fresh(asked)).await.is_ok() {
                // An error is an auditor that ended: what was last known is all there is.
                let _ = answer.await;
            }
        };
        // After it has waited long enough the last known is the answer.
        let _ = tokio::time::timeout(PATIENCE, fresh).await;
        self.statuses
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    async fn set_paused(&self, name: &str, paused: bool) -> Result<(), RouteControlError> {
        let all = self.roster.all();
        let route = all.iter().find(|route| route.name.as_str() == name);
        let route = route.ok_or_else(|| RouteControlError::Unknown(name.to_owned()))?;
        // First for good, then for now: a crash in between must not forget what was answered.
        self.ports.state.set_paused(&route.name, paused).await?;
        route.board.set_paused(paused);
        tracing::info!(route = %route.name, paused, "an operator switched the route");
        Ok(())
    }

    fn route_id(&self, route: &RouteName, source: &SourceName) -> Option<RouteId> {
        let route = self.roster.find(route)?;
        route
            .source_names
            .contains(source)
            .then_some(route.record.id)
    }

    async fn wants(&self, route: &RouteName, stored: &StoredEvent) -> bool {
        let Some(route) = self.roster.find(route) else {
            return true;
        };
        let answers = route.wanted.ask_ahead(std::slice::from_ref(stored)).await;
        answers.wants(&route.wanted, stored).unwrap_or(false)
    }

    fn brought(&self, route: &RouteName) {
        if let Some(route) = self.roster.find(route) {
            route.board.bring();
        }
    }
}

impl std::fmt::Debug for RunningRoutes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let all = self.roster.all();
        let names: Vec<&RouteName> = all.iter().map(|route| &route.name).collect();
        f.debug_tuple("RunningRoutes").field(&names).finish()
    }
}
