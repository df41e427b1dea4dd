//! Single letters put back: as they are, or with another body, when what they were before is kept.

use bytes::Bytes;
use domain::ports::{Edit, Edited, Letter};
use domain::{Event, EventId, RouteName, Timestamp};
use rusqlite::{Connection, OptionalExtension, params};

use crate::connection::CallError;
use crate::dead;
use crate::redrives;
use crate::row::{encode, int, time, uint};

/// Edits one letter and parks it, in one transaction.
pub(crate) fn redrive_edited(
    connection: &mut Connection,
    edit: &Edit,
) -> Result<Option<RouteName>, CallError> {
    let transaction = connection.transaction()?;
    let Some((letter, route)) = living(&transaction, edit.id, edit.route.as_ref())? else {
        return Ok(None);
    };
    let Some(dead) = dead::load(&transaction, letter)? else {
        return Ok(None);
    };
    transaction
        .prepare_cached(
            "INSERT INTO edits (event_id, route, at, done_by, note, body_before, bytes_after)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute(params![
            edit.id.as_bytes(),
            route,
            edit.at.as_microsecond(),
            edit.by,
            edit.note,
            &dead.stored.event.body[..],
            int(edit.body.len() as u64),
        ])?;
    let event = Event {
        body: edit.body.clone(),
        ..(*dead.stored.event).clone()
    };
    transaction
        .prepare_cached("UPDATE dead SET event = ?2 WHERE letter = ?1")?
        .execute(params![int(letter.0), &encode(&event)[..]])?;
    let (route, _) = redrives::put_back(&transaction, letter, edit.at)?;
    transaction.commit()?;
    Ok(Some(route))
}

/// Puts one letter back.
pub(crate) fn redrive_one(
    connection: &mut Connection,
    id: EventId,
    route: &RouteName,
    now: Timestamp,
) -> Result<bool, CallError> {
    let transaction = connection.transaction()?;
    let Some((letter, _)) = living(&transaction, id, Some(route))? else {
        return Ok(false);
    };
    redrives::put_back(&transaction, letter, now)?;
    transaction.commit()?;
    Ok(true)
}

/// The event's newest letter that is not of a retired route, with the route's key.
fn living(
    connection: &Connection,
    id: EventId,
    route: Option<&RouteName>,
) -> rusqlite::Result<Option<(Letter, i64)>> {
    connection
        .prepare_cached(
            "SELECT letter, route FROM dead INDEXED BY dead_event JOIN routes ON routes.id = dead.route
             WHERE event_id = ?1 AND retired_at IS NULL AND (?2 IS NULL OR name = ?2)
             ORDER BY letter DESC LIMIT 1",
        )?
        .query_row(
            params![id.as_bytes(), route.map(RouteName::as_str)],
            |row| Ok((Letter(uint(row, 0)?), row.get(1)?)),
        )
        .optional()
}

/// What was done to an event's letters, oldest first.
pub(crate) fn history(connection: &Connection, id: EventId) -> Result<Vec<Edited>, CallError> {
    let mut statement = connection.prepare_cached(
        "SELECT number, name, at, done_by, note, body_before, bytes_after
         FROM edits JOIN routes ON routes.id = edits.route WHERE event_id = ?1 ORDER BY number",
    )?;
    let mut rows = statement.query([id.as_bytes()])?;
    let mut history = Vec::new();
    while let Some(row) = rows.next()? {
        history.push(Edited {
            number: uint(row, 0)?,
            route: dead::route_name(row, 1)?,
            at: time(row, 2)?,
            by: row.get(3)?,
            note: row.get(4)?,
            before: Bytes::from(row.get::<_, Vec<u8>>(5)?),
            bytes_after: uint(row, 6)?,
        });
    }
    Ok(history)
}
