//! `forebay dlq history`

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::EventId;
use serde_json::Value;

use crate::cli::client::AdminArgs;
use crate::cli::output;
use crate::exit::Outcome;

/// Show the edits of the dead letters of an event, with the bodies before
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
            "it was never edited, which is all that is recorded here: a redrive of it as it is, or a purge, is not; `forebay events show {}` says what became of it",
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
        bytes_before(entry),
        output::text(entry, "bytes_after"),
    ))?;
    if let Some(note) = entry["note"].as_str() {
        output::line(&format!("  note: {note}"))?;
    }
    let encoding = match is_base64(entry) {
        true => " (in base64)",
        false => "",
    };
    let body = output::text(entry, "body_before");
    output::line(&format!("  before{encoding}: {body}"))
}

fn is_base64(entry: &Value) -> bool {
    entry["body_before_encoding"] == "base64"
}

/// Of the body itself, however it is written.
fn bytes_before(entry: &Value) -> usize {
    let text = entry["body_before"].as_str().unwrap_or_default();
    match is_base64(entry) {
        true => STANDARD.decode(text).map_or(0, |body| body.len()),
        false => text.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_those_of_the_body_and_not_of_how_it_is_written() {
        let entry = |text: &str, encoding: &str| serde_json::json!({"body_before": text, "body_before_encoding": encoding});
        assert_eq!(bytes_before(&entry("/wA=", "base64")), 2);
        assert_eq!(bytes_before(&entry("/wA=", "utf-8")), 4);
    }
}
