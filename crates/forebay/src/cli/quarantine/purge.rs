//! `forebay quarantine purge`

use std::collections::BTreeSet;

use serde_json::json;

use super::{QUARANTINE, SelectArgs, requests};
use crate::cli::client::AdminArgs;
use crate::cli::{ask, output};
use crate::exit::{Exit, Failure, Outcome};

/// Discard requests in quarantine for good
///
/// Ids or --source say which. Asks before it does so on a terminal; elsewhere it needs --yes.
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
    let mut request = args.select.request("purge")?;
    let asks = !args.yes && !args.dry_run;
    if asks {
        ask::before_purging()?;
    }
    let path = format!("{QUARANTINE}/purge");
    let runtime = crate::cli::runtime()?;
    request["dry_run"] = json!(true);
    let counted = runtime.block_on(client.post_json(&path, &request))?;
    let matched = counted["matched"].as_u64().unwrap_or_default();
    let asked_for: BTreeSet<_> = args.select.ids.iter().collect();
    let unknown = (asked_for.len() as u64).saturating_sub(matched);
    if args.dry_run {
        let line = format!("{} would be discarded", requests(matched));
        output::told(&counted, &line, args.json)?;
        return args.select.none_is_unknown(unknown);
    }
    let question = format!("Discard {} for good?", requests(matched));
    if matched > 0 && asks && !ask::agreed(&question)? {
        return Err(Failure::say(Exit::Failed, "nothing was discarded"));
    }
    request["dry_run"] = json!(false);
    let answer = runtime.block_on(client.post_json(&path, &request))?;
    let purged = answer["purged"].as_u64().unwrap_or_default();
    let line = format!("{} discarded", requests(purged));
    output::told(&answer, &line, args.json)?;
    args.select.none_is_unknown(unknown)
}
