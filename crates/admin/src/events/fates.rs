//! What became of one event on each of its routes.

use domain::ports::{Fate, RouteStatus, Routes, State, StateError};
use domain::{RouteName, StoredEvent};
use serde::Serialize;

/// A route that takes the event's source, and the event's state on it.
#[derive(Debug, Clone, Serialize)]
pub(super) struct RouteFate {
    pub(super) route: RouteName,
    #[serde(flatten)]
    pub(super) fate: Fate,
}

/// The event's fate on those of `routes` that take its source.
pub(super) async fn of(
    state: &dyn State,
    running: &dyn Routes,
    routes: &[RouteStatus],
    stored: &StoredEvent,
) -> Result<Vec<RouteFate>, StateError> {
    let mut fates = Vec::new();
    for route in routes
        .iter()
        .filter(|route| route.sources.contains(&stored.event.source))
    {
        match state.fate(&route.name, stored.seq).await {
            Ok(Fate::Before) => {}
            // What a route did not want has no row of its own among what it delivered.
            Ok(Fate::Delivered { .. }) if !running.wants(&route.name, stored).await => {
                fates.push(RouteFate {
                    route: route.name.clone(),
                    fate: Fate::Discarded,
                });
            }
            Ok(fate) => fates.push(RouteFate {
                route: route.name.clone(),
                fate,
            }),
            // Retired or renamed a moment ago.
            Err(StateError::UnknownRoute(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(fates)
}
