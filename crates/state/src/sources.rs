//! The sources there ever were, so that one that left the configuration is not taken for a typing error.

use domain::SourceName;
use domain::ports::{KnownSource, StateError};
use rusqlite::{Connection, params};

use crate::connection::CallError;

/// All of them, by name.
pub(crate) fn list(connection: &Connection) -> Result<Vec<KnownSource>, CallError> {
    let mut statement =
        connection.prepare_cached("SELECT name, paths FROM sources ORDER BY name")?;
    let rows = statement.query_map([], |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))
    })?;
    let mut known = Vec::new();
    for row in rows {
        let (name, paths) = row?;
        let unreadable =
            || StateError::Failed(format!("state holds an unreadable source {name:?}"));
        known.push(KnownSource {
            paths: serde_json::from_str(&paths).map_err(|_| unreadable())?,
            name: SourceName::new(&name).map_err(|_| unreadable())?,
        });
    }
    Ok(known)
}

/// Notes them, with their present paths.
pub(crate) fn remember(
    connection: &mut Connection,
    known: &[KnownSource],
) -> Result<(), CallError> {
    let transaction = connection.transaction()?;
    for source in known {
        transaction.execute(
            "INSERT INTO sources (name, paths) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET paths = excluded.paths",
            params![source.name.as_str(), serde_json::json!(source.paths).to_string()],
        )?;
    }
    transaction.commit()?;
    Ok(())
}

/// Forgets one; `false` if it was not there.
pub(crate) fn forget(connection: &Connection, name: &SourceName) -> Result<bool, CallError> {
    Ok(connection.execute("DELETE FROM sources WHERE name = ?1", [name.as_str()])? > 0)
}
