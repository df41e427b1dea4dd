//! `forebay genesys backfill`

use domain::{SourceName, Timestamp};
use serde_json::{Value, json};

use crate::cli::client::{AdminArgs, Client};
use crate::cli::output;
use crate::exit::{Exit, Failure, Outcome};

const BACKFILLS: &str = "/api/v1/backfills";

/// Ask the analytics of Genesys Cloud for the conversations of a stretch of time, as events of a source
///
/// It runs in the server, also when this command is gone and after a restart: --status finds it again. Gaps are filled by
/// themselves unless the source says `backfill = false`.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "forebay genesys backfill [OPTIONS] --from TIME --to TIME\n       forebay genesys backfill --status [BACKFILL]\n       forebay genesys backfill --cancel BACKFILL"
)]
pub struct Args {
    #[command(flatten)]
    admin: AdminArgs,
    /// From when on, as 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TIME", required_unless_present_any = ["status", "cancel"])]
    from: Option<Timestamp>,
    /// Until when
    #[arg(long, value_name = "TIME", required_unless_present_any = ["status", "cancel"])]
    to: Option<Timestamp>,
    /// The source whose events they are to be [default: the only one of type genesys-notifications]
    #[arg(long, value_name = "NAME")]
    source: Option<SourceName>,
    /// Show how far a backfill is, or list them
    #[arg(long, value_name = "BACKFILL", num_args = 0..=1, conflicts_with_all = ["from", "to", "cancel"])]
    status: Option<Option<u64>>,
    /// End a backfill; what it has made stays
    #[arg(long, value_name = "BACKFILL", conflicts_with_all = ["from", "to", "source"])]
    cancel: Option<u64>,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub fn run(args: &Args) -> Outcome {
    let client = args.admin.client()?;
    crate::cli::runtime()?.block_on(async {
        if let Some(one) = args.status {
            return show(&client, one, args).await;
        }
        if let Some(id) = args.cancel {
            let ended = client.delete(&format!("{BACKFILLS}/{id}")).await?;
            let status = output::text(&ended, "status");
            let line = format!("backfill {id} is {status}; it had made {} events", ended["events"]);
            return output::told(&ended, &line, args.json);
        }
        let source = match &args.source {
            Some(source) => source.to_string(),
            None => only(&client).await?,
        };
        let request = json!({"source": source, "from": args.from, "to": args.to});
        let begun = client.post_json(BACKFILLS, &request).await?;
        let id = &begun["id"];
        let line = format!("backfill {id} of source {source} has begun; `forebay genesys backfill --status {id}` says how far it is");
        output::told(&begun, &line, args.json)
    })
}

/// The only source that has any.
async fn only(client: &Client) -> Outcome<String> {
    let answer = client.get("/api/v1/sources", &[]).await?;
    let sources = answer["sources"].as_array().into_iter().flatten();
    let names: Vec<&str> = sources
        .filter(|source| source["type"] == ::genesys::KIND)
        .filter_map(|source| source["name"].as_str())
        .collect();
    let error = match &*names {
        [name] => return Ok((*name).to_owned()),
        [] => "the server has no source of type genesys-notifications".to_owned(),
        several => format!(
            "the server has several sources of type genesys-notifications; name one with --source: {}",
            several.join(", ")
        ),
    };
    Err(Failure::say(Exit::Usage, error))
}

async fn show(client: &Client, one: Option<u64>, args: &Args) -> Outcome {
    let backfills: Vec<Value> = match one {
        Some(id) => vec![client.get(&format!("{BACKFILLS}/{id}"), &[]).await?],
        None => {
            let query: Vec<_> = args
                .source
                .iter()
                .map(|name| ("source", name.to_string()))
                .collect();
            match client.get(BACKFILLS, &query).await?["backfills"].take() {
                Value::Array(backfills) => backfills,
                _ => Vec::new(),
            }
        }
    };
    if args.json {
        return Ok(output::json_lines(&backfills)?);
    }
    let rows = backfills.iter().map(|backfill| {
        vec![
            output::text(backfill, "id"),
            output::text(backfill, "source"),
            output::time(backfill, "from"),
            output::time(backfill, "to"),
            output::text(backfill, "gap"),
            output::text(backfill, "status"),
            output::text(backfill, "events"),
        ]
    });
    let header = [
        "backfill", "source", "from", "to", "gap", "status", "events",
    ];
    output::table(&header, rows)?;
    for backfill in &backfills {
        if let Some(error) = backfill["error"].as_str() {
            output::line(&format!("{}: {error}", output::text(backfill, "id")))?;
        }
    }
    Ok(())
}
