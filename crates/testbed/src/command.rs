//! Programs that are run to their end, and fail with what they printed.

use std::process::Command;

use crate::error::Doing;
use crate::{Error, Result};

/// Runs a command; anything but exit code 0 is an error.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().doing(|| format!("run {name}"))?;
    if output.status.success() {
        return Ok(());
    }
    let mut printed = String::from_utf8_lossy(&output.stdout).into_owned();
    printed.push_str(&String::from_utf8_lossy(&output.stderr));
    Err(Error::Command {
        command: name,
        status: output.status.to_string(),
        output: printed,
    })
}
