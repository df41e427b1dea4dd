//! `forebay dlq import`

use std::time::Duration;

use domain::{DestinationName, SourceName};
use serde_json::{Value, json};

use super::progress;
use crate::cli::client::{AdminArgs, Client};
use crate::cli::output;
use crate::exit::{Exit, Failure, Outcome};

const IMPORTS: &str = "/api/v1/imports";

/// How often it looks.
const LOOK: Duration = Duration::from_millis(200);

/// Bring back what lies in a queue outside that is a destination here
///
/// A dead letter that is still dead here goes back on its route; one whose event was delivered meanwhile is only taken out
/// of the queue; anything else is a fresh event of the source that it names, or of --source. A message is deleted outside
/// only when what was made of it is durable here. It ends when the queue is empty.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    admin: AdminArgs,
    /// The destination to read, of type sqs, redis or rabbitmq
    #[arg(long, value_name = "NAME")]
    from: DestinationName,
    /// What messages that name no source are taken as events of
    #[arg(long, value_name = "NAME")]
    source: Option<SourceName>,
    /// At most so many a second [default: as fast as it goes]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub fn run(args: &Args) -> Outcome {
    let client = args.admin.client()?;
    let mut request = json!({"from": args.from, "rate_per_second": args.rate});
    if let Some(source) = &args.source {
        request["source"] = json!(source);
    }
    let ended = crate::cli::runtime()?.block_on(async {
        let begun = client.post_json(IMPORTS, &request).await?;
        let path = format!("{IMPORTS}/{}", begun["id"]);
        tokio::select! {
            ended = wait(&client, &path) => ended,
            // What is half done comes again; the rest stays where it is.
            _ = tokio::signal::ctrl_c() => {
                client.delete(&path).await?;
                wait(&client, &path).await
            }
        }
    })?;
    tell(&ended, args.json)
}

/// Until it has ended.
async fn wait(client: &Client, path: &str) -> Outcome<Value> {
    let bar = progress::counter();
    loop {
        let import = client.get(path, &[]).await?;
        bar.set_position(taken(&import));
        if import["status"] != "running" {
            bar.finish_and_clear();
            return Ok(import);
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn taken(import: &Value) -> u64 {
    ["redriven", "known", "fresh"]
        .map(|name| import[name].as_u64().unwrap_or_default())
        .iter()
        .sum()
}

fn tell(import: &Value, json: bool) -> Outcome {
    if json {
        output::json_lines([import])?;
    } else {
        output::line(&format!(
            "{} messages taken from {}: {} were dead letters here and are back on their routes, {} were known, {} are fresh events",
            taken(import),
            output::text(import, "from"),
            output::text(import, "redriven"),
            output::text(import, "known"),
            output::text(import, "fresh"),
        ))?;
    }
    match import["status"].as_str() {
        Some("failed") => {
            let why = output::text(import, "error");
            let error = format!("the import has failed, and the rest is in the queue still: {why}");
            Err(Failure::say(Exit::Failed, error))
        }
        Some("cancelled") => {
            let error = "the import was ended, and the rest is in the queue still";
            Err(Failure::say(Exit::Failed, error))
        }
        _ => Ok(()),
    }
}
