//! Exports: how far each target of a route has come with its dead letters.
//!
//! Letters are numbered as they are buried, so one number a target is enough; only what a target would not take has a
//! row of its own. Numbers of past minutes are kept, so that "confirmed by all, thirty days ago" can be told.

use std::sync::Arc;

use async_trait::async_trait;
use domain::ports::{
    BatchLimit, DeadLetter, ExportConfirmed, ExportCounts, ExportRefusal, Exported, Exports,
    Letter, StateError,
};
use domain::{Cause, DestinationName, RouteName, Timestamp};
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::connection::CallError;
use crate::dead;
use crate::redrives;
use crate::row::{int, route_key, time, uint};
use crate::store::SqliteState;

/// Progress within the same minute is one row.
const MINUTE: i64 = 60_000_000;

#[async_trait]
impl Exports for SqliteState {
    async fn export_position(
        &self,
        route: &RouteName,
        target: &DestinationName,
    ) -> Result<Letter, StateError> {
        let (route, target) = (route.clone(), target.clone());
        self.looks(move |connection| {
            let route = route_key(connection, &route)?;
            Ok(position(connection, route, &target)?)
        })
        .await
    }

    async fn letters_after(
        &self,
        route: &RouteName,
        after: Letter,
        limit: BatchLimit,
    ) -> Result<Vec<DeadLetter>, StateError> {
        let route = route.clone();
        self.looks(move |connection| letters_after(connection, &route, after, limit))
            .await
    }

    async fn exported(&self, step: Exported) -> Result<(), StateError> {
        let room = Arc::clone(&self.room);
        self.writer
            .call(move |connection| {
                exported(connection, &step)?;
                room.look(connection);
                Ok(())
            })
            .await
    }

    async fn export_counts(
        &self,
        route: &RouteName,
        target: &DestinationName,
    ) -> Result<ExportCounts, StateError> {
        let (route, target) = (route.clone(), target.clone());
        self.looks(move |connection| counts(connection, &route, &target))
            .await
    }

    async fn discard_exported(
        &self,
        route: &RouteName,
        targets: &[DestinationName],
        before: Timestamp,
        limit: usize,
    ) -> Result<u64, StateError> {
        let (route, targets) = (route.clone(), targets.to_vec());
        self.changes(move |connection| {
            discard_exported(connection, &route, &targets, before, limit)
        })
        .await
    }
}

fn position(
    connection: &Connection,
    route: i64,
    target: &DestinationName,
) -> rusqlite::Result<Letter> {
    let mut statement = connection.prepare_cached(
        "SELECT coalesce(max(through), 0) FROM exports WHERE route = ?1 AND target = ?2",
    )?;
    statement.query_row(params![route, target.as_str()], |row| {
        uint(row, 0).map(Letter)
    })
}

fn letters_after(
    connection: &Connection,
    route: &RouteName,
    after: Letter,
    limit: BatchLimit,
) -> Result<Vec<DeadLetter>, CallError> {
    let route = route_key(connection, route)?;
    dead::after(connection, route, after, limit)
}

