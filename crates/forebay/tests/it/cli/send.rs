//! `forebay send`: posts what the source would accept, and says what came of it.

use std::collections::BTreeMap;

use testbed::Result;

use super::{config, send};
use crate::rig::{self, ROUTE_NAME, count};

/// With all that makes a message of Genesys Cloud's known again.
const MESSAGE: &str = r#"{
    "id": "a-message",
    "type": "Text",
    "text": "from a file",
    "channel": { "id": "a-channel", "time": "2026-03-01T00:00:00.000Z" }
}"#;

#[tokio::test(flavor = "multi_thread")]
async fn send_signs_as_the_source_expects() -> Result<()> {
    let forebay = rig::forebay(config()).start().await?;
    let one = send(&forebay, &[]).await?;
    assert_eq!(one.code, Some(0), "{one:?}");
    assert!(one.stdout.starts_with("200 {\"id\":"), "{one:?}");

    let many = send(&forebay, &["--count", "50", "--rate", "500", "--json"]).await?;
    assert_eq!(many.code, Some(0), "{many:?}");
    let summary: serde_json::Value = serde_json::from_str(&many.stdout).unwrap();
    assert_eq!(
        (&summary["sent"], &summary["accepted"]),
        (&50.into(), &50.into()),
        "{summary}"
    );

    // The same bytes twice are one event.
    let file = forebay.data_dir().join("body");
    std::fs::write(&file, MESSAGE).unwrap();
    let file = ["--file", file.to_str().unwrap()];
    let first = send(&forebay, &file).await?;
    let again = send(&forebay, &file).await?;
    assert!(first.stdout.contains("\"accepted\""), "{first:?}");
    assert!(again.stdout.contains("\"duplicate\""), "{again:?}");
    let status = rig::drained(&forebay, ROUTE_NAME).await?;
    assert_eq!(count(&status, ROUTE_NAME, "delivered"), 52, "{status}");
    Ok(())
}

/// The source looks for events in an array, and no other made-up event would be taken.
#[tokio::test(flavor = "multi_thread")]
async fn send_puts_its_events_where_the_source_looks_for_them() -> Result<()> {
    let split = config().replacen(
        "type = \"http\"",
        "type = \"http\"\nsplit = \"/readings\"",
        1,
    );
    let forebay = rig::forebay(split).start().await?;
    let sent = send(&forebay, &[]).await?;
    assert_eq!(sent.code, Some(0), "{sent:?}");
    assert!(sent.stdout.contains("\"events\":[{"), "{sent:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_posted_where_only_the_sender_can_sign() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let text = "[sources.alarms]\ntype = \"http\"\nverify = { scheme = \"aws-sns\", topics = [\"arn:aws:sns:us-east-1:1:t\"] }\n[destinations.db]\ntype = \"sqlite\"\n[routes.r]\nfrom = [\"alarms\"]\nto = \"db\"\n";
    std::fs::write(dir.path().join("forebay.toml"), text).unwrap();
    let args = ["send", "--source", "alarms"];
    let program = env!("CARGO_BIN_EXE_forebay");
    let sent = testbed::process::run(program, &args, &BTreeMap::new(), dir.path()).await?;
    assert_eq!(sent.code, Some(2), "{sent:?}");
    let words = "nothing was posted: only the sender has the key that signs";
    assert!(sent.stderr.contains(words), "{sent:?}");
    assert!(sent.stderr.contains("aws-sns"), "{sent:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn send_fails_when_it_is_refused_and_tells_a_missing_server_apart() -> Result<()> {
    let mut forebay = rig::forebay(config()).start().await?;
    let unknown = forebay.cli(&["send", "--source", "nobody"]).await?;
    assert_eq!(unknown.code, Some(2), "{unknown:?}");
    assert!(unknown.stderr.contains("there is genesys"), "{unknown:?}");

    // Another secret than the running server's.
    let other = config().replace(rig::SECRET, "another-secret-of-many-letters");
    let file = forebay.launch().dir().join("other.toml");
    std::fs::write(&file, other).unwrap();
    let refused = send(&forebay, &["--config", file.to_str().unwrap()]).await?;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("not-verified"), "{refused:?}");

    forebay.kill9().await?;
    let nobody = send(&forebay, &[]).await?;
    assert_eq!(nobody.code, Some(3), "{nobody:?}");
    let url = forebay.ingest("/in/genesys");
    for word in [&*url, "Connection refused", "forebay serve", "--url"] {
        assert!(nobody.stderr.contains(word), "no {word:?} in {nobody:?}");
    }
    Ok(())
}
