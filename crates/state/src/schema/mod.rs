//! The schema and its versions.
//!
//! The version stands in `PRAGMA user_version`. An older file is copied aside before it is migrated;
//! a newer one is refused, because what this version does not know it could destroy.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, backup::Backup};

use crate::error::OpenError;
use crate::row::int;

/// Each step takes the schema from its position to the next version.
const STEPS: &[&str] = &[include_str!("001.sql")];

/// The version that this code reads and writes.
#[expect(
    clippy::cast_possible_truncation,
    reason = "there will never be four billion versions"
)]
pub const VERSION: u32 = STEPS.len() as u32;

/// Brings the file to [`VERSION`].
///
/// # Errors
/// [`OpenError::Newer`], or what SQLite reports; the file is then as it was.
pub(crate) fn migrate(connection: &mut Connection, path: &Path) -> Result<(), OpenError> {
    let found = version(connection).map_err(|source| OpenError::sqlite(path, source))?;
    if found > VERSION {
        return Err(OpenError::Newer {
            path: path.to_owned(),
            found,
        });
    }
    if found > 0 && found < VERSION {
        snapshot(connection, path, found)?;
    }
    for (at, step) in STEPS.iter().enumerate().skip(found as usize) {
        apply(connection, step, int(at as u64 + 1))
            .map_err(|source| OpenError::sqlite(path, source))?;
    }
    Ok(())
}

fn version(connection: &Connection) -> rusqlite::Result<u32> {
    connection.query_row("PRAGMA user_version", [], |row| row.get(0))
}

fn apply(connection: &mut Connection, step: &str, version: i64) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    transaction.execute_batch(step)?;
    transaction.pragma_update(None, "user_version", version)?;
    transaction.commit()
}

/// Copies the file aside as `state.db.v{N}.bak`, synced.
fn snapshot(connection: &Connection, path: &Path, version: u32) -> Result<(), OpenError> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".v{version}.bak"));
    let target = PathBuf::from(name);
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
