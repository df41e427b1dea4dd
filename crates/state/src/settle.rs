//! Settling: one step of each of several routes, in one transaction.

use domain::ports::{Bury, Park, Settlement, StateError};
use domain::{Seq, SeqRange};
use rusqlite::{Connection, Transaction, params};

use crate::connection::CallError;
use crate::delivered;
use crate::routes;
use crate::row::{encode, int, route_key};

/// Applies the steps, all or none.
pub(crate) fn settle(connection: &mut Connection, steps: &[Settlement]) -> Result<(), CallError> {
    let transaction = connection.transaction()?;
    for step in steps {
        apply(&transaction, step)?;
    }
    transaction.commit()?;
    Ok(())
}

fn apply(transaction: &Transaction<'_>, step: &Settlement) -> Result<(), CallError> {
    let route = route_key(transaction, &step.route)?;
    advance(transaction, route, step)?;
    replace_ranges(transaction, route, step)?;
    if let Some(sources) = &step.sources {
        routes::set_sources(transaction, &step.route, sources)?;
    }
    for range in &step.delivered {
        delivered::add(transaction, route, range)?;
    }
    for (seq, _) in &step.resolved {
        if !unpark(transaction, route, *seq)? {
            // It left already, and was counted then.
            let gone = format!("event {seq} of route {} is not parked", step.route);
            return Err(StateError::Conflict(gone).into());
        }
    }
    for park in &step.parks {
        add_parked(transaction, route, park)?;
    }
    for bury in &step.buries {
        add_dead(transaction, route, bury)?;
    }
    Ok(())
}

fn advance(transaction: &Transaction<'_>, route: i64, step: &Settlement) -> Result<(), CallError> {
    let counters = step.counters;
    let mut statement = transaction.prepare_cached(
        "UPDATE routes SET cursor = ?2, accepted = accepted + ?3, delivered = delivered + ?4,
                discarded = discarded + ?5, damaged = damaged + ?6
         WHERE id = ?1 AND cursor <= ?2",
    )?;
    let moved = statement.execute(params![
        route,
        int(step.cursor.0),
        int(step.accepted),
        int(counters.delivered),
        int(counters.discarded),
        int(counters.damaged),
    ])?;
    if moved == 0 {
        let backwards = format!(
            "the cursor of route {} cannot go back to {}",
            step.route, step.cursor
        );
        return Err(StateError::Conflict(backwards).into());
    }
    Ok(())
}

fn replace_ranges(
    transaction: &Transaction<'_>,
    route: i64,
    step: &Settlement,
) -> rusqlite::Result<()> {
    transaction
        .prepare_cached("DELETE FROM settled_ranges WHERE route = ?1")?
        .execute([route])?;
    let mut insert = transaction.prepare_cached(
        "INSERT INTO settled_ranges (route, first, last, events) VALUES (?1, ?2, ?3, ?4)",
    )?;
    for settled in &step.ranges {
        let SeqRange { first, last } = settled.range;
        insert.execute(params![
            route,
            int(first.0),
            int(last.0),
            int(settled.events)
        ])?;
    }
    Ok(())
}

/// Takes an event from among the parked. `false`: it was not there.
fn unpark(transaction: &Transaction<'_>, route: i64, seq: Seq) -> rusqlite::Result<bool> {
    let mut delete =
        transaction.prepare_cached("DELETE FROM parked WHERE route = ?1 AND seq = ?2")?;
    Ok(delete.execute(params![route, int(seq.0)])? > 0)
}

fn add_parked(transaction: &Transaction<'_>, route: i64, park: &Park) -> rusqlite::Result<()> {
    let mut upsert = transaction.prepare_cached(
        "INSERT INTO parked (route, seq, event_id, event, attempts, due_at, first_failure_at, last_failure_at,
                             cause_code, cause_detail, fingerprint)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
         ON CONFLICT (route, seq) DO UPDATE SET attempts = excluded.attempts, due_at = excluded.due_at,
             first_failure_at = excluded.first_failure_at, last_failure_at = excluded.last_failure_at,
             cause_code = excluded.cause_code, cause_detail = excluded.cause_detail, fingerprint = excluded.fingerprint",
    )?;
    upsert.execute(params![
        route,
        int(park.stored.seq.0),
        park.stored.id.as_bytes(),
        &encode(&park.stored.event)[..],
        park.attempts,
        park.due_at.as_microsecond(),
        park.first_failure_at.as_microsecond(),
        park.last_failure_at.as_microsecond(),
        park.cause.code,
        park.cause.detail,
        park.cause.fingerprint,
    ])?;
    Ok(())
}

/// Adds a dead letter; the parked row of the same event goes, and how often it was redriven stays.
fn add_dead(transaction: &Transaction<'_>, route: i64, bury: &Bury) -> rusqlite::Result<()> {
    let mut insert = transaction.prepare_cached(
        "INSERT INTO dead (route, seq, event_id, event, attempts, reason, first_failure_at, last_failure_at,
                           cause_code, cause_detail, fingerprint, redrives)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11,
                 coalesce((SELECT redrives FROM parked WHERE route = ?1 AND seq = ?2), 0))
         ON CONFLICT (route, seq) DO NOTHING",
    )?;
    insert.execute(params![
        route,
        int(bury.stored.seq.0),
        bury.stored.id.as_bytes(),
        &encode(&bury.stored.event)[..],
        bury.attempts,
        bury.reason.as_str(),
        bury.first_failure_at.as_microsecond(),
        bury.last_failure_at.as_microsecond(),
        bury.cause.code,
        bury.cause.detail,
        bury.cause.fingerprint,
    ])?;
    unpark(transaction, route, bury.stored.seq)?;
    Ok(())
}
