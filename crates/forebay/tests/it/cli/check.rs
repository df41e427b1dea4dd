//! `forebay check` and `forebay completions`: need no server, and change nothing.

use std::collections::BTreeMap;
use std::path::Path;

use testbed::Result;
use testbed::postgres::{Options, Server};
use testbed::process::{Output, run};

use crate::rig;

async fn forebay(dir: &Path, args: &[&str]) -> Result<Output> {
    run(env!("CARGO_BIN_EXE_forebay"), args, &BTreeMap::new(), dir).await
}

#[tokio::test(flavor = "multi_thread")]
async fn check_reaches_destinations_when_asked_and_names_weaker_settings() -> Result<()> {
    let mut server = Server::start_new(Options::default().without_fsync()).await?;
    let dir = tempfile::tempdir().unwrap();
    let config = rig::genesys_to(&server.url(), "connect_timeout = \"5s\"");
    std::fs::write(dir.path().join("forebay.toml"), config).unwrap();

    let valid = forebay(dir.path(), &["check"]).await?;
    assert_eq!(
        (valid.code, valid.stderr.as_str()),
        (Some(0), ""),
        "{valid:?}"
    );
    assert!(
        valid.stdout.contains("valid") && valid.stdout.contains(rig::ROUTE_NAME),
        "{valid:?}"
    );
    assert!(!valid.stdout.contains(rig::SECRET), "{valid:?}");

    let reached = forebay(dir.path(), &["check", "--connect"]).await?;
    assert_eq!(reached.code, Some(0), "{reached:?}");
    assert!(
        reached
            .stdout
            .contains("destination db (postgres): reached"),
        "{reached:?}"
    );
    assert!(reached.stdout.contains("fsync = off"), "{reached:?}");
    assert!(
        !dir.path().join("forebay-data/journal").exists(),
        "a journal was made"
    );

    server.stop_fast().await?;
    let gone = forebay(dir.path(), &["check", "--connect"]).await?;
    assert_eq!(gone.code, Some(1), "{gone:?}");
    assert!(
        gone.stdout
            .contains("destination db (postgres): not reached"),
        "{gone:?}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_set_up_weaker_is_in_the_status_too() -> Result<()> {
    let server = Server::start_new(Options::default().without_fsync()).await?;
    let config = rig::genesys_to(&server.url(), "");
    let forebay = rig::forebay(config).start().await?;
    let says = |status: &serde_json::Value| status["findings"].to_string().contains("fsync = off");
    forebay
        .status_until("the finding is shown", testbed::DEADLINE, says)
        .await?;
    let shown = forebay.cli(&["status"]).await?;
    assert!(shown.stdout.contains("fsync = off"), "{shown:?}");
    Ok(())
}

#[tokio::test]
async fn completions_are_made_for_each_shell() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let output = forebay(dir.path(), &["completions", shell]).await?;
        assert_eq!(
            (output.code, output.stderr.as_str()),
            (Some(0), ""),
            "{output:?}"
        );
        assert!(output.stdout.contains("forebay") && output.stdout.contains("status"));
    }
    let output = forebay(dir.path(), &["completions", "no-such-shell"]).await?;
    assert_eq!(
        (output.code, output.stdout.as_str()),
        (Some(2), ""),
        "{output:?}"
    );
    Ok(())
}
