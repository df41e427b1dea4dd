//! Dead letters: pages of them, those of one event, and purging.
//!
//! Which letters is decided by the indexes alone (`pick`, `tally`); a row, which is as large as its
//! event, is read only to be given out or moved.

mod pick;
mod tally;

use domain::ports::{BatchLimit, DeadLetter, DeadPage, DeadQuery, Letter, Selection, StateError};
use domain::{EventId, Reason, RouteName};
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::connection::CallError;
use crate::exports;
use crate::row::{cause, int, stored, time, uint};

pub(crate) use pick::{Direction, Span, Whose, pick};
pub(crate) use tally::{count, groups};

/// What one page may take in memory, in bytes. One letter is always given.
const PAGE_BYTES: usize = 8 << 20;

const LETTER: &str =
    "SELECT seq, event_id, event, letter, name, retired_at IS NOT NULL, attempts, reason,
            first_failure_at, last_failure_at, cause_code, cause_detail, fingerprint, redrives
     FROM dead JOIN routes ON routes.id = dead.route WHERE letter = ?1";

/// A page, newest burial first.
pub(crate) fn page(connection: &Connection, query: &DeadQuery) -> Result<DeadPage, CallError> {
    if query.limit == 0 {
        return Ok(DeadPage::default());
    }
    let span = Span {
        after: Letter(0),
        through: query
            .below
            .map_or(Letter(u64::MAX), |below| Letter(below.0.saturating_sub(1))),
    };
    let selection = Selection::Filter(query.filter.clone());
    let newest = Direction::NewestFirst;
    let picked = pick(
        connection,
        &selection,
        Whose::All,
        span,
        newest,
        query.limit,
    )?;
    let mut page = DeadPage {
        letters: Vec::with_capacity(picked.letters.len()),
        next: picked.ended_at,
    };
    let mut bytes = 0;
    for letter in picked.letters {
        let Some(found) = load(connection, letter)? else {
            continue;
        };
        bytes += found.stored.event.weight();
        if bytes > PAGE_BYTES
            && let Some(last) = page.letters.last()
        {
            page.next = Some(last.letter);
            break;
        }
        page.letters.push(found);
    }
    Ok(page)
}

/// The letters of one event, newest burial first.
pub(crate) fn of_event(connection: &Connection, id: EventId) -> Result<Vec<DeadLetter>, CallError> {
    let ids = Selection::Ids(vec![id]);
    let newest = Direction::NewestFirst;
    let picked = pick(
        connection,
        &ids,
        Whose::All,
        Span::WHOLE,
        newest,
        usize::MAX,
    )?;
    let letters = picked.letters.into_iter();
    letters
        .filter_map(|letter| load(connection, letter).transpose())
        .collect()
}

/// The last letter there is, 0 if there is none.
pub(crate) fn last(connection: &Connection) -> rusqlite::Result<Letter> {
    let mut statement = connection.prepare_cached("SELECT coalesce(max(letter), 0) FROM dead")?;
    statement.query_row([], |row| uint(row, 0).map(Letter))
}

/// Discards at most `limit` letters, the oldest first. Returns how many.
pub(crate) fn purge(
    connection: &mut Connection,
    selection: &Selection,
    through: Letter,
    limit: usize,
) -> Result<u64, CallError> {
    if limit == 0 {
        return Ok(0);
    }
    let transaction = connection.transaction()?;
    let mut after = Letter(0);
    let mut purged = 0;
    loop {
        let span = Span { after, through };
        let oldest = Direction::OldestFirst;
        let picked = pick(&transaction, selection, Whose::All, span, oldest, limit)?;
        for letter in picked.letters {
            purged += discard(&transaction, letter)?;
        }
        // None found and more to look at: 0 would say that none are left.
        match picked.ended_at {
            Some(ended_at) if purged == 0 => after = ended_at,
            _ => break,
        }
    }
    transaction.commit()?;
    Ok(purged)
}

pub(crate) fn discard(connection: &Connection, letter: Letter) -> rusqlite::Result<u64> {
    let mut delete =
        connection.prepare_cached("DELETE FROM dead WHERE letter = ?1 RETURNING route")?;
    let route: Option<i64> = delete
        .query_row([int(letter.0)], |row| row.get(0))
        .optional()?;
    let Some(route) = route else {
        return Ok(0);
    };
    connection
        .prepare_cached("UPDATE routes SET discarded = discarded + 1 WHERE id = ?1")?
        .execute(params![route])?;
    Ok(1)
}

pub(crate) fn load(
    connection: &Connection,
    letter: Letter,
) -> Result<Option<DeadLetter>, CallError> {
    let mut statement = connection.prepare_cached(LETTER)?;
    let mut rows = statement.query([int(letter.0)])?;
    let Some(mut found) = rows.next()?.map(read).transpose()? else {
        return Ok(None);
    };
    found.not_exported = exports::refusals(connection, letter)?;
    Ok(Some(found))
}

/// Letters of a route after that one, in the order of their numbers, within the limit; one is given in any case. What
/// targets would not take is left out: whoever asks here is a target.
pub(crate) fn after(
    connection: &Connection,
    route: i64,
    after: Letter,
    limit: BatchLimit,
) -> Result<Vec<DeadLetter>, CallError> {
    let mut statement = connection.prepare_cached(
        "SELECT seq, event_id, event, letter, name, retired_at IS NOT NULL, attempts, reason,
                first_failure_at, last_failure_at, cause_code, cause_detail, fingerprint, redrives
         FROM dead INDEXED BY dead_letter JOIN routes ON routes.id = dead.route
         WHERE route = ?1 AND letter > ?2 ORDER BY letter LIMIT ?3",
    )?;
    let most = i64::try_from(limit.events.max(1)).unwrap_or(i64::MAX);
    let mut rows = statement.query(params![route, int(after.0), most])?;
    let (mut letters, mut bytes) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        let letter = read(row)?;
        bytes += letter.stored.event.weight();
        if bytes > limit.bytes && !letters.is_empty() {
            break;
        }
        letters.push(letter);
    }
    Ok(letters)
}

fn read(row: &Row<'_>) -> Result<DeadLetter, CallError> {
    let reason: String = row.get(7)?;
    Ok(DeadLetter {
        stored: stored(row, 0)?,
        letter: Letter(uint(row, 3)?),
        route: route_name(row, 4)?,
        retired: row.get(5)?,
        attempts: row.get(6)?,
        reason: read_reason(&reason)?,
        first_failure_at: time(row, 8)?,
        last_failure_at: time(row, 9)?,
        cause: cause(row, 10)?,
        redrives: row.get(13)?,
        not_exported: Vec::new(),
    })
}

pub(crate) fn route_name(row: &Row<'_>, at: usize) -> Result<RouteName, CallError> {
    let name: String = row.get(at)?;
    RouteName::new(&name).map_err(|_| {
        StateError::Failed(format!(
            "state holds a route with the impossible name {name:?}"
        ))
        .into()
    })
}

fn read_reason(text: &str) -> Result<Reason, CallError> {
    let unknown = || StateError::Failed("state holds a dead letter with an unknown reason".into());
    Ok(Reason::parse(text).ok_or_else(unknown)?)
}

#[cfg(test)]
mod tests;
