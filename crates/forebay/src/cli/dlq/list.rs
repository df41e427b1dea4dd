//! `forebay dlq list`

use domain::ports::Selection;
use serde_json::{Value, json};

use super::select::{FilterArgs, request};
use super::{PAGE, page, route};
use crate::cli::client::{AdminArgs, Client};
use crate::cli::output;
use crate::cli::parse::at_least_one;
use crate::exit::{Exit, Failure, Outcome};

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
    /// Other commands take a fingerprint after `--group`, so that one may stand here as well
    #[arg(hide = true)]
    surplus: Option<String>,
    /// At most so many letters, or causes
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = at_least_one)]
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
    if let Some(surplus) = &args.surplus {
        let error = format!(
            "{surplus:?} is one word too many: --group takes no value here, it lists all groups; --fingerprint TEXT lists the letters of one"
        );
        return Err(Failure::say(Exit::Usage, error));
    }
    let client = args.admin.client()?;
    let grouped = args.group;
    let found = crate::cli::runtime()?.block_on(async {
        match grouped {
            true => causes(&client, args).await,
            false => gather(&client, args).await,
        }
    })?;
    if args.json {
        output::json_lines(&found.values)?;
    } else if grouped {
        output::table(&GROUPS, found.values.iter().map(group))?;
    } else {
        output::table(&LETTERS, found.values.iter().map(letter))?;
    }
    if let Some(rest) = found.rest.filter(|_| !args.json) {
        eprintln!("{rest}");
    }
    Ok(())
}

/// What is listed, and a word of what is not.
struct Found {
    values: Vec<Value>,
    rest: Option<String>,
}

async fn causes(client: &Client, args: &Args) -> Outcome<Found> {
    let mut query = args.filter.query(args.fingerprint.as_ref());
    let limit = (args.limit as usize).min(PAGE);
    // One more than is shown tells whether there are more.
    query.push(("limit", (limit + 1).min(PAGE).to_string()));
    let mut answer = client.get("/api/v1/dlq/groups", &query).await?;
    let mut groups = match answer["groups"].take() {
        Value::Array(groups) => groups,
        _ => Vec::new(),
    };
    let more = groups.len() > limit;
    groups.truncate(limit);
    let rest = format!("only the {limit} largest groups are shown; --limit shows more");
    Ok(Found {
        values: groups,
        rest: more.then_some(rest),
    })
}

async fn gather(client: &Client, args: &Args) -> Outcome<Found> {
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
    let rest = match cursor {
        Some(_) => rest(client, args, letters.len()).await?,
        None => None,
    };
    Ok(Found {
        values: letters,
        rest,
    })
}

/// How many there are beside those shown, if there are any.
async fn rest(client: &Client, args: &Args, shown: usize) -> Outcome<Option<String>> {
    let selection = Selection::Filter(args.filter.filter(args.fingerprint.as_ref()));
    let counting = request(&selection, [("dry_run", json!(true))])?;
    let counted = client.post_json("/api/v1/dlq/purge", &counting).await?;
    let all = counted["matched"].as_u64().unwrap_or_default();
    Ok((all > shown as u64).then(|| format!("{shown} of {all} shown; --limit {all} for all")))
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
        route(group),
        output::text(group, "reason"),
        output::time(group, "last_at"),
        output::text(group, "example_id"),
        output::text(group, "fingerprint"),
    ]
}
