//! Routes and their life: registered, renamed, paused, retired.

use domain::ports::{Counters, RetireFate, RouteRecord, SettledRange, StateError};
use domain::{Reason, RouteId, RouteName, SeqRange, SourceName, Timestamp};
use rusqlite::{Connection, Row, params};

use crate::connection::CallError;
use crate::redrives;
use crate::row::{int, route_key, seq, time, uint};

/// All routes that are not retired, by name.
pub(crate) fn list(connection: &Connection) -> Result<Vec<RouteRecord>, CallError> {
    let mut statement = connection.prepare_cached(
        "SELECT id, name, cursor, accepted, delivered, discarded, damaged, paused, created_at,
                parked_rows, dead_rows, filter
         FROM routes WHERE retired_at IS NULL ORDER BY name",
    )?;
    let rows = statement.query_map([], |row| Ok((row.get::<_, i64>(0)?, record(row)?)))?;
    let mut records = Vec::new();
    for row in rows {
        let (key, record) = row?;
        let mut record = record?;
        record.ranges = ranges(connection, key)?;
        records.push(record);
    }
    Ok(records)
}

fn record(row: &Row<'_>) -> rusqlite::Result<Result<RouteRecord, StateError>> {
    let name: String = row.get(1)?;
    let Ok(name) = RouteName::new(&name) else {
        return Ok(Err(StateError::Failed(format!(
            "state holds a route with the impossible name {name:?}"
        ))));
    };
    Ok(Ok(RouteRecord {
        id: RouteId(uint(row, 0)?),
        name,
        filter: row.get(11)?,
        cursor: seq(row, 2)?,
        ranges: Vec::new(),
        accepted: uint(row, 3)?,
        counters: Counters {
            delivered: uint(row, 4)?,
            discarded: uint(row, 5)?,
            damaged: uint(row, 6)?,
        },
        parked: uint(row, 9)?,
        dead: uint(row, 10)?,
        paused: row.get(7)?,
        created_at: time(row, 8)?,
    }))
}

fn ranges(connection: &Connection, route: i64) -> rusqlite::Result<Vec<SettledRange>> {
    let mut statement = connection.prepare_cached(
        "SELECT first, last, events FROM settled_ranges WHERE route = ?1 ORDER BY first",
    )?;
    let rows = statement.query_map([route], |row| {
        let range = SeqRange {
            first: seq(row, 0)?,
            last: seq(row, 1)?,
        };
        Ok(SettledRange {
            range,
            events: uint(row, 2)?,
        })
    })?;
    rows.collect()
}

/// Registers a route unless it is there.
pub(crate) fn register(
    connection: &Connection,
    name: &RouteName,
    start: domain::Seq,
    now: Timestamp,
) -> Result<(), CallError> {
    connection.execute(
        "INSERT INTO routes (name, start, cursor, created_at) SELECT ?1, ?2, ?2, ?3
         WHERE NOT EXISTS (SELECT 1 FROM routes WHERE name = ?1 AND retired_at IS NULL)",
        params![name.as_str(), int(start.0), now.as_microsecond()],
    )?;
    Ok(())
}

/// Notes what a route takes.
pub(crate) fn set_sources(
    connection: &Connection,
    name: &RouteName,
    sources: &[SourceName],
) -> Result<(), CallError> {
    let route = route_key(connection, name)?;
    let text = serde_json::json!(sources).to_string();
    connection.execute(
        "UPDATE routes SET sources = ?2 WHERE id = ?1",
        params![route, text],
    )?;
    Ok(())
}

/// Notes what a route wants.
pub(crate) fn set_filter(
    connection: &Connection,
    name: &RouteName,
    filter: Option<&str>,
) -> Result<(), CallError> {
    let route = route_key(connection, name)?;
    connection.execute(
        "UPDATE routes SET filter = ?2 WHERE id = ?1",
        params![route, filter],
    )?;
    Ok(())
}

/// What a route took when it last ran.
pub(crate) fn sources(
    connection: &Connection,
    name: &RouteName,
) -> Result<Vec<SourceName>, CallError> {
    let route = route_key(connection, name)?;
    let text: String =
        connection.query_row("SELECT sources FROM routes WHERE id = ?1", [route], |row| {
            row.get(0)
        })?;
    serde_json::from_str(&text).map_err(|_| {
        StateError::Failed(format!("state holds unreadable sources of route {name}")).into()
    })
}

