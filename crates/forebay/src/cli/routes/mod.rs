//! `forebay routes`

mod list;
mod pause;
mod rename;
mod retire;

use crate::exit::Outcome;

/// Look at routes, pause and resume them, and end or rename what the configuration no longer has
#[derive(Debug, clap::Args)]
#[command(arg_required_else_help = true)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    List(list::Args),
    /// Stop delivering a route's events; they wait in the journal
    Pause(pause::Args),
    /// Deliver a paused route's events again
    Resume(pause::Args),
    Rename(rename::Args),
    Retire(retire::Args),
}

/// Runs it.
pub fn run(args: &Args) -> Outcome {
    match &args.verb {
        Verb::List(args) => list::run(args),
        Verb::Pause(args) => pause::run(args, "pause"),
        Verb::Resume(args) => pause::run(args, "resume"),
        Verb::Rename(args) => rename::run(args),
        Verb::Retire(args) => retire::run(args),
    }
}
