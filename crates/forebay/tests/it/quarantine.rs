//! A secret that is wrong for a while: what its sender posts is kept, mended for, and delivered once, whatever dies.

use std::collections::BTreeMap;

use serde_json::Value;
use testbed::process::Forebay;
use testbed::{DEADLINE, Error, Result, http, until};

use crate::rig;

const RIGHT: &str = "the-secret-of-the-sender";

const CONFIG: &str = r#"
[sources.shop]
type = "http"
on_invalid = "quarantine"
quarantine_max = 20
verify = { scheme = "bearer", secret_files = ["secret"] }
[destinations.db]
type = "sqlite"
path = "events.db"
[routes.all]
from = ["shop"]
to = "db"
"#;

/// Posts, and gives status and answer.
async fn post(forebay: &Forebay, number: u32) -> Result<(u16, Value)> {
    let credential = format!("Bearer {RIGHT}");
    let headers = [("authorization", credential.as_str())];
    let body = format!("{{\"number\":{number}}}").into();
    let answer = http::post(&forebay.ingest("/in/shop"), &headers, body).await?;
    let said = serde_json::from_str(&answer.text()).unwrap_or(Value::Null);
    Ok((answer.status.as_u16(), said))
}

/// Runs a command of `forebay quarantine` that must succeed; one JSON value a line.
async fn quarantine(forebay: &Forebay, args: &[&str]) -> Result<Vec<Value>> {
    let args = [&["quarantine"], args, &["--json"]].concat();
    let output = forebay.cli(&args).await?;
    assert_eq!(output.code, Some(0), "{args:?}: {output:?}");
    let lines = output.stdout.lines().map(serde_json::from_str);
    Ok(lines.map(|line| line.expect("JSON")).collect())
}

