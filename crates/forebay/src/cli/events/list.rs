//! `forebay events list`

use serde_json::Value;

use super::{HEADER, row};
use crate::cli::client::{AdminArgs, Client};
use crate::cli::output;
use crate::exit::Outcome;

/// The most that one request gives.
const PAGE: usize = 1000;

/// List events, the newest first
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    admin: AdminArgs,
    /// Only of this source
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// Only what this route takes
    #[arg(long, value_name = "NAME")]
    route: Option<String>,
    /// Only in this state on a route: pending, delivered, parked, dead or discarded
    #[arg(long, value_name = "STATE")]
    state: Option<String>,
    /// Only received at or after this time, as in 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TIME")]
    after: Option<String>,
    /// Only received before this time, as in 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TIME")]
    before: Option<String>,
    /// At most so many events
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub fn run(args: &Args) -> Outcome {
    let client = args.admin.client()?;
    let events = crate::cli::runtime()?.block_on(gather(&client, args))?;
    if args.json {
        output::json_lines(&events)?;
    } else {
        output::table(&HEADER, events.iter().map(row))?;
    }
    Ok(())
}

async fn gather(client: &Client, args: &Args) -> Outcome<Vec<Value>> {
    let filters = [
        ("source", &args.source),
        ("route", &args.route),
        ("state", &args.state),
        ("after", &args.after),
        ("before", &args.before),
    ];
    let filters: Vec<(&str, String)> = filters
        .into_iter()
        .filter_map(|(key, value)| Some((key, value.clone()?)))
        .collect();
    let mut events: Vec<Value> = Vec::new();
    let mut cursor: Option<String> = None;
    let limit = args.limit as usize;
    while events.len() < limit {
        let mut query = filters.clone();
        query.push(("limit", (limit - events.len()).min(PAGE).to_string()));
        query.extend(cursor.map(|cursor| ("cursor", cursor)));
        let mut page = client.get("/api/v1/events", &query).await?;
        if let Some(items) = page["events"].as_array_mut() {
            events.append(items);
        }
        cursor = page["next_cursor"].as_str().map(Into::into);
        if cursor.is_none() {
            break;
        }
    }
    Ok(events)
}
