//! Choosing letters by their numbers, from the indexes alone.
//!
//! Each route's letters lie in several orders of their own; a choice over several routes merges theirs. How
//! many entries one choice looks at is bounded, so that it takes milliseconds among millions of letters: one
//! that comes to the bound says where it ended, and is gone on with from there.

use std::cmp::Reverse;

use domain::ports::{DeadFilter, Letter, Selection};
use domain::{EventId, Reason, RouteName};
use rusqlite::{CachedStatement, Connection, Rows, named_params, params};

use crate::connection::CallError;
use crate::row::{int, uint};

/// Entries of indexes that one choice looks at, about.
const LOOKS: usize = 50_000;

/// Which numbers: above `after`, up to and with `through`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    pub(crate) after: Letter,
    pub(crate) through: Letter,
}

impl Span {
    pub(crate) const WHOLE: Self = Self {
        after: Letter(0),
        through: Letter(u64::MAX),
    };

    fn holds(&self, letter: Letter) -> bool {
        letter > self.after && letter <= self.through
    }
}

/// Which end of the span comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    OldestFirst,
    NewestFirst,
}

impl Direction {
    fn sort(self, letters: &mut [Letter]) {
        match self {
            Self::OldestFirst => letters.sort_unstable(),
            Self::NewestFirst => letters.sort_unstable_by_key(|letter| Reverse(*letter)),
        }
    }

    /// Whether `letter` comes no later than `end`.
    fn reaches(self, letter: Letter, end: Letter) -> bool {
        match self {
            Self::OldestFirst => letter <= end,
            Self::NewestFirst => letter >= end,
        }
    }
}

/// Whose letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whose {
    All,
    /// Not those of retired routes: nobody would deliver them.
    Living,
}

/// What was chosen.
#[derive(Debug, Default)]
pub(crate) struct Picked {
    /// In the direction asked for.
    pub(crate) letters: Vec<Letter>,
    /// The last letter looked at; `None` when all of the span was.
    pub(crate) ended_at: Option<Letter>,
}

/// Chooses at most `limit` letters. Each of them is there, if the caller holds a transaction.
pub(crate) fn pick(
    connection: &Connection,
    selection: &Selection,
    whose: Whose,
    span: Span,
    direction: Direction,
    limit: usize,
) -> Result<Picked, CallError> {
    let mut looks = match selection {
        Selection::Ids(ids) => vec![of_ids(connection, ids, whose, span)?],
        Selection::Filter(filter) => {
            let mut look = Look {
                filter,
                span,
                direction,
                wanted: limit.saturating_add(1),
                most: 0,
            };
            let routes = routes(connection, filter.route.as_ref(), whose)?;
            // Each route gives what is asked for, if it has it.
            look.most = (LOOKS / routes.len().max(1)).max(look.wanted);
            let looks = routes.into_iter().map(|route| look.at(connection, route));
            looks.collect::<Result<_, _>>()?
        }
    };
    // One that ended early hides what lies behind its end, whatever the others found there.
    let ends = looks.iter().filter_map(|look| look.ended_at);
    let end = match direction {
        Direction::OldestFirst => ends.min(),
        Direction::NewestFirst => ends.max(),
    };
    let mut letters: Vec<Letter> = looks
        .iter_mut()
        .flat_map(|look| look.letters.drain(..))
        .filter(|letter| end.is_none_or(|end| direction.reaches(*letter, end)))
        .collect();
    direction.sort(&mut letters);
    if letters.len() <= limit {
        return Ok(Picked {
            letters,
            ended_at: end,
        });
    }
    letters.truncate(limit);
    Ok(Picked {
        ended_at: letters.last().copied(),
        letters,
    })
}

/// The routes' incarnations that have letters.
fn routes(
    connection: &Connection,
    name: Option<&RouteName>,
    whose: Whose,
) -> Result<Vec<i64>, CallError> {
    let mut statement = connection.prepare_cached(
        "SELECT id FROM routes
         WHERE dead_rows > 0 AND (?1 IS NULL OR name = ?1) AND (?2 OR retired_at IS NULL)",
    )?;
    let all = whose == Whose::All;
    let ids = statement.query_map(params![name.map(RouteName::as_str), all], |row| row.get(0))?;
    Ok(ids.collect::<rusqlite::Result<_>>()?)
}

pub(super) const BY_EVENT: &str = "SELECT letter FROM dead INDEXED BY dead_event
     WHERE event_id = ?1 AND (?2 OR (SELECT retired_at IS NULL FROM routes WHERE id = dead.route))";

fn of_ids(
    connection: &Connection,
    ids: &[EventId],
    whose: Whose,
    span: Span,
) -> Result<Picked, CallError> {
    let mut statement = connection.prepare_cached(BY_EVENT)?;
    let mut picked = Picked::default();
    for id in ids {
        let mut rows = statement.query(params![id.as_bytes(), whose == Whose::All])?;
        while let Some(row) = rows.next()? {
            picked.letters.push(Letter(uint(row, 0)?));
        }
    }
    picked.letters.retain(|letter| span.holds(*letter));
    picked.letters.sort_unstable();
    // An id may be given twice.
    picked.letters.dedup();
    Ok(picked)
}

pub(super) const BY_TIME: &str =
    "SELECT letter, reason, last_failure_at FROM dead INDEXED BY dead_time
     WHERE route = :route AND last_failure_at >= :from AND last_failure_at < :until LIMIT :most";

