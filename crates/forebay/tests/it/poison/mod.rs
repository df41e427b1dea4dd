//! What the destination refuses, on real servers: alone in the dead letters, in few statements, brought back,
//! and killed in the middle of all of it.

mod exact;
mod flask;
mod from_rabbitmq;
mod from_redis;
mod kills;
mod leaving;
mod order;
mod outside;
mod refused;
mod room;
mod targets;
mod thread;

use serde_json::Value;
use testbed::process::{Forebay, Output};
use testbed::{DEADLINE, Result};

use crate::rig::{self, count};

/// A source that takes anything, and a route `r` from it to `db` with further keys.
fn route(keys: &str) -> String {
    format!(
        "[sources.in]\ntype = \"http\"\nverify = {{ scheme = \"none\" }}\n\n[routes.r]\nfrom = [\"in\"]\nto = \"db\"\n{keys}\n"
    )
}

/// Posts one body, and wants it acknowledged. Returns the event's id.
async fn post(forebay: &Forebay, body: String) -> Result<String> {
    let url = forebay.ingest("/in/in");
    let answer =
        testbed::http::post(&url, &[("content-type", "application/json")], body.into()).await?;
    assert_eq!(answer.status, 200, "{}", answer.text());
    Ok(answer.json()?["id"].as_str().unwrap().to_owned())
}

/// Runs a command against the server that must end with 0.
async fn cli(forebay: &Forebay, args: &[&str]) -> Result<Output> {
    let output = forebay.cli(args).await?;
    assert_eq!(output.code, Some(0), "{args:?}: {output:?}");
    Ok(output)
}

/// The dead letters, as `dlq list --json` prints them.
async fn dead_letters(forebay: &Forebay) -> Result<Vec<Value>> {
    let output = cli(forebay, &["dlq", "list", "--json", "--limit", "1000"]).await?;
    let lines = output.stdout.lines();
    Ok(lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect())
}

/// Waits until the route has so many in a field of its ledger.
async fn until(forebay: &Forebay, field: &str, wanted: u64) -> Result<Value> {
    let what = format!("{wanted} are {field}");
    forebay
        .status_until(&what, DEADLINE, |status| {
            count(status, "r", field) == wanted
        })
        .await
}

/// A PostgreSQL destination `db` and the [`route`].
fn to_postgres(url: &str, keys: &str) -> String {
    [rig::postgres(url, ""), route(keys)].concat()
}
