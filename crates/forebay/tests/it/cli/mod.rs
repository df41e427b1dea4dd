//! The commands as people and scripts run them: data on stdout, everything else on stderr, exit codes.

mod asking;
mod bench;
mod check;
mod dlq;
mod imports;
mod journal;
mod retired;
mod send;
mod serve;

use serde_json::Value;
use testbed::Result;
use testbed::process::{Forebay, Output};

use crate::rig::GENESYS;

/// A destination that needs no server.
const SQLITE: &str = r#"
[destinations.db]
type = "sqlite"
[routes.genesys-to-db]
from = ["genesys"]
to = "db"
"#;

fn config() -> String {
    [GENESYS, SQLITE].concat()
}

/// Runs a command that must succeed and print nothing but data.
async fn data(forebay: &Forebay, args: &[&str]) -> Result<String> {
    let output = forebay.cli(args).await?;
    assert_eq!(output.code, Some(0), "{args:?}: {output:?}");
    assert_eq!(output.stderr, "", "{args:?}");
    Ok(output.stdout)
}

/// The same with `--json`: one JSON value a line.
async fn json(forebay: &Forebay, args: &[&str]) -> Result<Vec<Value>> {
    let stdout = data(forebay, &[args, &["--json"]].concat()).await?;
    let lines = stdout.lines().map(serde_json::from_str);
    Ok(lines
        .map(|line| line.expect("a JSON value a line"))
        .collect())
}

/// Posts so many made-up events with `forebay send`.
async fn send(forebay: &Forebay, more: &[&str]) -> Result<Output> {
    let url = forebay.ingest("");
    // The configuration is found in the working directory, as a person's would be.
    let args = ["send", "--source", "genesys", "--url", &url];
    forebay.cli(&[&args, more].concat()).await
}
