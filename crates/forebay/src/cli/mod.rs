//! The command line: `forebay NOUN VERB`, a file each.
//!
//! Data goes to standard output, everything else to standard error. What asks a running server goes
//! through its admin API ([`client`]); what looks at files needs the server stopped, and says so.

mod ask;
mod bench;
mod check;
mod client;
mod completions;
mod dlq;
mod events;
mod genesys;
mod input;
mod journal;
mod output;
mod parse;
mod quarantine;
mod routes;
mod send;
mod serve;
mod sources;
mod status;

use clap::{Parser, Subcommand};

use crate::exit::Outcome;

/// Forebay stands between webhook senders and your database: it answers 2xx only once an event is on
/// disk, and delivers it at the pace the database can take, through outages.
#[derive(Debug, Parser)]
#[command(
    name = "forebay",
    version,
    arg_required_else_help = true,
    max_term_width = 100,
    after_help = "Exit codes: 0 done; 1 failed, or something in the way that may pass; 2 usage or configuration;\n3 cannot reach the server; 4 found damage."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Args),
    Check(check::Args),
    Status(status::Args),
    Send(send::Args),
    Events(events::Args),
    Dlq(dlq::Args),
    Quarantine(quarantine::Args),
    Routes(routes::Args),
    Sources(sources::Args),
    Journal(journal::Args),
    Bench(bench::Args),
    Genesys(genesys::Args),
    Completions(completions::Args),
}

/// Reads the command line and runs what it asks for.
///
/// # Errors
/// What went wrong, with its exit code.
pub fn run() -> Outcome {
    match Cli::parse().command {
        Command::Serve(args) => serve::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Status(args) => status::run(&args),
        Command::Send(args) => send::run(&args),
        Command::Events(args) => events::run(&args),
        Command::Dlq(args) => dlq::run(&args),
        Command::Quarantine(args) => quarantine::run(&args),
        Command::Routes(args) => routes::run(&args),
        Command::Sources(args) => sources::run(&args),
        Command::Journal(args) => journal::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Genesys(args) => genesys::run(&args),
        Command::Completions(args) => completions::run(&args, &mut command()),
    }
}

fn command() -> clap::Command {
    <Cli as clap::CommandFactory>::command()
}

/// A runtime for a command that waits for a few things.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_line_is_consistent() {
        super::command().debug_assert();
    }
}
