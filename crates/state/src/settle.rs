//! Settling: one step of each of several routes, in one transaction.

use std::collections::BTreeMap;

use domain::ports::{Bury, Park, Resolution, Settlement, StateError, TakeBack};
use domain::{Seq, SeqRange};
use rusqlite::{Connection, Transaction, params};

use crate::connection::CallError;
use crate::delivered;
use crate::returned;
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
    for (seq, resolution) in &step.resolved {
        if *resolution == Resolution::Delivered {
            returned::note(transaction, route, *seq)?;
        }
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
    for back in &step.taken_back {
        take_back(transaction, route, back)?;
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

/// Makes the settled ranges those of the step, writing only what differs: there may be many, and few of
/// them change from one step to the next.
fn replace_ranges(
    transaction: &Transaction<'_>,
    route: i64,
    step: &Settlement,
) -> rusqlite::Result<()> {
    let mut kept = transaction.prepare_cached(
        "SELECT first, last, events FROM settled_ranges WHERE route = ?1 ORDER BY first",
    )?;
    let kept = kept.query_map([route], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let kept: BTreeMap<i64, (i64, i64)> = kept
        .map(|row| row.map(|(first, last, events)| (first, (last, events))))
        .collect::<rusqlite::Result<_>>()?;
    let wanted = step.ranges.iter().map(|settled| {
        let SeqRange { first, last } = settled.range;
        (int(first.0), (int(last.0), int(settled.events)))
    });
    let wanted: BTreeMap<i64, (i64, i64)> = wanted.collect();
    let mut delete =
        transaction.prepare_cached("DELETE FROM settled_ranges WHERE route = ?1 AND first = ?2")?;
    for first in kept.keys().filter(|first| !wanted.contains_key(first)) {
        delete.execute(params![route, first])?;
    }
    let mut upsert = transaction.prepare_cached(
        "INSERT INTO settled_ranges (route, first, last, events) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (route, first) DO UPDATE SET last = excluded.last, events = excluded.events",
    )?;
    for (first, range) in &wanted {
        if kept.get(first) != Some(range) {
            upsert.execute(params![route, first, range.0, range.1])?;
        }
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
                             cause_code, cause_detail, fingerprint, order_key)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)
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
        park.key.map(|key| key.0),
    ])?;
    Ok(())
}

/// Parks an event of a run again as it was before the run.
fn take_back(transaction: &Transaction<'_>, route: i64, back: &TakeBack) -> rusqlite::Result<()> {
    let place = params![
        route,
        int(back.seq.0),
        back.attempts,
        back.due_at.as_microsecond(),
        back.key.map(|key| key.0),
    ];
    let mut exhume = transaction.prepare_cached(
        "INSERT INTO parked (route, seq, event_id, event, attempts, due_at, first_failure_at, last_failure_at,
                             cause_code, cause_detail, fingerprint, redrives, order_key)
         SELECT route, seq, event_id, event, ?3, min(?4, last_failure_at), first_failure_at, last_failure_at,
                cause_code, cause_detail, fingerprint, redrives, ?5
         FROM dead WHERE route = ?1 AND seq = ?2",
    )?;
    if exhume.execute(place)? > 0 {
        transaction
            .prepare_cached("DELETE FROM dead WHERE route = ?1 AND seq = ?2")?
            .execute(params![route, int(back.seq.0)])?;
        return Ok(());
    }
    let mut update = transaction.prepare_cached(
        "UPDATE parked SET attempts = ?3, due_at = min(?4, last_failure_at), order_key = ?5 WHERE route = ?1 AND seq = ?2",
    )?;
    update.execute(place)?;
    Ok(())
}

/// Adds a dead letter; the parked row of the same event goes, and how often it was redriven stays.
fn add_dead(transaction: &Transaction<'_>, route: i64, bury: &Bury) -> rusqlite::Result<()> {
    let mut insert = transaction.prepare_cached(
        "INSERT INTO dead (route, seq, event_id, event, attempts, reason, first_failure_at, last_failure_at,
                           cause_code, cause_detail, fingerprint, order_key, redrives)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12,
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
        bury.key.map(|key| key.0),
    ])?;
    unpark(transaction, route, bury.stored.seq)?;
    Ok(())
}
