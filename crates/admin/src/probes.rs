//! `/healthz`, `/readyz` and `/metrics`: what machines ask.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::CONTENT_TYPE;

use crate::context::Context;
use crate::problem::Problem;

/// Alive: it answers.
pub(crate) async fn healthz() -> &'static str {
    "ok\n"
}

/// Can accept durably, and nothing else.
pub(crate) async fn readyz(State(context): State<Context>) -> Response {
    match context.ports.readiness.ready() {
        Ok(()) => "ok\n".into_response(),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, reason + "\n").into_response(),
    }
}

/// Every metric in the OpenMetrics text format.
pub(crate) async fn metrics(State(context): State<Context>) -> Result<Response, Problem> {
    let ports = &context.ports;
    // Asking brings the gauges that are not kept up on the way to the present; their owners set them.
    ports.routes.statuses().await;
    ports.sources.statuses();
    let _ = ports.state.bytes().await;
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &ports.registry)
        .map_err(|_| Problem::internal("metrics-failed", "the metrics cannot be written down"))?;
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(CONTENT_TYPE, kind)], text).into_response())
}
