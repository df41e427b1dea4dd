//! Counting letters and their causes, from the indexes alone.

use domain::ports::{DeadFilter, DeadGroup, Letter, Selection, StateError};
use domain::{EventId, Reason, RouteName};
use rusqlite::types::Value;
use rusqlite::{Connection, Row, params, params_from_iter};

use super::pick::{Direction, Span, Whose, pick, times};
use super::{read_reason, route_name};
use crate::connection::CallError;
use crate::row::{int, time, uint};

/// How many letters are selected.
pub(crate) fn count(
    connection: &Connection,
    selection: &Selection,
    whose: Whose,
) -> Result<u64, CallError> {
    let filter = match selection {
        Selection::Ids(_) => {
            let (all, oldest) = (Span::WHOLE, Direction::OldestFirst);
            let picked = pick(connection, selection, whose, all, oldest, usize::MAX)?;
            return Ok(picked.letters.len() as u64);
        }
        Selection::Filter(filter) => filter,
    };
    let (text, values) = counting(filter, whose);
    let mut statement = connection.prepare_cached(&text)?;
    Ok(statement.query_row(params_from_iter(values), |row| uint(row, 0))?)
}

/// The statement that counts, and its values.
pub(super) fn counting(filter: &DeadFilter, whose: Whose) -> (String, Vec<Value>) {
    let mut wanted = Conditions::of_routes(filter, whose);
    let narrowed = filter.reason.is_some() || filter.fingerprint.is_some();
    let timed = filter.after.is_some() || filter.before.is_some();
    if !narrowed && !timed {
        // Every row is counted as it comes and goes.
        let text = format!(
            "SELECT coalesce(sum(dead_rows), 0) FROM routes {}",
            wanted.text
        );
        return (text, wanted.values);
    }
    let index = if narrowed { BY_CAUSE } else { "dead_time" };
    wanted.narrow(filter);
    let text = format!(
        "SELECT count(*) FROM routes CROSS JOIN dead INDEXED BY {index} ON dead.route = routes.id {}",
        wanted.text
    );
    (text, wanted.values)
}

const BY_CAUSE: &str = "dead_fingerprint";

/// The causes, those with the most letters first.
pub(crate) fn groups(
    connection: &Connection,
    filter: &DeadFilter,
    limit: usize,
) -> Result<Vec<DeadGroup>, CallError> {
    let (text, values) = grouping(filter, limit);
    let mut statement = connection.prepare_cached(&text)?;
    let mut rows = statement.query(params_from_iter(values))?;
    let mut groups = Vec::new();
    while let Some(row) = rows.next()? {
        groups.push(group(connection, row)?);
    }
    Ok(groups)
}

/// The statement that groups, and its values. A route that was retired and one that has its name now are
/// shown as one.
pub(super) fn grouping(filter: &DeadFilter, limit: usize) -> (String, Vec<Value>) {
    let mut wanted = Conditions::of_routes(filter, Whose::All);
    wanted.narrow(filter);
    wanted
        .values
        .push(Value::Integer(i64::try_from(limit).unwrap_or(i64::MAX)));
    let text = format!(
        "SELECT name, reason, fingerprint, count(*) AS letters, max(letter) AS newest,
                min(last_failure_at), max(last_failure_at), min(retired_at IS NOT NULL)
         FROM routes CROSS JOIN dead INDEXED BY {BY_CAUSE} ON dead.route = routes.id
         {} GROUP BY name, reason, fingerprint ORDER BY letters DESC, newest DESC LIMIT ?{}",
        wanted.text,
        wanted.values.len()
    );
    (text, wanted.values)
}

fn group(connection: &Connection, row: &Row<'_>) -> Result<DeadGroup, CallError> {
    let reason: String = row.get(1)?;
    let newest = Letter(uint(row, 4)?);
    let example = example(connection, newest)?;
    Ok(DeadGroup {
        route: route_name(row, 0)?,
        retired: row.get(7)?,
        reason: read_reason(&reason)?,
        fingerprint: row.get(2)?,
        example: format!("{}: {}", example.code, example.detail),
        code: example.code,
        example_id: example.id,
        count: uint(row, 3)?,
        first_at: time(row, 5)?,
        last_at: time(row, 6)?,
    })
}

struct Example {
    id: EventId,
    code: String,
    detail: String,
}

fn example(connection: &Connection, letter: Letter) -> Result<Example, CallError> {
    let mut statement = connection
        .prepare_cached("SELECT event_id, cause_code, cause_detail FROM dead WHERE letter = ?1")?;
    let found = statement.query_row(params![int(letter.0)], |row| {
        Ok(Example {
            id: EventId::from_bytes(row.get(0)?),
            code: row.get(1)?,
            detail: row.get(2)?,
        })
    });
    found.map_err(|error| match error {
        rusqlite::Error::QueryReturnedNoRows => {
            StateError::Failed("an index of state names a dead letter that is not there".into())
                .into()
        }
        error => error.into(),
    })
}

/// A WHERE clause with its values.
struct Conditions {
    text: String,
    values: Vec<Value>,
}

impl Conditions {
    fn of_routes(filter: &DeadFilter, whose: Whose) -> Self {
        let mut wanted = Self {
            text: "WHERE routes.dead_rows > 0".into(),
            values: Vec::new(),
        };
        if whose == Whose::Living {
            wanted.text += " AND routes.retired_at IS NULL";
        }
        if let Some(name) = filter.route.as_ref().map(RouteName::as_str) {
            wanted.and("routes.name =", Value::Text(name.into()));
        }
        wanted
    }

    /// By what stands in the indexes of the letters.
    fn narrow(&mut self, filter: &DeadFilter) {
        if let Some(reason) = filter.reason {
            self.and("dead.reason =", Value::Text(reason.as_str().into()));
        } else if filter.fingerprint.is_some() {
            // In the index the fingerprint comes after the reason.
            let all = Reason::ALL.map(|reason| format!("'{}'", reason.as_str()));
            self.text += &format!(" AND dead.reason IN ({})", all.join(", "));
        }
        if let Some(fingerprint) = &filter.fingerprint {
            self.and("dead.fingerprint =", Value::Text(fingerprint.clone()));
        }
        let (from, until) = times(filter);
        if filter.after.is_some() {
            self.and("dead.last_failure_at >=", Value::Integer(from));
        }
        if filter.before.is_some() {
            self.and("dead.last_failure_at <", Value::Integer(until));
        }
    }

    fn and(&mut self, condition: &str, value: Value) {
        self.values.push(value);
        self.text += &format!(" AND {condition} ?{}", self.values.len());
    }
}
