//! `forebay dlq`

mod edit;
mod export;
mod history;
mod import;
mod list;
mod progress;
mod purge;
mod redrive;
mod select;
mod show;

use serde_json::Value;

use super::client::Client;
use super::output;
use crate::exit::Outcome;

/// The most letters that one request gives.
const PAGE: usize = 1000;

/// Look at dead letters, put them back on their routes, edit, discard, export or import them
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
    Redrive(redrive::Args),
    Purge(purge::Args),
    Export(export::Args),
    Import(import::Args),
    History(history::Args),
}

/// Runs it.
pub fn run(args: &Args) -> Outcome {
    match &args.verb {
        Verb::List(args) => list::run(args),
        Verb::Show(args) => show::run(args),
        Verb::Redrive(args) => redrive::run(args),
        Verb::Purge(args) => purge::run(args),
        Verb::Export(args) => export::run(args),
        Verb::Import(args) => import::run(args),
        Verb::History(args) => history::run(args),
    }
}

/// The next page of letters. `cursor` is where the page before ended, and then where this one does; `None`
/// then: there is no more.
async fn page(
    client: &Client,
    query: &[(&str, String)],
    limit: usize,
    cursor: &mut Option<String>,
) -> Outcome<Vec<Value>> {
    let mut query = query.to_vec();
    query.push(("limit", limit.min(PAGE).to_string()));
    query.extend(cursor.take().map(|cursor| ("cursor", cursor)));
    let mut page = client.get("/api/v1/dlq", &query).await?;
    *cursor = page["next_cursor"].as_str().map(Into::into);
    match page["letters"].take() {
        Value::Array(letters) => Ok(letters),
        _ => Ok(Vec::new()),
    }
}

/// The route of a letter; nobody would deliver those of a retired one.
fn route(letter: &Value) -> String {
    let route = output::text(letter, "route");
    match letter["retired"] == true {
        true => format!("{route} (retired)"),
        false => route,
    }
}

/// `1 message`, `2 messages`.
fn messages(count: u64) -> String {
    match count {
        1 => "1 message".into(),
        more => format!("{more} messages"),
    }
}

/// `1 dead letter`, `2 dead letters`.
fn letters(count: u64) -> String {
    match count {
        1 => "1 dead letter".into(),
        more => format!("{more} dead letters"),
    }
}
