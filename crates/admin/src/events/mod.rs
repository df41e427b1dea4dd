//! `/api/v1/events`: what came in, newest first, and what became of it on every route.

mod fates;
mod page;
mod query;
mod view;

use std::collections::BTreeSet;

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::response::Response;
use domain::{EventId, RouteName, StoredEvent};
use http::StatusCode;

use crate::context::{Context, Ports};
use crate::problem::Problem;
use query::EventsQuery;
use view::EventView;

pub(crate) use view::{Encoding, HeaderView, lossless};

/// The pairs of a query, as they came.
pub(crate) type Pairs = Vec<(String, String)>;

pub(crate) async fn list(
    State(context): State<Context>,
    pairs: Result<Query<Pairs>, QueryRejection>,
) -> Result<Response, Problem> {
    let query = EventsQuery::parse(&pairs?.0)?;
    let turn = context.look_back().await?;
    turn.answer(page::gather(&context.ports, &query).await?)
}

pub(crate) async fn show(
    State(context): State<Context>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let id = self::id(&id?.0)?;
    let ports = &context.ports;
    let turn = context.look_back().await?;
    let stored = find(ports, id).await?;
    let routes = ports.routes.statuses().await;
    let fates = fates::of(&*ports.state, &*ports.routes, &routes, &stored).await?;
    let edits = ports.dead_letters.history(id).await?;
    let edited_on: BTreeSet<RouteName> = edits.into_iter().map(|edit| edit.route).collect();
    turn.answer(EventView::of(&stored, fates, edited_on))
}

/// The event, from wherever it still is.
pub(crate) async fn find(ports: &Ports, id: EventId) -> Result<StoredEvent, Problem> {
    let found = match ports.archive.find(id).await? {
        Some(stored) => Some(stored),
        None => ports.state.find(id).await?,
    };
    found.ok_or_else(|| gone(id))
}

/// An event's id as it stands in a path.
pub(crate) fn id(text: &str) -> Result<EventId, Problem> {
    text.parse().map_err(|_| {
        let detail = "an event's id is a UUID, as in 0192f0c1-2b3a-7c4d-8e5f-60718293a4b5";
        Problem::new(StatusCode::BAD_REQUEST, "bad-id", detail)
    })
}

fn gone(id: EventId) -> Problem {
    let detail = format!(
        "there is no event {id}: it was never accepted here, or it was settled longer ago than journal.retain and the journal no longer holds it"
    );
    Problem::new(StatusCode::NOT_FOUND, "no-such-event", detail)
}
