//! `/api/v1/routes`: the routes, pausing and resuming one.

use std::collections::BTreeMap;

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use domain::ports::RouteStatus;
use serde::Serialize;

use crate::body::without_options;
use crate::context::{Context, Ports};
use crate::problem::Problem;

#[derive(Debug, Serialize)]
pub(crate) struct RouteList {
    routes: Vec<RouteView>,
}

/// A route, and what the subscription is called that it is, if it is one.
#[derive(Debug, Serialize)]
pub(crate) struct RouteView {
    #[serde(flatten)]
    route: RouteStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    subscription: Option<String>,
}

/// The routes with the names of their subscriptions. Without the names, if they cannot be read: the rest is worth showing.
pub(crate) async fn views(ports: &Ports, routes: Vec<RouteStatus>) -> Vec<RouteView> {
    let subscriptions = ports.subscriptions.list().await.unwrap_or_default();
    let mut names: BTreeMap<_, _> = subscriptions
        .into_iter()
        .map(|one| (one.route, one.request.name))
        .collect();
    let routes = routes.into_iter().map(|route| RouteView {
        subscription: names.remove(&route.name),
        route,
    });
    routes.collect()
}

/// What pausing or resuming answers.
#[derive(Debug, Serialize)]
pub(crate) struct Paused {
    name: String,
    paused: bool,
}

pub(crate) async fn list(State(context): State<Context>) -> Json<RouteList> {
    let routes = context.ports.routes.statuses().await;
    let routes = views(&context.ports, routes).await;
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
