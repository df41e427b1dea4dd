//! `forebay quarantine show`

use domain::EventId;
use serde_json::Value;

use super::QUARANTINE;
use crate::cli::client::AdminArgs;
use crate::cli::parse::request_id;
use crate::cli::{events, output};
use crate::exit::Outcome;

/// Show one request: headers, body, and why it was not verified; credentials are not shown
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    admin: AdminArgs,
    /// The id that its sender was told
    #[arg(value_parser = request_id)]
    id: EventId,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub fn run(args: &Args) -> Outcome {
    let client = args.admin.client()?;
    let path = format!("{QUARANTINE}/{}", args.id);
    let request = crate::cli::runtime()?.block_on(client.get(&path, &[]))?;
    if args.json {
        output::json_lines([&request])?;
    } else {
        show(&request)?;
    }
    Ok(())
}

fn show(request: &Value) -> std::io::Result<()> {
    events::show_request(request)?;
    for (label, field) in [
        ("id", "id"),
        ("source", "source"),
        ("received", "received_at"),
        ("from", "remote"),
        ("reason", "reason"),
    ] {
        output::line(&format!("{label:10} {}", output::text(request, field)))?;
    }
    Ok(())
}
