//! `/api/v1/redrives`: putting dead letters back on their routes. A redrive is a job: it is begun here, dispatch
//! steps it, and it survives a restart.

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use domain::EventId;
use domain::ports::{DeadFilter, Redrive, RedriveId};
use http::StatusCode;
use serde::{Deserialize, Serialize};

use crate::body;
use crate::context::Context;
use crate::cursor::List;
use crate::dlq::{Selector, cursor, known, limit, not_retired, once_each};
use crate::events::Pairs;
use crate::problem::Problem;

/// Redrives on a page unless the query says otherwise.
const DEFAULT_LIMIT: usize = 100;

/// What is asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    ids: Option<Vec<EventId>>,
    filter: Option<DeadFilter>,
    rate_per_second: Option<u32>,
    /// Only count.
    #[serde(default)]
    dry_run: bool,
}

/// How many a redrive would put back.
#[derive(Debug, Serialize)]
struct Matched {
    matched: u64,
}

/// A page.
#[derive(Debug, Serialize)]
pub(crate) struct RedriveList {
    redrives: Vec<Redrive>,
    /// `None`: there is no more.
    next_cursor: Option<String>,
}

pub(crate) async fn begin(State(context): State<Context>, body: Body) -> Result<Response, Problem> {
    let request: Request = body::read_json(body, context.limits.body_bytes).await?;
    if request.rate_per_second == Some(0) {
        return Err(body::bad(
            "`rate_per_second` must be at least 1; leave it out for as fast as the routes take them",
        ));
    }
    let selection = Selector {
        ids: request.ids,
        filter: request.filter,
    };
    let selection = selection.selection()?;
    let ports = &context.ports;
    known(ports, &selection).await?;
    let matched = ports.dead_letters.count_redrivable(&selection).await?;
    if matched == 0 {
        not_retired(ports, &selection).await?;
    }
    // A job about nothing would only be in the way of those that are about something.
    if request.dry_run || matched == 0 {
        return Ok(Json(Matched { matched }).into_response());
    }
    let begun = ports
        .dead_letters
        .begin_redrive(&selection, request.rate_per_second, ports.clock.now())
        .await?;
    ports.redrive_begun.notify_one();
    tracing::info!(
        redrive = begun.id.0,
        matched = begun.matched,
        "an operator began a redrive"
    );
    Ok((StatusCode::ACCEPTED, Json(begun)).into_response())
}

pub(crate) async fn list(
    State(context): State<Context>,
    pairs: Result<Query<Pairs>, QueryRejection>,
) -> Result<Json<RedriveList>, Problem> {
    let pairs = pairs?.0;
    once_each(&pairs)?;
    let (mut wanted, mut below) = (DEFAULT_LIMIT, None);
    for (name, value) in &pairs {
        match &**name {
            "limit" => wanted = limit(value)?,
            "cursor" => below = Some(RedriveId(cursor(List::Redrives, value)?)),
            _ => return Err(Problem::parameter(name, "limit or cursor")),
        }
    }
    let letters = &context.ports.dead_letters;
    let mut redrives = letters.redrives(below, wanted + 1).await?;
    let more = redrives.len() > wanted;
    redrives.truncate(wanted);
    let last = redrives.last().filter(|_| more);
    Ok(Json(RedriveList {
        next_cursor: last.map(|last| List::Redrives.cursor(last.id.0)),
        redrives,
    }))
}

pub(crate) async fn show(
    State(context): State<Context>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<Redrive>, Problem> {
    let id = read_id(&id?.0)?;
    let found = context.ports.dead_letters.redrive(id).await?;
    found.map(Json).ok_or_else(|| none(id))
}

pub(crate) async fn cancel(
    State(context): State<Context>,
    id: Result<Path<String>, PathRejection>,
    body: Body,
) -> Result<Json<Redrive>, Problem> {
    let id = read_id(&id?.0)?;
    body::without_options(body, context.limits.body_bytes).await?;
    let ports = &context.ports;
    let ended = ports
        .dead_letters
        .cancel_redrive(id, ports.clock.now())
        .await?;
    let ended = ended.ok_or_else(|| none(id))?;
    tracing::info!(
        redrive = id.0,
        moved = ended.moved,
        "an operator cancelled a redrive"
    );
    Ok(Json(ended))
}

fn read_id(text: &str) -> Result<RedriveId, Problem> {
    let id = text.parse().ok();
    id.map(RedriveId).ok_or_else(|| {
        let detail = "a redrive's id is a number, as POST /api/v1/redrives gave it";
        Problem::new(StatusCode::BAD_REQUEST, "bad-id", detail)
    })
}

fn none(id: RedriveId) -> Problem {
    let detail = format!(
        "there is no redrive {}; GET /api/v1/redrives lists those there are",
        id.0
    );
    Problem::new(StatusCode::NOT_FOUND, "no-such-redrive", detail)
}
