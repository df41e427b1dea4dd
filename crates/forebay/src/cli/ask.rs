//! A question before something that cannot be undone. Asked on standard error, answered on standard input.

use std::io::{self, IsTerminal, Write};

use crate::exit::{Exit, Failure, Outcome};

/// Whether there is somebody to ask.
pub fn can_ask() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks. Anything but yes is no.
pub fn agreed(question: &str) -> io::Result<bool> {
    eprint!("{question} [y/N] ");
    io::stderr().flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// Sees to it that somebody can be asked before something is discarded for good.
///
/// # Errors
/// Exit code 2 where there is no terminal, with what says yes without one.
pub fn before_purging() -> Outcome {
    if can_ask() {
        return Ok(());
    }
    let error = "purging cannot be undone, and there is no terminal to ask on: add --yes, or --dry-run to count; nothing was done";
    Err(Failure::say(Exit::Usage, error))
}
