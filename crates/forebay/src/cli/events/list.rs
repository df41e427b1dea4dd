//! `forebay events list`

use domain::Timestamp;
use serde_json::Value;

use super::{HEADER, row};
use crate::cli::client::{AdminArgs, Client};
use crate::cli::output;
use crate::cli::parse::{at_least_one, time};
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
    /// Only received at or after this time: 2026-01-31T12:00:00Z, a date, or how long ago, as 1h or 2d
    #[arg(long, value_name = "TIME", value_parser = time)]
    after: Option<Timestamp>,
    /// Only received before this time: 2026-01-31T12:00:00Z, a date, or how long ago, as 1h or 2d
    #[arg(long, value_name = "TIME", value_parser = time)]
    before: Option<Timestamp>,
    /// At most so many events
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = at_least_one)]
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
        ("source", args.source.clone()),
        ("route", args.route.clone()),
        ("state", args.state.clone()),
        ("after", args.after.map(|after| after.to_string())),
        ("before", args.before.map(|before| before.to_string())),
    ];
    let filters: Vec<(&str, String)> = filters
        .into_iter()
        .filter_map(|(key, value)| Some((key, value?)))
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
