//! `/api/v1/routes`: the routes, pausing and resuming one.

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use domain::ports::RouteStatus;
use http::StatusCode;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::Serialize;

use crate::context::Context;
use crate::problem::Problem;

#[derive(Debug, Serialize)]
pub(crate) struct RouteList {
    routes: Vec<RouteStatus>,
}

/// What pausing or resuming answers.
#[derive(Debug, Serialize)]
pub(crate) struct Paused {
    name: String,
    paused: bool,
}

pub(crate) async fn list(State(context): State<Context>) -> Json<RouteList> {
    let routes = context.ports.routes.statuses().await;
    Json(RouteList { routes })
}

pub(crate) async fn pause(
    State(context): State<Context>,
    name: Result<Path<String>, PathRejection>,
    body: Body,
) -> Result<Json<Paused>, Problem> {
    set_paused(&context, name?.0, true, body).await
}

pub(crate) async fn resume(
    State(context): State<Context>,
    name: Result<Path<String>, PathRejection>,
    body: Body,
) -> Result<Json<Paused>, Problem> {
    set_paused(&context, name?.0, false, body).await
}

async fn set_paused(
    context: &Context,
    name: String,
    paused: bool,
    body: Body,
) -> Result<Json<Paused>, Problem> {
    without_options(body, context.limits.body_bytes).await?;
    context.ports.routes.set_paused(&name, paused).await?;
    tracing::info!(
        route = name,
        paused,
        "an operator paused or resumed a route"
    );
    Ok(Json(Paused { name, paused }))
}

/// There is nothing to say beside the path: the body is empty or `{}`. Anything else was meant to do
/// something, and would not.
async fn without_options(body: Body, limit: usize) -> Result<(), Problem> {
    let body = match Limited::new(body, limit).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => {
            let detail = format!("the body is larger than {limit} bytes");
            return Err(Problem::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "body-too-large",
                detail,
            ));
        }
        Err(_) => {
            let detail = "the body broke off or is malformed";
            return Err(Problem::new(
                StatusCode::BAD_REQUEST,
                "body-unreadable",
                detail,
            ));
        }
    };
    let none = body.is_empty()
        || serde_json::from_slice(&body)
            .is_ok_and(|body: serde_json::Map<String, serde_json::Value>| body.is_empty());
    if none {
        return Ok(());
    }
    let detail = "this call has no options: send no body, or {}";
    Err(Problem::new(StatusCode::BAD_REQUEST, "bad-body", detail))
}
