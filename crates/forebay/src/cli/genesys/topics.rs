//! `forebay genesys topics`

use super::account::AccountArgs;
use crate::cli::output;
use crate::exit::Outcome;

/// List the topics that a source may listen to, with the permissions that each needs
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    account: AccountArgs,
    /// Only topics with this in their name
    #[arg(value_name = "PART")]
    part: Option<String>,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub fn run(args: &Args) -> Outcome {
    let found = args.account.client()?;
    let mut topics = crate::cli::runtime()?.block_on(::genesys::available_topics(&found.client))?;
    let part = args.part.as_deref().unwrap_or_default();
    topics.retain(|topic| topic.id.contains(part));
    if args.json {
        for topic in &topics {
            output::json_lines([&serde_json::to_value(topic)?])?;
        }
        return Ok(());
    }
    let rows = topics.iter().map(|topic| {
        let dash = |list: &[String]| match list {
            [] => "-".to_owned(),
            some => some.join(" "),
        };
        vec![
            topic.id.clone(),
            dash(&topic.requires_permissions),
            dash(&topic.transports),
        ]
    });
    output::table(&["topic", "permissions", "transports"], rows)?;
    Ok(())
}
