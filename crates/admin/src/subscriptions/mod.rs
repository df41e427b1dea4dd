//! `/api/v2/notifications/webhooks`: subscriptions made, looked at, replaced and ended.
//!
//! The path and the JSON are those that Genesys Cloud is often said to have. The form of a request is checked here;
//! what only the running routes and the configuration know (addresses, sources, names that are taken) is the port's to
//! say.

mod foreign;
mod request;
mod view;

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use domain::SubscriptionId;
use domain::ports::{Deleted, Leftover, SubscriptionError};
use http::StatusCode;
use http::header::LOCATION;
use serde::Serialize;

use crate::body;
use crate::context::Context;
use crate::cursor::List;
use crate::dlq::{limit, once_each};
use crate::events::Pairs;
use crate::problem::Problem;
use view::SubscriptionView;

/// Where they are.
pub(crate) const PATH: &str = "/api/v2/notifications/webhooks";

/// Where one of them is.
pub(crate) const ONE: &str = "/api/v2/notifications/webhooks/{id}";

/// Subscriptions on a page unless the query says otherwise.
const DEFAULT_LIMIT: usize = 100;

/// A page.
#[derive(Debug, Serialize)]
pub(crate) struct SubscriptionList {
    subscriptions: Vec<SubscriptionView>,
    /// `None`: there is no more.
    next_cursor: Option<String>,
}

/// What a deletion answers that is not over.
#[derive(Debug, Serialize)]
struct Draining {
    id: SubscriptionId,
    status: &'static str,
    /// Both together.
    waiting: u64,
    /// Events that are still to be delivered.
    events: u64,
    /// Dead letters on their way to its target.
    letters: u64,
}

pub(crate) async fn create(
    State(context): State<Context>,
    body: Body,
) -> Result<Response, Problem> {
    let request = body::read_json(body, context.limits.body_bytes).await?;
    let request = request::read(&request)?;
    let created = context.ports.subscriptions.create(request).await?;
    let location = [(LOCATION, format!("{PATH}/{}", created.id))];
    let view = Json(SubscriptionView::of(created));
    Ok((StatusCode::CREATED, location, view).into_response())
}

pub(crate) async fn list(
    State(context): State<Context>,
    pairs: Result<Query<Pairs>, QueryRejection>,
) -> Result<Json<SubscriptionList>, Problem> {
    let pairs = pairs?.0;
    once_each(&pairs)?;
    let (mut wanted, mut below) = (DEFAULT_LIMIT, None);
    for (name, value) in &pairs {
        match &**name {
            "limit" => wanted = limit(value)?,
            "cursor" => below = Some(cursor(value)?),
            _ => return Err(Problem::parameter(name, "limit or cursor")),
        }
    }
    let mut all = context.ports.subscriptions.list().await?;
    all.retain(|one| below.is_none_or(|below| one.id.as_u128() < below));
    all.sort_unstable_by_key(|one| std::cmp::Reverse(one.id));
    let more = all.len() > wanted;
    all.truncate(wanted);
    let last = all.last().filter(|_| more);
    Ok(Json(SubscriptionList {
        next_cursor: last.map(|last| List::Subscriptions.wide_cursor(last.id.as_u128())),
        subscriptions: all.into_iter().map(SubscriptionView::of).collect(),
    }))
}

pub(crate) async fn show(
    State(context): State<Context>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<SubscriptionView>, Problem> {
    let id = read_id(&id?.0)?;
    let found = context.ports.subscriptions.get(id).await?;
    Ok(Json(SubscriptionView::of(found)))
}

pub(crate) async fn replace(
    State(context): State<Context>,
    id: Result<Path<String>, PathRejection>,
    body: Body,
) -> Result<Json<SubscriptionView>, Problem> {
    let id = read_id(&id?.0)?;
    let request = body::read_json(body, context.limits.body_bytes).await?;
    let request = request::read(&request)?;
    let replaced = context.ports.subscriptions.replace(id, request).await?;
    Ok(Json(SubscriptionView::of(replaced)))
}

pub(crate) async fn delete(
    State(context): State<Context>,
    id: Result<Path<String>, PathRejection>,
    pairs: Result<Query<Pairs>, QueryRejection>,
    body: Body,
) -> Result<Response, Problem> {
    let id = read_id(&id?.0)?;
    let leftover = leftover(&pairs?.0)?;
    body::without_options(body, context.limits.body_bytes).await?;
    match context.ports.subscriptions.delete(id, leftover).await? {
        Deleted::Gone => Ok(StatusCode::NO_CONTENT.into_response()),
        Deleted::Draining { events, letters } => {
            let draining = Draining {
                id,
                status: "draining",
                waiting: events + letters,
                events,
                letters,
            };
            Ok((StatusCode::ACCEPTED, Json(draining)).into_response())
        }
    }
}

fn leftover(pairs: &Pairs) -> Result<Option<Leftover>, Problem> {
    once_each(pairs)?;
    match pairs.first() {
        None => Ok(None),
        Some((name, value)) if name == "pending" => match &**value {
            "deliver" => Ok(Some(Leftover::Deliver)),
            "dead-letter" => Ok(Some(Leftover::DeadLetter)),
            _ => Err(Problem::parameter(name, "`deliver` or `dead-letter`")),
        },
        Some((name, _)) => Err(Problem::parameter(name, "`pending`, the only one there is")),
    }
}

fn cursor(value: &str) -> Result<u128, Problem> {
    let right = "the `next_cursor` of the page before, unchanged";
    List::Subscriptions
        .read_wide(value)
        .ok_or_else(|| Problem::parameter("cursor", right))
}

fn read_id(text: &str) -> Result<SubscriptionId, Problem> {
    text.parse().map_err(|_| {
        let detail = format!("a subscription's id is a UUID, as POST {PATH} gave it");
        Problem::new(StatusCode::BAD_REQUEST, "bad-id", detail)
    })
}

impl From<SubscriptionError> for Problem {
    fn from(error: SubscriptionError) -> Self {
        use SubscriptionError as Error;
        let (status, code) = match &error {
            Error::Disabled => (StatusCode::FORBIDDEN, "subscriptions-disabled"),
            Error::NotFound(_) => (StatusCode::NOT_FOUND, "no-such-subscription"),
            Error::UnknownSource(_) => (StatusCode::BAD_REQUEST, "unknown-source"),
            Error::BadUrl { .. } => (StatusCode::BAD_REQUEST, "bad-field"),
            Error::NameTaken(_) => (StatusCode::CONFLICT, "name-taken"),
            Error::EventsPending(_) => (StatusCode::CONFLICT, "events-pending"),
            Error::SourceHeld { .. } => (StatusCode::CONFLICT, "source-held"),
            Error::TooMany(_) => (StatusCode::CONFLICT, "too-many-subscriptions"),
            Error::Draining => (StatusCode::CONFLICT, "subscription-draining"),
            Error::State(error) => return error.clone().into(),
            Error::Failed(_) => (StatusCode::INTERNAL_SERVER_ERROR, "subscription-failed"),
        };
        Self::new(status, code, error.to_string())
    }
}
