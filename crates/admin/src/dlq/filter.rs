//! Whether the route that letters are asked of is one.

use domain::RouteName;
use domain::ports::{DeadFilter, Selection};
use http::StatusCode;

use crate::context::Ports;
use crate::problem::Problem;

/// Refuses the name of a route that does not run and has no letters either: a misspelt one would show, and
/// select, nothing. Retired routes are not listed anywhere, but their letters are.
pub(crate) async fn known_route(ports: &Ports, name: Option<&RouteName>) -> Result<(), Problem> {
    let Some(name) = name else {
        return Ok(());
    };
    let routes = ports.routes.statuses().await;
    if routes.iter().any(|route| route.name == *name) {
        return Ok(());
    }
    let filter = DeadFilter {
        route: Some(name.clone()),
        ..DeadFilter::default()
    };
    let selection = Selection::Filter(filter);
    if ports.dead_letters.count_dead(&selection).await? > 0 {
        return Ok(());
    }
    let names: Vec<_> = routes.iter().map(|route| route.name.as_str()).collect();
    let detail = format!(
        "there is no route {name}, and no dead letter of one that was retired; there is {}",
        names.join(", ")
    );
    Err(Problem::new(
        StatusCode::BAD_REQUEST,
        "unknown-route",
        detail,
    ))
}
