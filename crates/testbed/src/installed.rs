//! What `dev/setup` installs beside the project: Python's and JavaScript's packages.

use std::path::{Path, PathBuf};

use crate::error::Doing;
use crate::{Error, Result};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.dev")
}

fn there(path: PathBuf, name: &str) -> Result<PathBuf> {
    if path.exists() {
        return Ok(path);
    }
    let missing = format!("there is no .dev/{name}: install it with dev/setup");
    Err(Error::Misuse(missing))
}

/// A program of the virtual environment. Not resolved: where it lies says which environment it is.
pub(crate) fn python(program: &str) -> Result<PathBuf> {
    let name = format!("python/bin/{program}");
    there(root().join(&name), &name)
}

/// The directory whose `node_modules` has JavaScript's packages.
pub(crate) fn node() -> Result<PathBuf> {
    let modules = there(root().join("node/node_modules"), "node/node_modules")?;
    modules
        .join("..")
        .canonicalize()
        .doing(|| "find JavaScript's packages")
}
