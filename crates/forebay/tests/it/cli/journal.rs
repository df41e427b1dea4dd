//! `forebay journal`: looks at files, running or not, and changes none.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;
use testbed::Result;
use testbed::judge::Judge;

use super::{data, json};
use crate::rig::{self, ROUTE_NAME};

/// The first sealed segment of a copy, with one bit of an event's bytes flipped.
fn damage(data_dir: &Path, segment: &str) -> PathBuf {
    let file = data_dir.join("journal").join(segment);
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[100_000] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    file
}

#[tokio::test(flavor = "multi_thread")]
async fn inspect_and_verify_look_at_files_and_damage_ends_with_4() -> Result<()> {
    let segments = "[journal]\nsegment_bytes = \"1MiB\"\nmin_free = \"0B\"\n";
    let config = [segments, &super::config()].concat();
    let mut forebay = rig::forebay(config).start().await?;
    let judge = Arc::new(Judge::new());
    let sender = rig::genesys(&forebay, 400).body_size(8_000);
    assert_eq!(sender.run(judge).await?.acked, 400);
    rig::drained(&forebay, ROUTE_NAME).await?;

    let data_dir = forebay.data_dir().to_str().unwrap().to_owned();
    let inspect = ["journal", "inspect", "--data-dir", &data_dir];
    let running = data(&forebay, &inspect).await?;
    assert!(
        running.contains("a process holds this journal"),
        "{running}"
    );
    forebay.terminate()?;
    assert_eq!(forebay.wait().await?.code, Some(0));
    let files = json(&forebay, &inspect).await?;
    let sealed: Vec<&Value> = files
        .iter()
        .filter(|file| file["state"] == "sealed")
        .collect();
    assert!(sealed.len() >= 2, "{files:?}");
    let records: u64 = files
        .iter()
        .filter_map(|file| file["records"].as_u64())
        .sum();
    assert_eq!(records, 400, "{files:?}");
    let verify = ["journal", "verify", "--data-dir", &data_dir];
    let sound = data(&forebay, &verify).await?;
    assert!(sound.contains("400 events: sound"), "{sound}");

    let copy = tempfile::tempdir().unwrap();
    rig::copy_dir(
        &forebay.data_dir().join("journal"),
        &copy.path().join("journal"),
    );
    let segment = sealed[0]["file"].as_str().unwrap();
    let file = damage(copy.path(), segment);
    let before = std::fs::read(&file).unwrap();
    let verify = [
        "journal",
        "verify",
        "--data-dir",
        copy.path().to_str().unwrap(),
    ];
    let damaged = forebay.cli(&verify).await?;
    assert_eq!(damaged.code, Some(4), "{damaged:?}");
    assert!(
        damaged.stdout.contains(segment) && damaged.stdout.contains("DAMAGED"),
        "{damaged:?}"
    );
    let machine = forebay.cli(&[&verify[..], &["--json"]].concat()).await?;
    assert_eq!(machine.code, Some(4), "{machine:?}");
    serde_json::from_str::<Value>(&machine.stdout).expect("one JSON object");
    assert_eq!(
        std::fs::read(&file).unwrap(),
        before,
        "verify changed the file"
    );

    let nothing = tempfile::tempdir().unwrap();
    let nothing = [
        "journal",
        "verify",
        "--data-dir",
        nothing.path().to_str().unwrap(),
    ];
    assert_eq!(forebay.cli(&nothing).await?.code, Some(2));
    Ok(())
}

/// What verify calls damage is what the next start counts, says and serves around.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_journal_is_served_around_the_damage_and_counted() -> Result<()> {
    let segments = "[journal]\nsegment_bytes = \"1MiB\"\nmin_free = \"0B\"\n";
    let config = [segments, &super::config()].concat();
    let mut forebay = rig::forebay(config).start().await?;
    assert_eq!(
        forebay.cli(&["routes", "pause", ROUTE_NAME]).await?.code,
        Some(0)
    );
    let sender = rig::genesys(&forebay, 400).body_size(8_000);
    assert_eq!(sender.run(Arc::default()).await?.acked, 400);
    forebay.terminate()?;
    assert_eq!(forebay.wait().await?.code, Some(0));
    damage(forebay.data_dir(), "00000000000000000001.journal");
    let data_dir = forebay.data_dir().to_str().unwrap().to_owned();
    let verify = ["journal", "verify", "--data-dir", &data_dir];
    assert_eq!(forebay.cli(&verify).await?.code, Some(4));

    forebay.start().await?;
    assert_eq!(
        forebay.cli(&["routes", "resume", ROUTE_NAME]).await?.code,
        Some(0)
    );
    let status = rig::drained(&forebay, ROUTE_NAME).await?;
    let damaged = rig::count(&status, ROUTE_NAME, "damaged");
    assert!((1..=100).contains(&damaged), "{status}");
    assert_eq!(
        rig::count(&status, ROUTE_NAME, "delivered"),
        400 - damaged,
        "{status}"
    );
    rig::assert_balanced(&forebay).await?;
    let shown = data(&forebay, &["status"]).await?;
    assert!(shown.contains("DAMAGED"), "{shown}");
    assert!(forebay.stderr().contains("damaged"), "{}", forebay.tail());
    Ok(())
}
