//! What is wrong with a configuration is said in one line, with the place and the way out, before
//! anything is bound; and what is in the way of a start is told from that by its exit code.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::Path;

use testbed::postgres::{Options, Server};
use testbed::process::{Output, run};
use testbed::{DEADLINE, Result, until};

use crate::rig;
use crate::wire::{address, is_listening};

const BINARY: &str = env!("CARGO_BIN_EXE_forebay");

/// A configuration without fault; the tests break one line each.
const SOUND: &str = r#"[server]
shutdown_timeout = "5s"
[sources.genesys]
type = "http"
verify = { scheme = "genesys-open-messaging", secret_files = ["secret"] }
[destinations.db]
type = "sqlite"
path = "${EVENTS_DB:-events.db}"
[routes.genesys-to-db]
from = ["genesys"]
to = "db"
"#;

/// `forebay VERB` with this configuration, in a directory of its own, with a secret file.
async fn forebay(dir: &Path, config: &str, args: &[&str]) -> Result<Output> {
    std::fs::write(dir.join("my.toml"), config).unwrap();
    std::fs::write(dir.join("secret"), "a-secret-of-many-letters\n").unwrap();
    std::fs::write(dir.join("words"), "hunter2 hunter3\n").unwrap();
    run(BINARY, args, &BTreeMap::new(), dir).await
}

#[tokio::test]
async fn what_reaches_no_destination_does_not_need_its_files() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let config = SOUND.replace(
        "type = \"sqlite\"\npath = \"${EVENTS_DB:-events.db}\"",
        "type = \"postgres\"\nurl_file = \"nowhere/url\"",
    );
    std::fs::create_dir_all(dir.path().join("forebay-data/journal")).unwrap();
    let verify = ["journal", "verify", "--config", "my.toml"];
    let verify = forebay(dir.path(), &config, &verify).await?;
    assert_eq!(verify.code, Some(0), "{}", verify.stderr);
    let check = forebay(dir.path(), &config, &["check", "--config", "my.toml"]).await?;
    assert_eq!(check.code, Some(2), "{}", check.stderr);
    Ok(())
}

