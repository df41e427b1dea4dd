//! Single events in state: what is due, and what became of one.

use domain::ports::state::CLOCK_SLACK;
use domain::ports::{BatchLimit, DueOrder, Fate, Park, Parked};
use domain::{EventId, OrderKey, Reason, RouteName, Seq, StoredEvent, Timestamp};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Rows, params};

use crate::connection::CallError;
use crate::delivered;
use crate::row::{cause, int, order_key, route_key, seq, stored, time};

/// From when on a row was parked by a clock that was ahead of `now`.
fn ahead(now: Timestamp) -> i64 {
    let ahead = now.saturating_add(CLOCK_SLACK).unwrap_or(Timestamp::MAX);
    ahead.as_microsecond()
}

macro_rules! due_in_time {
    ($order:literal) => {
        concat!(
            "SELECT seq, event_id, event, attempts, due_at, first_failure_at, last_failure_at,
                    cause_code, cause_detail, fingerprint, redrives, order_key
             FROM parked WHERE route = ?1 AND due_at <= ?2
               AND (order_key IS NULL OR NOT EXISTS (
                    SELECT 1 FROM parked AS ahead
                    WHERE ahead.route = parked.route AND ahead.order_key = parked.order_key AND ahead.seq < parked.seq))
             ORDER BY ",
            $order
        )
    };
}

/// Parked events that are due, leaving out the busy ones.
pub(crate) fn due(
    connection: &Connection,
    route: &RouteName,
    now: Timestamp,
    busy: &[Seq],
    limit: BatchLimit,
    order: DueOrder,
) -> Result<Vec<Parked>, CallError> {
    let route = route_key(connection, route)?;
    // Each by its own index: there may be many rows, and few of them due. Who was parked in the time to
    // come is due in the time to come, too, so none is found twice.
    let mut in_time = connection.prepare_cached(match order {
        DueOrder::LongestFirst => due_in_time!("due_at, seq"),
        DueOrder::LatestFirst => due_in_time!("due_at DESC, seq"),
    })?;
    let mut ahead_of_time = connection.prepare_cached(
        "SELECT seq, event_id, event, attempts, due_at, first_failure_at, last_failure_at,
                cause_code, cause_detail, fingerprint, redrives, order_key
         FROM parked WHERE route = ?1 AND last_failure_at > ?2 AND due_at > ?3
           AND (order_key IS NULL OR NOT EXISTS (
                SELECT 1 FROM parked AS ahead
                WHERE ahead.route = parked.route AND ahead.order_key = parked.order_key AND ahead.seq < parked.seq))
         ORDER BY last_failure_at, seq",
    )?;
    let at = now.as_microsecond();
    let mut found = Found {
        rows: Vec::new(),
        bytes: 0,
        busy,
        limit,
    };
    if found.takes(in_time.query(params![route, at])?)? {
        found.takes(ahead_of_time.query(params![route, ahead(now), at])?)?;
    }
    Ok(found.rows)
}

/// Due rows, as far as there is room for them.
struct Found<'a> {
    rows: Vec<Parked>,
    bytes: usize,
    busy: &'a [Seq],
    limit: BatchLimit,
}

impl Found<'_> {
    /// Takes what is not busy. Returns whether there is room for more.
    fn takes(&mut self, mut rows: Rows<'_>) -> Result<bool, CallError> {
        while self.rows.len() < self.limit.events {
            let Some(row) = rows.next()? else {
                return Ok(true);
            };
            if self.busy.contains(&seq(row, 0)?) {
                continue;
            }
            let park = Park {
                stored: stored(row, 0)?,
                attempts: row.get(3)?,
                due_at: time(row, 4)?,
                first_failure_at: time(row, 5)?,
                last_failure_at: time(row, 6)?,
                cause: cause(row, 7)?,
                key: order_key(row, 11)?,
            };
            self.bytes += park.stored.event.weight();
            if self.bytes > self.limit.bytes && !self.rows.is_empty() {
                return Ok(false);
            }
            self.rows.push(Parked {
                park,
                redrives: row.get(10)?,
            });
        }
        Ok(false)
    }
}

/// When the next parked event that is not busy is due.
pub(crate) fn next_due(
    connection: &Connection,
    route: &RouteName,
    now: Timestamp,
    busy: &[Seq],
) -> Result<Option<Timestamp>, CallError> {
    let route = route_key(connection, route)?;
    let mut ahead_of_time = connection
        .prepare_cached(
            "SELECT seq FROM parked WHERE route = ?1 AND last_failure_at > ?2
                AND (order_key IS NULL OR NOT EXISTS (
                     SELECT 1 FROM parked AS ahead
                     WHERE ahead.route = parked.route AND ahead.order_key = parked.order_key AND ahead.seq < parked.seq))",
        )?;
    let mut rows = ahead_of_time.query(params![route, ahead(now)])?;
    while let Some(row) = rows.next()? {
        if !busy.contains(&seq(row, 0)?) {
            return Ok(Some(now));
        }
    }
    let mut statement = connection
        .prepare_cached(
            "SELECT seq, due_at FROM parked WHERE route = ?1
                AND (order_key IS NULL OR NOT EXISTS (
                     SELECT 1 FROM parked AS ahead
                     WHERE ahead.route = parked.route AND ahead.order_key = parked.order_key AND ahead.seq < parked.seq))
             ORDER BY due_at, seq",
        )?;
    let mut rows = statement.query([route])?;
    while let Some(row) = rows.next()? {
        if !busy.contains(&seq(row, 0)?) {
            return Ok(Some(time(row, 1)?));
        }
    }
    Ok(None)
}

