//! `kill -9` in the middle of parking, burying, redriving and expiring: repeats allowed, loss never.

use std::collections::BTreeSet;
use std::time::Duration;

use rand::RngExt;
use serde_json::Value;
use testbed::{DEADLINE, Result};

use super::{cli, dead_letters, route};
use crate::crash::{dice, rounds};
use crate::rig::{self, count};

/// Refuses every third number, and puts off every other third until its parent is there. A table of SQLite, so
/// that many kills take little time.
const TABLE: &str = "CREATE TABLE parents (p INTEGER PRIMARY KEY);
    CREATE TABLE orders (id TEXT PRIMARY KEY, n INTEGER NOT NULL CHECK (n % 3 > 0), parent REFERENCES parents (p))";
const NO_CHECK: &str = "ALTER TABLE orders RENAME TO refusing;
    CREATE TABLE orders (id TEXT PRIMARY KEY, n INTEGER NOT NULL, parent);
    INSERT INTO orders SELECT * FROM refusing; DROP TABLE refusing;";

/// As many as make ten thousand dead letters in a deep run.
fn events() -> u64 {
    u64::from(rounds(3000))
}

fn config(keys: &str) -> String {
    let destination = "[destinations.db]\ntype = \"sqlite\"\npath = \"orders.db\"\nbatch_max = 50\nstatement = \"INSERT INTO orders (id, n, parent) VALUES ($id, $body ->> 'n', $body ->> 'parent') ON CONFLICT (id) DO NOTHING\"\n";
    [destination, &route(keys)].concat()
}

fn table(forebay: &testbed::process::Forebay) -> rusqlite::Connection {
    let directory = forebay.data_dir().parent().unwrap();
    let connection = rusqlite::Connection::open(directory.join("orders.db")).unwrap();
    connection.busy_timeout(Duration::from_secs(30)).unwrap();
    connection
}

fn ids(forebay: &testbed::process::Forebay) -> BTreeSet<String> {
    let table = table(forebay);
    let mut statement = table.prepare("SELECT lower(id) FROM orders").unwrap();
    let rows = statement.query_map([], |row| row.get(0)).unwrap();
    rows.map(|row| row.unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_by_kills_while_events_are_buried_and_brought_back() -> Result<()> {
    let keys = "retry = { max_retries = 1000, retry_interval = \"200ms\", backoff = \"fixed\" }";
    let launch = rig::forebay(config(keys));
    let orders = rusqlite::Connection::open(launch.dir().join("orders.db")).unwrap();
    orders.execute_batch(TABLE).unwrap();
    drop(orders);
    let mut forebay = launch.start().await?;
    cli(&forebay, &["routes", "pause", "r"]).await?;
    let mut sent = BTreeSet::new();
    for n in 0..events() {
        let parent = if n % 3 == 1 { ",\"parent\":7" } else { "" };
        sent.insert(super::post(&forebay, format!("{{\"n\":{n}{parent}}}")).await?);
    }
    cli(&forebay, &["routes", "resume", "r"]).await?;
    let mut dice = dice(rounds(20));
    // While a third of them is buried and a third parked, again and again.
    for _ in 0..rounds(10) {
        let moment = Duration::from_millis(dice.random_range(5..150));
        tokio::time::sleep(moment).await;
        forebay.kill9().await?;
        forebay.start().await?;
    }
    let of = |status: &Value, field: &str| count(status, "r", field);
    let status = forebay
        .status_until("everything was tried", rig::LONG, |status| {
            of(status, "pending") == 0
        })
        .await?;
    assert_eq!(
        (of(&status, "dead"), of(&status, "parked")),
        (events() / 3, events() / 3)
    );
    let parent = table(&forebay).execute("INSERT INTO parents VALUES (7)", []);
    parent.unwrap();
    let settled = |status: &Value| of(status, "pending") + of(status, "parked") == 0;
    forebay
        .status_until("nothing is parked", rig::LONG, settled)
        .await?;
    rig::assert_balanced(&forebay).await?;

    // While they are brought back: half of the kills while the destination refuses them again.
    for round in 0..rounds(20) {
        if round == rounds(10) {
            table(&forebay).execute_batch(NO_CHECK).unwrap();
        }
        cli(&forebay, &["dlq", "redrive", "--all", "--no-wait"]).await?;
        let moment = Duration::from_millis(dice.random_range(5..200));
        tokio::time::sleep(moment).await;
        forebay.kill9().await?;
        forebay.start().await?;
    }
    cli(&forebay, &["dlq", "redrive", "--all"]).await?;
    forebay
        .status_until("all of it is delivered", rig::LONG, |status| {
            settled(status) && count(status, "r", "dead") == 0
        })
        .await?;
    rig::assert_balanced(&forebay).await?;
    let delivered: BTreeSet<String> = ids(&forebay);
    assert_eq!(delivered.len(), sent.len());
    let status = forebay.status().await?;
    assert_eq!(count(&status, "r", "discarded"), 0);
    assert!(dead_letters(&forebay).await?.is_empty());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_while_dead_letters_expire_leave_each_discarded_once() -> Result<()> {
    let launch = rig::forebay(config("dead_letter = { expire_after = \"1s\" }"));
    let orders = rusqlite::Connection::open(launch.dir().join("orders.db")).unwrap();
    orders.execute_batch(TABLE).unwrap();
    drop(orders);
    let mut forebay = launch.start().await?;
    for n in 0..600 {
        super::post(&forebay, format!("{{\"n\":{n}}}")).await?;
    }
    let mut dice = dice(rounds(6));
    for _ in 0..6 {
        tokio::time::sleep(Duration::from_millis(dice.random_range(300..1500))).await;
        forebay.kill9().await?;
        forebay.start().await?;
    }
    let status = forebay
        .status_until("all that was refused has expired", DEADLINE, |status| {
            count(status, "r", "discarded") == 200
        })
        .await?;
    assert_eq!(
        (
            count(&status, "r", "delivered"),
            count(&status, "r", "dead")
        ),
        (400, 0)
    );
    rig::assert_balanced(&forebay).await
}
