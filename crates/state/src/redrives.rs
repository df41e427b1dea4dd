//! Redrives: jobs that put dead letters back on their routes, a bounded step at a time.
//!
//! A job knows the last letter that there was when it began, and up to which one it has come. A letter that
//! is buried again has a higher number than both, so that no job meets its own failures.

use domain::ports::{
    DeadFilter, Letter, Redrive, RedriveId, RedriveStatus, RedriveStep, Selection, StateError,
};
use domain::{Reason, RouteName, Timestamp};
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use crate::connection::CallError;
use crate::dead::{self, Direction, Span, Whose, pick, route_name};
use crate::row::{int, time, uint};

/// Jobs that have ended and are still shown. More go when the next one begins.
const KEPT: u32 = 1000;

/// What a job is to do, as it was when it was asked for.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) selection: Selection,
    pub(crate) rate_per_second: Option<u32>,
    pub(crate) through: Letter,
    pub(crate) matched: u64,
    pub(crate) ramped: bool,
}

/// What an outage buried on the route and no job of its kind is bringing back. One task asks for it.
pub(crate) fn recovery(
    connection: &Connection,
    route: &RouteName,
) -> Result<Option<Request>, CallError> {
    let selection = Selection::Filter(DeadFilter {
        route: Some(route.clone()),
        reason: Some(Reason::Outage),
        ..DeadFilter::default()
    });
    let running = running(connection)?;
    if running
        .iter()
        .any(|job| job.ramped && job.selection == selection)
    {
        return Ok(None);
    }
    let matched = dead::count(connection, &selection, Whose::Living)?;
    let request = Request {
        through: dead::last(connection)?,
        matched,
        selection,
        rate_per_second: None,
        ramped: true,
    };
    Ok((matched > 0).then_some(request))
}

/// Notes a job.
pub(crate) fn begin(
    connection: &mut Connection,
    request: &Request,
    now: Timestamp,
) -> Result<Redrive, CallError> {
    let selection = serde_json::to_string(&request.selection)
        .map_err(|error| StateError::Failed(format!("a selection cannot be written: {error}")))?;
    let transaction = connection.transaction()?;
    transaction
        .prepare_cached(
            "DELETE FROM redrives WHERE status <> 'running' AND id <= (
                 SELECT id FROM redrives WHERE status <> 'running' ORDER BY id DESC LIMIT 1 OFFSET ?1)",
        )?
        .execute([KEPT])?;
    transaction
        .prepare_cached(
            "INSERT INTO redrives (selection, through, rate_per_second, status, matched, created_at, ramped)
             VALUES (?1, ?2, ?3, 'running', ?4, ?5, ?6)",
        )?
        .execute(params![
            selection,
            int(request.through.0),
            request.rate_per_second,
            int(request.matched),
            now.as_microsecond(),
            request.ramped,
        ])?;
    let id = RedriveId(u64::try_from(transaction.last_insert_rowid()).unwrap_or(0));
    let begun = get(&transaction, id)?;
    transaction.commit()?;
    begun.ok_or_else(|| StateError::Failed("a redrive was not kept".into()).into())
}

/// A step ends with the letter that brings it to so many bytes: settling waits for it.
const STEP_BYTES: i64 = 4 << 20;

/// Puts back the next letters of a job.
pub(crate) fn step(
    connection: &mut Connection,
    id: RedriveId,
    limit: usize,
    now: Timestamp,
) -> Result<Option<RedriveStep>, CallError> {
    let transaction = connection.transaction()?;
    let Some(redrive) = get(&transaction, id)? else {
        return Ok(None);
    };
    let mut step = RedriveStep {
        redrive,
        routes: Vec::new(),
        moved: 0,
    };
    if step.redrive.status != RedriveStatus::Running || limit == 0 {
        return Ok(Some(step));
    }
    let job = &step.redrive;
    let span = Span {
        after: position(&transaction, id)?,
        through: job.through,
    };
    let (living, oldest) = (Whose::Living, Direction::OldestFirst);
    let picked = pick(&transaction, &job.selection, living, span, oldest, limit)?;
    let (mut bytes, mut cut_at) = (0, None);
    for letter in picked.letters {
        let (route, size) = put_back(&transaction, letter, now)?;
        step.moved += 1;
        if !step.routes.contains(&route) {
            step.routes.push(route);
        }
        bytes += size;
        if bytes >= STEP_BYTES {
            cut_at = Some(letter);
            break;
        }
    }
    let through = step.redrive.through;
    let ended_at = cut_at.or(picked.ended_at);
    let position = ended_at.unwrap_or(through);
    let finished = ended_at.is_none().then(|| now.as_microsecond());
    transaction
        .prepare_cached(
            "UPDATE redrives SET position = ?2, moved = moved + ?3, finished_at = ?4,
                    status = iif(?4 IS NULL, status, 'done') WHERE id = ?1",
        )?
        .execute(params![
            int(id.0),
            int(position.0),
            int(step.moved),
            finished
        ])?;
    if let Some(after) = get(&transaction, id)? {
        step.redrive = after;
    }
    transaction.commit()?;
    Ok(Some(step))
}

