//! Commands about dead letters: list, show, redrive, purge, export.

use serde_json::{Value, json};
use testbed::process::{Forebay, Output};
use testbed::{DEADLINE, Result};

use super::{data, json};
use crate::rig::{self, count};

/// Refuses an amount that is not positive, and a name that is long.
pub(super) const CONFIG: &str = r#"
[sources.shop]
type = "http"
verify = { scheme = "none" }
[destinations.orders-db]
type = "sqlite"
path = "orders.db"
statement = "INSERT INTO orders (id, amount, name) VALUES ($id, $body ->> 'amount', $body ->> 'name') ON CONFLICT (id) DO NOTHING"
[routes.orders]
from = ["shop"]
to = "orders-db"
"#;

const TABLE: &str = "CREATE TABLE orders (id TEXT PRIMARY KEY,
    amount INTEGER NOT NULL CHECK (amount > 0), name TEXT CONSTRAINT short CHECK (length(name) < 10))";

pub(super) const NO_AMOUNT: &str = r#"{"amount":0,"name":"a"}"#;
pub(super) const LONG_NAME: &str = r#"{"amount":1,"name":"much too long"}"#;
pub(super) const SHORT: &str = "sqlite 275: constraint failed: short";

/// A server whose route `orders` has given up on six events without an amount and then on three with a long
/// name.
pub(super) async fn with_dead_letters() -> Result<Forebay> {
    let launch = rig::forebay(CONFIG);
    let orders = rusqlite::Connection::open(launch.dir().join("orders.db")).unwrap();
    orders.execute_batch(TABLE).unwrap();
    let forebay = launch.start().await?;
    post(&forebay, NO_AMOUNT, 6).await?;
    post(&forebay, LONG_NAME, 3).await?;
    Ok(forebay)
}

pub(super) fn dead(status: &Value) -> u64 {
    count(status, "orders", "dead")
}

/// Posts events with this body and waits until the route has settled them.
pub(super) async fn post(forebay: &Forebay, body: &str, times: u64) -> Result<()> {
    let before = forebay.status().await?["accepted"].as_u64().unwrap();
    let url = forebay.ingest("/in/shop");
    for _ in 0..times {
        let answer = reqwest::Client::new().post(&url).body(body.to_owned());
        assert_eq!(answer.send().await.unwrap().status(), 200);
    }
    let settled = |status: &Value| rig::route(status, "orders")["cursor"] == before + times;
    forebay
        .status_until("what was posted is settled", DEADLINE, settled)
        .await?;
    Ok(())
}

