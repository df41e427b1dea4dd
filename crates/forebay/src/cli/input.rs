//! How commands read what they are given.

use std::io::Read as _;
use std::path::Path;

use anyhow::Context as _;

use crate::exit::Outcome;

/// The bytes of a file; of standard input for `-`.
///
/// # Errors
/// What cannot be read, and why.
pub(super) fn bytes(path: &Path) -> Outcome<Vec<u8>> {
    let mut bytes = Vec::new();
    if path == Path::new("-") {
        std::io::stdin()
            .read_to_end(&mut bytes)
            .context("cannot read standard input")?;
        return Ok(bytes);
    }
    Ok(std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?)
}
