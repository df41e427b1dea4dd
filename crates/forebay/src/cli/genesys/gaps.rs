//! `forebay genesys gaps`

use crate::cli::client::AdminArgs;
use crate::cli::output;
use crate::exit::Outcome;

/// List the stretches of time in which a source may have missed events, newest first
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    admin: AdminArgs,
    /// Only those of this source
    #[arg(long, value_name = "NAME")]
    source: Option<domain::SourceName>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=1000))]
    limit: u64,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub fn run(args: &Args) -> Outcome {
    let client = args.admin.client()?;
    let mut query = vec![("limit", args.limit.to_string())];
    query.extend(
        args.source
            .as_ref()
            .map(|name| ("source", name.to_string())),
    );
    let answer = crate::cli::runtime()?.block_on(client.get("/api/v1/gaps", &query))?;
    let none = Vec::new();
    let gaps = answer["gaps"].as_array().unwrap_or(&none);
    if args.json {
        return Ok(output::json_lines(gaps)?);
    }
    let rows = gaps.iter().map(|gap| {
        vec![
            output::text(gap, "id"),
            output::text(gap, "source"),
            output::time(gap, "from"),
            match gap["to"].is_null() {
                true => "open".to_owned(),
                false => output::time(gap, "to"),
            },
            gap["topics"].as_array().map_or(0, Vec::len).to_string(),
            output::text(gap, "why"),
        ]
    });
    output::table(&["gap", "source", "from", "to", "topics", "why"], rows)?;
    Ok(())
}
