//! Whether there is what is asked for: the route of a filter, the letters of ids.

use domain::ports::{DeadFilter, Selection};
use domain::{EventId, RouteName};
use http::StatusCode;

use crate::context::Ports;
use crate::problem::Problem;

/// Ids that one answer names.
const NAMED: usize = 20;

/// Refuses a selection that names what is not there: it would change nothing, and look as if it had.
pub(crate) async fn known(ports: &Ports, selection: &Selection) -> Result<(), Problem> {
    match selection {
        Selection::Filter(filter) => known_route(ports, filter.route.as_ref()).await,
        Selection::Ids(ids) => known_ids(ports, ids).await,
    }
}

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

async fn known_ids(ports: &Ports, ids: &[EventId]) -> Result<(), Problem> {
    let mut unknown = Vec::new();
    for id in ids {
        let one = Selection::Ids(vec![*id]);
        if ports.dead_letters.count_dead(&one).await? == 0 {
            unknown.push(id.to_string());
        }
    }
    if unknown.is_empty() {
        return Ok(());
    }
    let more = unknown.len().saturating_sub(NAMED);
    unknown.truncate(NAMED);
    let more = match more {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let detail = format!(
        "no event of these is a dead letter, so nothing was done: {}{more}; it never was, or it was redriven or purged",
        unknown.join(", ")
    );
    Err(Problem::new(
        StatusCode::NOT_FOUND,
        "no-such-dead-letter",
        detail,
    ))
}

/// Refuses to put back what is asked for by its ids or its route, if all of it is of retired routes.
pub(crate) async fn not_retired(ports: &Ports, selection: &Selection) -> Result<(), Problem> {
    let asked_for = match selection {
        Selection::Filter(filter) => filter.route.is_some(),
        Selection::Ids(_) => true,
    };
    if !asked_for {
        return Ok(());
    }
    let retired = ports.dead_letters.count_dead(selection).await?;
    if retired == 0 {
        return Ok(());
    }
    let detail = format!(
        "the {retired} dead letters that match are of a retired route, so nobody would deliver them: export them, post their bodies to a source that is on a route if they are still wanted, and purge them"
    );
    Err(Problem::new(
        StatusCode::BAD_REQUEST,
        "retired-route",
        detail,
    ))
}
