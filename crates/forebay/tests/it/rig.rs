//! What the tests start from: pieces of configuration, a Forebay, a sender, and a look at the ledger.
//!
//! A configuration is put together from pieces: sections of TOML stand beside each other in any order.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use testbed::judge::{Judge, Verdict};
use testbed::postgres::Server;
use testbed::process::{Forebay, Launch};
use testbed::sender::Sender;
use testbed::{DEADLINE, Result};

/// What [`GENESYS`] expects bodies to be signed with.
pub(crate) const SECRET: &str = "a-secret-of-more-than-sixteen-letters";

/// A source of signed Open Messaging events, on a path of its own.
pub(crate) const GENESYS: &str = r#"
[sources.genesys]
type = "http"
paths = ["/webhook/gc"]
max_body = "64KiB"
verify = { scheme = "genesys-open-messaging", secrets = ["a-secret-of-more-than-sixteen-letters"] }
"#;

/// Everything from [`GENESYS`] goes to [`postgres`].
pub(crate) const ROUTE: &str = r#"
[routes.genesys-to-db]
from = ["genesys"]
to = "db"
"#;

/// The name of [`ROUTE`].
pub(crate) const ROUTE_NAME: &str = "genesys-to-db";

/// The table that a destination makes unless told otherwise.
pub(crate) const TABLE: &str = "webhook_events";

/// Draining a large backlog on a busy machine may take longer than most things.
pub(crate) const LONG: Duration = Duration::from_secs(180);

/// A PostgreSQL destination `db` with further keys.
pub(crate) fn postgres(url: &str, keys: &str) -> String {
    format!("\n[destinations.db]\ntype = \"postgres\"\nurl = \"{url}\"\n{keys}\n")
}

/// The usual configuration: [`GENESYS`] by way of [`ROUTE`] to a [`postgres`].
pub(crate) fn genesys_to(url: &str, keys: &str) -> String {
    [GENESYS, &postgres(url, keys), ROUTE].concat()
}

/// The binary under test with this configuration.
pub(crate) fn forebay(config: impl Into<String>) -> Launch {
    Launch::new(env!("CARGO_BIN_EXE_forebay"))
        .unwrap()
        .config(config)
}

/// Posts to the source of [`GENESYS`] as Genesys Cloud would, over eight connections.
pub(crate) fn genesys(forebay: &Forebay, limit: u64) -> Sender {
    Sender::new(forebay.ingest("/webhook/gc"), limit)
        .signed(SECRET)
        .connections(8)
}

/// One route in a status.
pub(crate) fn route<'s>(status: &'s Value, name: &str) -> &'s Value {
    let routes = status["routes"].as_array().unwrap();
    routes
        .iter()
        .find(|route| route["name"] == name)
        .unwrap_or_else(|| panic!("no route {name} in {status}"))
}

/// A number in a route's status.
pub(crate) fn count(status: &Value, name: &str, field: &str) -> u64 {
    route(status, name)[field]
        .as_u64()
        .unwrap_or_else(|| panic!("no {field} in {status}"))
}

/// Waits until the route has settled everything that the journal has taken, and nothing is parked.
///
/// A route's numbers may be a moment older than the journal's: it is done only when its cursor has come
/// to the journal's end.
pub(crate) async fn drained(forebay: &Forebay, name: &str) -> Result<Value> {
    forebay
        .status_until("the backlog is drained", LONG, |status| {
            route(status, name)["cursor"] == status["accepted"]
                && count(status, name, "pending") == 0
                && count(status, name, "parked") == 0
        })
        .await
}

/// The ledger of every route balances: in the numbers, in the difference, and in the metric.
pub(crate) async fn assert_balanced(forebay: &Forebay) -> Result<()> {
    let status = forebay.status().await?;
    for route in status["routes"].as_array().unwrap() {
        let sum: u64 = [
            "delivered",
            "pending",
            "parked",
            "dead",
            "discarded",
            "damaged",
        ]
        .iter()
        .map(|field| route[field].as_u64().unwrap())
        .sum();
        assert_eq!(route["accepted"].as_u64(), Some(sum), "{route}");
        assert_eq!(route["imbalance"], 0, "{route}");
    }
    let metrics = forebay.metrics().await?;
    assert!(
        metrics
            .names()
            .any(|name| name == "forebay_ledger_imbalance")
    );
    assert_eq!(metrics.sum("forebay_ledger_imbalance"), 0.0);
    Ok(())
}

/// After everything has drained: what was acknowledged is in the table, once and unchanged, nothing else
/// is, nothing was given up on the way, and the ledger balances.
pub(crate) async fn assert_delivered(
    forebay: &Forebay,
    server: &Server,
    judge: &Judge,
) -> Result<Verdict> {
    let status = drained(forebay, ROUTE_NAME).await?;
    let verdict = judge.judge(server.events(TABLE).await?).check()?;
    let counts = ["dead", "discarded", "damaged"].map(|field| count(&status, ROUTE_NAME, field));
    assert_eq!(counts, [0, 0, 0], "{status}");
    assert_eq!(
        count(&status, ROUTE_NAME, "delivered"),
        verdict.found as u64,
        "{status}"
    );
    assert_balanced(forebay).await?;
    Ok(verdict)
}

/// Copies the files of a directory, which has no others in it.
pub(crate) fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for file in std::fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

/// Waits until so many payloads are acknowledged.
pub(crate) async fn acknowledged(judge: &Judge, wanted: usize) -> Result<()> {
    testbed::until("events are acknowledged", LONG, async || {
        match judge.acked_count() {
            count if count >= wanted => Ok(()),
            count => Err(format!("{count} of {wanted}")),
        }
    })
    .await
}

/// Waits until the route's breaker has this word.
pub(crate) async fn breaker(forebay: &Forebay, name: &str, word: &str) -> Result<Value> {
    forebay
        .status_until(&format!("the breaker is {word}"), DEADLINE, |status| {
            route(status, name)["breaker"] == word
        })
        .await
}
