//! The schema and its versions.
//!
//! The version stands in `PRAGMA user_version`. An older file is copied aside before it is migrated;
//! a newer one is refused, because what this version does not know it could destroy.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, backup::Backup};

use crate::connection::make_private;
use crate::error::OpenError;
use crate::row::int;

/// Each step takes the schema from its position to the next version.
const STEPS: &[&str] = &[
    include_str!("001.sql"),
    include_str!("002.sql"),
    include_str!("003.sql"),
    include_str!("004.sql"),
    include_str!("005.sql"),
    include_str!("006.sql"),
    include_str!("007.sql"),
];

/// The version that this code reads and writes.
#[expect(
    clippy::cast_possible_truncation,
    reason = "there will never be four billion versions"
)]
pub const VERSION: u32 = STEPS.len() as u32;

/// Marks the file as ours (`PRAGMA application_id`): "FBay".
const APPLICATION: i32 = 0x4642_6179;

/// Brings the file to [`VERSION`].
///
/// # Errors
/// [`OpenError::Newer`], [`OpenError::Foreign`], or what SQLite reports; the file is then as it was.
pub(crate) fn migrate(connection: &mut Connection, path: &Path) -> Result<(), OpenError> {
    migrate_by(STEPS, connection, path)
}

fn migrate_by(steps: &[&str], connection: &mut Connection, path: &Path) -> Result<(), OpenError> {
    let known = u32::try_from(steps.len()).unwrap_or(u32::MAX);
    let found = check(connection, path, known)?;
    if found == known {
        return Ok(());
    }
    if found > 0 {
        snapshot(connection, path, found)?;
    }
    apply(connection, steps, found).map_err(|source| OpenError::sqlite(path, source))
}

/// The version of the file, 0 of an empty one, if it is ours and not above `known`. Only reads.
///
/// # Errors
/// [`OpenError::Newer`], [`OpenError::Foreign`], or what SQLite reports.
pub(crate) fn check(connection: &Connection, path: &Path, known: u32) -> Result<u32, OpenError> {
    let failed = |source| OpenError::sqlite(path, source);
    let found = version(connection).map_err(failed)?;
    let path = || path.to_owned();
    if !is_ours(connection).map_err(failed)? {
        return Err(OpenError::Foreign { path: path() });
    }
    if found > known {
        return Err(OpenError::Newer {
            path: path(),
            found,
        });
    }
    Ok(found)
}

fn version(connection: &Connection) -> rusqlite::Result<u32> {
    connection.query_row("PRAGMA user_version", [], |row| row.get(0))
}

/// Whether the file is a state store, or empty and may become one.
fn is_ours(connection: &Connection) -> rusqlite::Result<bool> {
    let id: i32 = connection.query_row("PRAGMA application_id", [], |row| row.get(0))?;
    let empty = "SELECT count(*) = 0 FROM sqlite_master";
    Ok(id == APPLICATION || connection.query_row(empty, [], |row| row.get(0))?)
}

/// The steps after version `found`, all or none.
fn apply(connection: &mut Connection, steps: &[&str], found: u32) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    for step in &steps[found as usize..] {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION)?;
    transaction.pragma_update(None, "user_version", int(steps.len() as u64))?;
    transaction.commit()
}

/// Copies the file aside as `state.db.v{N}.bak`, synced, for the owner alone.
fn snapshot(connection: &Connection, path: &Path, version: u32) -> Result<(), OpenError> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".v{version}.bak"));
    let target = PathBuf::from(name);
    make_private(&target).map_err(|error| OpenError::io(&target, error))?;
    let copy = || {
        let mut copy = Connection::open(&target)?;
        copy.pragma_update(None, "synchronous", "FULL")?;
        Backup::new(connection, &mut copy)?.run_to_completion(
            1000,
            std::time::Duration::ZERO,
            None,
        )?;
        copy.close().map_err(|(_, error)| error)
    };
    copy().map_err(|source| OpenError::sqlite(&target, source))
}

#[cfg(test)]
mod tests;