/// Moves one letter to the parked. Returns whose it is, and its size. It is due by any clock: one that is ahead of time now
/// may be right tomorrow.
pub(crate) fn put_back(
    transaction: &Transaction<'_>,
    letter: Letter,
    now: Timestamp,
) -> Result<(RouteName, i64), CallError> {
    let mut park = transaction.prepare_cached(
        "INSERT INTO parked (route, seq, event_id, event, attempts, due_at, first_failure_at, last_failure_at,
                             cause_code, cause_detail, fingerprint, redrives, order_key)
         SELECT route, seq, event_id, event, 0, min(?2, last_failure_at), first_failure_at, last_failure_at,
                cause_code, cause_detail, fingerprint, redrives + 1, order_key
         FROM dead WHERE letter = ?1
         ON CONFLICT (route, seq) DO NOTHING",
    )?;
    if park.execute(params![int(letter.0), now.as_microsecond()])? == 0 {
        let both = format!(
            "dead letter {} is parked as well: a defect, and nothing was moved",
            letter.0
        );
        return Err(StateError::Conflict(both).into());
    }
    let mut dig_up = transaction
        .prepare_cached("DELETE FROM dead WHERE letter = ?1 RETURNING route, length(event)")?;
    let (route, size): (i64, i64) =
        dig_up.query_row([int(letter.0)], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let mut named = transaction.prepare_cached("SELECT name FROM routes WHERE id = ?1")?;
    let mut rows = named.query([route])?;
    match rows.next()? {
        Some(row) => Ok((route_name(row, 0)?, size)),
        None => Err(StateError::Failed("state holds a dead letter of no route".into()).into()),
    }
}

/// Ends a running job.
pub(crate) fn cancel(
    connection: &mut Connection,
    id: RedriveId,
    now: Timestamp,
) -> Result<Option<Redrive>, CallError> {
    let transaction = connection.transaction()?;
    transaction
        .prepare_cached(
            "UPDATE redrives SET status = 'cancelled', finished_at = ?2 WHERE id = ?1 AND status = 'running'",
        )?
        .execute(params![int(id.0), now.as_microsecond()])?;
    let redrive = get(&transaction, id)?;
    transaction.commit()?;
    Ok(redrive)
}

/// A route has another name: the jobs that ask for it by name go on asking for the same one.
pub(crate) fn rename(
    transaction: &Transaction<'_>,
    from: &RouteName,
    to: &RouteName,
) -> rusqlite::Result<()> {
    transaction.execute(
        "UPDATE redrives SET selection = json_set(selection, '$.filter.route', ?2)
         WHERE status = 'running' AND json_extract(selection, '$.filter.route') = ?1",
        params![from.as_str(), to.as_str()],
    )?;
    Ok(())
}

macro_rules! redrives {
    ($which:literal) => {
        concat!(
            "SELECT id, selection, through, rate_per_second, status, matched, moved, created_at, finished_at, ramped
             FROM redrives ",
            $which
        )
    };
}

/// One job.
pub(crate) fn get(connection: &Connection, id: RedriveId) -> Result<Option<Redrive>, CallError> {
    let mut statement = connection.prepare_cached(redrives!("WHERE id = ?1"))?;
    let mut rows = statement.query([int(id.0)])?;
    rows.next()?.map(read).transpose()
}