/// How often each body is in the destination.
fn delivered(forebay: &mut Forebay) -> BTreeMap<String, u32> {
    let path = forebay.launch().dir().join("events.db");
    let table = rusqlite::Connection::open(path).unwrap();
    let mut bodies = table.prepare("SELECT body FROM webhook_events").unwrap();
    let rows = bodies.query_map([], |row| {
        let body: rusqlite::types::Value = row.get(0)?;
        Ok(match body {
            rusqlite::types::Value::Blob(bytes) => String::from_utf8(bytes).unwrap(),
            rusqlite::types::Value::Text(text) => text,
            other => panic!("{other:?}"),
        })
    });
    let mut found = BTreeMap::new();
    for body in rows.unwrap() {
        *found.entry(body.unwrap()).or_default() += 1;
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_wrong_secret_kept_out_is_delivered_once_after_it_was_mended() -> Result<()> {
    let launch = rig::forebay(CONFIG);
    let secret = launch.dir().join("secret");
    std::fs::write(&secret, "some-secret-of-last-year").unwrap();
    let mut forebay = launch.start().await?;
    for number in 0..20 {
        let (status, said) = post(&forebay, number).await?;
        assert_eq!((status, &said["status"]), (200, &"quarantined".into()));
    }
    assert_eq!(post(&forebay, 20).await?.0, 401, "it is full");
    // What was answered is durable, and no event.
    forebay.kill9().await?;
    forebay.start().await?;
    assert_eq!(post(&forebay, 20).await?.0, 401, "it is full still");
    let kept = quarantine(&forebay, &["list"]).await?;
    assert_eq!(kept.len(), 20);
    assert_eq!(forebay.status().await?["accepted"], 0);
    let first = kept[19]["id"].as_str().unwrap();
    let shown = forebay.cli(&["quarantine", "show", first]).await?;
    assert!(shown.stdout.contains("signature wrong"), "{shown:?}");
    assert!(shown.stdout.contains("authorization: ***"), "{shown:?}");
    assert!(!shown.stdout.contains(RIGHT), "{shown:?}");
    let sources = forebay.cli(&["sources", "list", "--json"]).await?;
    let sources: Value = serde_json::from_str(&sources.stdout).unwrap();
    assert_eq!(sources["quarantined"], 20);
    let held = &forebay.status().await?["quarantine"][0];
    assert_eq!(
        (&held["source"], &held["requests"]),
        (&"shop".into(), &20.into())
    );
    let said = forebay.cli(&["status"]).await?.stdout;
    assert!(
        said.contains("source shop has 20 requests that were not verified in quarantine"),
        "{said}"
    );
    let early = quarantine(&forebay, &["release", "--source", "shop"]).await?;
    assert_eq!(
        (&early[0]["released"], &early[0]["still_invalid"]),
        (&0.into(), &20.into())
    );
    let none = forebay.cli(&["quarantine", "release"]).await?;
    assert_eq!(none.code, Some(2), "{none:?}");
    let unasked = forebay
        .cli(&["quarantine", "purge", "--source", "shop"])
        .await?;
    assert_eq!(unasked.code, Some(2), "{unasked:?}");
    let purged = quarantine(&forebay, &["purge", first, "--yes"]).await?;
    assert_eq!(purged[0]["purged"], 1);

    std::fs::write(&secret, RIGHT).unwrap();
    forebay.reload()?;
    until("the file is read again", DEADLINE, async || {
        let looked = quarantine(&forebay, &["release", "--source", "shop", "--dry-run"]).await;
        match looked {
            Ok(looked) if looked[0]["verified"] == 19 => Ok(()),
            other => Err(format!("{other:?}\n{}", forebay.tail())),
        }
    })
    .await?;
    assert_eq!(forebay.status().await?["accepted"], 0, "it was only a look");

    // It dies while it releases, wherever it is then.
    let args = ["quarantine", "release", "--source", "shop"];
    let address = forebay.admin("");
    let binary = env!("CARGO_BIN_EXE_forebay");
    let mut command = tokio::process::Command::new(binary);
    command.args(args).env("FOREBAY_ADMIN_URL", address);
    let mut releasing = command.spawn().unwrap();
    until("something was released", DEADLINE, async || {
        match forebay.status().await {
            Ok(status) if status["accepted"] != 0 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await?;
    forebay.kill9().await?;
    releasing.wait().await.unwrap();
    forebay.start().await?;
    let released = quarantine(&forebay, &["release", "--source", "shop"]).await?;
    assert_eq!(released[0]["still_invalid"], 0);
    assert_eq!(quarantine(&forebay, &["list"]).await?, Vec::<Value>::new());
    let (status, said) = post(&forebay, 20).await?;
    assert_eq!((status, &said["status"]), (200, &"accepted".into()));
    rig::drained(&forebay, "all").await?;
    let wanted = (1..=20).map(|number| (format!("{{\"number\":{number}}}"), 1));
    assert_eq!(delivered(&mut forebay), wanted.collect());
    rig::assert_balanced(&forebay).await?;
    let log = forebay.stderr();
    assert!(!log.contains(RIGHT), "a secret is in the log");
    Ok::<_, Error>(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_released_goes_when_it_is_as_old_as_its_source_says_and_the_log_tells()
-> Result<()> {
    let config = CONFIG.replace("quarantine_max = 20", "quarantine_keep = \"1s\"");
    let launch = rig::forebay(config);
    std::fs::write(launch.dir().join("secret"), "some-secret-of-last-year").unwrap();
    let forebay = launch.start().await?;
    assert_eq!(post(&forebay, 1).await?.0, 200);
    until("it has expired", DEADLINE, async || {
        match quarantine(&forebay, &["list"]).await {
            Ok(list) if list.is_empty() => Ok(()),
            other => Err(format!("{other:?}\n{}", forebay.tail())),
        }
    })
    .await?;
    let status = forebay.status().await?;
    assert_eq!(status["quarantine"], serde_json::json!([]));
    let log = forebay.stderr();
    assert!(log.contains("as long as quarantine_keep says"), "{log}");
    Ok(())
}
