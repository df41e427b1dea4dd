//! `/api/v1/imports`: bringing back what lies in a queue outside.

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use domain::ports::{Import, ImportError, ImportRequest};
use domain::{DestinationName, SourceName};
use http::StatusCode;
use serde::{Deserialize, Serialize};

use crate::body;
use crate::context::Context;
use crate::problem::Problem;

/// What is asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    from: DestinationName,
    source: Option<SourceName>,
    rate_per_second: Option<u32>,
}

/// The imports since the start.
#[derive(Debug, Serialize)]
pub(crate) struct ImportList {
    imports: Vec<Import>,
}

pub(crate) async fn begin(State(context): State<Context>, body: Body) -> Result<Response, Problem> {
    let request: Request = body::read_json(body, context.limits.body_bytes).await?;
    if request.rate_per_second == Some(0) {
        return Err(body::bad(
            "`rate_per_second` must be at least 1; leave it out for as fast as it goes",
        ));
    }
    let request = ImportRequest {
        from: request.from,
        source: request.source,
        rate_per_second: request.rate_per_second,
    };
    match context.ports.imports.begin(request).await {
        Ok(import) => Ok((StatusCode::ACCEPTED, Json(import)).into_response()),
        Err(error) => {
            let (status, code) = match &error {
                ImportError::Running(_) => (StatusCode::CONFLICT, "import-running"),
                ImportError::Unknown(_) => (StatusCode::NOT_FOUND, "no-such-destination"),
                ImportError::UnknownSource(_) => (StatusCode::NOT_FOUND, "unknown-source"),
                ImportError::NotReadable { .. } | ImportError::NoQueue(_) => {
                    (StatusCode::BAD_REQUEST, "not-readable")
                }
            };
            Err(Problem::new(status, code, error.to_string()))
        }
    }
}

pub(crate) async fn list(State(context): State<Context>) -> Json<ImportList> {
    Json(ImportList {
        imports: context.ports.imports.list(),
    })
}

pub(crate) async fn show(
    State(context): State<Context>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<Import>, Problem> {
    let id = read_id(&id?.0)?;
    let imports = context.ports.imports.list();
    let found = imports.into_iter().find(|import| import.id == id);
    found.map(Json).ok_or_else(|| none(id))
}

pub(crate) async fn cancel(
    State(context): State<Context>,
    id: Result<Path<String>, PathRejection>,
    body: Body,
) -> Result<Json<Import>, Problem> {
    let id = read_id(&id?.0)?;
    body::without_options(body, context.limits.body_bytes).await?;
    let ended = context.ports.imports.cancel(id);
    ended.map(Json).ok_or_else(|| none(id))
}

fn read_id(text: &str) -> Result<u64, Problem> {
    text.parse().map_err(|_| {
        let detail = "an import's id is a number, as POST /api/v1/imports gave it";
        Problem::new(StatusCode::BAD_REQUEST, "bad-id", detail)
    })
}

fn none(id: u64) -> Problem {
    let detail = format!(
        "there is no import {id} since the server started; GET /api/v1/imports lists those there are"
    );
    Problem::new(StatusCode::NOT_FOUND, "no-such-import", detail)
}
