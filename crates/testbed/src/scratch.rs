//! Directories: one that all test processes of a user share, and one for each server.
//!
//! The shared one holds locks and the PostgreSQL template, survives the tests and may be deleted at any
//! time that no test runs. The others go when their server is dropped.

use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::error::Doing;
use crate::{Error, Result};

/// The folder `name` of the directory that all test processes of this user share; made if needed.
pub(crate) fn shared(name: &str) -> Result<PathBuf> {
    let uid = rustix::process::geteuid().as_raw();
    let root = std::env::temp_dir().join(format!("forebay-testbed-{uid}"));
    std::fs::create_dir_all(&root).doing(|| format!("create {}", root.display()))?;
    // Its name can be guessed and it lies where anyone may write: trust it only when it is ours.
    let owner = root
        .metadata()
        .doing(|| format!("look at {}", root.display()))?
        .uid();
    if owner != uid {
        return Err(Error::Misuse(format!(
            "{} belongs to user {owner}: remove it",
            root.display()
        )));
    }
    let folder = root.join(name);
    std::fs::create_dir_all(&folder).doing(|| format!("create {}", folder.display()))?;
    Ok(folder)
}

/// A new directory for one server, named after `kind`, that any user may pass through.
pub(crate) fn own(kind: &str) -> Result<TempDir> {
    let dir = tempfile::Builder::new()
        .prefix(&format!("forebay-{kind}-"))
        .tempdir()
        .doing(|| format!("create a directory for {kind}"))?;
    set_mode(dir.path(), 0o711)?;
    Ok(dir)
}

/// Sets a file's or directory's permission bits.
pub(crate) fn set_mode(path: &Path, mode: u32) -> Result<()> {
    std::fs::set_permissions(path, Permissions::from_mode(mode))
        .doing(|| format!("set the mode of {}", path.display()))
}

/// The last `limit` bytes of a log file, for error messages. Empty when there is none.
pub(crate) fn tail(path: &Path, limit: usize) -> String {
    let bytes = std::fs::read(path).unwrap_or_default();
    let from = bytes.len().saturating_sub(limit);
    String::from_utf8_lossy(bytes.get(from..).unwrap_or_default()).into_owned()
}
