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
            // Of a queue the type says all.
            match source["reads"].is_string() {
                true => output::text(source, "type"),
                false => output::text(source, "scheme"),
            },
            match source["reads"].as_str() {
                Some(reads) => reads.to_owned(),
                None => paths.join("\n"),
            },
            output::text(source, "accepted"),
            output::text(source, "duplicates"),
            output::text(source, "refused"),
            output::time(source, "last_accepted_at"),
        ]
    });
    let header = [
        "source",
        "verify",
        "paths, or what is read",
        "accepted",
        "duplicates",
        "refused",
        "last accepted",
    ];
    output::table(&header, rows)?;
    for source in sources {
        for note in notes(source) {
            output::line(&format!("{}: {note}", output::text(source, "name")))?;
        }
    }
    Ok(())
}

/// What is rare, in words.
fn notes(source: &Value) -> Vec<String> {
    let count = |field: &str| source[field].as_u64().filter(|count| *count > 0);
    let refusal = source["last_refusal"].as_str();
    let refusal = refusal.map(|code| match source["last_refusal_at"].is_string() {
        true => {
            let at = output::time(source, "last_refusal_at");
            format!("last refusal: {code}, at {at}")
        }
        false => format!("last refusal: {code}"),
    });
    let kept = count("quarantined").map(|count| format!("{count} in quarantine"));
    let discarded = count("discarded").map(|count| format!("{count} that no route wants"));
    let error = source["last_error"].as_str().map(str::to_owned);
    [refusal, kept, discarded, error]
        .into_iter()
        .flatten()
        .collect()
}
