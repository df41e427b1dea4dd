//! `forebay dlq list`

use serde_json::Value;

use super::select::FilterArgs;
use super::{PAGE, page, route};
use crate::cli::client::{AdminArgs, Client};
use crate::cli::output;
use crate::exit::Outcome;

/// List dead letters, the newest first, or what they died of
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    admin: AdminArgs,
    #[command(flatten)]
    filter: FilterArgs,
    /// Only with this fingerprint of the cause, as --group shows it
    #[arg(long, value_name = "TEXT")]
    fingerprint: Option<String>,
    /// One line for each cause, with how many letters there are of it
    #[arg(long)]
    group: bool,
    /// At most so many letters, or causes
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

const LETTERS: [&str; 6] = ["last failed", "id", "route", "reason", "attempts", "error"];

const GROUPS: [&str; 6] = [
    "letters",
    "route",
    "reason",
    "last failed",
    "newest",
    "fingerprint",
];

/// Runs it.
pub fn run(args: &Args) -> Outcome {
    let client = args.admin.client()?;
    let found = crate::cli::runtime()?.block_on(async {
        match args.group {
            true => causes(&client, args).await,
            false => gather(&client, args).await,
        }
    })?;
    if args.json {
        output::json_lines(&found)?;
    } else if args.group {
        output::table(&GROUPS, found.iter().map(group))?;
    } else {
        output::table(&LETTERS, found.iter().map(letter))?;
    }
    Ok(())
}

async fn causes(client: &Client, args: &Args) -> Outcome<Vec<Value>> {
    let mut query = args.filter.query(args.fingerprint.as_ref());
    let limit = args.limit as usize;
    query.push(("limit", limit.min(PAGE).to_string()));
    let mut answer = client.get("/api/v1/dlq/groups", &query).await?;
    let mut groups = match answer["groups"].take() {
        Value::Array(groups) => groups,
        _ => Vec::new(),
    };
    groups.truncate(limit);
    Ok(groups)
}

async fn gather(client: &Client, args: &Args) -> Outcome<Vec<Value>> {
    let query = args.filter.query(args.fingerprint.as_ref());
    let (mut letters, mut cursor) = (Vec::new(), None);
    let limit = args.limit as usize;
    while letters.len() < limit {
        let left = limit - letters.len();
        letters.extend(page(client, &query, left, &mut cursor).await?);
        if cursor.is_none() {
            break;
        }
    }
    Ok(letters)
}

fn letter(letter: &Value) -> Vec<String> {
    vec![
        output::time(letter, "last_failure_at"),
        output::text(letter, "id"),
        route(letter),
        output::text(letter, "reason"),
        output::text(letter, "attempts"),
        output::text(letter, "error"),
    ]
}

fn group(group: &Value) -> Vec<String> {
    vec![
        output::text(group, "count"),
        output::text(group, "route"),
        output::text(group, "reason"),
        output::time(group, "last_at"),
        output::text(group, "example_id"),
        output::text(group, "fingerprint"),
    ]
}
