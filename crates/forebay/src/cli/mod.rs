//! The command line: `forebay NOUN VERB`, a file each.
//!
//! Data goes to standard output, everything else to standard error. What asks a running server goes
//! through its admin API ([`client`]); what looks at files needs the server stopped, and says so.

mod serve;

use clap::{Parser, Subcommand};

use crate::exit::Outcome;

/// Forebay stands between webhook senders and your database: it answers 2xx only once an event is on
/// disk, and delivers it at the pace the database can take, through outages.
#[derive(Debug, Parser)]
#[command(
    name = "forebay",
    version,
    propagate_version = true,
    arg_required_else_help = true,
    max_term_width = 100
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Args),
}

/// Reads the command line and runs what it asks for.
///
/// # Errors
/// What went wrong, with its exit code.
pub fn run() -> Outcome {
    match Cli::parse().command {
        Command::Serve(args) => serve::run(&args),
    }
}
