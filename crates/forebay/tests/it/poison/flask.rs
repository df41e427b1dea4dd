//! The forum's Flask application behind Forebay: its database goes, then it is unavailable, then badly deployed,
//! then it hangs on one event. Held, held, held, and only that one parked.

use std::time::Duration;

use rusqlite::Connection;
use serde_json::Value;
use testbed::flask::{Flask, Mood};
use testbed::process::Forebay;
use testbed::{DEADLINE, Result};

use super::{dead_letters, post, route};
use crate::rig::{self, count};

fn config(flask: &Flask) -> String {
    let destination = format!(
        "[destinations.db]\ntype = \"http\"\nurl = \"{}\"\ntimeout = \"1s\"\n",
        flask.url()
    );
    let retry = "retry = { max_retries = 1000, retry_interval = \"1s\", backoff = \"fixed\" }";
    [destination, route(retry)].concat()
}

/// Posts events of which the n-th has the number `from + n`.
async fn post_many(forebay: &Forebay, from: u64, count: u64) -> Result<()> {
    for n in from..from + count {
        post(forebay, format!("{{\"n\":{n}}}")).await?;
    }
    Ok(())
}

fn rows(flask: &Flask) -> i64 {
    let database = Connection::open(flask.database()).unwrap();
    let count = database.query_row("SELECT count(DISTINCT n) FROM events", [], |row| row.get(0));
    count.unwrap()
}

/// Waits until the breaker says that the destination is away, and for so many probes more.
async fn held(forebay: &Forebay) -> Result<Value> {
    forebay
        .status_until("the route holds", DEADLINE, |status| {
            rig::route(status, "r")["breaker"] != "passing"
        })
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_in_trouble_of_every_kind_costs_no_event_and_no_dead_letter() -> Result<()> {
    let flask = Flask::start().await?;
    Connection::open(flask.database())
        .unwrap()
        .execute_batch(
            "PRAGMA journal_mode = WAL; CREATE TABLE events (id TEXT PRIMARY KEY, n INTEGER)",
        )
        .unwrap();
    let forebay = rig::forebay(config(&flask)).start().await?;
    post_many(&forebay, 0, 50).await?;
    super::until(&forebay, "delivered", 50).await?;

    flask.set(Mood::NoDatabase)?;
    post_many(&forebay, 50, 100).await?;
    held(&forebay).await?;
    flask.set(Mood::Unavailable)?;
    post_many(&forebay, 150, 50).await?;
    // Not a wait for anything: it is to be probed some times in this mood.
    tokio::time::sleep(Duration::from_secs(4)).await;
    held(&forebay).await?;
    flask.set(Mood::NotFound)?;
    post_many(&forebay, 200, 50).await?;
    tokio::time::sleep(Duration::from_secs(4)).await;
    let status = held(&forebay).await?;
    assert_eq!(
        (
            count(&status, "r", "delivered"),
            count(&status, "r", "dead")
        ),
        (50, 0)
    );
    assert!(count(&status, "r", "parked") <= 40, "{status}");

    // It comes back, and hangs on one event whenever it meets that.
    flask.set(Mood::Hangs)?;
    post(&forebay, "{\"n\":250,\"hang\":true}".into()).await?;
    post_many(&forebay, 251, 50).await?;
    // Traffic goes on: by what passes beside it, the one that hangs is told from an outage.
    let mut sent = 301;
    let status = loop {
        post_many(&forebay, sent, 5).await?;
        sent += 5;
        let status = forebay.status().await?;
        if count(&status, "r", "parked") == 1 && count(&status, "r", "delivered") > 300 {
            break status;
        }
        assert!(sent < 5000, "it is never told from an outage: {status}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    assert_eq!(count(&status, "r", "dead"), 0);
    let others = sent - 1;
    forebay
        .status_until("all others are delivered", rig::LONG, |status| {
            count(status, "r", "delivered") == others
        })
        .await?;

    flask.set(Mood::Up)?;
    forebay
        .status_until("the last one is delivered", rig::LONG, |status| {
            count(status, "r", "delivered") == sent
        })
        .await?;
    assert_eq!(rows(&flask), i64::try_from(sent).unwrap());
    assert!(dead_letters(&forebay).await?.is_empty());
    rig::assert_balanced(&forebay).await
}
