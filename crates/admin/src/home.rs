//! `/`: what is where, for a person who came by browser.

use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};

const PAGE: &str = r#"<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Forebay</title>
<style>body{font:1rem/1.5 system-ui,sans-serif;max-width:44rem;margin:3rem auto;padding:0 1rem}dt{font-family:monospace;margin-top:.6rem}</style>
<h1>Forebay</h1>
<p>The admin listener. Events are posted to the ingest listener, which is another port.</p>
<dl>
<dt><a href="/api/v1/status">/api/v1/status</a><dd>the ledger, the backlog and the breaker of every route
<dt><a href="/api/v1/events">/api/v1/events</a><dd>events, newest first, and what became of them; /api/v1/events/ID shows one whole
<dt><a href="/api/v1/dlq">/api/v1/dlq</a><dd>dead letters, newest first; /api/v1/dlq/ID shows one whole, <a href="/api/v1/dlq/groups">/api/v1/dlq/groups</a> their causes; POST /api/v1/dlq/purge
<dt><a href="/api/v1/imports">/api/v1/imports</a><dd>imports from queues outside; POST begins one, DELETE /api/v1/imports/ID ends it
<dt><a href="/api/v1/quarantine">/api/v1/quarantine</a><dd>requests that were not verified, newest first; /api/v1/quarantine/ID shows one; POST /api/v1/quarantine/release or purge
<dt><a href="/api/v1/gaps">/api/v1/gaps</a><dd>stretches of time in which a source may have missed events; <a href="/api/v1/backfills">/api/v1/backfills</a> what fills them: POST begins one, DELETE /api/v1/backfills/ID ends it
<dt><a href="/api/v1/redrives">/api/v1/redrives</a><dd>redrives; POST begins one, DELETE /api/v1/redrives/ID ends it
<dt><a href="/api/v1/routes">/api/v1/routes</a><dd>routes; POST /api/v1/routes/NAME/pause or resume
<dt><a href="/api/v1/sources">/api/v1/sources</a><dd>sources
<dt><a href="/api/v2/notifications/webhooks">/api/v2/notifications/webhooks</a><dd>subscriptions; POST makes one, PUT and DELETE /api/v2/notifications/webhooks/ID replace and end it
<dt><a href="/api/openapi.json">/api/openapi.json</a><dd>the whole API, described
<dt><a href="/metrics">/metrics</a><dd>for Prometheus
<dt><a href="/healthz">/healthz</a>, <a href="/readyz">/readyz</a><dd>alive; able to accept events durably
</dl>
<p>On the command line: <code>forebay status</code>, <code>forebay events list</code>, <code>forebay dlq list</code>, <code>forebay quarantine list</code>, <code>forebay routes list</code>.</p>
</html>
"#;

pub(crate) async fn home() -> Response {
    let headers = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (
            CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
        ),
    ];
    (headers, PAGE).into_response()
}
