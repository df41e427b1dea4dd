//! Gaps of sources that cannot be asked again, and the backfills that fill them.

use async_trait::async_trait;
use domain::ports::{
    Backfill, BackfillStatus, Gap, GapQuery, Gaps, NewBackfill, NewGap, StateError,
};
use domain::{SourceName, Timestamp};
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::connection::CallError;
use crate::row::{int, time, uint};
use crate::store::SqliteState;

/// Gaps of a source that are over and announced, and backfills that ended: so many of each are kept.
const KEPT: i64 = 10_000;

const GAP: &str = "id, source, begins, ends, topics, why, announced";
const BACKFILL: &str =
    "id, source, begins, ends, gap, status, job, cursor, events, error, created_at, finished_at";

#[async_trait]
impl Gaps for SqliteState {
    async fn attended(&self, source: &SourceName, until: Timestamp) -> Result<(), StateError> {
        let source = source.clone();
        self.changes(move |connection| {
            let mut put = connection.prepare_cached(
                "INSERT INTO attended (source, until) VALUES (?1, ?2)
                 ON CONFLICT (source) DO UPDATE SET until = max(until, excluded.until)",
            )?;
            put.execute(params![source.as_str(), until.as_microsecond()])?;
            Ok(())
        })
        .await
    }

    async fn last_attended(&self, source: &SourceName) -> Result<Option<Timestamp>, StateError> {
        let source = source.clone();
        self.looks(move |connection| {
            let mut get =
                connection.prepare_cached("SELECT until FROM attended WHERE source = ?1")?;
            let found = get.query_row([source.as_str()], |row| time(row, 0));
            Ok(found.optional()?)
        })
        .await
    }

    async fn open_gap(&self, gap: NewGap) -> Result<Gap, StateError> {
        self.changes(move |connection| open(connection, &gap)).await
    }

    async fn close_gap(
        &self,
        id: u64,
        to: Timestamp,
        fill: bool,
    ) -> Result<Option<Gap>, StateError> {
        self.changes(move |connection| close(connection, id, to, fill))
            .await
    }

    async fn announced(&self, ids: &[u64]) -> Result<(), StateError> {
        let ids = ids.to_vec();
        self.changes(move |connection| {
            let transaction = connection.transaction()?;
            for id in ids {
                let mut note =
                    transaction.prepare_cached("UPDATE gaps SET announced = 1 WHERE id = ?1")?;
                note.execute([int(id)])?;
            }
            Ok(transaction.commit()?)
        })
        .await
    }

    async fn gaps(&self, query: &GapQuery) -> Result<Vec<Gap>, StateError> {
        let of = if query.pending { "announced = 0" } else { "1" };
        self.rows(query, format!("SELECT {GAP} FROM gaps WHERE {of}"), gap)
            .await
    }

    async fn begin_backfill(&self, backfill: NewBackfill) -> Result<Backfill, StateError> {
        self.changes(move |connection| begin(connection, &backfill))
            .await
    }

    async fn backfills(&self, query: &GapQuery) -> Result<Vec<Backfill>, StateError> {
        let of = if query.pending {
            "status = 'running'"
        } else {
            "1"
        };
        self.rows(
            query,
            format!("SELECT {BACKFILL} FROM backfills WHERE {of}"),
            backfill,
        )
        .await
    }

    async fn note_backfill(&self, backfill: &Backfill) -> Result<bool, StateError> {
        let backfill = backfill.clone();
        self.changes(move |connection| {
            let mut note = connection.prepare_cached(
                "UPDATE backfills SET job = ?2, cursor = ?3, events = ?4, error = ?5, status = ?6, finished_at = ?7
                 WHERE id = ?1 AND status = 'running'",
            )?;
            let noted = note.execute(params![
                int(backfill.id),
                backfill.job,
                backfill.cursor,
                int(backfill.events),
                backfill.error,
                backfill.status.as_str(),
                backfill.finished_at.map(Timestamp::as_microsecond),
            ])?;
            Ok(noted == 1)
        })
        .await
    }

    async fn cancel_backfill(
        &self,
        id: u64,
        at: Timestamp,
    ) -> Result<Option<Backfill>, StateError> {
        self.changes(move |connection| {
            let mut cancel = connection.prepare_cached(
                "UPDATE backfills SET status = 'cancelled', finished_at = ?2
                 WHERE id = ?1 AND status = 'running'",
            )?;
            cancel.execute(params![int(id), at.as_microsecond()])?;
            one_backfill(connection, int(id))
        })
        .await
    }
}

impl SqliteState {
    /// What a query of either table comes to.
    async fn rows<T: Send + 'static>(
        &self,
        query: &GapQuery,
        select: String,
        read: impl Fn(&Row<'_>) -> Result<T, CallError> + Send + 'static,
    ) -> Result<Vec<T>, StateError> {
        let query = query.clone();
        self.looks(move |connection| {
            let source = query.source.as_ref().map(SourceName::as_str);
            let mut statement = connection.prepare_cached(&format!(
                "{select} AND (?1 IS NULL OR source = ?1) AND id < ?2 ORDER BY id DESC LIMIT ?3"
            ))?;
            let below = query.below.map_or(i64::MAX, int);
            let mut rows = statement.query(params![source, below, int(query.limit as u64)])?;
            let mut found = Vec::new();
            while let Some(row) = rows.next()? {
                found.push(read(row)?);
            }
            Ok(found)
        })
        .await
    }
}

