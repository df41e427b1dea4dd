//! `forebay dlq show`

use std::io::Write as _;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::{EventId, RouteName};
use serde_json::Value;

use super::route;
use crate::cli::client::AdminArgs;
use crate::cli::events;
use crate::cli::output;
use crate::cli::parse::event_id;
use crate::exit::Outcome;

/// Show one dead letter: headers, body, and why it was given up
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    admin: AdminArgs,
    /// The event's id
    #[arg(value_parser = event_id)]
    id: EventId,
    /// That of this route, if the event is dead on several; the newest otherwise
    #[arg(long, value_name = "NAME")]
    route: Option<RouteName>,
    /// The body alone, byte for byte, as for `--body > file`
    #[arg(long)]
    body: bool,
    /// One JSON object
    #[arg(long, conflicts_with = "body")]
    json: bool,
}

/// Runs it.
pub fn run(args: &Args) -> Outcome {
    let client = args.admin.client()?;
    let path = format!("/api/v1/dlq/{}", args.id);
    let of = args.route.as_ref().map(|name| ("route", name.to_string()));
    let query: Vec<_> = of.into_iter().collect();
    let letter = crate::cli::runtime()?.block_on(client.get(&path, &query))?;
    if args.body {
        write_body(&letter)?;
    } else if args.json {
        output::json_lines([&letter])?;
    } else {
        show(&letter)?;
    }
    Ok(())
}

/// The bytes as they came, and nothing else.
fn write_body(letter: &Value) -> Outcome {
    let text = letter["body"].as_str().unwrap_or_default();
    let bytes = match letter["body_encoding"] == "base64" {
        true => STANDARD
            .decode(text)
            .context("the server's answer is not base64")?,
        false => text.as_bytes().to_vec(),
    };
    let written = std::io::stdout().lock().write_all(&bytes);
    Ok(written.context("cannot write the body")?)
}

fn show(letter: &Value) -> std::io::Result<()> {
    events::show_request(letter)?;
    for (label, value) in [
        ("id", output::text(letter, "id")),
        ("source", output::text(letter, "source")),
        ("received", output::text(letter, "received_at")),
        ("route", route(letter)),
        ("reason", output::text(letter, "reason")),
        ("error", output::text(letter, "error")),
        ("group", output::text(letter, "fingerprint")),
        ("attempts", output::text(letter, "attempts")),
        ("failed", failed(letter)),
        ("redrives", output::text(letter, "redrives")),
    ] {
        output::line(&format!("{label:10} {value}"))?;
    }
    for target in letter["exported"].as_array().into_iter().flatten() {
        let kept = match letter["kept_until"].is_string() {
            true => format!("; kept here until {}", output::time(letter, "kept_until")),
            false => String::new(),
        };
        output::line(&format!(
            "{:10} to {} at {}{kept}",
            "sent",
            output::text(target, "target"),
            output::time(target, "at"),
        ))?;
    }
    for refusal in letter["not_exported"].as_array().into_iter().flatten() {
        output::line(&format!(
            "{:10} to {} at {}: {}: {}",
            "not sent",
            output::text(refusal, "target"),
            output::time(refusal, "at"),
            output::text(refusal, "code"),
            output::text(refusal, "detail"),
        ))?;
    }
    let others = letter["also_on"].as_array().into_iter().flatten();
    let others: Vec<&str> = others.filter_map(Value::as_str).collect();
    if !others.is_empty() {
        output::line(&format!("{:10} {}", "also on", others.join(", ")))?;
    }
    Ok(())
}

/// Once, or from when until when.
fn failed(letter: &Value) -> String {
    let first = output::time(letter, "first_failure_at");
    let last = output::time(letter, "last_failure_at");
    match first == last {
        true => last,
        false => format!("from {first} to {last}"),
    }
}
