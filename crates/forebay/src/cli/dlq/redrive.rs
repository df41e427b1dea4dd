//! `forebay dlq redrive`

use std::time::Duration;

use domain::ports::Selection;
use serde_json::{Value, json};

use super::edit::EditArgs;
use super::select::{SelectArgs, must_be_a_group, request};
use super::{letters, progress};
use crate::cli::client::{AdminArgs, Client};
use crate::cli::output;
use crate::cli::parse::at_least_one;
use crate::exit::{Exit, Failure, Outcome};

const REDRIVES: &str = "/api/v1/redrives";

/// How often it looks.
const LOOK: Duration = Duration::from_millis(200);

/// Redrives that --status lists.
const LISTED: &str = "50";

/// Put dead letters back on their routes, for a new attempt at once
///
/// Ids, filters or --all say which; letters of retired routes stay where they are. The server goes on with it
/// by itself, also over a restart. What is buried after it began, its own failures too, is not its business.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "forebay dlq redrive [OPTIONS] <ID>...\n       forebay dlq redrive [OPTIONS] <--route NAME|--reason REASON|--group FINGERPRINT|--after TIME|--before TIME>...\n       forebay dlq redrive [OPTIONS] --all\n       forebay dlq redrive [OPTIONS] <ID> --body FILE [--note TEXT] [--by NAME]\n       forebay dlq redrive --status [JOB]\n       forebay dlq redrive --cancel JOB"
)]
pub struct Args {
    #[command(flatten)]
    admin: AdminArgs,
    #[command(flatten)]
    select: SelectArgs,
    #[command(flatten)]
    edit: EditArgs,
    /// At most so many a second [default: as fast as the routes take them]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    rate: Option<u32>,
    /// Only say how many it would be
    #[arg(long)]
    dry_run: bool,
    /// Begin it and do not wait for its end
    #[arg(long)]
    no_wait: bool,
    /// Show how far a redrive is, or list the last ones
    #[arg(long, value_name = "JOB", num_args = 0..=1, conflicts_with_all = ["ids", "route", "reason", "after", "before", "group", "all", "rate", "dry_run", "no_wait", "cancel"])]
    status: Option<Option<u64>>,
    /// End a redrive; what it has put back stays so
    #[arg(long, value_name = "JOB", conflicts_with_all = ["ids", "route", "reason", "after", "before", "group", "all", "rate", "dry_run", "no_wait"])]
    cancel: Option<u64>,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub fn run(args: &Args) -> Outcome {
    let client = args.admin.client()?;
    let runtime = crate::cli::runtime()?;
    if let Some(job) = args.status {
        let jobs = runtime.block_on(looks(&client, job))?;
        return show(&jobs, args.json);
    }
    if let Some(job) = args.cancel {
        return runtime.block_on(cancel(&client, job, args.json));
    }
    if args.edit.is_meant() {
        let (ids, route) = args.select.one();
        return runtime.block_on(args.edit.run(&client, ids, route, args.json));
    }
    let selection = args.select.selection("redrive")?;
    let more = [
        ("rate_per_second", json!(args.rate)),
        ("dry_run", true.into()),
    ];
    let mut request = request(&selection, more)?;
    // Asked first: a redrive of nothing is none, and should not stand among the jobs.
    let count = runtime.block_on(client.post_json(REDRIVES, &request))?;
    let none = count["matched"] == 0;
    if none {
        runtime.block_on(must_be_a_group(&client, &selection))?;
    }
    if args.dry_run {
        return counted(&count, args.json);
    }
    if none {
        return nothing(&selection, args.json);
    }
    request["dry_run"] = false.into();
    let begun = runtime.block_on(client.post_json(REDRIVES, &request))?;
    if args.no_wait {
        return tell(&begun, args.json);
    }
    let ended = runtime.block_on(async {
        tokio::select! {
            ended = wait(&client, &begun) => ended.map_err(|failure| lost(&failure, &begun)),
            _ = tokio::signal::ctrl_c() => Err(left(&begun)),
        }
    })?;
    tell(&ended, args.json)?;
    if ended["status"] != "done" {
        let error = format!("redrive {} was cancelled", ended["id"]);
        return Err(Failure::say(Exit::Failed, error));
    }
    Ok(())
}

async fn looks(client: &Client, job: Option<u64>) -> Outcome<Vec<Value>> {
    if let Some(job) = job {
        return Ok(vec![client.get(&format!("{REDRIVES}/{job}"), &[]).await?]);
    }
    let mut list = client.get(REDRIVES, &[("limit", LISTED.into())]).await?;
    match list["redrives"].take() {
        Value::Array(jobs) => Ok(jobs),
        _ => Ok(Vec::new()),
    }
}

/// Until it has ended.
async fn wait(client: &Client, begun: &Value) -> Outcome<Value> {
    let bar = progress::bar(begun["matched"].as_u64().unwrap_or_default());
    let path = format!("{REDRIVES}/{}", begun["id"]);
    loop {
        let job = client.get(&path, &[]).await?;
        bar.set_position(job["moved"].as_u64().unwrap_or_default());
        if job["status"] != "running" {
            bar.finish_and_clear();
            return Ok(job);
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn left(begun: &Value) -> Failure {
    let id = &begun["id"];
    let error = format!(
        "no longer waiting; redrive {id} goes on in the server: `forebay dlq redrive --status {id}` shows how far it is, `--cancel {id}` ends it"
    );
    Failure::say(Exit::Failed, error)
}

/// The server went away, or no longer answers. The job is on its disk.
fn lost(failure: &Failure, begun: &Value) -> Failure {
    let id = &begun["id"];
    let error = format!(
        "{failure}. Redrive {id} is not lost: the server goes on with it, after a restart too; `forebay dlq redrive --status {id}` shows how far it is"
    );
    Failure::say(failure.exit, error)
}

/// Ends a job, if it has not ended.
async fn cancel(client: &Client, job: u64, json: bool) -> Outcome {
    let path = format!("{REDRIVES}/{job}");
    let before = client.get(&path, &[]).await?;
    let ended = client.delete(&path).await?;
    if before["status"] == "running" {
        return tell(&ended, json);
    }
    if json {
        output::json_lines([&ended])?;
    } else {
        let moved = letters(ended["moved"].as_u64().unwrap_or_default());
        output::line(&format!(
            "redrive {job} had ended before ({}, {moved} put back): there was nothing to cancel",
            output::text(&ended, "status")
        ))?;
    }
    Ok(())
}

/// Nothing matched, and no job was made.
fn nothing(selection: &Selection, json: bool) -> Outcome {
    if let Selection::Ids(ids) = selection {
        let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
        let error = format!(
            "nothing was put back: none of these is a dead letter of a running route: {}; `forebay events show ID` says what became of one",
            ids.join(", ")
        );
        return Err(Failure::say(Exit::Usage, error));
    }
    if json {
        let done = json!({ "matched": 0, "moved": 0, "status": "done" });
        return Ok(output::json_lines([&done])?);
    }
    output::line("no dead letter of a running route matches: nothing to put back")?;
    Ok(())
}

fn counted(answer: &Value, json: bool) -> Outcome {
    let matched = answer["matched"].as_u64().unwrap_or_default();
    match json {
        true => output::json_lines([answer])?,
        false => output::line(&format!("{} would be put back", letters(matched)))?,
    }
    Ok(())
}

/// What came of it, and where to look for the rest.
fn tell(job: &Value, json: bool) -> Outcome {
    if json {
        return Ok(output::json_lines([job])?);
    }
    let count = |name: &str| job[name].as_u64().unwrap_or_default();
    let (id, matched, moved) = (&job["id"], count("matched"), letters(count("moved")));
    match job["status"].as_str().unwrap_or_default() {
        "running" => {
            output::line(&format!("redrive {id} has begun with {}", letters(matched)))?;
            eprintln!("`forebay dlq redrive --status {id}` shows how far it is");
        }
        "cancelled" => {
            output::line(&format!(
                "redrive {id} is cancelled; it had put {moved} back"
            ))?;
        }
        _ => {
            output::line(&format!("redrive {id} is done: {moved} put back"))?;
            eprintln!(
                "`forebay status` shows what becomes of them; what dies again is in `forebay dlq list`"
            );
        }
    }
    Ok(())
}

fn show(jobs: &[Value], json: bool) -> Outcome {
    if json {
        return Ok(output::json_lines(jobs)?);
    }
    let rows = jobs.iter().map(|job| {
        vec![
            output::text(job, "id"),
            status(job),
            output::text(job, "matched"),
            output::text(job, "moved"),
            output::text(job, "rate_per_second"),
            output::time(job, "created_at"),
            output::time(job, "finished_at"),
            of_what(job),
        ]
    });
    let header = [
        "job", "status", "matched", "moved", "rate", "begun", "ended", "of",
    ];
    Ok(output::table(&header, rows)?)
}

/// Its status; one that had nothing to do says so.
fn status(job: &Value) -> String {
    let status = output::text(job, "status");
    match job["matched"] == 0 {
        true => format!("{status}, nothing matched"),
        false => status,
    }
}

/// `route orders, reason rejected`; `all`; `3 ids`.
fn of_what(job: &Value) -> String {
    if let Some(ids) = job["ids"].as_array() {
        return match ids.len() {
            1 => "1 id".into(),
            more => format!("{more} ids"),
        };
    }
    let parts = job["filter"].as_object().into_iter().flatten();
    let parts: Vec<_> = parts
        .map(|(name, value)| format!("{name} {}", value.as_str().unwrap_or_default()))
        .collect();
    match parts.is_empty() {
        true => "all".into(),
        false => parts.join(", "),
    }
}