fn open(connection: &mut Connection, gap_: &NewGap) -> Result<Gap, CallError> {
    let transaction = connection.transaction()?;
    let source = gap_.source.as_str();
    let topics = serde_json::to_string(&gap_.topics)
        .map_err(|error| StateError::Failed(error.to_string()))?;
    let opened = transaction
        .prepare_cached(&format!(
            "INSERT INTO gaps (source, begins, ends, topics, why) VALUES (?1, ?2, ?3, ?4, ?5) RETURNING {GAP}"
        ))?
        .query_row(
            params![
                source,
                gap_.from.as_microsecond(),
                gap_.to.map(Timestamp::as_microsecond),
                topics,
                gap_.why,
            ],
            |row| Ok(gap(row)),
        )??;
    transaction
        .prepare_cached(
            "DELETE FROM gaps WHERE source = ?1 AND announced = 1 AND ends IS NOT NULL AND id <
             (SELECT id FROM gaps WHERE source = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)",
        )?
        .execute(params![source, KEPT])?;
    transaction.commit()?;
    Ok(opened)
}

fn close(
    connection: &mut Connection,
    id: u64,
    to: Timestamp,
    fill: bool,
) -> Result<Option<Gap>, CallError> {
    let transaction = connection.transaction()?;
    let closed = transaction
        .prepare_cached(&format!(
            "UPDATE gaps SET ends = max(begins, ?2) WHERE id = ?1 AND ends IS NULL RETURNING {GAP}"
        ))?
        .query_row(params![int(id), to.as_microsecond()], |row| Ok(gap(row)))
        .optional()?
        .transpose()?;
    if let Some(gap) = closed.as_ref().filter(|_| fill) {
        let filled = NewBackfill {
            source: gap.source.clone(),
            from: gap.from,
            to: gap.to.unwrap_or(to),
            gap: Some(gap.id),
            created_at: to,
        };
        begin(&transaction, &filled)?;
    }
    transaction.commit()?;
    Ok(closed)
}

fn begin(connection: &Connection, new: &NewBackfill) -> Result<Backfill, CallError> {
    let mut insert = connection.prepare_cached(&format!(
        "INSERT INTO backfills (source, begins, ends, gap, created_at) VALUES (?1, ?2, ?3, ?4, ?5) RETURNING {BACKFILL}"
    ))?;
    let begun = insert.query_row(
        params![
            new.source.as_str(),
            new.from.as_microsecond(),
            new.to.as_microsecond(),
            new.gap.map(int),
            new.created_at.as_microsecond(),
        ],
        |row| Ok(backfill(row)),
    )??;
    let mut forget = connection.prepare_cached(
        "DELETE FROM backfills WHERE source = ?1 AND status <> 'running' AND id <
         (SELECT id FROM backfills WHERE source = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)",
    )?;
    forget.execute(params![new.source.as_str(), KEPT])?;
    Ok(begun)
}

fn one_backfill(connection: &Connection, id: i64) -> Result<Option<Backfill>, CallError> {
    let mut get =
        connection.prepare_cached(&format!("SELECT {BACKFILL} FROM backfills WHERE id = ?1"))?;
    let found = get.query_row([id], |row| Ok(backfill(row))).optional()?;
    found.transpose()
}

fn gap(row: &Row<'_>) -> Result<Gap, CallError> {
    let topics: String = row.get(4)?;
    Ok(Gap {
        id: uint(row, 0)?,
        source: source(row, 1)?,
        from: time(row, 2)?,
        to: maybe_time(row, 3)?,
        topics: serde_json::from_str(&topics)
            .map_err(|_| StateError::Failed("state holds a gap of unreadable topics".into()))?,
        why: row.get(5)?,
        announced: row.get(6)?,
    })
}

fn backfill(row: &Row<'_>) -> Result<Backfill, CallError> {
    let status: String = row.get(5)?;
    let unknown = || StateError::Failed("state holds a backfill of an unknown status".into());
    Ok(Backfill {
        id: uint(row, 0)?,
        source: source(row, 1)?,
        from: time(row, 2)?,
        to: time(row, 3)?,
        gap: row.get::<_, Option<i64>>(4)?.map(i64::unsigned_abs),
        status: BackfillStatus::named(&status).ok_or_else(unknown)?,
        job: row.get(6)?,
        cursor: row.get(7)?,
        events: uint(row, 8)?,
        error: row.get(9)?,
        created_at: time(row, 10)?,
        finished_at: maybe_time(row, 11)?,
    })
}

fn maybe_time(row: &Row<'_>, at: usize) -> Result<Option<Timestamp>, CallError> {
    let there = row.get::<_, Option<i64>>(at)?.is_some();
    Ok(there.then(|| time(row, at)).transpose()?)
}

fn source(row: &Row<'_>, at: usize) -> Result<SourceName, CallError> {
    let name: String = row.get(at)?;
    let impossible = |_| StateError::Failed("state holds a gap of an impossible source".into());
    Ok(SourceName::new(&name).map_err(impossible)?)
}
