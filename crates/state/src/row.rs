//! Between SQLite's values and the domain's words.

use bytes::{Bytes, BytesMut};
use domain::ports::StateError;
use domain::{Cause, Event, EventId, OrderKey, RouteName, Seq, StoredEvent, Timestamp};
use rusqlite::{Connection, OptionalExtension, Row};

use crate::connection::CallError;

/// SQLite's integers are signed; sequence numbers and counts stay far below their end.
pub(crate) fn int(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A count or sequence number from its column.
pub(crate) fn uint(row: &Row<'_>, at: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(at)
        .map(|value| u64::try_from(value).unwrap_or(0))
}

pub(crate) fn seq(row: &Row<'_>, at: usize) -> rusqlite::Result<Seq> {
    uint(row, at).map(Seq)
}

pub(crate) fn time(row: &Row<'_>, at: usize) -> rusqlite::Result<Timestamp> {
    row.get::<_, i64>(at)
        .map(|micros| Timestamp::from_microsecond(micros).unwrap_or(Timestamp::UNIX_EPOCH))
}

/// The three columns of a cause, from `at`.
pub(crate) fn cause(row: &Row<'_>, at: usize) -> rusqlite::Result<Cause> {
    Ok(Cause {
        code: row.get(at)?,
        detail: row.get(at + 1)?,
        fingerprint: row.get(at + 2)?,
        blanket: false,
        aside: false,
    })
}

/// What a parked event is ordered by.
pub(crate) fn order_key(row: &Row<'_>, at: usize) -> rusqlite::Result<Option<OrderKey>> {
    Ok(row.get::<_, Option<[u8; 16]>>(at)?.map(OrderKey))
}

/// The stored form of an event.
pub(crate) fn encode(event: &Event) -> BytesMut {
    let mut bytes = BytesMut::with_capacity(domain::event::encoded_len(event));
    domain::event::encode(event, &mut bytes);
    bytes
}

/// An event from its columns: seq, id, bytes, from `at`.
pub(crate) fn stored(row: &Row<'_>, at: usize) -> Result<StoredEvent, CallError> {
    let id: [u8; 16] = row.get(at + 1)?;
    let bytes: Vec<u8> = row.get(at + 2)?;
    let event = domain::event::decode(Bytes::from(bytes))
        .map_err(|error| StateError::Failed(error.to_string()))?;
    Ok(StoredEvent {
        seq: seq(row, at)?,
        id: EventId::from_bytes(id),
        event: event.into(),
    })
}

/// The key of a route's present incarnation.
pub(crate) fn route_key(connection: &Connection, name: &RouteName) -> Result<i64, CallError> {
    let mut statement = connection
        .prepare_cached("SELECT id FROM routes WHERE name = ?1 AND retired_at IS NULL")?;
    let found = statement
        .query_row([name.as_str()], |row| row.get(0))
        .optional()?;
    found.ok_or_else(|| StateError::UnknownRoute(name.clone()).into())
}