/// Gives a route another name.
pub(crate) fn rename(
    connection: &mut Connection,
    from: &RouteName,
    to: &RouteName,
) -> Result<(), CallError> {
    let transaction = connection.transaction()?;
    let route = route_key(&transaction, from)?;
    if route_key(&transaction, to).is_ok() {
        let taken =
            format!("there is a route {to} already; retire it first, or choose another name");
        return Err(StateError::Conflict(taken).into());
    }
    let is_subscription: bool = transaction.query_row(
        "SELECT EXISTS (SELECT 1 FROM subscriptions WHERE route = ?1)",
        [route],
        |row| row.get(0),
    )?;
    if is_subscription {
        let taken = format!("route {from} is a subscription, and has its name from that");
        return Err(StateError::Conflict(taken).into());
    }
    transaction.execute(
        "UPDATE routes SET name = ?2 WHERE id = ?1",
        params![route, to.as_str()],
    )?;
    redrives::rename(&transaction, from, to)?;
    transaction.commit()?;
    Ok(())
}

/// Ends a route; what waits in state goes the way that `fate` says.
pub(crate) fn retire(
    connection: &mut Connection,
    name: &RouteName,
    fate: RetireFate,
    now: Timestamp,
) -> Result<(), CallError> {
    let transaction = connection.transaction()?;
    let route = route_key(&transaction, name)?;
    let moved = match fate {
        RetireFate::DeadLetter => {
            bury_parked(&transaction, route, None)?;
            0
        }
        RetireFate::Discard => {
            transaction.execute("DELETE FROM parked WHERE route = ?1", [route])?
                + transaction.execute("DELETE FROM dead WHERE route = ?1", [route])?
        }
    };
    transaction.execute(
        "UPDATE routes SET retired_at = ?2, discarded = discarded + ?3 WHERE id = ?1",
        params![route, now.as_microsecond(), int(moved as u64)],
    )?;
    transaction.commit()?;
    Ok(())
}

/// Makes the first parked events of a route dead letters, as those of a retired one. Returns how many.
pub(crate) fn bury_parked(
    transaction: &Connection,
    route: i64,
    limit: Option<u32>,
) -> rusqlite::Result<u64> {
    let limit = limit.map_or(-1, i64::from);
    transaction.execute(
        "INSERT INTO dead (route, seq, event_id, event, attempts, reason, first_failure_at, last_failure_at,
                           cause_code, cause_detail, fingerprint, redrives, order_key)
         SELECT route, seq, event_id, event, attempts, ?2, first_failure_at, last_failure_at,
                cause_code, cause_detail, fingerprint, redrives, order_key
         FROM parked WHERE route = ?1 ORDER BY seq LIMIT ?3",
        params![route, Reason::Retired.as_str(), limit],
    )?;
    let moved = transaction.execute(
        "DELETE FROM parked WHERE route = ?1
         AND seq IN (SELECT seq FROM parked WHERE route = ?1 ORDER BY seq LIMIT ?2)",
        params![route, limit],
    )?;
    Ok(moved as u64)
}

/// Pauses or resumes.
pub(crate) fn set_paused(
    connection: &Connection,
    name: &RouteName,
    paused: bool,
) -> Result<(), CallError> {
    let route = route_key(connection, name)?;
    connection.execute(
        "UPDATE routes SET paused = ?2 WHERE id = ?1",
        params![route, paused],
    )?;
    Ok(())
}

/// Accepted against accounted, with every row counted; 0 unless there is a defect. Rows that were counted
/// wrongly on the way are one, too.
pub(crate) fn imbalance(connection: &Connection, name: &RouteName) -> Result<i64, CallError> {
    let route = route_key(connection, name)?;
    let mut statement = connection.prepare_cached(
        "SELECT accepted + (SELECT coalesce(sum(events), 0) FROM settled_ranges WHERE route = ?1)
                - delivered - discarded - damaged,
                (SELECT count(*) FROM parked WHERE route = ?1), (SELECT count(*) FROM dead WHERE route = ?1),
                parked_rows, dead_rows
         FROM routes WHERE id = ?1",
    )?;
    let sums: (i64, i64, i64, i64, i64) = statement.query_row([route], |row| {
        Ok((
            row.get(0)?,
            row.get(1)?,
            row.get(2)?,
            row.get(3)?,
            row.get(4)?,
        ))
    })?;
    let (accounted_for, parked, dead, parked_rows, dead_rows) = sums;
    let rows = accounted_for - parked - dead;
    Ok(if rows == 0 {
        parked - parked_rows + dead - dead_rows
    } else {
        rows
    })
}
