//! `forebay completions`

use std::io;

use crate::exit::Outcome;

/// Print completions for a shell
///
/// For bash: forebay completions bash > /etc/bash_completion.d/forebay
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The shell
    shell: clap_complete::Shell,
}

/// Runs it.
pub fn run(args: &Args, command: &mut clap::Command) -> Outcome {
    clap_complete::generate(args.shell, command, "forebay", &mut io::stdout());
    Ok(())
}
