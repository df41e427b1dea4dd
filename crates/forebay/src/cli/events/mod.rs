//! `forebay events`

mod list;
mod show;
mod tail;

use serde_json::Value;

pub(in crate::cli) use show::show_request;

use super::output;
use crate::exit::Outcome;

/// Look at events and what became of them
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
    Tail(tail::Args),
}

/// Runs it.
pub fn run(args: &Args) -> Outcome {
    match &args.verb {
        Verb::List(args) => list::run(args),
        Verb::Show(args) => show::run(args),
        Verb::Tail(args) => tail::run(args),
    }
}

const HEADER: [&str; 7] = ["received", "id", "source", "type", "bytes", "path", "state"];

fn row(event: &Value) -> Vec<String> {
    vec![
        output::time(event, "received_at"),
        output::text(event, "id"),
        output::text(event, "source"),
        output::text(event, "event_type"),
        output::text(event, "size"),
        output::text(event, "path"),
        fates(event),
    ]
}

/// `delivered`, or `a: delivered, b: pending` where the routes differ.
fn fates(event: &Value) -> String {
    let routes: Vec<&Value> = event["routes"].as_array().into_iter().flatten().collect();
    let states: Vec<String> = routes
        .iter()
        .map(|route| output::text(route, "state"))
        .collect();
    match states.first() {
        None => "no route".into(),
        Some(first) if states.iter().all(|state| state == first) => first.clone(),
        Some(_) => {
            let each = routes
                .iter()
                .zip(&states)
                .map(|(route, state)| format!("{}: {state}", output::text(route, "route")));
            each.collect::<Vec<_>>().join(", ")
        }
    }
}
