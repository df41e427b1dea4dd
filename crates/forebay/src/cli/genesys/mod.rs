//! `forebay genesys`

mod account;
mod backfill;
mod check;
mod gaps;
mod open_messaging;
mod token;
mod topics;

use crate::exit::Outcome;

/// Genesys Cloud: whether an OAuth client can do what Forebay needs, what may have been missed, and Open Messaging
#[derive(Debug, clap::Args)]
#[command(arg_required_else_help = true)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    Check(check::Args),
    Token(token::Args),
    Topics(topics::Args),
    Gaps(gaps::Args),
    Backfill(backfill::Args),
    OpenMessaging(open_messaging::Args),
}

/// Runs it.
pub fn run(args: &Args) -> Outcome {
    match &args.verb {
        Verb::Check(args) => check::run(args),
        Verb::Token(args) => token::run(args),
        Verb::Topics(args) => topics::run(args),
        Verb::Gaps(args) => gaps::run(args),
        Verb::Backfill(args) => backfill::run(args),
        Verb::OpenMessaging(args) => open_messaging::run(args),
    }
}
