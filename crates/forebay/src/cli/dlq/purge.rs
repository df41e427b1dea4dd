//! `forebay dlq purge`

use domain::ports::Selection;
use serde_json::{Value, json};

use super::select::{SelectArgs, must_be_a_group, request};
use super::{letters, progress};
use crate::cli::ask;
use crate::cli::client::{AdminArgs, Client};
use crate::cli::output;
use crate::exit::{Exit, Failure, Outcome};

const PURGE: &str = "/api/v1/dlq/purge";

/// Discard dead letters for good
///
/// Ids, filters or --all say which. They are discarded here: a copy that a dead-letter target has stays there, and
/// `dlq import` brings it back. Asks before it does so on a terminal; elsewhere it needs --yes. What is
/// buried after it was counted stays.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    admin: AdminArgs,
    #[command(flatten)]
    select: SelectArgs,
    /// Only say how many it would be
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub fn run(args: &Args) -> Outcome {
    let client = args.admin.client()?;
    let selection = args.select.selection("purge")?;
    let asks = !args.yes && !args.dry_run;
    if asks {
        ask::before_purging()?;
    }
    let runtime = crate::cli::runtime()?;
    let counting = request(&selection, [("dry_run", json!(true))])?;
    let counted = runtime.block_on(client.post_json(PURGE, &counting))?;
    let matched = counted["matched"].as_u64().unwrap_or_default();
    if matched == 0 {
        runtime.block_on(must_be_a_group(&client, &selection))?;
    }
    if args.dry_run {
        let line = format!("{} would be discarded", letters(matched));
        return output::told(&json!({ "matched": matched }), &line, args.json);
    }
    let question = format!(
        "Discard {} for good? A copy that a dead-letter target has stays there, and `forebay dlq import` brings it back.",
        letters(matched)
    );
    if matched > 0 && asks && !ask::agreed(&question)? {
        return Err(Failure::say(Exit::Failed, "nothing was discarded"));
    }
    let purged = match matched {
        0 => 0,
        _ => runtime.block_on(discard(&client, &selection, &counted))?,
    };
    let line = format!("{} discarded", letters(purged));
    output::told(&json!({ "purged": purged }), &line, args.json)
}

/// Discards what was counted, one request after the other.
async fn discard(client: &Client, selection: &Selection, counted: &Value) -> Outcome<u64> {
    let request = request(selection, [("through", counted["through"].clone())])?;
    let bar = progress::bar(counted["matched"].as_u64().unwrap_or_default());
    let mut purged = 0;
    loop {
        let answer = client.post_json(PURGE, &request).await?;
        purged += answer["purged"].as_u64().unwrap_or_default();
        bar.set_position(purged);
        if answer["more"] != true {
            bar.finish_and_clear();
            return Ok(purged);
        }
    }
}
