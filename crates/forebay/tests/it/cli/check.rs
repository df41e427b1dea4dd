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

#[tokio::test]
async fn check_warns_of_secrets_that_can_be_guessed_and_quotes_none() -> Result<()> {
    const DESTINATION: &str =
        "[destinations.db]\ntype = \"sqlite\"\n[routes.r]\nfrom = [\"s\"]\nto = \"db\"\n";
    let dir = tempfile::tempdir().unwrap();
    let hmac = "scheme = \"hmac\", header = \"x-signature\"";
    let genesys = "scheme = \"genesys-open-messaging\"";
    let bearer = "scheme = \"bearer\"";
    let long = "fifteen-letters-and-more";
    let file = dir.path().join("secret");
    std::fs::write(&file, "fifteen-letters\n").unwrap();
    for (scheme, secrets, weak) in [
        (
            hmac,
            "secrets = [\"fifteen-letters\"]",
            Some("secrets: number 1"),
        ),
        (
            genesys,
            "secret_files = [\"secret\"]",
            Some("secret_files: secret"),
        ),
        (hmac, &*format!("secrets = [\"{long}\"]"), None),
        (
            bearer,
            "secrets = [\"fifteen-letters\"]",
            Some("secrets: number 1"),
        ),
        (bearer, &*format!("secrets = [\"{long}\"]"), None),
    ] {
        let source = format!("[sources.s]\ntype = \"http\"\nverify = {{ {scheme}, {secrets} }}\n");
        std::fs::write(dir.path().join("forebay.toml"), source + DESTINATION).unwrap();
        let checked = forebay(dir.path(), &["check"]).await?;
        assert_eq!(checked.code, Some(0), "{checked:?}");
        assert!(!checked.stderr.contains("fifteen"), "{checked:?}");
        let Some(weak) = weak else {
            assert_eq!(checked.stderr, "", "{scheme} {secrets}");
            continue;
        };
        let start = format!("warning: ./forebay.toml:3: sources.s.verify.{weak} is shorter");
        assert!(checked.stderr.starts_with(&start), "{checked:?}");
        assert_eq!(checked.stderr.lines().count(), 1, "{checked:?}");
    }
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

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_is_looked_at_like_a_destination_and_is_not_posted_to() -> Result<()> {
    let options = testbed::redis::Options::default().without_append_only_file();
    let mut redis = testbed::redis::Server::start_new(options).await?;
    let dir = tempfile::tempdir().unwrap();
    let config = format!(
        "[sources.jobs]\ntype = \"redis\"\nurl = \"{}\"\nlist = \"jobs\"\n[destinations.f]\ntype = \"file\"\npath = \"out\"\n[routes.r]\nfrom = [\"jobs\"]\nto = \"f\"\n",
        redis.url()
    );
    std::fs::write(dir.path().join("forebay.toml"), config).unwrap();
    let reached = forebay(dir.path(), &["check", "--connect"]).await?;
    assert_eq!(reached.code, Some(0), "{reached:?}");
    let line = "source jobs (redis): reached, and weaker than promised\n  appendonly = no: what waits to be read is in";
    assert!(reached.stdout.contains(line), "{reached:?}");
    redis.kill().await?;
    let gone = forebay(dir.path(), &["check", "--connect"]).await?;
    assert_eq!(gone.code, Some(1), "{gone:?}");
    let line = "source jobs (redis): not reached: refused";
    assert!(gone.stdout.contains(line), "{gone:?}");
    let sent = forebay(dir.path(), &["send", "--source", "jobs"]).await?;
    assert_eq!(sent.code, Some(2), "{sent:?}");
    assert!(sent.stderr.contains("is a queue"), "{sent:?}");
    Ok(())
}
