//! `forebay quarantine`

mod list;
mod purge;
mod release;
mod show;

use domain::{EventId, SourceName};
use serde_json::{Value, json};

use super::parse::request_id;
use crate::exit::{Exit, Failure, Outcome};

const QUARANTINE: &str = "/api/v1/quarantine";

/// The most ids of one request, and the most entries.
const PAGE: usize = 1000;

/// Look at requests that could not be verified, verify them again, or discard them
///
/// There are some only of sources with on_invalid = "quarantine".
#[derive(Debug, clap::Args)]
#[command(arg_required_else_help = true)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    List(list::Args),
    Show(show::Args),
    Release(release::Args),
    Purge(purge::Args),
}

/// Runs it.
pub fn run(args: &Args) -> Outcome {
    match &args.verb {
        Verb::List(args) => list::run(args),
        Verb::Show(args) => show::run(args),
        Verb::Release(args) => release::run(args),
        Verb::Purge(args) => purge::run(args),
    }
}

/// Which requests a command is about. Saying nothing is not all of them.
#[derive(Debug, clap::Args)]
struct SelectArgs {
    /// These requests, by the ids that `quarantine list` shows
    #[arg(value_name = "ID", value_parser = request_id)]
    ids: Vec<EventId>,
    /// All of this source
    #[arg(long, value_name = "NAME", conflicts_with = "ids")]
    source: Option<SourceName>,
}

impl SelectArgs {
    /// What a request says of it.
    ///
    /// # Errors
    /// Exit code 2 when nothing is selected, or too much.
    fn request(&self, verb: &str) -> Outcome<Value> {
        if self.ids.len() > PAGE {
            let error = format!("at most {PAGE} ids at once; --source takes any number");
            return Err(Failure::say(Exit::Usage, error));
        }
        match &self.source {
            Some(source) => Ok(json!({ "source": source })),
            None if self.ids.is_empty() => {
                let error =
                    format!("say which requests to {verb}: ids, or --source; nothing was done");
                Err(Failure::say(Exit::Usage, error))
            }
            None => Ok(json!({ "ids": self.ids })),
        }
    }

    /// That what was named is there.
    ///
    /// # Errors
    /// Exit code 1 when so many of the ids are not in quarantine, whatever was done to the others.
    fn none_is_unknown(&self, unknown: u64) -> Outcome {
        let error = match (unknown, &*self.ids) {
            (0, _) => return Ok(()),
            (_, [id]) => format!(
                "there is no request {id} in quarantine: it never was, or it was released or purged"
            ),
            (unknown, _) => format!(
                "{unknown} of these ids name nothing in quarantine: it never was, or it was released or purged"
            ),
        };
        Err(Failure::say(Exit::Failed, error))
    }
}

/// `1 request`, `2 requests`.
fn requests(count: u64) -> String {
    match count {
        1 => "1 request".into(),
        more => format!("{more} requests"),
    }
}