#[tokio::test]
async fn each_mistake_is_one_line_with_place_key_and_remedy_and_nothing_is_bound() -> Result<()> {
    let cases: [(&str, &str, &str, &[&str]); 15] = [
        (
            "a source without a type",
            "type = \"http\"\n",
            "",
            &["my.toml:3: sources.genesys: ", "add type = \"http\""],
        ),
        (
            "an unknown type of source",
            "type = \"http\"",
            "type = \"htp\"",
            &["my.toml:4: sources.genesys.type: ", "must be \"http\""],
        ),
        (
            "a destination without a type",
            "type = \"sqlite\"\n",
            "",
            &[
                "my.toml:6: destinations.db: ",
                "add type = \"sqlite\" or \"postgres\"",
            ],
        ),
        (
            "an unknown type of destination",
            "type = \"sqlite\"",
            "type = \"postgre\"",
            &[
                "my.toml:7: destinations.db.type: ",
                "must be \"sqlite\" or \"postgres\"",
            ],
        ),
        (
            "unknown key",
            "shutdown_timeout",
            "shutdown_timout",
            &[
                "my.toml:2: server.shutdown_timout: ",
                "no such key",
                "`shutdown_timeout`",
            ],
        ),
        (
            "bad duration",
            "\"5s\"",
            "\"5 parsecs\"",
            &["my.toml:2: server.shutdown_timeout: ", "\"10s\""],
        ),
        (
            "dangling route target",
            "to = \"db\"",
            "to = \"dd\"",
            &[
                "my.toml:11: routes.genesys-to-db.to: ",
                "no destination dd",
                "there is db",
            ],
        ),
        (
            "missing environment variable",
            "${EVENTS_DB:-events.db}",
            "${EVENTS_DB}",
            &[
                "my.toml:8: destinations.db.path: ",
                "EVENTS_DB is not set",
                "${EVENTS_DB:-",
            ],
        ),
        (
            "unreadable secret file",
            "[\"secret\"]",
            "[\"nowhere/secret\"]",
            &[
                "my.toml:5: sources.genesys.verify: ",
                "cannot read nowhere/secret",
            ],
        ),
        (
            "a token that no header can carry",
            "[sources.genesys]",
            "admin_token = \"hunter2 hunter3\"\n[sources.genesys]",
            &["my.toml:3: server.admin_token: ", "without spaces"],
        ),
        (
            "a token's file with such a token",
            "[sources.genesys]",
            "admin_token_file = \"words\"\n[sources.genesys]",
            &["my.toml:3: server.admin_token_file: ", "without spaces"],
        ),
        (
            "unreadable file with a URL",
            "type = \"sqlite\"\npath = \"${EVENTS_DB:-events.db}\"",
            "type = \"postgres\"\nurl_file = \"nowhere/url\"",
            &[
                "my.toml:8: destinations.db.url_file: ",
                "cannot read nowhere/url",
            ],
        ),
        (
            "unreadable certificate",
            "type = \"sqlite\"\npath = \"${EVENTS_DB:-events.db}\"",
            "type = \"postgres\"\nurl = \"postgres://a:hunter2@h/d?sslmode=verify-full&sslrootcert=nowhere/ca.pem\"",
            &[
                "my.toml:8: destinations.db.url: ",
                "cannot read sslrootcert nowhere/ca.pem",
            ],
        ),
        (
            "a header that is none",
            "type = \"http\"",
            "type = \"http\"\ndedup = { header = \"x id\" }",
            &[
                "my.toml:5: sources.genesys.dedup: ",
                "\"x id\" is no header name",
            ],
        ),
        (
            "not TOML",
            "[routes.genesys-to-db]",
            "[routes.genesys-to-db",
            &["my.toml:9: ", "not TOML"],
        ),
    ];
    // Somebody listens on both ports: a process that bound anything before it read the whole
    // configuration would say so, and end with 1.
    let taken = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let [listen, admin] = taken
        .each_ref()
        .map(|taken| taken.local_addr().unwrap().to_string());
    let serve = [
        "serve",
        "--config",
        "my.toml",
        "--data-dir",
        "data",
        "--listen",
        &listen,
        "--admin",
        &admin,
    ];
    let dir = tempfile::tempdir().unwrap();
    for (claim, from, to, words) in cases {
        assert!(SOUND.contains(from), "{from}");
        let config = SOUND.replace(from, to);
        for args in [&serve[..], &["check", "--config", "my.toml"]] {
            let output = forebay(dir.path(), &config, args).await?;
            assert_eq!(output.code, Some(2), "{claim}: {output:?}");
            assert_eq!(output.stderr.lines().count(), 1, "{claim}: {output:?}");
            assert_eq!(output.stdout, "", "{claim}");
            assert!(!output.stderr.contains("hunter"), "{claim}: {output:?}");
            for word in words {
                assert!(
                    output.stderr.contains(word),
                    "{claim}: no {word:?} in {output:?}"
                );
            }
        }
        assert!(
            !dir.path().join("data").exists(),
            "{claim}: data was touched"
        );
    }
    // The same without a mistake gets as far as the ports.
    let output = forebay(dir.path(), SOUND, &serve).await?;
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(output.stderr.contains(&listen), "{output:?}");
    assert!(
        output.stderr.contains("another process has that port"),
        "{output:?}"
    );
    Ok(())
}

#[tokio::test]
async fn a_misspelt_variable_is_refused_and_its_value_is_not_shown() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    for (name, nearest) in [
        ("FOREBAY_SERVER_ADMIN_TOKN", "FOREBAY_SERVER_ADMIN_TOKEN"),
        ("FOREBAY_JOURNAL_RETIAN", "FOREBAY_JOURNAL_RETAIN"),
    ] {
        let env = BTreeMap::from([(name.to_owned(), "hunter2".to_owned())]);
        for args in [&["check"][..], &["serve", "--listen", "127.0.0.1:0"]] {
            let output = run(BINARY, args, &env, dir.path()).await?;
            assert_eq!(output.code, Some(2), "{output:?}");
            assert_eq!(output.stderr.lines().count(), 1, "{output:?}");
            for word in [name, nearest] {
                assert!(output.stderr.contains(word), "no {word:?} in {output:?}");
            }
            assert!(!output.stderr.contains("hunter2"), "{output:?}");
        }
    }
    // What has another prefix is another's.
    let env = ["FOREBAY_ADMIN_URL", "FOREBAY_ADMIN_TOKEN", "FOREBAY_DEEP"]
        .map(|name| (name.to_owned(), "http://127.0.0.1:1".to_owned()));
    let output = run(BINARY, &["check"], &BTreeMap::from(env), dir.path()).await?;
    assert_eq!(output.code, Some(0), "{output:?}");
    Ok(())
}

