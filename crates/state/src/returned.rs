//! What was a dead letter, came back and was delivered: a copy outside may come in again at any time.

use domain::{EventId, RouteName, Seq};
use rusqlite::{Connection, Transaction, params};

use crate::connection::CallError;
use crate::row::int;

/// So many are remembered, the newest.
const KEPT: i64 = 1_000_000;

/// Takes note of a parked event that is about to go because it was delivered, if it was a dead letter before.
pub(crate) fn note(transaction: &Transaction<'_>, route: i64, seq: Seq) -> rusqlite::Result<()> {
    let mut note = transaction.prepare_cached(
        "INSERT INTO returned (event_id, route) SELECT event_id, route FROM parked
         WHERE route = ?1 AND seq = ?2 AND redrives > 0
         ON CONFLICT (event_id, route) DO NOTHING",
    )?;
    if note.execute(params![route, int(seq.0)])? == 0 {
        return Ok(());
    }
    let mut forget = transaction.prepare_cached("DELETE FROM returned WHERE number <= ?1")?;
    forget.execute([transaction.last_insert_rowid() - KEPT])?;
    Ok(())
}

/// Whether the event was a dead letter of the route, came back and was delivered.
pub(crate) fn has(
    connection: &Connection,
    id: EventId,
    route: &RouteName,
) -> Result<bool, CallError> {
    let mut statement = connection.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM returned JOIN routes ON routes.id = returned.route
                        WHERE event_id = ?1 AND name = ?2 AND retired_at IS NULL)",
    )?;
    Ok(statement.query_row(params![id.as_bytes(), route.as_str()], |row| row.get(0))?)
}
