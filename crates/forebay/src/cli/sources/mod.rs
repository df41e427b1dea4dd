//! `forebay sources`

mod forget;
mod list;
mod schemes;

use crate::exit::Outcome;

/// Look at the sources and at the schemes that verify their senders, and forget those that the configuration no longer has
#[derive(Debug, clap::Args)]
#[command(arg_required_else_help = true)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    List(list::Args),
    Schemes(schemes::Args),
    Forget(forget::Args),
}

/// Runs it.
pub fn run(args: &Args) -> Outcome {
    match &args.verb {
        Verb::List(args) => list::run(args),
        Verb::Schemes(args) => schemes::run(args),
        Verb::Forget(args) => forget::run(args),
    }
}
