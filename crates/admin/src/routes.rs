//! `/api/v1/routes`: the routes, pausing and resuming one.

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use domain::ports::RouteStatus;
use serde::Serialize;

use crate::body::without_options;
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
    // Whoever switches it says so in the log.
    context.ports.routes.set_paused(&name, paused).await?;
    Ok(Json(Paused { name, paused }))
}
