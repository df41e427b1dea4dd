//! `forebay events tail`

use std::time::Duration;

use serde_json::Value;

use crate::cli::client::{AdminArgs, Client};
use crate::cli::output;
use crate::exit::Outcome;

/// How often it looks.
const LOOK: Duration = Duration::from_millis(500);

/// Events shown at once at most; more arriving between two looks are counted, not shown.
const AT_ONCE: u64 = 1000;

/// Show events as they come in, until interrupted or no longer read
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    admin: AdminArgs,
    /// Only of this source
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// End after so many events [default: go on]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub fn run(args: &Args) -> Outcome {
    let client = args.admin.client()?;
    crate::cli::runtime()?.block_on(async {
        tokio::select! {
            ended = follow(&client, args) => ended,
            _ = tokio::signal::ctrl_c() => Ok(()),
        }
    })
}

async fn follow(client: &Client, args: &Args) -> Outcome {
    let mut seen = newest(client, args, 1).await?.first().map_or(0, seq);
    let mut shown = 0;
    while !output::reader_has_gone() {
        let fresh: Vec<Value> = newest(client, args, AT_ONCE)
            .await?
            .into_iter()
            .filter(|event| seq(event) > seen)
            .collect();
        if fresh.len() as u64 == AT_ONCE {
            eprintln!("more than {AT_ONCE} events since the last look: only the newest are shown");
        }
        for event in fresh.iter().rev() {
            print(event, args.json)?;
            seen = seq(event);
            shown += 1;
            if args.count.is_some_and(|count| shown >= count) {
                return Ok(());
            }
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}

async fn newest(client: &Client, args: &Args, limit: u64) -> Outcome<Vec<Value>> {
    let mut query = vec![("limit", limit.to_string())];
    query.extend(args.source.clone().map(|source| ("source", source)));
    let page = client.get("/api/v1/events", &query).await?;
    Ok(page["events"].as_array().cloned().unwrap_or_default())
}

fn seq(event: &Value) -> u64 {
    event["seq"].as_u64().unwrap_or_default()
}

fn print(event: &Value, json: bool) -> std::io::Result<()> {
    if json {
        return output::json_lines([event]);
    }
    output::line(&format!(
        "{}  {}  {}  {} {}  {} B",
        output::time(event, "received_at"),
        output::text(event, "id"),
        output::text(event, "source"),
        output::text(event, "method"),
        output::text(event, "path"),
        output::text(event, "size"),
    ))
}
