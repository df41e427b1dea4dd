//! What `forebay serve` says on standard error: a line that works, and one JSON object a line for those who
//! asked for that.

use serde_json::Value;
use testbed::process::Forebay;
use testbed::{DEADLINE, Result, until};

use super::config;
use crate::rig;

/// What it told people to try, as arguments of `forebay`.
async fn told_to_try(forebay: &Forebay) -> Result<Vec<String>> {
    until("it says what to try", DEADLINE, async || {
        let said = forebay.stderr();
        let mut lines = said.lines();
        let line = lines.find_map(|line| line.strip_prefix("Try it:  forebay "));
        let line = line.ok_or_else(|| said.clone())?;
        Ok(line.split(' ').map(str::to_owned).collect())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_it_says_to_try_works_wherever_it_listens() -> Result<()> {
    // The ports are given by flags, and nobody listens where the file says.
    let forebay = rig::forebay(config()).start().await?;
    let to_try = told_to_try(&forebay).await?;
    let to_try: Vec<&str> = to_try.iter().map(String::as_str).collect();
    assert!(to_try.contains(&"--url"), "{to_try:?}");
    let tried = forebay.cli(&to_try).await?;
    assert_eq!(tried.code, Some(0), "{to_try:?}: {tried:?}");
    assert!(tried.stdout.contains("accepted"), "{tried:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_weak_is_in_the_log_and_a_reload_says_what_it_leaves_unread() -> Result<()> {
    let weak = config().replace(rig::SECRET, "short");
    let mut forebay = rig::forebay(weak).start().await?;
    let said = async |forebay: &Forebay, words: &str| {
        until(words, DEADLINE, async || {
            let said = forebay.stderr();
            said.contains(words).then_some(()).ok_or(said)
        })
        .await
    };
    said(&forebay, "number 1 is shorter than 16 bytes").await?;
    forebay.reload()?;
    said(&forebay, "there are no secret files to read again").await?;
    let unread = "the rest needs a restart";
    assert!(!forebay.stderr().contains(unread), "{}", forebay.stderr());
    let file = forebay.launch().dir().join("forebay.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text + "\n# more\n").unwrap();
    forebay.reload()?;
    said(&forebay, unread).await?;
    Ok(())
}

/// What it printed, which must be one JSON object a line.
fn lines(forebay: &Forebay) -> Vec<Value> {
    let said = forebay.stderr();
    let lines = said.lines().map(|line| {
        let value: Value = serde_json::from_str(line).unwrap_or_default();
        assert!(value.is_object(), "not an object: {line}");
        value
    });
    lines.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_for_collectors_is_one_object_a_line_from_the_start_to_the_end() -> Result<()> {
    // However little is logged, a failure is.
    for level in ["info", "off"] {
        let config = format!(
            "[log]\nformat = \"json\"\nlevel = \"{level}\"\n{}",
            config()
        );
        let mut forebay = rig::forebay(config.as_str()).start().await?;
        let mut refused = rig::forebay(config).data_dir(forebay.data_dir()).spawn()?;
        assert_eq!(refused.wait().await?.code, Some(1), "{}", refused.tail());
        let failures: Vec<Value> = lines(&refused)
            .into_iter()
            .filter(|line| line["level"] == "ERROR")
            .collect();
        assert_eq!(failures.len(), 1, "{failures:?}");
        let failure = failures[0]["message"].as_str().unwrap();
        assert!(failure.contains("in use by another process"), "{failure}");

        forebay.terminate()?;
        assert_eq!(forebay.wait().await?.code, Some(0), "{}", forebay.tail());
        let started: Vec<Value> = lines(&forebay)
            .into_iter()
            .filter(|line| line["message"] == "started")
            .collect();
        assert_eq!(started.len(), usize::from(level == "info"), "{started:?}");
        for started in started {
            assert_eq!(started["level"], "INFO");
            assert_eq!(started["ingest"], forebay.ingest(""));
            assert_eq!(started["admin"], forebay.admin(""));
            let routes = started["routes"].as_str().unwrap();
            assert_eq!(routes, "genesys-to-db: genesys -> db (sqlite)");
        }
    }
    Ok(())
}
