//! Writing a batch: one transaction, in which a refused event leaves the others alone.
//!
//! SQLite undoes a failed statement by itself and keeps the transaction, so that a batch need not be
//! split. What ends the whole transaction (a full disk, a trigger's ROLLBACK, a deferred constraint) is
//! met by writing each event in a transaction of its own, or by saying that the file is not there.

use domain::ports::Delivery;
use domain::{Outcome, Unavailable};
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, Statement, ToSql, TransactionBehavior};

use super::error::{self, Class};
use super::schema::{Prepared, body_plan};
use crate::row::{Row, Value};
use crate::target::Target;

/// How far writing came.
#[derive(Debug)]
pub(super) struct Written {
    /// In order; shorter than the batch when the file went away.
    pub(super) outcomes: Vec<Outcome>,
    pub(super) unavailable: Option<Unavailable>,
}

impl ToSql for Value<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Text(text) => ValueRef::Text(text),
            Self::Bytes(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

/// Why the transaction as a whole was not committed.
enum Lost {
    /// The file is not there.
    Gone(Unavailable),
    /// An event, or the commit itself, took the transaction down.
    Undone,
}

pub(super) fn write(
    connection: &mut Connection,
    prepared: &Prepared,
    target: &Target,
    batch: &[Delivery],
) -> Written {
    match together(connection, prepared, target, batch) {
        Ok(outcomes) => Written {
            outcomes,
            unavailable: None,
        },
        Err(Lost::Gone(why)) => Written {
            outcomes: Vec::new(),
            unavailable: Some(why),
        },
        Err(Lost::Undone) => each(connection, prepared, target, batch),
    }
}

/// All in one transaction.
fn together(
    connection: &mut Connection,
    prepared: &Prepared,
    target: &Target,
    batch: &[Delivery],
) -> Result<Vec<Outcome>, Lost> {
    let gone = |error: rusqlite::Error| Lost::Gone(error::unavailable(&error));
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(gone)?;
    let mut outcomes = Vec::with_capacity(batch.len());
    {
        let mut statement = prepare(&transaction, prepared, target)?;
        for delivery in batch {
            let outcome = match run(&mut statement, target, delivery) {
                Ok(outcome) => outcome,
                Err(error) if error::class(&error) == Class::Unavailable => {
                    return Err(gone(error));
                }
                Err(_) if transaction.is_autocommit() => return Err(Lost::Undone),
                Err(error) => error::outcome(&error),
            };
            outcomes.push(outcome);
        }
    }
    match transaction.commit() {
        Ok(()) => Ok(outcomes),
        Err(error) if error::class(&error) == Class::Unavailable => Err(gone(error)),
        Err(_) => Err(Lost::Undone),
    }
}

/// Each in a transaction of its own. Rare and slow: every one is synced.
fn each(
    connection: &mut Connection,
    prepared: &Prepared,
    target: &Target,
    batch: &[Delivery],
) -> Written {
    let mut outcomes = Vec::with_capacity(batch.len());
    for delivery in batch {
        match alone(connection, prepared, target, delivery) {
            Ok(outcome) => outcomes.push(outcome),
            Err(error) if error::class(&error) == Class::Unavailable => {
                return Written {
                    outcomes,
                    unavailable: Some(error::unavailable(&error)),
                };
            }
            Err(error) => outcomes.push(error::outcome(&error)),
        }
    }
    Written {
        outcomes,
        unavailable: None,
    }
}

fn alone(
    connection: &mut Connection,
    prepared: &Prepared,
    target: &Target,
    delivery: &Delivery,
) -> Result<Outcome, rusqlite::Error> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut statement = transaction.prepare_cached(&prepared.sql)?;
    let outcome = run(&mut statement, target, delivery)?;
    drop(statement);
    transaction.commit()?;
    Ok(outcome)
}

fn prepare<'c>(
    connection: &'c Connection,
    prepared: &Prepared,
    target: &Target,
) -> Result<rusqlite::CachedStatement<'c>, Lost> {
    let gone = |detail: String| Lost::Gone(Unavailable::new("statement", detail));
    let statement = connection.prepare_cached(&prepared.sql).map_err(|error| {
        // Nothing of an event is in this: SQLite's own words help whoever wrote the statement.
        gone(format!("SQLite does not take the statement: {error}"))
    })?;
    let bound = match target {
        Target::Statement(statement) => statement.fields.len(),
        Target::Table(table) => table.columns.len(),
    };
    if statement.parameter_count() == bound {
        Ok(statement)
    } else {
        Err(gone(
            "the statement has parameters other than $id, $body and the like: use these only"
                .into(),
        ))
    }
}

/// Runs the statement for one event. `Err` is SQLite's; what is wrong with the event itself is an outcome.
fn run(
    statement: &mut Statement<'_>,
    target: &Target,
    delivery: &Delivery,
) -> Result<Outcome, rusqlite::Error> {
    let row = match Row::place(delivery, body_plan(target)) {
        Ok(row) => row,
        Err(cause) => return Ok(Outcome::Reject { cause }),
    };
    match target {
        Target::Statement(own) => {
            for (at, field) in own.fields.iter().enumerate() {
                statement.raw_bind_parameter(at + 1, row.field(*field))?;
            }
        }
        Target::Table(table) => {
            for (at, column) in table.columns.iter().enumerate() {
                match row.column(&column.value) {
                    Ok(value) => statement.raw_bind_parameter(at + 1, value)?,
                    Err(cause) => return Ok(Outcome::Reject { cause }),
                }
            }
        }
    }
    // A statement of the user's may give rows (RETURNING, SELECT f(…)): all of it has to run.
    let mut rows = statement.raw_query();
    while rows.next()?.is_some() {}
    Ok(Outcome::Delivered)
}
