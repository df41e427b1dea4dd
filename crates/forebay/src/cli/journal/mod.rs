//! `forebay journal`

mod inspect;
mod verify;

use std::path::PathBuf;

use super::serve::ConfigArgs;
use crate::exit::{Exit, Failure, Outcome};

/// Look at the journal's files, without changing them
#[derive(Debug, clap::Args)]
#[command(arg_required_else_help = true)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    Inspect(inspect::Args),
    Verify(verify::Args),
}

/// Runs it.
pub fn run(args: &Args) -> Outcome {
    match &args.verb {
        Verb::Inspect(args) => inspect::run(args),
        Verb::Verify(args) => verify::run(args),
    }
}

/// The journal's directory, which must be there.
fn directory(config: &ConfigArgs) -> Outcome<PathBuf> {
    let directory = config.load()?.server.data_dir.join("journal");
    if directory.is_dir() {
        return Ok(directory);
    }
    let error = format!(
        "there is no journal in {}: name the data directory with --data-dir",
        directory.display()
    );
    Err(Failure::say(Exit::Usage, error))
}
