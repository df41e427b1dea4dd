//! `GET /api/v1/sources`.

use axum::Json;
use axum::extract::State;
use domain::ports::SourceStatus;
use serde::Serialize;

use crate::context::Context;

#[derive(Debug, Serialize)]
pub(crate) struct SourceList {
    sources: Vec<SourceStatus>,
}

pub(crate) async fn list(State(context): State<Context>) -> Json<SourceList> {
    Json(SourceList {
        sources: context.ports.sources.statuses(),
    })
}
