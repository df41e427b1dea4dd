//! `forebay quarantine list`

use domain::SourceName;
use serde_json::Value;

use super::{PAGE, QUARANTINE};
use crate::cli::client::{AdminArgs, Client};
use crate::cli::output;
use crate::cli::parse::at_least_one;
use crate::exit::Outcome;

/// List the requests in quarantine, the newest first
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    admin: AdminArgs,
    /// Only of this source
    #[arg(long, value_name = "NAME")]
    source: Option<SourceName>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = at_least_one)]
    limit: u32,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

const HEADER: [&str; 5] = ["received", "id", "source", "bytes", "reason"];

/// Runs it.
pub fn run(args: &Args) -> Outcome {
    let client = args.admin.client()?;
    let (requests, more) = crate::cli::runtime()?.block_on(gather(&client, args))?;
    if args.json {
        output::json_lines(&requests)?;
        return Ok(());
    }
    let row = |request: &Value| {
        vec![
            output::time(request, "received_at"),
            output::text(request, "id"),
            output::text(request, "source"),
            output::text(request, "bytes"),
            output::text(request, "reason"),
        ]
    };
    output::table(&HEADER, requests.iter().map(row))?;
    if more {
        eprintln!("there are more; --limit shows more");
    }
    Ok(())
}

/// The requests, and whether there are more.
async fn gather(client: &Client, args: &Args) -> Outcome<(Vec<Value>, bool)> {
    let (mut requests, mut cursor) = (Vec::new(), None::<String>);
    let limit = args.limit as usize;
    while requests.len() < limit {
        let left = (limit - requests.len()).min(PAGE);
        let mut query = vec![("limit", left.to_string())];
        let source = args.source.as_ref();
        query.extend(source.map(|source| ("source", source.to_string())));
        query.extend(cursor.take().map(|cursor| ("cursor", cursor)));
        let mut page = client.get(QUARANTINE, &query).await?;
        cursor = page["next_cursor"].as_str().map(Into::into);
        if let Value::Array(some) = page["requests"].take() {
            requests.extend(some);
        }
        if cursor.is_none() {
            break;
        }
    }
    Ok((requests, cursor.is_some()))
}
