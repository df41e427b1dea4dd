//! `forebay quarantine release`

use serde_json::{Value, json};

use super::{QUARANTINE, SelectArgs, requests};
use crate::cli::client::{AdminArgs, Client};
use crate::cli::output;
use crate::exit::Outcome;

/// Verify requests again, once the source's secret is mended; those that pass become events
///
/// Ids or --source say which. A signature's time is held against when the request came. What still cannot be verified
/// stays in quarantine.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    admin: AdminArgs,
    #[command(flatten)]
    select: SelectArgs,
    /// Only say what would come of it
    #[arg(long)]
    dry_run: bool,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// The counts of an answer.
const COUNTS: [&str; 5] = [
    "verified",
    "released",
    "repeats",
    "still_invalid",
    "unknown",
];

/// The lists of an answer.
const LISTS: [&str; 2] = ["not_taken", "events"];

/// So many of each list are shown; the rest is counted.
const SHOWN: usize = 20;

/// Runs it.
pub fn run(args: &Args) -> Outcome {
    let client = args.admin.client()?;
    let mut request = args.select.request("release")?;
    request["dry_run"] = json!(args.dry_run);
    let answer = crate::cli::runtime()?.block_on(all(&client, request))?;
    if args.json {
        output::json_lines([&answer])?;
    } else {
        if let Some(source) = args.select.source.as_ref().filter(|_| is_nothing(&answer)) {
            return Ok(output::line(&format!(
                "nothing is in quarantine of source {source}"
            ))?);
        }
        for line in lines(&answer, args.dry_run) {
            output::line(&line)?;
        }
    }
    let unknown = answer["unknown"].as_u64().unwrap_or_default();
    args.select.none_is_unknown(unknown)
}

/// One call after the other, until there are no more of them.
async fn all(client: &Client, mut request: Value) -> Outcome<Value> {
    let path = format!("{QUARANTINE}/release");
    let mut sums = json!({});
    loop {
        let mut answer = client.post_json(&path, &request).await?;
        for name in COUNTS {
            if let Some(count) = answer[name].as_u64() {
                let before = sums[name].as_u64().unwrap_or_default();
                sums[name] = json!(before + count);
            }
        }
        for name in LISTS {
            if let Value::Array(some) = answer[name].take() {
                match &mut sums[name] {
                    Value::Array(list) => list.extend(some),
                    none => *none = Value::Array(some),
                }
            }
        }
        match &answer["next_cursor"] {
            Value::String(cursor) => request["cursor"] = json!(cursor),
            _ => return Ok(sums),
        }
    }
}

/// Whether there was nothing to be released.
fn is_nothing(answer: &Value) -> bool {
    let none = |name: &&str| answer[*name].as_u64().is_none_or(|count| count == 0);
    COUNTS.iter().all(none) && answer["not_taken"].as_array().is_none_or(Vec::is_empty)
}

/// What it came to, then what became of each, as far as that is readable.
fn lines(answer: &Value, dry_run: bool) -> Vec<String> {
    let mut lines = vec![sum(answer, dry_run)];
    let events = answer["events"].as_array().into_iter().flatten();
    let events = events.map(|one| {
        let [id, event] = ["id", "event"].map(|name| output::text(one, name));
        match one["events"].as_u64() {
            Some(more) if more > 1 => format!("{id} is {more} events, the first is {event}"),
            _ => format!("{id} is event {event}"),
        }
    });
    lines.extend(shortened(events.collect()));
    lines
}

fn sum(answer: &Value, dry_run: bool) -> String {
    let count = |name: &str| answer[name].as_u64().unwrap_or_default();
    let mut stays = match count("still_invalid") {
        0 => String::new(),
        1 => "; 1 still cannot be verified and stays".into(),
        more => format!("; {more} still cannot be verified and stay"),
    };
    let not_taken = answer["not_taken"].as_array().into_iter().flatten();
    let not_taken =
        not_taken.map(|one| format!("{} {}", output::text(one, "id"), output::text(one, "code")));
    let not_taken: Vec<String> = not_taken.collect();
    if !not_taken.is_empty() {
        let so_many = match not_taken.len() {
            1 => "1 cannot be taken and stays, not for its proof".to_owned(),
            more => format!("{more} cannot be taken and stay, not for their proof"),
        };
        let which = shortened(not_taken).join(", ");
        stays = format!("{stays}; {so_many}: {which}");
    }
    if dry_run {
        return format!("{} would be released{stays}", requests(count("verified")));
    }
    let repeats = match count("repeats") {
        0 => String::new(),
        known => format!(", {known} of them known already as repeats"),
    };
    format!("{} released{repeats}{stays}", requests(count("released")))
}

/// The first ones, and how many more there are.
fn shortened(mut list: Vec<String>) -> Vec<String> {
    let more = list.len().saturating_sub(SHOWN);
    list.truncate(SHOWN);
    list.extend((more > 0).then(|| format!("and {more} more, which --json shows")));
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_release_came_to_is_said_in_one_line() {
        let line = |released: u64, repeats: u64, still_invalid: u64| {
            let answer =
                json!({ "released": released, "repeats": repeats, "still_invalid": still_invalid });
            sum(&answer, false)
        };
        assert_eq!(line(1, 0, 0), "1 request released");
        assert_eq!(
            line(3, 1, 2),
            "3 requests released, 1 of them known already as repeats; 2 still cannot be verified and stay"
        );
        let looked = json!({ "verified": 2, "still_invalid": 1 });
        assert_eq!(
            sum(&looked, true),
            "2 requests would be released; 1 still cannot be verified and stays"
        );
    }

    #[test]
    fn which_event_a_request_has_become_and_why_others_stay_is_said() {
        let answer = json!({
            "released": 2, "still_invalid": 0, "unknown": 0,
            "not_taken": [{ "id": "a", "code": "bad-item" }, { "id": "b", "code": "not-a-batch" }],
            "events": [{ "id": "c", "event": "e", "events": 1 }, { "id": "d", "event": "f", "events": 3 }],
        });
        assert_eq!(
            lines(&answer, false),
            [
                "2 requests released; 2 cannot be taken and stay, not for their proof: a bad-item, b not-a-batch",
                "c is event e",
                "d is 3 events, the first is f",
            ]
        );
        let many = (0..25).map(|number| number.to_string());
        let shown = shortened(many.collect());
        assert_eq!(
            (shown.len(), &*shown[20]),
            (21, "and 5 more, which --json shows")
        );
    }
}
