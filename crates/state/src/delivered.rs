//! What was delivered when, as few rows as can tell it to ten seconds.
//!
//! Rows of a route never overlap, so that the one which begins last at or before a number is the one
//! that tells of it. Stretches that follow on each other are one row while the whole lies within
//! [`MERGE_WITHIN`], in whatever order they come: the table stays small at any rate.

use domain::ports::DeliveredRange;
use domain::{Seq, SeqRange, Timestamp};
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::row::{int, seq, time};

/// How far apart the times in one row may be. In microseconds.
const MERGE_WITHIN: i64 = 10_000_000;

/// A row. Times in microseconds since the Unix epoch.
#[derive(Debug, Clone, Copy)]
struct Stretch {
    range: SeqRange,
    first_at: i64,
    last_at: i64,
}

impl Stretch {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let range = SeqRange {
            first: seq(row, 0)?,
            last: seq(row, 1)?,
        };
        Ok(Self {
            range,
            first_at: row.get(2)?,
            last_at: row.get(3)?,
        })
    }

    /// The same times for other numbers; `None` if there are none.
    fn cut(self, first: Seq, last: Seq) -> Option<Self> {
        SeqRange::new(first, last).map(|range| Self { range, ..self })
    }

    /// Both as one, if their times are close enough. They follow on each other.
    fn joined(self, other: Self) -> Option<Self> {
        let first_at = self.first_at.min(other.first_at);
        let last_at = self.last_at.max(other.last_at);
        let range = SeqRange {
            first: self.range.first.min(other.range.first),
            last: self.range.last.max(other.range.last),
        };
        (last_at - first_at <= MERGE_WITHIN).then_some(Self {
            range,
            first_at,
            last_at,
        })
    }
}

/// Notes a delivered stretch. Where it overlaps what is there, the new time holds.
pub(crate) fn add(
    connection: &Connection,
    route: i64,
    delivered: &DeliveredRange,
) -> rusqlite::Result<()> {
    let SeqRange { first, last } = delivered.range;
    let at = delivered.at.as_microsecond();
    let mut whole = Stretch {
        range: delivered.range,
        first_at: at,
        last_at: at,
    };
    let touched = touching(connection, route, delivered.range)?;
    let mut apart = Vec::new();
    for row in &touched {
        let before = row.cut(row.range.first, row.range.last.min(first.previous()));
        let after = row.cut(row.range.first.max(last.next()), row.range.last);
        for rest in [before, after].into_iter().flatten() {
            match whole.joined(rest) {
                Some(joined) => whole = joined,
                None => apart.push(rest),
            }
        }
    }
    apart.push(whole);
    let kept = |row: &&Stretch| apart.iter().all(|new| new.range.first != row.range.first);
    for row in touched.iter().filter(kept) {
        connection
            .prepare_cached("DELETE FROM delivered_ranges WHERE route = ?1 AND first = ?2")?
            .execute(params![route, int(row.range.first.0)])?;
    }
    apart
        .iter()
        .try_for_each(|new| write(connection, route, *new))
}

/// The rows that overlap the stretch or touch its ends.
fn touching(
    connection: &Connection,
    route: i64,
    range: SeqRange,
) -> rusqlite::Result<Vec<Stretch>> {
    let mut before = connection.prepare_cached(
        "SELECT first, last, first_at, last_at FROM delivered_ranges
         WHERE route = ?1 AND first <= ?2 ORDER BY first DESC LIMIT 1",
    )?;
    let before = before
        .query_row(params![route, int(range.first.0)], Stretch::read)
        .optional()?
        .filter(|row| row.range.last.next() >= range.first);
    let mut within = connection.prepare_cached(
        "SELECT first, last, first_at, last_at FROM delivered_ranges
         WHERE route = ?1 AND first > ?2 AND first <= ?3 ORDER BY first",
    )?;
    let place = params![route, int(range.first.0), int(range.last.next().0)];
    let within = within.query_map(place, Stretch::read)?;
    before.map(Ok).into_iter().chain(within).collect()
}

fn write(connection: &Connection, route: i64, row: Stretch) -> rusqlite::Result<()> {
    let mut upsert = connection.prepare_cached(
        "INSERT INTO delivered_ranges (route, first, last, first_at, last_at) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (route, first) DO UPDATE SET last = excluded.last, first_at = excluded.first_at,
             last_at = excluded.last_at",
    )?;
    let SeqRange { first, last } = row.range;
    upsert.execute(params![
        route,
        int(first.0),
        int(last.0),
        row.first_at,
        row.last_at
    ])?;
    Ok(())
}

/// When the event was delivered, to [`MERGE_WITHIN`]; `None` if it was not, or too long ago.
pub(crate) fn at(
    connection: &Connection,
    route: i64,
    at: Seq,
) -> rusqlite::Result<Option<Timestamp>> {
    let mut statement = connection.prepare_cached(
        "SELECT last, last_at FROM delivered_ranges WHERE route = ?1 AND first <= ?2 ORDER BY first DESC LIMIT 1",
    )?;
    let found = statement
        .query_row(params![route, int(at.0)], |row| {
            Ok((seq(row, 0)?, time(row, 1)?))
        })
        .optional()?;
    Ok(found.filter(|(last, _)| *last >= at).map(|(_, time)| time))
}
