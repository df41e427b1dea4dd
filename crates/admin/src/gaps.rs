//! `/api/v1/gaps` and `/api/v1/backfills`: what sources that cannot be asked again may have missed, and how it is filled.

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use domain::ports::{Backfill, Gap, GapQuery, NOTIFICATIONS, NewBackfill};
use domain::{SourceName, Timestamp};
use http::StatusCode;
use serde::{Deserialize, Serialize};

use crate::body;
use crate::context::Context;
use crate::cursor::List;
use crate::dlq::{cursor, limit, once_each};
use crate::events::Pairs;
use crate::problem::Problem;

/// Entries on a page unless the query says otherwise.
const DEFAULT_LIMIT: usize = 100;

/// A page of gaps.
#[derive(Debug, Serialize)]
pub(crate) struct GapList {
    gaps: Vec<Gap>,
    /// `None`: there is no more.
    next_cursor: Option<String>,
}

/// A page of backfills.
#[derive(Debug, Serialize)]
pub(crate) struct BackfillList {
    backfills: Vec<Backfill>,
    /// `None`: there is no more.
    next_cursor: Option<String>,
}

/// What is asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    source: SourceName,
    from: Timestamp,
    to: Timestamp,
}

pub(crate) async fn list(
    State(context): State<Context>,
    pairs: Result<Query<Pairs>, QueryRejection>,
) -> Result<Json<GapList>, Problem> {
    let mut query = query(&pairs?.0, List::Gaps)?;
    let wanted = more(&mut query);
    let mut gaps = context.ports.gaps.gaps(&query).await?;
    let next_cursor = cut(&mut gaps, wanted).map(|last| List::Gaps.cursor(last.id));
    Ok(Json(GapList { gaps, next_cursor }))
}

pub(crate) async fn backfills(
    State(context): State<Context>,
    pairs: Result<Query<Pairs>, QueryRejection>,
) -> Result<Json<BackfillList>, Problem> {
    let mut query = query(&pairs?.0, List::Backfills)?;
    let wanted = more(&mut query);
    let mut backfills = context.ports.gaps.backfills(&query).await?;
    let next_cursor = cut(&mut backfills, wanted).map(|last| List::Backfills.cursor(last.id));
    Ok(Json(BackfillList {
        backfills,
        next_cursor,
    }))
}

/// One more than is shown tells whether there are more.
fn more(query: &mut GapQuery) -> usize {
    query.limit += 1;
    query.limit - 1
}

/// The last one that is shown, if there are more.
fn cut<T>(all: &mut Vec<T>, wanted: usize) -> Option<&T> {
    let more = all.len() > wanted;
    all.truncate(wanted);
    all.last().filter(|_| more)
}

pub(crate) async fn begin(State(context): State<Context>, body: Body) -> Result<Response, Problem> {
    let request: Request = body::read_json(body, context.limits.body_bytes).await?;
    let sources = context.ports.sources.statuses();
    let source = sources.iter().find(|source| source.name == request.source);
    let Some(source) = source else {
        let detail = format!(
            "there is no source {}; GET /api/v1/sources lists those there are",
            request.source
        );
        return Err(Problem::new(
            StatusCode::NOT_FOUND,
            "unknown-source",
            detail,
        ));
    };
    if source.kind != NOTIFICATIONS {
        let detail = format!(
            "source {} is of type {}: only a source of type {NOTIFICATIONS} is filled",
            source.name, source.kind
        );
        return Err(Problem::new(
            StatusCode::BAD_REQUEST,
            "not-fillable",
            detail,
        ));
    }
    let now = context.ports.clock.now();
    if request.from >= request.to {
        return Err(body::bad("`from` must be before `to`"));
    }
    if request.to > now {
        return Err(body::bad("`to` must not lie in the future"));
    }
    let backfill = NewBackfill {
        source: request.source,
        from: request.from,
        to: request.to,
        gap: None,
        created_at: now,
    };
    let begun = context.ports.gaps.begin_backfill(backfill).await?;
    tracing::info!(backfill = begun.id, source = %begun.source, from = %begun.from, to = %begun.to, "an operator began a backfill");
    Ok((StatusCode::ACCEPTED, Json(begun)).into_response())
}

pub(crate) async fn show(
    State(context): State<Context>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<Backfill>, Problem> {
    let id = read_id(&id?.0)?;
    let query = GapQuery {
        source: None,
        pending: false,
        below: id.checked_add(1),
        limit: 1,
    };
    let found = context.ports.gaps.backfills(&query).await?;
    let found = found.into_iter().find(|backfill| backfill.id == id);
    found.map(Json).ok_or_else(|| none(id))
}

pub(crate) async fn cancel(
    State(context): State<Context>,
    id: Result<Path<String>, PathRejection>,
    body: Body,
) -> Result<Json<Backfill>, Problem> {
    let id = read_id(&id?.0)?;
    body::without_options(body, context.limits.body_bytes).await?;
    let now = context.ports.clock.now();
    let ended = context.ports.gaps.cancel_backfill(id, now).await?;
    let ended = ended.ok_or_else(|| none(id))?;
    tracing::info!(backfill = id, source = %ended.source, "an operator ended a backfill");
    Ok(Json(ended))
}

fn read_id(text: &str) -> Result<u64, Problem> {
    text.parse().map_err(|_| {
        let detail = "a backfill's id is a number, as POST /api/v1/backfills gave it";
        Problem::new(StatusCode::BAD_REQUEST, "bad-id", detail)
    })
}

fn none(id: u64) -> Problem {
    let detail = format!("there is no backfill {id}; GET /api/v1/backfills lists those there are");
    Problem::new(StatusCode::NOT_FOUND, "no-such-backfill", detail)
}

fn query(pairs: &Pairs, list: List) -> Result<GapQuery, Problem> {
    let mut query = GapQuery {
        source: None,
        pending: false,
        below: None,
        limit: DEFAULT_LIMIT,
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
            "cursor" => query.below = Some(cursor(list, value)?),
            _ => return Err(Problem::parameter(name, "one of source, limit and cursor")),
        }
    }
    Ok(query)
}
