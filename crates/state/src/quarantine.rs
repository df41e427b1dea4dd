//! The quarantine: requests that were not verified, apart from everything that is an event.

use std::collections::BTreeMap;

use async_trait::async_trait;
use bytes::Bytes;
use domain::ports::{
    Quarantine, QuarantineCount, QuarantineEntry, QuarantineQuery, Quarantined, StateError,
};
use domain::{EventId, SourceName};
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::connection::CallError;
use crate::row::{encode, int, time, uint};
use crate::store::SqliteState;

#[async_trait]
impl Quarantine for SqliteState {
    async fn put(&self, request: Quarantined) -> Result<(), StateError> {
        self.room.check().map_err(StateError::Full)?;
        self.changes(move |connection| put(connection, &request))
            .await
    }

    async fn page(&self, query: &QuarantineQuery) -> Result<Vec<QuarantineEntry>, StateError> {
        let query = query.clone();
        self.looks(move |connection| page(connection, &query)).await
    }

    async fn get(&self, id: EventId) -> Result<Option<Quarantined>, StateError> {
        self.looks(move |connection| get(connection, id)).await
    }

    async fn remove(&self, ids: &[EventId]) -> Result<Vec<QuarantineCount>, StateError> {
        let ids = ids.to_vec();
        self.changes(move |connection| remove(connection, &ids))
            .await
    }

    async fn set_reasons(&self, reasons: Vec<(EventId, String)>) -> Result<(), StateError> {
        self.changes(move |connection| set_reasons(connection, &reasons))
            .await
    }

    async fn counts(&self) -> Result<Vec<QuarantineCount>, StateError> {
        self.looks(counts).await
    }
}

fn put(connection: &Connection, request: &Quarantined) -> Result<(), CallError> {
    let mut insert = connection.prepare_cached(
        "INSERT INTO quarantine (id, source, received_at, reason, event) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?;
    insert.execute(params![
        request.id.as_bytes(),
        request.event.source.as_str(),
        request.event.received_at.as_microsecond(),
        request.reason,
        &encode(&request.event)[..],
    ])?;
    Ok(())
}

fn page(
    connection: &Connection,
    query: &QuarantineQuery,
) -> Result<Vec<QuarantineEntry>, CallError> {
    // One statement each: the index that has the source has the numbers in order as well.
    let of = match query.source {
        Some(_) => "source = ?1 AND",
        None => "?1 IS NULL AND",
    };
    let order = if query.oldest_first { "ASC" } else { "DESC" };
    let mut statement = connection.prepare_cached(&format!(
        "SELECT number, id, source, received_at, reason, length(event) FROM quarantine
         WHERE {of} number > ?2 AND number < ?3 ORDER BY number {order} LIMIT ?4"
    ))?;
    let mut rows = statement.query(params![
        query.source.as_ref().map(SourceName::as_str),
        query.above.map_or(-1, int),
        query.below.map_or(i64::MAX, int),
        int(query.limit as u64),
    ])?;
    let mut entries = Vec::new();
    while let Some(row) = rows.next()? {
        entries.push(QuarantineEntry {
            number: uint(row, 0)?,
            id: EventId::from_bytes(row.get(1)?),
            source: source(row, 2)?,
            received_at: time(row, 3)?,
            reason: row.get(4)?,
            bytes: uint(row, 5)?,
        });
    }
    Ok(entries)
}

fn get(connection: &Connection, id: EventId) -> Result<Option<Quarantined>, CallError> {
    let mut statement =
        connection.prepare_cached("SELECT reason, event FROM quarantine WHERE id = ?1")?;
    let found = statement
        .query_row([id.as_bytes()], |row| {
            Ok((row.get(0)?, row.get::<_, Vec<u8>>(1)?))
        })
        .optional()?;
    let Some((reason, bytes)) = found else {
        return Ok(None);
    };
    let event = domain::event::decode(Bytes::from(bytes))
        .map_err(|error| StateError::Failed(error.to_string()))?;
    Ok(Some(Quarantined { id, reason, event }))
}

fn remove(connection: &mut Connection, ids: &[EventId]) -> Result<Vec<QuarantineCount>, CallError> {
    let transaction = connection.transaction()?;
    let mut removed: BTreeMap<SourceName, (u64, u64)> = BTreeMap::new();
    {
        let mut delete = transaction.prepare_cached(
            "DELETE FROM quarantine WHERE id = ?1 RETURNING source, length(event)",
        )?;
        for id in ids {
            let mut rows = delete.query([id.as_bytes()])?;
            while let Some(row) = rows.next()? {
                let (requests, bytes) = removed.entry(source(row, 0)?).or_default();
                *requests += 1;
                *bytes += uint(row, 1)?;
            }
        }
    }
    transaction.commit()?;
    let of = |(source, (requests, bytes))| QuarantineCount {
        source,
        requests,
        bytes,
    };
    Ok(removed.into_iter().map(of).collect())
}

fn set_reasons(
    connection: &mut Connection,
    reasons: &[(EventId, String)],
) -> Result<(), CallError> {
    let transaction = connection.transaction()?;
    {
        let mut update =
            transaction.prepare_cached("UPDATE quarantine SET reason = ?2 WHERE id = ?1")?;
        for (id, reason) in reasons {
            update.execute(params![id.as_bytes(), reason])?;
        }
    }
    transaction.commit()?;
    Ok(())
}

fn counts(connection: &Connection) -> Result<Vec<QuarantineCount>, CallError> {
    let mut statement = connection.prepare_cached(
        "SELECT source, count(*), sum(length(event)) FROM quarantine GROUP BY source",
    )?;
    let mut rows = statement.query([])?;
    let mut counts = Vec::new();
    while let Some(row) = rows.next()? {
        counts.push(QuarantineCount {
            source: source(row, 0)?,
            requests: uint(row, 1)?,
            bytes: uint(row, 2)?,
        });
    }
    Ok(counts)
}

fn source(row: &Row<'_>, at: usize) -> Result<SourceName, CallError> {
    let name: String = row.get(at)?;
    SourceName::new(&name).map_err(|_| {
        let what = "state holds a request in quarantine of an impossible name of a source";
        StateError::Failed(what.into()).into()
    })
}
