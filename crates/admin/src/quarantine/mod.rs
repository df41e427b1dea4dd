//! `/api/v1/quarantine`: requests that their sources could not verify, and what can be done to them.

mod act;
mod view;

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::response::Response;
use domain::SourceName;
use domain::ports::{QuarantineEntry, QuarantineQuery};
use http::StatusCode;
use serde::Serialize;

use crate::context::{Context, Ports};
use crate::cursor::List;
use crate::dlq::{cursor, limit, once_each};
use crate::events::{self, Pairs};
use crate::problem::Problem;
use view::Shown;

pub(crate) use act::{purge, release};

/// Entries on a page unless the query says otherwise.
const DEFAULT_LIMIT: usize = 100;

/// A page of entries.
#[derive(Debug, Serialize)]
pub(crate) struct Entries {
    requests: Vec<QuarantineEntry>,
    /// `None`: there is no more.
    next_cursor: Option<String>,
}

pub(crate) async fn list(
    State(context): State<Context>,
    pairs: Result<Query<Pairs>, QueryRejection>,
) -> Result<Json<Entries>, Problem> {
    let mut query = query(&pairs?.0)?;
    if let Some(name) = &query.source {
        let known = is_known(&context.ports, name).await?;
        known.then_some(()).ok_or_else(|| {
            let detail = format!("there is no source {name}, and nothing is in quarantine of it; GET /api/v1/sources lists those there are");
            Problem::new(StatusCode::BAD_REQUEST, "bad-parameter", detail)
        })?;
    }
    let wanted = query.limit;
    // One more than is shown tells whether there are more.
    query.limit += 1;
    let mut requests = context.ports.quarantine.page(&query).await?;
    let more = requests.len() > wanted;
    requests.truncate(wanted);
    let last = requests.last().filter(|_| more);
    Ok(Json(Entries {
        next_cursor: last.map(|last| List::Quarantine.cursor(last.number)),
        requests,
    }))
}

pub(crate) async fn show(
    State(context): State<Context>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let id = events::id(&id?.0)?;
    let turn = context.look_back().await?;
    let Some(request) = context.ports.quarantine.get(id).await? else {
        let detail = format!(
            "there is no request {id} in quarantine: it never was, or it was released or purged"
        );
        return Err(Problem::new(
            StatusCode::NOT_FOUND,
            "not-in-quarantine",
            detail,
        ));
    };
    let credentials = context.ports.releases.credentials(&request.event.source);
    turn.answer(Shown::of(&request, &credentials))
}

fn query(pairs: &Pairs) -> Result<QuarantineQuery, Problem> {
    let mut query = QuarantineQuery {
        limit: DEFAULT_LIMIT,
        ..QuarantineQuery::default()
    };
    once_each(pairs)?;
    for (name, value) in pairs {
        match name.as_str() {
            "source" => {
                let source = SourceName::new(value);
                let source = source.map_err(|_| Problem::parameter(name, "the name of a source"));
                query.source = Some(source?);
            }
            "limit" => query.limit = limit(value)?,
            "cursor" => query.below = Some(cursor(List::Quarantine, value)?),
            _ => return Err(Problem::parameter(name, "one of source, limit and cursor")),
        }
    }
    Ok(query)
}

/// Whether there is such a source, or something of it in quarantine.
async fn is_known(ports: &Ports, name: &SourceName) -> Result<bool, Problem> {
    let configured = ports.sources.statuses();
    if configured.iter().any(|source| source.name == *name) {
        return Ok(true);
    }
    let counts = ports.quarantine.counts().await?;
    Ok(counts.iter().any(|count| count.source == *name))
}