/// The letters of one cause, or of a route, in an order.
macro_rules! in_order {
    ($index:literal, $of:literal, $order:literal) => {
        concat!(
            "SELECT letter, reason, last_failure_at FROM dead INDEXED BY ",
            $index,
            " WHERE route = :route",
            $of,
            " AND letter > :after AND letter <= :through ORDER BY letter ",
            $order
        )
    };
}
const OF_CAUSE: [&str; 2] = [
    in_order!(
        "dead_fingerprint",
        " AND reason = :reason AND fingerprint = :fingerprint",
        "ASC"
    ),
    in_order!(
        "dead_fingerprint",
        " AND reason = :reason AND fingerprint = :fingerprint",
        "DESC"
    ),
];
const OF_ROUTE: [&str; 2] = [
    in_order!("dead_letter", "", "ASC"),
    in_order!("dead_letter", "", "DESC"),
];

/// Every statement that finds letters by a filter.
#[cfg(test)]
pub(super) const STATEMENTS: [&str; 5] =
    [BY_TIME, OF_CAUSE[0], OF_CAUSE[1], OF_ROUTE[0], OF_ROUTE[1]];

/// A look at one route's letters.
struct Look<'a> {
    filter: &'a DeadFilter,
    span: Span,
    direction: Direction,
    /// It ends with so many.
    wanted: usize,
    /// The most entries it looks at.
    most: usize,
}

impl Look<'_> {
    fn at(&self, connection: &Connection, route: i64) -> Result<Picked, CallError> {
        match &self.filter.fingerprint {
            Some(fingerprint) => self.of_cause(connection, route, fingerprint),
            None => match self.of_time(connection, route)? {
                Some(few) => Ok(few),
                None => self.in_order(connection, route),
            },
        }
    }

    /// Those of one cause, under each reason that is not filtered out.
    fn of_cause(
        &self,
        connection: &Connection,
        route: i64,
        fingerprint: &str,
    ) -> Result<Picked, CallError> {
        let mut statement = connection.prepare_cached(self.text(OF_CAUSE))?;
        let mut under_each = Vec::new();
        let reasons = Reason::ALL.into_iter();
        for reason in reasons.filter(|reason| self.filter.reason.is_none_or(|of| of == *reason)) {
            let rows = statement.query(named_params! {
                ":route": route, ":reason": reason.as_str(), ":fingerprint": fingerprint,
                ":after": int(self.span.after.0), ":through": int(self.span.through.0),
            })?;
            under_each.push(self.takes(rows)?);
        }
        let ends = under_each.iter().filter_map(|picked| picked.ended_at);
        let ended_at = match self.direction {
            Direction::OldestFirst => ends.min(),
            Direction::NewestFirst => ends.max(),
        };
        let letters = under_each.into_iter().flat_map(|picked| picked.letters);
        Ok(Picked {
            letters: letters.collect(),
            ended_at,
        })
    }

    /// Those of the time that is asked for, if they are few. (Of many, the first in the order of the letters
    /// are found soon.) `None`: they are many, or no time is asked for.
    fn of_time(&self, connection: &Connection, route: i64) -> Result<Option<Picked>, CallError> {
        if self.filter.after.is_none() && self.filter.before.is_none() {
            return Ok(None);
        }
        let mut statement = connection.prepare_cached(BY_TIME)?;
        let (from, until) = times(self.filter);
        let mut rows = statement.query(named_params! {
            ":route": route, ":from": from, ":until": until,
            ":most": i64::try_from(self.most).unwrap_or(i64::MAX),
        })?;
        let (mut picked, mut looked) = (Picked::default(), 0);
        while let Some(row) = rows.next()? {
            looked += 1;
            picked.letters.extend(self.fits(row)?);
        }
        picked.letters.retain(|letter| self.span.holds(*letter));
        Ok((looked < self.most).then_some(picked))
    }

    fn in_order(&self, connection: &Connection, route: i64) -> Result<Picked, CallError> {
        let mut statement: CachedStatement<'_> = connection.prepare_cached(self.text(OF_ROUTE))?;
        let rows = statement.query(named_params! {
            ":route": route,
            ":after": int(self.span.after.0), ":through": int(self.span.through.0),
        })?;
        self.takes(rows)
    }

    fn text(&self, of: [&'static str; 2]) -> &'static str {
        match self.direction {
            Direction::OldestFirst => of[0],
            Direction::NewestFirst => of[1],
        }
    }

    /// Takes what fits, until there is enough or too much was looked at.
    fn takes(&self, mut rows: Rows<'_>) -> Result<Picked, CallError> {
        let mut picked = Picked::default();
        let mut looked = 0;
        while let Some(row) = rows.next()? {
            looked += 1;
            picked.letters.extend(self.fits(row)?);
            if picked.letters.len() >= self.wanted || looked >= self.most {
                picked.ended_at = Some(Letter(uint(row, 0)?));
                break;
            }
        }
        Ok(picked)
    }

    /// The letter, if reason and time are those asked for.
    fn fits(&self, row: &rusqlite::Row<'_>) -> Result<Option<Letter>, CallError> {
        let (from, until) = times(self.filter);
        let at: i64 = row.get(2)?;
        let reason = row.get_ref(1)?;
        let fits = (from..until).contains(&at)
            && self
                .filter
                .reason
                .is_none_or(|wanted| reason.as_str().is_ok_and(|is| is == wanted.as_str()));
        Ok(fits.then_some(Letter(uint(row, 0)?)))
    }
}

/// From when until when, in microseconds.
pub(super) fn times(filter: &DeadFilter) -> (i64, i64) {
    let micros = |time: domain::Timestamp| time.as_microsecond();
    (
        filter.after.map_or(i64::MIN, micros),
        filter.before.map_or(i64::MAX, micros),
    )
}
