//! The table: made if it is the events table, looked at if it is the user's.

use domain::Unavailable;
use rusqlite::{Connection, OptionalExtension};

use super::error;
use crate::body::Holds;
use crate::field::Field;
use crate::row::BodyPlan;
use crate::target::{ColumnValue, Table, Target};

/// What is there to write to, as found when it was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Prepared {
    /// The statement to run once an event.
    pub(super) sql: String,
    /// Whether a repeat of an id is recognised.
    pub(super) unique: bool,
}

/// Makes the events table if it is not there, and looks at what is.
pub(super) fn prepare(connection: &Connection, target: &Target) -> Result<Prepared, Unavailable> {
    let table = match target {
        Target::Statement(statement) => {
            return Ok(Prepared {
                // `$1` is a name to SQLite, numbered by its first appearance, as ours are.
                sql: statement.sql.clone(),
                unique: false,
            });
        }
        Target::Table(table) => table,
    };
    let look = || -> Result<(Vec<String>, bool), rusqlite::Error> {
        if table.own.is_some() && columns(connection, table)?.is_empty() {
            connection.execute_batch(&create(table))?;
        }
        Ok((columns(connection, table)?, is_unique(connection, table)?))
    };
    let (there, unique) = look().map_err(|error| {
        let why = error::cause(&error);
        Unavailable::new(
            why.code,
            format!("cannot prepare the table {}: {}", table.name, why.detail),
        )
    })?;
    if there.is_empty() {
        return Err(Unavailable::new(
            "table",
            format!(
                "there is no table {}: make it, or correct `table`",
                table.name
            ),
        ));
    }
    let missing = table.columns.iter().find(|column| {
        !there
            .iter()
            .any(|name| name.eq_ignore_ascii_case(column.name.as_str()))
    });
    if let Some(column) = missing {
        return Err(Unavailable::new(
            "table",
            format!(
                "the table {} has no column {}: add it, or write to another table",
                table.name,
                column.name.as_str()
            ),
        ));
    }
    Ok(Prepared {
        sql: insert(table, unique),
        unique,
    })
}

/// Schema and name as SQLite's table-valued pragmas take them.
fn parts(table: &Table) -> (String, Option<String>) {
    let text = table.name.to_string();
    match text.split_once('.') {
        Some((schema, name)) => (name.to_owned(), Some(schema.to_owned())),
        None => (text, None),
    }
}

fn columns(connection: &Connection, table: &Table) -> Result<Vec<String>, rusqlite::Error> {
    let (name, schema) = parts(table);
    let mut statement = connection.prepare(
        "SELECT name FROM pragma_table_xinfo(?1, coalesce(?2, 'main')) WHERE hidden IN (0, 2, 3)",
    )?;
    let rows = statement.query_map((name, schema), |row| row.get(0))?;
    rows.collect()
}

/// Whether the id's column has a unique index, or is the primary key, by itself and for every row.
fn is_unique(connection: &Connection, table: &Table) -> Result<bool, rusqlite::Error> {
    let (name, schema) = parts(table);
    let id = table.id_column.as_str();
    let indexed = connection
        .query_row(
            "SELECT 1 FROM pragma_index_list(?1, coalesce(?2, 'main')) AS l
             WHERE l.\"unique\" AND NOT l.partial
               AND (SELECT count(*) FROM pragma_index_info(l.name, coalesce(?2, 'main'))) = 1
               AND (SELECT name FROM pragma_index_info(l.name, coalesce(?2, 'main'))) = ?3 COLLATE NOCASE",
            (&name, &schema, id),
            |_| Ok(()),
        )
        .optional()?
        .is_some();
    // An INTEGER PRIMARY KEY has no index of its own.
    let keyed = connection
        .query_row(
            "SELECT 1 FROM pragma_table_info(?1, coalesce(?2, 'main')) GROUP BY pk > 0
             HAVING pk > 0 AND count(*) = 1 AND max(name) = ?3 COLLATE NOCASE",
            (&name, &schema, id),
            |_| Ok(()),
        )
        .optional()?
        .is_some();
    Ok(indexed || keyed)
}

fn create(table: &Table) -> String {
    format!(
        "CREATE TABLE IF NOT EXISTS {} (id TEXT PRIMARY KEY NOT NULL, source TEXT NOT NULL, \
         received_at TEXT NOT NULL, method TEXT NOT NULL, path TEXT NOT NULL, headers TEXT NOT NULL, \
         content_type TEXT, body TEXT, body_raw BLOB)",
        table.name.quoted()
    )
}

fn insert(table: &Table, unique: bool) -> String {
    let names: Vec<String> = table
        .columns
        .iter()
        .map(|column| column.name.quoted())
        .collect();
    let places: Vec<String> = (1..=names.len()).map(|at| format!("?{at}")).collect();
    let conflict = if unique {
        format!(" ON CONFLICT ({}) DO NOTHING", table.id_column.quoted())
    } else {
        String::new()
    };
    format!(
        "INSERT INTO {} ({}) VALUES ({}){conflict}",
        table.name.quoted(),
        names.join(", "),
        places.join(", ")
    )
}

/// Which parts of an event the body goes to.
pub(super) fn body_plan(target: &Target) -> BodyPlan {
    let asks = |field: Field| match target {
        Target::Statement(statement) => statement.fields.contains(&field),
        Target::Table(table) => table
            .columns
            .iter()
            .any(|column| column.value == ColumnValue::Field(field)),
    };
    // SQLite's columns take anything: in the events table `body` is JSON by promise, elsewhere it is text.
    let own = matches!(target, Target::Table(table) if table.own.is_some());
    let holds = if own { Holds::Json } else { Holds::Text };
    BodyPlan {
        body: asks(Field::Body).then_some(holds),
        raw: asks(Field::BodyRaw),
    }
}
