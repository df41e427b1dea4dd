//! `forebay dlq import`

use std::time::Duration;

use domain::{DestinationName, SourceName};
use serde_json::{Value, json};

use super::{messages, progress};
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
/// only when what was made of it is durable here. It ends when the queue is empty. It runs in the server, also when this
/// command is gone: --status and --cancel find it again.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "forebay dlq import [OPTIONS] --from NAME\n       forebay dlq import --status [IMPORT]\n       forebay dlq import --cancel IMPORT"
)]
pub struct Args {
    #[command(flatten)]
    admin: AdminArgs,
    /// The destination to read, of type sqs, redis or rabbitmq
    #[arg(long, value_name = "NAME", required_unless_present_any = ["status", "cancel"])]
    from: Option<DestinationName>,
    /// What messages that name no source are taken as events of
    #[arg(long, value_name = "NAME")]
    source: Option<SourceName>,
    /// At most so many a second [default: as fast as it goes]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
    /// Show how far an import is, or list those since the server started
    #[arg(long, value_name = "IMPORT", num_args = 0..=1, conflicts_with_all = ["from", "source", "rate", "cancel"])]
    status: Option<Option<u64>>,
    /// End an import; what it has taken stays so
    #[arg(long, value_name = "IMPORT", conflicts_with_all = ["from", "source", "rate"])]
    cancel: Option<u64>,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub fn run(args: &Args) -> Outcome {
    let client = args.admin.client()?;
    if let Some(import) = args.status {
        let imports = crate::cli::runtime()?.block_on(look(&client, import))?;
        return list(&imports, args.json);
    }
    if let Some(import) = args.cancel {
        return crate::cli::runtime()?.block_on(cancel(&client, import, args.json));
    }
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

/// One import, or all there are.
async fn look(client: &Client, import: Option<u64>) -> Outcome<Vec<Value>> {
    if let Some(import) = import {
        let path = format!("{IMPORTS}/{import}");
        return Ok(vec![client.get(&path, &[]).await?]);
    }
    match client.get(IMPORTS, &[]).await?["imports"].take() {
        Value::Array(imports) => Ok(imports),
        _ => Ok(Vec::new()),
    }
}

/// Ends an import, if it has not ended, and waits until it has.
async fn cancel(client: &Client, import: u64, json: bool) -> Outcome {
    let path = format!("{IMPORTS}/{import}");
    let before = client.delete(&path).await?;
    let ended = wait(client, &path).await?;
    if json {
        return Ok(output::json_lines([&ended])?);
    }
    let taken = messages(taken(&ended));
    let line = match before["status"] == "running" {
        true => format!("import {import} is ended; it had taken {taken}"),
        false => format!(
            "import {import} had ended before ({}, {taken} taken): there was nothing to cancel",
            output::text(&ended, "status")
        ),
    };
    Ok(output::line(&line)?)
}

fn list(imports: &[Value], json: bool) -> Outcome {
    if json {
        return Ok(output::json_lines(imports)?);
    }
    let rows = imports.iter().map(|import| {
        vec![
            output::text(import, "id"),
            output::text(import, "from"),
            output::text(import, "status"),
            output::text(import, "redriven"),
            output::text(import, "known"),
            output::text(import, "fresh"),
            output::time(import, "created_at"),
            output::time(import, "finished_at"),
        ]
    });
    let header = [
        "import", "from", "status", "redriven", "known", "fresh", "begun", "ended",
    ];
    output::table(&header, rows)?;
    for import in imports {
        if let Some(error) = import["error"].as_str() {
            output::line(&format!("{}: {error}", output::text(import, "id")))?;
        }
    }
    Ok(())
}

fn taken(import: &Value) -> u64 {
    ["redriven", "known", "fresh"]
        .map(|name| import[name].as_u64().unwrap_or_default())
        .iter()
        .sum()
}

fn tell(import: &Value, json: bool) -> Outcome {
    let failed = import["status"] == "failed";
    let nothing = taken(import) == 0;
    if json {
        output::json_lines([import])?;
    } else if !(failed && nothing) {
        output::line(&sum(import))?;
    }
    let why = output::text(import, "error");
    let error = match (import["status"].as_str(), nothing) {
        (Some("failed"), true) => format!("nothing was imported: {why}"),
        (Some("failed"), false) => {
            format!("the import has failed, and the rest is in the queue still: {why}")
        }
        (Some("cancelled"), _) => "the import was ended, and the rest is in the queue still".into(),
        _ => return Ok(()),
    };
    Err(Failure::say(Exit::Failed, error))
}

/// What became of the messages.
fn sum(import: &Value) -> String {
    let count = |name: &str| import[name].as_u64().unwrap_or_default();
    let (redriven, known, fresh) = (count("redriven"), count("known"), count("fresh"));
    let were = match redriven {
        1 => "1 was a dead letter here and is back on its route".to_owned(),
        more => format!("{more} were dead letters here and are back on their routes"),
    };
    format!(
        "{} taken from {}: {were}, {known} {} known, {fresh} {}",
        messages(taken(import)),
        output::text(import, "from"),
        if known == 1 { "was" } else { "were" },
        if fresh == 1 {
            "is a fresh event"
        } else {
            "are fresh events"
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_is_summed_up_in_grammar() {
        let import = |redriven: u64, known: u64, fresh: u64| {
            sum(&json!({"from": "q", "redriven": redriven, "known": known, "fresh": fresh}))
        };
        assert_eq!(
            import(1, 0, 0),
            "1 message taken from q: 1 was a dead letter here and is back on its route, 0 were known, 0 are fresh events"
        );
        assert_eq!(
            import(2, 1, 1),
            "4 messages taken from q: 2 were dead letters here and are back on their routes, 1 was known, 1 is a fresh event"
        );
    }

    #[test]
    fn an_import_that_took_nothing_says_why_and_not_what_it_took() {
        let mut import = json!({"from": "q", "status": "failed", "error": "there is no such queue", "redriven": 0, "known": 0, "fresh": 0});
        let told = tell(&import, false).unwrap_err().to_string();
        assert_eq!(told, "nothing was imported: there is no such queue");
        import["fresh"] = json!(1);
        let told = tell(&import, false).unwrap_err().to_string();
        assert!(told.contains("the rest is in the queue still"), "{told}");
    }
}