/// The jobs below `below`, newest first.
pub(crate) fn list(
    connection: &Connection,
    below: Option<RedriveId>,
    limit: usize,
) -> Result<Vec<Redrive>, CallError> {
    let mut statement =
        connection.prepare_cached(redrives!("WHERE id < ?1 ORDER BY id DESC LIMIT ?2"))?;
    let below = below.map_or(i64::MAX, |below| int(below.0));
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    read_all(statement.query(params![below, limit])?)
}

/// The jobs that have not ended, oldest first.
pub(crate) fn running(connection: &Connection) -> Result<Vec<Redrive>, CallError> {
    let mut statement =
        connection.prepare_cached(redrives!("WHERE status = 'running' ORDER BY id"))?;
    read_all(statement.query([])?)
}

/// The letters that running jobs may still bring back on a route: those after the first and through the second.
pub(crate) fn ahead(
    connection: &Connection,
    route: &RouteName,
) -> Result<Option<(Letter, Letter)>, CallError> {
    let mut ahead: Option<(Letter, Letter)> = None;
    for job in running(connection)? {
        if let Selection::Filter(DeadFilter {
            route: Some(other), ..
        }) = &job.selection
            && other != route
        {
            continue;
        }
        let (after, through) = (position(connection, job.id)?, job.through);
        ahead = Some(ahead.map_or((after, through), |(first, last)| {
            (first.min(after), last.max(through))
        }));
    }
    Ok(ahead)
}

fn position(connection: &Connection, id: RedriveId) -> Result<Letter, CallError> {
    let mut statement = connection.prepare_cached("SELECT position FROM redrives WHERE id = ?1")?;
    let position = statement
        .query_row([int(id.0)], |row| uint(row, 0))
        .optional()?;
    Ok(Letter(position.unwrap_or(0)))
}

fn read_all(mut rows: rusqlite::Rows<'_>) -> Result<Vec<Redrive>, CallError> {
    let mut redrives = Vec::new();
    while let Some(row) = rows.next()? {
        redrives.push(read(row)?);
    }
    Ok(redrives)
}

fn read(row: &Row<'_>) -> Result<Redrive, CallError> {
    let id = RedriveId(uint(row, 0)?);
    let unreadable = || StateError::Failed(format!("state holds an unreadable redrive {}", id.0));
    let (selection, status): (String, String) = (row.get(1)?, row.get(4)?);
    let finished_at: Option<i64> = row.get(8)?;
    Ok(Redrive {
        id,
        selection: serde_json::from_str(&selection).map_err(|_| unreadable())?,
        through: Letter(uint(row, 2)?),
        rate_per_second: row.get(3)?,
        status: match &*status {
            "running" => RedriveStatus::Running,
            "done" => RedriveStatus::Done,
            "cancelled" => RedriveStatus::Cancelled,
            _ => return Err(unreadable().into()),
        },
        matched: uint(row, 5)?,
        moved: uint(row, 6)?,
        created_at: time(row, 7)?,
        finished_at: finished_at.map(|_| time(row, 8)).transpose()?,
        ramped: row.get(9)?,
    })
}

#[cfg(test)]
mod tests {
    use domain::ports::DeadFilter;

    use super::*;

    #[test]
    fn of_those_that_ended_the_newest_thousand_are_kept_and_those_that_run_all() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state.db");
        let mut connection = crate::connection::open_writer(&path).unwrap();
        crate::schema::migrate(&mut connection, &path).unwrap();
        let many = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1500)
            INSERT INTO redrives (selection, through, status, matched, created_at, finished_at)
            SELECT '{\"filter\":{}}', 0, iif(i = 7, 'running', 'done'), 0, 0, 0 FROM n";
        connection.execute(many, []).unwrap();
        let request = Request {
            ramped: false,
            selection: Selection::Filter(DeadFilter::default()),
            rate_per_second: None,
            through: Letter(0),
            matched: 0,
        };
        let begun = begin(&mut connection, &request, Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!(begun.id, RedriveId(1501));
        let listed = list(&connection, None, 10_000).unwrap();
        assert_eq!(listed.len(), 1002);
        assert_eq!(listed[1000].id, RedriveId(501));
        assert_eq!(listed[1001].id, RedriveId(7));
    }
}
