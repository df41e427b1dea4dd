//! `forebay dlq history`

use domain::EventId;
use serde_json::Value;

use crate::cli::client::AdminArgs;
use crate::cli::output;
use crate::exit::Outcome;

/// Show what was done by hand to the dead letters of an event, with the bodies before
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    admin: AdminArgs,
    /// The event's id
    id: EventId,
    /// One JSON object an entry
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub fn run(args: &Args) -> Outcome {
    let client = args.admin.client()?;
    let path = format!("/api/v1/dlq/{}/history", args.id);
    let history = crate::cli::runtime()?.block_on(client.get(&path, &[]))?;
    let none = Vec::new();
    let entries = history["history"].as_array().unwrap_or(&none);
    if args.json {
        return Ok(output::json_lines(entries)?);
    }
    if entries.is_empty() {
        eprintln!(
            "nothing was done to it by hand; `forebay events show {}` says what became of it",
            args.id
        );
    }
    entries.iter().try_for_each(show)?;
    Ok(())
}

fn show(entry: &Value) -> std::io::Result<()> {
    output::line(&format!(
        "{} {} by {}: its letter on route {}; the body of {} bytes became one of {}",
        output::time(entry, "at"),
        output::text(entry, "action"),
        output::text(entry, "by"),
        output::text(entry, "route"),
        entry["body_before"].as_str().map_or(0, str::len),
        output::text(entry, "bytes_after"),
    ))?;
    if let Some(note) = entry["note"].as_str() {
        output::line(&format!("  note: {note}"))?;
    }
    output::line(&format!("  before: {}", output::text(entry, "body_before")))
}
