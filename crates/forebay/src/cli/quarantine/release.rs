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
const COUNTS: [&str; 4] = ["verified", "released", "repeats", "still_invalid"];

/// Runs it.
pub fn run(args: &Args) -> Outcome {
    let client = args.admin.client()?;
    let mut request = args.select.request("release")?;
    request["dry_run"] = json!(args.dry_run);
    let answer = crate::cli::runtime()?.block_on(all(&client, request))?;
    match args.json {
        true => output::json_lines([&answer])?,
        false => output::line(&line(&answer, args.dry_run))?,
    }
    Ok(())
}

/// One call after the other, until there are no more of them.
async fn all(client: &Client, mut request: Value) -> Outcome<Value> {
    let path = format!("{QUARANTINE}/release");
    let mut sums = json!({});
    loop {
        let answer = client.post_json(&path, &request).await?;
        for name in COUNTS {
            if let Some(count) = answer[name].as_u64() {
                let before = sums[name].as_u64().unwrap_or_default();
                sums[name] = json!(before + count);
            }
        }
        match &answer["next_cursor"] {
            Value::String(cursor) => request["cursor"] = json!(cursor),
            _ => return Ok(sums),
        }
    }
}

fn line(answer: &Value, dry_run: bool) -> String {
    let count = |name: &str| answer[name].as_u64().unwrap_or_default();
    let stays = match count("still_invalid") {
        0 => String::new(),
        1 => "; 1 still cannot be verified and stays".into(),
        more => format!("; {more} still cannot be verified and stay"),
    };
    if dry_run {
        return format!("{} would be released{stays}", requests(count("verified")));
    }
    let repeats = match count("repeats") {
        0 => String::new(),
        known => format!(", {known} of them known already as repeats"),
    };
    format!("{} released{repeats}{stays}", requests(count("released")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_release_came_to_is_said_in_one_line() {
        let line = |released: u64, repeats: u64, still_invalid: u64| {
            let answer =
                json!({ "released": released, "repeats": repeats, "still_invalid": still_invalid });
            line(&answer, false)
        };
        assert_eq!(line(1, 0, 0), "1 request released");
        assert_eq!(
            line(3, 1, 2),
            "3 requests released, 1 of them known already as repeats; 2 still cannot be verified and stay"
        );
        let looked = json!({ "verified": 2, "still_invalid": 1 });
        assert_eq!(
            super::line(&looked, true),
            "2 requests would be released; 1 still cannot be verified and stays"
        );
    }
}