/// What parked events hold others back by.
pub(crate) fn parked_keys(
    connection: &Connection,
    route: &RouteName,
) -> Result<Vec<(OrderKey, Seq)>, CallError> {
    let route = route_key(connection, route)?;
    let mut statement = connection.prepare_cached(
        "SELECT order_key, seq FROM parked
         WHERE route = ?1 AND order_key IS NOT NULL ORDER BY seq",
    )?;
    let mut rows = statement.query([route])?;
    let mut keys = Vec::new();
    while let Some(row) = rows.next()? {
        if let Some(key) = order_key(row, 0)? {
            keys.push((key, seq(row, 1)?));
        }
    }
    Ok(keys)
}

/// Parked events in order, with the keys that they have.
pub(crate) fn parked_page(
    connection: &Connection,
    route: &RouteName,
    after: Seq,
    limit: BatchLimit,
) -> Result<Vec<(StoredEvent, Option<OrderKey>)>, CallError> {
    let route = route_key(connection, route)?;
    let mut statement = connection.prepare_cached(
        "SELECT seq, event_id, event, order_key FROM parked WHERE route = ?1 AND seq > ?2 ORDER BY seq",
    )?;
    let mut rows = statement.query(params![route, int(after.0)])?;
    let (mut page, mut bytes) = (Vec::new(), 0);
    while page.len() < limit.events
        && bytes < limit.bytes
        && let Some(row) = rows.next()?
    {
        let event = stored(row, 0)?;
        bytes += event.event.weight();
        page.push((event, order_key(row, 3)?));
    }
    Ok(page)
}

/// Gives parked events other keys.
pub(crate) fn set_order_keys(
    connection: &mut Connection,
    route: &RouteName,
    keys: &[(Seq, Option<OrderKey>)],
) -> Result<(), CallError> {
    let transaction = connection.transaction()?;
    let route = route_key(&transaction, route)?;
    for (seq, key) in keys {
        transaction
            .prepare_cached("UPDATE parked SET order_key = ?3 WHERE route = ?1 AND seq = ?2")?
            .execute(params![route, int(seq.0), key.map(|key| key.0)])?;
    }
    transaction.commit()?;
    Ok(())
}

/// What became of an event on a route.
pub(crate) fn fate(connection: &Connection, route: &RouteName, at: Seq) -> Result<Fate, CallError> {
    let key = route_key(connection, route)?;
    let place = params![key, int(at.0)];
    let mut parked = connection.prepare_cached(
        "SELECT attempts, due_at, cause_code, cause_detail, fingerprint FROM parked WHERE route = ?1 AND seq = ?2",
    )?;
    let parked = parked.query_row(place, |row| {
        Ok(Fate::Parked {
            attempts: row.get(0)?,
            due_at: time(row, 1)?,
            cause: cause(row, 2)?,
        })
    });
    if let Some(fate) = parked.optional()? {
        return Ok(fate);
    }
    let mut dead = connection.prepare_cached(
        "SELECT attempts, reason, cause_code, cause_detail, fingerprint FROM dead WHERE route = ?1 AND seq = ?2",
    )?;
    let dead = dead.query_row(place, |row| {
        let reason: String = row.get(1)?;
        let reason = Reason::parse(&reason).unwrap_or(Reason::Rejected);
        Ok(Fate::Dead {
            attempts: row.get(0)?,
            reason,
            cause: cause(row, 2)?,
        })
    });
    if let Some(fate) = dead.optional()? {
        return Ok(fate);
    }
    settled_fate(connection, key, at)
}

/// Of an event that is neither parked nor dead: pending above what is settled, also within a delivered
/// stretch, if its source joined the route later. Below, it was delivered; when that is no longer known
/// and the route has discarded something, it cannot be told from a discarded one.
fn settled_fate(connection: &Connection, route: i64, at: Seq) -> Result<Fate, CallError> {
    let mut statement = connection.prepare_cached(
        "SELECT start >= ?2,
                cursor >= ?2 OR EXISTS (SELECT 1 FROM settled_ranges WHERE route = ?1 AND first <= ?2 AND last >= ?2),
                discarded > 0
         FROM routes WHERE id = ?1",
    )?;
    let (before, settled, discards): (bool, bool, bool) = statement
        .query_row(params![route, int(at.0)], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?;
    if before {
        return Ok(Fate::Before);
    }
    if !settled {
        return Ok(Fate::Pending);
    }
    Ok(match delivered::at(connection, route, at)? {
        None if discards => Fate::Discarded,
        at => Fate::Delivered { at },
    })
}

/// The stored event of a parked row or dead letter of any route.
pub(crate) fn find(connection: &Connection, id: EventId) -> Result<Option<StoredEvent>, CallError> {
    let mut statement = connection.prepare_cached(
        "SELECT seq, event_id, event FROM parked WHERE event_id = ?1
         UNION ALL SELECT seq, event_id, event FROM dead WHERE event_id = ?1 LIMIT 1",
    )?;
    let mut rows = statement.query(params![Value::Blob(id.as_bytes().to_vec())])?;
    match rows.next()? {
        Some(row) => stored(row, 0).map(Some),
        None => Ok(None),
    }
}
