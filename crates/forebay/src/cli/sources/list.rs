//! `forebay sources list`

use serde_json::Value;

use crate::cli::client::AdminArgs;
use crate::cli::output;
use crate::exit::Outcome;

/// List the sources with their paths or queues, schemes, counts since the start, and what is in quarantine now
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    admin: AdminArgs,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub fn run(args: &Args) -> Outcome {
    let client = args.admin.client()?;
    let answer = crate::cli::runtime()?.block_on(client.get("/api/v1/sources", &[]))?;
    let none = Vec::new();
    let sources = answer["sources"].as_array().unwrap_or(&none);
    if args.json {
        output::json_lines(sources)?;
        return Ok(());
    }
    let rows = sources.iter().map(|source| {
        let paths: Vec<&str> = source["paths"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        vec![
            output::text(source, "name"),
            output::text(source, "type"),
            output::text(source, "scheme"),
            match source["reads"].as_str() {
                Some(reads) => reads.to_owned(),
                None => paths.join(" "),
            },
            output::text(source, "accepted"),
            output::text(source, "discarded"),
            output::text(source, "duplicates"),
            output::text(source, "refused"),
            output::text(source, "quarantined"),
            match source["last_refusal_at"].is_string() {
                true => format!(
                    "{} {}",
                    output::time(source, "last_refusal_at"),
                    output::text(source, "last_refusal")
                ),
                false => output::text(source, "last_refusal"),
            },
            output::time(source, "last_accepted_at"),
        ]
    });
    let header = [
        "source",
        "type",
        "verify",
        "paths, or what is read",
        "accepted",
        "discarded",
        "duplicates",
        "refused",
        "quarantined",
        "last refusal",
        "last accepted",
    ];
    output::table(&header, rows)?;
    for source in sources {
        if let Some(error) = source["last_error"].as_str() {
            output::line(&format!("{}: {error}", output::text(source, "name")))?;
        }
    }
    Ok(())
}
