//! `POST /api/v1/dlq/{id}/redrive`: a dead letter comes back with another body. `GET /api/v1/dlq/{id}/history`: what was
//! done to it so.

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use domain::ports::{Edit, Edited};
use domain::{EventId, RouteName, Timestamp};
use http::StatusCode;
use serde::{Deserialize, Serialize};

use crate::body;
use crate::context::Context;
use crate::events::{self, Encoding, Pairs, lossless};
use crate::problem::Problem;

/// The most that such a request may be: a body as large as sources take by default, as base64 and with its frame.
const REQUEST_BYTES: usize = 16 << 20;

/// The longest note, and name of who did it.
const NOTE_BYTES: usize = 4096;

/// What is asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    body: String,
    #[serde(default)]
    body_encoding: Encoding,
    route: Option<RouteName>,
    by: Option<String>,
    note: Option<String>,
}

/// What was done.
#[derive(Debug, Serialize)]
pub(crate) struct Redriven {
    id: EventId,
    route: RouteName,
}

/// One entry of the trail.
#[derive(Debug, Serialize)]
struct Entry {
    number: u64,
    action: &'static str,
    at: Timestamp,
    route: RouteName,
    by: String,
    note: Option<String>,
    bytes_after: u64,
    body_before: String,
    body_before_encoding: Encoding,
}

/// The trail of one event.
#[derive(Debug, Serialize)]
struct Trail {
    id: EventId,
    history: Vec<Entry>,
}

pub(crate) async fn redrive(
    State(context): State<Context>,
    id: Result<Path<String>, PathRejection>,
    body: Body,
) -> Result<Json<Redriven>, Problem> {
    let id = events::id(&id?.0)?;
    let request: Request = body::read_json(body, REQUEST_BYTES).await?;
    for (key, text) in [("by", &request.by), ("note", &request.note)] {
        if text.as_ref().is_some_and(|text| text.len() > NOTE_BYTES) {
            return Err(body::bad(format!(
                "`{key}` is longer than {NOTE_BYTES} bytes"
            )));
        }
    }
    let new = match request.body_encoding {
        Encoding::Text => Bytes::from(request.body),
        Encoding::Base64 => STANDARD
            .decode(&request.body)
            .map(Bytes::from)
            .map_err(|_| body::bad("`body` is not base64, as `body_encoding` says"))?,
    };
    let ports = &context.ports;
    let bytes = new.len();
    let edit = Edit {
        id,
        route: request.route.clone(),
        body: new,
        by: request.by.unwrap_or_else(|| "the admin API".into()),
        note: request.note,
        at: ports.clock.now(),
    };
    let Some(route) = ports.dead_letters.redrive_edited(edit).await? else {
        let of = request
            .route
            .map_or_else(String::new, |route| format!(" on route {route}"));
        let detail = format!(
            "event {id} is not dead{of}, or its route was retired; GET /api/v1/events/{id} says what became of it"
        );
        return Err(Problem::new(StatusCode::NOT_FOUND, "not-dead", detail));
    };
    ports.routes.brought(&route);
    tracing::info!(event = %id, %route, bytes, "an operator edited a dead letter and put it back");
    Ok(Json(Redriven { id, route }))
}

pub(crate) async fn history(
    State(context): State<Context>,
    id: Result<Path<String>, PathRejection>,
    pairs: Result<Query<Pairs>, QueryRejection>,
) -> Result<Response, Problem> {
    let id = events::id(&id?.0)?;
    if let Some((name, _)) = pairs?.0.first() {
        return Err(Problem::parameter(name, "none"));
    }
    let turn = context.look_back().await?;
    let history = context.ports.dead_letters.history(id).await?;
    if history.is_empty() {
        // An id that is misspelt has no edits either.
        events::find(&context.ports, id).await?;
    }
    turn.answer(Trail {
        id,
        history: history.into_iter().map(entry).collect(),
    })
}

fn entry(edited: Edited) -> Entry {
    let (body_before, body_before_encoding) = lossless(&edited.before);
    Entry {
        number: edited.number,
        action: "edited",
        at: edited.at,
        route: edited.route,
        by: edited.by,
        note: edited.note,
        bytes_after: edited.bytes_after,
        body_before,
        body_before_encoding,
    }
}
