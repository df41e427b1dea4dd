//! Every path of the listener in one table, and what holds for all of them.

use axum::Router;
use axum::body::HttpBody;
use axum::extract::{Request, State};
use axum::http::header::{CACHE_CONTROL, X_CONTENT_TYPE_OPTIONS};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, delete, get, post, put};
use http::{HeaderValue, Method, StatusCode};

use crate::access::Access;
use crate::context::Context;
use crate::problem::Problem;
use crate::{
    dlq, events, gaps, home, imports, openapi, probes, quarantine, redrives, routes, sources,
    status, subscriptions,
};

/// One path and one method. The OpenAPI description has the same ones, and a test holds the two
/// together.
pub(crate) struct Endpoint {
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "the test of the description reads it")
    )]
    pub(crate) method: Method,
    pub(crate) path: &'static str,
    handler: MethodRouter<Context>,
}

/// Paths that never need a token: a load balancer has none.
const PROBES: [&str; 2] = ["/healthz", "/readyz"];

pub(crate) fn endpoints() -> Vec<Endpoint> {
    let endpoint = |method, path, handler| Endpoint {
        method,
        path,
        handler,
    };
    let reads = |path, handler| endpoint(Method::GET, path, handler);
    let acts = |path, handler| endpoint(Method::POST, path, handler);
    let ends = |path, handler| endpoint(Method::DELETE, path, handler);
    vec![
        reads("/", get(home::home)),
        reads("/healthz", get(probes::healthz)),
        reads("/readyz", get(probes::readyz)),
        reads("/metrics", get(probes::metrics)),
        reads("/api/openapi.json", get(openapi::describe)),
        reads("/api/v1/status", get(status::status)),
        reads("/api/v1/events", get(events::list)),
        reads("/api/v1/events/{id}", get(events::show)),
        reads("/api/v1/dlq", get(dlq::list)),
        reads("/api/v1/dlq/groups", get(dlq::groups)),
        reads("/api/v1/dlq/{id}", get(dlq::show)),
        acts("/api/v1/dlq/purge", post(dlq::purge)),
        acts("/api/v1/dlq/{id}/redrive", post(dlq::redrive)),
        reads("/api/v1/dlq/{id}/history", get(dlq::history)),
        reads("/api/v1/redrives", get(redrives::list)),
        acts("/api/v1/redrives", post(redrives::begin)),
        reads("/api/v1/redrives/{id}", get(redrives::show)),
        ends("/api/v1/redrives/{id}", delete(redrives::cancel)),
        reads("/api/v1/imports", get(imports::list)),
        acts("/api/v1/imports", post(imports::begin)),
        reads("/api/v1/imports/{id}", get(imports::show)),
        ends("/api/v1/imports/{id}", delete(imports::cancel)),
        reads("/api/v1/gaps", get(gaps::list)),
        reads("/api/v1/backfills", get(gaps::backfills)),
        acts("/api/v1/backfills", post(gaps::begin)),
        reads("/api/v1/backfills/{id}", get(gaps::show)),
        ends("/api/v1/backfills/{id}", delete(gaps::cancel)),
        reads("/api/v1/quarantine", get(quarantine::list)),
        acts("/api/v1/quarantine/release", post(quarantine::release)),
        acts("/api/v1/quarantine/purge", post(quarantine::purge)),
        reads("/api/v1/quarantine/{id}", get(quarantine::show)),
        reads("/api/v1/routes", get(routes::list)),
        acts("/api/v1/routes/{name}/pause", post(routes::pause)),
        acts("/api/v1/routes/{name}/resume", post(routes::resume)),
        reads("/api/v1/sources", get(sources::list)),
        reads(subscriptions::PATH, get(subscriptions::list)),
        acts(subscriptions::PATH, post(subscriptions::create)),
        reads(subscriptions::ONE, get(subscriptions::show)),
        endpoint(Method::PUT, subscriptions::ONE, put(subscriptions::replace)),
        ends(subscriptions::ONE, delete(subscriptions::delete)),
    ]
}

/// The whole listener as one service.
pub(crate) fn router(context: Context, access: Access) -> Router {
    let mut router = Router::new();
    for endpoint in endpoints() {
        router = router.route(endpoint.path, endpoint.handler);
    }
    router
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_method)
        .layer(from_fn_with_state(access, check_access))
        .layer(from_fn_with_state(context.clone(), bound_time))
        .with_state(context)
}

async fn no_such_path() -> Problem {
    let detail = "nothing is here; GET / says what is where";
    Problem::new(StatusCode::NOT_FOUND, "no-such-path", detail)
}

async fn no_such_method() -> Problem {
    let detail = "this path does not take this method; the `allow` header names those it takes";
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", detail)
}

async fn check_access(State(access): State<Access>, request: Request, next: Next) -> Response {
    if PROBES.contains(&request.uri().path()) {
        return next.run(request).await;
    }
    let empty = request.body().is_end_stream();
    match access.check(request.method(), request.uri(), request.headers(), empty) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

/// No request takes longer than the limit, whatever it waits for. The outermost layer: it also adds
/// what every answer has.
async fn bound_time(State(context): State<Context>, request: Request, next: Next) -> Response {
    let limit = context.limits.request_timeout;
    let answered = tokio::time::timeout(limit, next.run(request)).await;
    let mut response = answered.unwrap_or_else(|_| {
        let detail = format!("not answered within {} seconds; try again", limit.as_secs());
        Problem::busy("timeout", &detail).into_response()
    });
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