fn exported(connection: &mut Connection, step: &Exported) -> Result<(), CallError> {
    let transaction = connection.transaction()?;
    let route = route_key(&transaction, &step.route)?;
    let last: Option<(i64, i64)> = transaction
        .prepare_cached(
            "SELECT through, at FROM exports WHERE route = ?1 AND target = ?2 ORDER BY through DESC LIMIT 1",
        )?
        .query_row(params![route, step.target.as_str()], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .optional()?;
    let through = int(step.through.0);
    // A clock that went back makes nothing older than what came before it.
    let at = step
        .at
        .as_microsecond()
        .max(last.map_or(i64::MIN, |(_, at)| at));
    if last.is_none_or(|(last, _)| last < through) {
        if let Some((last, _)) = last.filter(|(_, then)| then / MINUTE == at / MINUTE) {
            transaction
                .prepare_cached(
                    "DELETE FROM exports WHERE route = ?1 AND target = ?2 AND through = ?3",
                )?
                .execute(params![route, step.target.as_str(), last])?;
        }
        transaction
            .prepare_cached(
                "INSERT INTO exports (route, target, through, at) VALUES (?1, ?2, ?3, ?4)",
            )?
            .execute(params![route, step.target.as_str(), through, at])?;
    }
    for refused in &step.unexportable {
        // It may have been redriven or purged meanwhile.
        transaction
            .prepare_cached(
                "INSERT INTO exports_refused (letter, target, route, at, cause_code, cause_detail)
                 SELECT letter, ?2, route, ?3, ?4, ?5 FROM dead WHERE letter = ?1
                 ON CONFLICT (letter, target) DO NOTHING",
            )?
            .execute(params![
                int(refused.letter.0),
                step.target.as_str(),
                at,
                refused.cause.code,
                refused.cause.detail
            ])?;
    }
    transaction.commit()?;
    Ok(())
}

fn counts(
    connection: &Connection,
    route: &RouteName,
    target: &DestinationName,
) -> Result<ExportCounts, CallError> {
    let route = route_key(connection, route)?;
    let after = position(connection, route, target)?;
    let pending = connection
        .prepare_cached(
            "SELECT count(*) FROM dead INDEXED BY dead_letter WHERE route = ?1 AND letter > ?2",
        )?
        .query_row(params![route, int(after.0)], |row| uint(row, 0))?;
    let refused = connection
        .prepare_cached("SELECT count(*) FROM exports_refused WHERE route = ?1 AND target = ?2")?
        .query_row(params![route, target.as_str()], |row| uint(row, 0))?;
    Ok(ExportCounts { pending, refused })
}

/// The targets that have a letter, with when they had. Each notes a minute's last letter, so that the time may be later by
/// as much.
pub(crate) fn confirmations(
    connection: &Connection,
    letter: Letter,
) -> Result<Vec<ExportConfirmed>, CallError> {
    let mut statement = connection.prepare_cached(
        "SELECT target, at, min(through) FROM exports
         WHERE route = (SELECT route FROM dead WHERE letter = ?1) AND through >= ?1
           AND target NOT IN (SELECT target FROM exports_refused WHERE letter = ?1)
         GROUP BY target ORDER BY target",
    )?;
    let mut rows = statement.query([int(letter.0)])?;
    let mut confirmed = Vec::new();
    while let Some(row) = rows.next()? {
        let (target, at) = (target(row, 0)?, time(row, 1)?);
        confirmed.push(ExportConfirmed { target, at });
    }
    Ok(confirmed)
}

fn target(row: &Row<'_>, at: usize) -> Result<DestinationName, CallError> {
    let target: String = row.get(at)?;
    let impossible = |_| StateError::Failed("state holds an impossible target".into());
    Ok(DestinationName::new(&target).map_err(impossible)?)
}

/// The targets that would not take a letter.
pub(crate) fn refusals(
    connection: &Connection,
    letter: Letter,
) -> Result<Vec<ExportRefusal>, CallError> {
    let mut statement = connection.prepare_cached(
        "SELECT target, at, cause_code, cause_detail FROM exports_refused WHERE letter = ?1 ORDER BY target",
    )?;
    let mut rows = statement.query([int(letter.0)])?;
    let mut refusals = Vec::new();
    while let Some(row) = rows.next()? {
        let target = target(row, 0)?;
        let (code, detail): (String, String) = (row.get(2)?, row.get(3)?);
        refusals.push(ExportRefusal {
            target,
            at: time(row, 1)?,
            cause: Cause::new(&code, detail),
        });
    }
    Ok(refusals)
}

fn discard_exported(
    connection: &mut Connection,
    route: &RouteName,
    targets: &[DestinationName],
    before: Timestamp,
    limit: usize,
) -> Result<u64, CallError> {
    let transaction = connection.transaction()?;
    let key = route_key(&transaction, route)?;
    let through = confirmed(&transaction, key, targets, before)?;
    let spans = match redrives::ahead(&transaction, route)? {
        None => vec![(Letter(0), through)],
        Some((after, last)) => vec![(Letter(0), through.min(after)), (last, through)],
    };
    let mut discarded = 0;
    for (after, through) in spans {
        let most = limit.saturating_sub(usize::try_from(discarded).unwrap_or(usize::MAX));
        for letter in taken_by_all(&transaction, key, targets, (after, through), most)? {
            discarded += dead::discard(&transaction, letter)?;
        }
    }
    transaction.commit()?;
    Ok(discarded)
}

/// Through which letter all of the targets had come before then. Forgets what that says.
fn confirmed(
    transaction: &Connection,
    route: i64,
    targets: &[DestinationName],
    before: Timestamp,
) -> rusqlite::Result<Letter> {
    let mut through = None;
    for target in targets {
        let came: i64 = transaction
            .prepare_cached(
                "SELECT coalesce(max(through), 0) FROM exports WHERE route = ?1 AND target = ?2 AND at < ?3",
            )?
            .query_row(params![route, target.as_str(), before.as_microsecond()], |row| row.get(0))?;
        through = Some(through.map_or(came, |least: i64| least.min(came)));
        // Of what is long past, the furthest says all.
        transaction
            .prepare_cached(
                "DELETE FROM exports WHERE route = ?1 AND target = ?2 AND through < ?3",
            )?
            .execute(params![route, target.as_str(), came])?;
    }
    Ok(Letter(u64::try_from(through.unwrap_or(0)).unwrap_or(0)))
}

/// The first letters of a stretch that none of the targets would not take.
fn taken_by_all(
    transaction: &Connection,
    route: i64,
    targets: &[DestinationName],
    (after, through): (Letter, Letter),
    most: usize,
) -> rusqlite::Result<Vec<Letter>> {
    let targets: Vec<&str> = targets.iter().map(DestinationName::as_str).collect();
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    transaction
        .prepare_cached(
            "SELECT letter FROM dead INDEXED BY dead_letter WHERE route = ?1 AND letter > ?2 AND letter <= ?3
               AND NOT EXISTS (SELECT 1 FROM exports_refused WHERE exports_refused.letter = dead.letter
                               AND target IN (SELECT value FROM json_each(?4)))
             ORDER BY letter LIMIT ?5",
        )?
        .query_map(
            params![
                route,
                int(after.0),
                int(through.0),
                serde_json::json!(targets).to_string(),
                most
            ],
            |row| uint(row, 0).map(Letter),
        )?
        .collect()
}