#[tokio::test]
async fn a_configuration_that_is_not_there_is_no_reason_to_use_another() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let output = forebay(dir.path(), SOUND, &["serve", "--config", "other.toml"]).await?;
    assert_eq!(output.code, Some(2), "{output:?}");
    assert_eq!(output.stderr.lines().count(), 1, "{output:?}");
    assert!(
        output.stderr.contains("other.toml") && output.stderr.contains("--config"),
        "{output:?}"
    );
    let output = forebay(dir.path(), SOUND, &["serve", "--no-such-flag"]).await?;
    assert_eq!(output.code, Some(2), "{output:?}");
    Ok(())
}

/// To fall back to the built-in one would answer senders 404 or take anything unsigned.
#[tokio::test]
async fn a_configuration_that_cannot_be_looked_at_is_no_reason_to_use_another() -> Result<()> {
    for points_at in ["nowhere.toml", "forebay.toml"] {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(points_at, dir.path().join("forebay.toml")).unwrap();
        for args in [&["check"][..], &["serve", "--listen", "127.0.0.1:0"]] {
            let output = forebay(dir.path(), SOUND, args).await?;
            assert_eq!(output.code, Some(2), "{output:?}");
            assert_eq!(output.stderr.lines().count(), 1, "{output:?}");
            assert!(
                output.stderr.contains("./forebay.toml: cannot read"),
                "{output:?}"
            );
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_listener_that_others_could_reach_must_be_guarded() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let admin = ["serve", "--config", "my.toml", "--admin", "0.0.0.0:0"];
    let output = forebay(dir.path(), SOUND, &admin).await?;
    assert_eq!(output.code, Some(2), "{output:?}");
    assert!(output.stderr.contains("admin_token"), "{output:?}");

    let open = SOUND.replace("verify =", "# verify =");
    let ingest = ["serve", "--config", "my.toml", "--listen", "0.0.0.0:0"];
    let output = forebay(dir.path(), &open, &ingest).await?;
    assert_eq!(output.code, Some(2), "{output:?}");
    assert!(
        output.stderr.contains("sources.genesys.verify"),
        "{output:?}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_data_directory_is_refused_or_waited_for() -> Result<()> {
    let server = Server::start_new(Options::default()).await?;
    let config = rig::genesys_to(&server.url(), "");
    let mut first = rig::forebay(config.as_str()).start().await?;
    let second = || rig::forebay(config.as_str()).data_dir(first.data_dir());

    let mut refused = second().spawn()?;
    assert_eq!(refused.wait().await?.code, Some(1), "{}", refused.tail());
    let said = refused.stderr();
    let data_dir = first.data_dir().display().to_string();
    for word in ["in use by another process", &data_dir, "--wait-for-lock"] {
        assert!(said.contains(word), "no {word:?} in {said}");
    }

    let mut waiting = second().arg("--wait-for-lock").spawn()?;
    until("it says that it waits", DEADLINE, async || {
        match waiting.stderr() {
            said if said.contains("waiting for another process") => Ok(()),
            said => Err(said),
        }
    })
    .await?;
    assert!(is_listening(address(&first.ingest(""))).await);
    assert_eq!(waiting.try_wait(), None);
    first.terminate()?;
    assert_eq!(first.wait().await?.code, Some(0), "{}", first.tail());
    waiting.ready().await?;
    let report = rig::genesys(&waiting, 10)
        .run(std::sync::Arc::default())
        .await?;
    assert_eq!(report.acked, 10, "{report}");
    Ok(())
}