async fn refused(forebay: &Forebay, args: &[&str], code: i32) -> Result<Output> {
    let output = forebay.cli(args).await?;
    assert_eq!(
        (output.code, output.stdout.as_str()),
        (Some(code), ""),
        "{args:?}: {output:?}"
    );
    Ok(output)
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_listed_grouped_and_shown() -> Result<()> {
    let forebay = with_dead_letters().await?;
    assert_eq!(dead(&forebay.status().await?), 9);
    let letters = json(&forebay, &["dlq", "list"]).await?;
    let errors: Vec<_> = letters.iter().map(|letter| &letter["error"]).collect();
    assert_eq!(errors.len(), 9);
    assert_eq!(errors[2], "sqlite 275: constraint failed: short");
    assert_eq!(errors[3], "sqlite 275: constraint failed: amount > 0");
    assert!(letters.iter().all(|letter| letter.get("body").is_none()));
    let few = json(&forebay, &["dlq", "list", "--limit", "4"]).await?;
    assert_eq!(few, letters[..4]);
    let id = letters[0]["id"].as_str().unwrap();
    let table = data(&forebay, &["dlq", "list", "--route", "orders"]).await?;
    assert!(table.contains(id) && table.contains("rejected"), "{table}");

    let since = letters[0]["last_failure_at"].as_str().unwrap();
    for (filter, expected) in [
        (["--fingerprint", SHORT], 3),
        (["--reason", "rejected"], 9),
        (["--reason", "outage"], 0),
        (["--after", since], 1),
        (["--before", since], 8),
    ] {
        let args = [&["dlq", "list"], &filter[..]].concat();
        assert_eq!(json(&forebay, &args).await?.len(), expected, "{filter:?}");
    }
    let groups = json(&forebay, &["dlq", "list", "--group"]).await?;
    let counts: Vec<_> = groups.iter().map(|group| &group["count"]).collect();
    assert_eq!(counts, [&json!(6), &json!(3)]);
    assert_eq!(groups[1]["example_id"], id);
    let table = data(&forebay, &["dlq", "list", "--group"]).await?;
    assert!(table.contains(SHORT), "{table}");

    let shown = json(&forebay, &["dlq", "show", id]).await?;
    assert_eq!(
        (&shown[0]["body"], &shown[0]["route"]),
        (&json!(LONG_NAME), &json!("orders"))
    );
    let text = data(&forebay, &["dlq", "show", id, "--route", "orders"]).await?;
    for word in [
        "POST /in/shop",
        LONG_NAME,
        "constraint failed: short",
        SHORT,
    ] {
        assert!(text.contains(word), "no {word} in {text}");
    }
    let unknown = "01890000-0000-7000-8000-000000000000";
    let gone = refused(&forebay, &["dlq", "show", unknown], 2).await?;
    assert!(gone.stderr.contains("is no dead letter"), "{gone:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_meant_ends_with_2_and_changes_nothing() -> Result<()> {
    let forebay = with_dead_letters().await?;
    let id = "01890000-0000-7000-8000-000000000000";
    let cases: [(&[&str], &str); 13] = [
        (&["dlq", "list", "--route", "order"], "there is orders"),
        (&["dlq", "export", "--route", "order"], "there is orders"),
        (&["dlq", "redrive", "--route", "order"], "there is orders"),
        (
            &["dlq", "purge", "--yes", "--route", "order"],
            "there is orders",
        ),
        (&["dlq", "list", "--after", "noon"], "2026-01-31T12:00:00Z"),
        (&["dlq", "list", "--reason", "bored"], "retries-exhausted"),
        (&["dlq", "show", "7"], "invalid"),
        (&["dlq", "redrive"], "say which dead letters to redrive"),
        (
            &["dlq", "purge", "--yes"],
            "say which dead letters to purge",
        ),
        (&["dlq", "purge", "--all"], "add --yes"),
        (
            &["dlq", "purge", "--yes", "--all", id],
            "cannot be used with",
        ),
        (
            &["dlq", "redrive", "--group", SHORT, id],
            "cannot be used with",
        ),
        (&["dlq", "redrive", "--all", "--rate", "0"], "--rate"),
    ];
    for (args, words) in cases {
        let output = refused(&forebay, args, 2).await?;
        assert!(output.stderr.contains(words), "{args:?}: {output:?}");
    }
    assert_eq!(dead(&forebay.status().await?), 9);
    assert!(
        json(&forebay, &["dlq", "redrive", "--status"])
            .await?
            .is_empty()
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_discards_what_it_selects_and_counts_it() -> Result<()> {
    let forebay = with_dead_letters().await?;
    let counted = data(&forebay, &["dlq", "purge", "--group", SHORT, "--dry-run"]).await?;
    assert_eq!(counted, "3 dead letters would be discarded\n");
    assert_eq!(json(&forebay, &["dlq", "list"]).await?.len(), 9);
    let purged = data(&forebay, &["dlq", "purge", "--group", SHORT, "--yes"]).await?;
    assert_eq!(purged, "3 dead letters discarded\n");
    let left = json(&forebay, &["dlq", "list"]).await?;
    assert_eq!(left.len(), 6);
    let ids = [&left[0], &left[5]].map(|letter| letter["id"].as_str().unwrap());
    let purged = json(&forebay, &["dlq", "purge", ids[0], ids[1], "--yes"]).await?;
    assert_eq!(purged, [json!({"purged": 2})]);
    forebay
        .status_until("the purge is counted", DEADLINE, |status| {
            count(status, "orders", "dead") == 4 && count(status, "orders", "discarded") == 5
        })
        .await?;
    rig::assert_balanced(&forebay).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_holds_every_letter_with_its_bytes() -> Result<()> {
    let mut forebay = with_dead_letters().await?;
    let odd = reqwest::Client::new().post(forebay.ingest("/in/shop"));
    let sent = odd.body(&b"\xff\xfe"[..]).send().await.unwrap();
    assert_eq!(sent.status(), 200);
    forebay
        .status_until("it is dead, too", DEADLINE, |status| {
            count(status, "orders", "dead") == 10
        })
        .await?;
    let lines = data(&forebay, &["dlq", "export"]).await?;
    let letters: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(letters.len(), 10);
    assert!(lines.starts_with(r#"{"forebay-event-id":"#), "{lines}");
    assert_eq!(letters[0]["body_base64"], "//4=");
    let one = &letters[1];
    assert_eq!(one["body"], LONG_NAME);
    for (name, value) in [
        ("forebay-source", json!("shop")),
        ("forebay-route", json!("orders")),
        ("forebay-destination", json!("orders-db")),
        ("forebay-reason", json!("rejected")),
        (
            "forebay-error",
            json!("sqlite 275: constraint failed: short"),
        ),
        ("forebay-attempts", json!(1)),
        ("forebay-redrives", json!(0)),
    ] {
        assert_eq!(one[name], value, "{one}");
    }
    let to_file = ["dlq", "export", "--group", SHORT, "--output", "out.ndjson"];
    let output = forebay.cli(&to_file).await?;
    assert_eq!(
        (output.code, output.stdout.as_str()),
        (Some(0), ""),
        "{output:?}"
    );
    assert!(
        output.stderr.contains("3 dead letters exported"),
        "{output:?}"
    );
    let path = forebay.launch().dir().join("out.ndjson");
    let written = std::fs::read_to_string(&path).unwrap();
    assert_eq!(
        written.lines().collect::<Vec<_>>(),
        lines.lines().skip(1).take(3).collect::<Vec<_>>()
    );
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&path).unwrap());
    assert_eq!(mode & 0o777, 0o600, "it holds payloads");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redrive_is_counted_begun_looked_at_and_cancelled() -> Result<()> {
    let forebay = with_dead_letters().await?;
    let counted = data(&forebay, &["dlq", "redrive", "--all", "--dry-run"]).await?;
    assert_eq!(counted, "9 dead letters would be put back\n");
    assert!(
        data(&forebay, &["dlq", "redrive", "--status"])
            .await?
            .starts_with("job")
    );
    let nothing = ["dlq", "redrive", "--reason", "outage"];
    let nothing = data(&forebay, &nothing).await?;
    assert!(nothing.contains("nothing to put back"), "{nothing}");
    let stranger = ["dlq", "redrive", "--group", "no such group"];
    let stranger = forebay.cli(&stranger).await?;
    assert!(stranger.stderr.contains("nothing was done"), "{stranger:?}");
    // What does nothing is no job.
    let jobs = json(&forebay, &["dlq", "redrive", "--status"]).await?;
    assert!(jobs.is_empty(), "{jobs:?}");
    let slow = ["dlq", "redrive", "--all", "--rate", "1", "--no-wait"];
    let begun = json(&forebay, &slow).await?;
    assert_eq!(
        (&begun[0]["matched"], &begun[0]["status"]),
        (&json!(9), &json!("running"))
    );
    let id = begun[0]["id"].to_string();
    let looked = json(&forebay, &["dlq", "redrive", "--status", &id]).await?;
    assert_eq!(
        (&looked[0]["id"], &looked[0]["filter"]),
        (&begun[0]["id"], &json!({}))
    );
    let cancelled = forebay.cli(&["dlq", "redrive", "--cancel", &id]).await?;
    assert_eq!(cancelled.code, Some(0), "{cancelled:?}");
    let looked = json(&forebay, &["dlq", "redrive", "--status", &id]).await?;
    assert_ne!(looked[0]["status"], "running");
    let unknown = refused(&forebay, &["dlq", "redrive", "--cancel", "99"], 2).await?;
    assert!(unknown.stderr.contains("no redrive 99"), "{unknown:?}");
    Ok(())
}
