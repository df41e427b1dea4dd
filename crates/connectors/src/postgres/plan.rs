//! What a connection found when it was set up, and the statements it prepared for it.
//!
//! The events table is made here if it is not there. Column types are taken from the database and never
//! guessed: they decide whether rows can go by binary COPY, and what values are cast to.

use domain::Unavailable;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Statement};

use super::copy::Wire;
use super::error::setup;
use crate::body::Holds;
use crate::field::Field;
use crate::row::BodyPlan;
use crate::target::{BodyType, Column, ColumnValue, Table, Target};

/// How this connection writes.
#[derive(Debug)]
pub(super) enum Plan {
    Table(TablePlan),
    Statement(StatementPlan),
}

#[derive(Debug)]
pub(super) struct TablePlan {
    pub(super) columns: Vec<PlannedColumn>,
    /// Takes an array a column.
    pub(super) insert: Statement,
    /// A binary COPY, where every column's type is one that is known byte for byte.
    pub(super) copy: Option<(Statement, Vec<(Field, Wire)>)>,
    pub(super) body: BodyPlan,
    /// Whether a repeat of an id is recognised.
    pub(super) unique: bool,
    pub(super) logged: bool,
    /// Columns that must be filled and are not.
    pub(super) unfilled: Vec<String>,
}

#[derive(Debug)]
pub(super) struct PlannedColumn {
    pub(super) value: ColumnValue,
    pub(super) is_bytes: bool,
}

#[derive(Debug)]
pub(super) struct StatementPlan {
    pub(super) statement: Statement,
    pub(super) fields: Vec<Field>,
    pub(super) body: BodyPlan,
}

impl Plan {
    pub(super) fn body(&self) -> BodyPlan {
        match self {
            Self::Table(plan) => plan.body,
            Self::Statement(plan) => plan.body,
        }
    }
}

pub(super) async fn make(client: &Client, target: &Target) -> Result<Plan, Unavailable> {
    match target {
        Target::Table(table) => Ok(Plan::Table(table_plan(client, table).await?)),
        Target::Statement(own) => {
            let statement = client
                .prepare(&own.sql)
                .await
                .map_err(|error| setup("prepare the statement", &error))?;
            let holds = |field| {
                let at = own.fields.iter().position(|one| *one == field)?;
                statement.params().get(at).map(body_holds)
            };
            let body = BodyPlan {
                body: holds(Field::Body),
                raw: own.fields.contains(&Field::BodyRaw),
            };
            Ok(Plan::Statement(StatementPlan {
                statement,
                fields: own.fields.clone(),
                body,
            }))
        }
    }
}

fn body_holds(kind: &Type) -> Holds {
    match *kind {
        Type::BYTEA => Holds::Bytes,
        Type::JSON => Holds::Json,
        Type::JSONB => Holds::Jsonb,
        _ => Holds::Text,
    }
}

/// A table as the database has it.
struct Found {
    relation: char,
    persistence: char,
    row_security: bool,
    unique: bool,
    columns: Vec<FoundColumn>,
}

struct FoundColumn {
    name: String,
    kind: String,
    must_be_filled: bool,
}

async fn table_plan(client: &Client, table: &Table) -> Result<TablePlan, Unavailable> {
    let mut found = look(client, table).await?;
    if let (None, Some(body_type)) = (&found, table.own) {
        create(client, table, body_type).await?;
        found = look(client, table).await?;
    }
    let Some(found) = found else {
        return Err(Unavailable::new(
            "table",
            format!(
                "there is no table {}: make it, or correct `table`",
                table.name
            ),
        ));
    };
    let mut columns = Vec::with_capacity(table.columns.len());
    for column in &table.columns {
        let there = found
            .columns
            .iter()
            .find(|there| there.name == column.name.as_str());
        let Some(there) = there else {
            return Err(Unavailable::new(
                "table",
                format!(
                    "the table {} has no column {}: add it, or write to another table",
                    table.name,
                    column.name.as_str()
                ),
            ));
        };
        columns.push((column, there.kind.as_str()));
    }
    let prepare = async |sql: String| {
        let doing = format!("prepare writing to the table {}", table.name);
        let prepared = client.prepare(&sql).await;
        prepared.map_err(|error| setup(&doing, &error))
    };
    let insert = prepare(insert_sql(table, &columns, found.unique)).await?;
    let wires: Option<Vec<(Field, Wire)>> = columns
        .iter()
        .map(|(column, kind)| match &column.value {
            ColumnValue::Field(field) => Wire::of(*field, kind).map(|wire| (*field, wire)),
            ColumnValue::Pointer(_) => None,
        })
        .collect();
    // COPY writes to tables only, and not past row security.
    let can_copy = matches!(found.relation, 'r' | 'p') && !found.row_security;
    let copy = match wires.filter(|_| can_copy) {
        Some(wires) => Some((prepare(copy_sql(table)).await?, wires)),
        None => None,
    };
    let kind_of = |field| {
        let of_field = |(column, _): &&(&Column, &str)| column.value == ColumnValue::Field(field);
        columns.iter().find(of_field).map(|(_, kind)| *kind)
    };
    let body = BodyPlan {
        body: kind_of(Field::Body).map(|kind| match kind {
            "json" => Holds::Json,
            "jsonb" => Holds::Jsonb,
            "bytea" => Holds::Bytes,
            _ => Holds::Text,
        }),
        raw: kind_of(Field::BodyRaw).is_some(),
    };
    let unfilled = found
        .columns
        .iter()
        .filter(|there| there.must_be_filled)
        .filter(|there| {
            !columns
                .iter()
                .any(|(ours, _)| ours.name.as_str() == there.name)
        })
        .map(|there| there.name.clone())
        .collect();
    Ok(TablePlan {
        insert,
        copy,
        body,
        unique: found.unique,
        logged: found.persistence == 'p',
        unfilled,
        columns: columns
            .iter()
            .map(|(column, kind)| PlannedColumn {
                value: column.value.clone(),
                is_bytes: *kind == "bytea",
            })
            .collect(),
    })
}

/// Everything about the table that matters, or `None` when there is none.
async fn look(client: &Client, table: &Table) -> Result<Option<Found>, Unavailable> {
    let doing = format!("look at the table {}", table.name);
    let failed = |error: tokio_postgres::Error| setup(&doing, &error);
    let about = client
        .query_opt(
            "SELECT c.relkind::text, c.relpersistence::text, row_security_active(c.oid),
                    EXISTS (SELECT FROM pg_index i JOIN pg_attribute a
                              ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
                            WHERE i.indrelid = c.oid AND a.attname = $2 AND i.indnkeyatts = 1
                              AND i.indisunique AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL)
             FROM pg_class c WHERE c.oid = to_regclass($1)",
            &[&table.name.quoted(), &table.id_column.as_str()],
        )
        .await
        .map_err(failed)?;
    let Some(about) = about else { return Ok(None) };
    let rows = client
        .query(
            "SELECT a.attname::text, format_type(a.atttypid, -1),
                    a.attnotnull AND NOT a.atthasdef AND a.attidentity = ''
             FROM pg_attribute a
             WHERE a.attrelid = to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped",
            &[&table.name.quoted()],
        )
        .await
        .map_err(failed)?;
    let letter = |text: String| text.chars().next().unwrap_or(' ');
    Ok(Some(Found {
        relation: letter(about.get(0)),
        persistence: letter(about.get(1)),
        row_security: about.get(2),
        unique: about.get(3),
        columns: rows
            .iter()
            .map(|row| FoundColumn {
                name: row.get(0),
                kind: row.get(1),
                must_be_filled: row.get(2),
            })
            .collect(),
    }))
}

async fn create(client: &Client, table: &Table, body_type: BodyType) -> Result<(), Unavailable> {
    let body = match body_type {
        BodyType::Json => "json",
        BodyType::Jsonb => "jsonb",
    };
    let sql = format!(
        "CREATE TABLE IF NOT EXISTS {} (id uuid PRIMARY KEY, source text NOT NULL, \
         received_at timestamptz NOT NULL, method text NOT NULL, path text NOT NULL, \
         headers jsonb NOT NULL, content_type text, body {body}, body_raw bytea)",
        table.name.quoted()
    );
    let Err(error) = client.batch_execute(&sql).await else {
        return Ok(());
    };
    // Two that make it at once can meet in the catalogue in spite of IF NOT EXISTS.
    let raced = error
        .code()
        .is_some_and(|code| matches!(code.code(), "23505" | "42P07" | "42710"));
    if raced {
        return Ok(());
    }
    Err(setup(&format!("make the table {}", table.name), &error))
}

/// One array a column, so that the statement is the same for any number of rows. Values are cast to the
/// column's type without its length, so that one that is too long is refused and not cut.
fn insert_sql(table: &Table, columns: &[(&Column, &str)], unique: bool) -> String {
    let list = |each: &dyn Fn(usize, &Column, &str) -> String| {
        let items = columns.iter().enumerate();
        let items: Vec<String> = items
            .map(|(at, (column, kind))| each(at + 1, column, kind))
            .collect();
        items.join(", ")
    };
    let conflict = if unique {
        format!(" ON CONFLICT ({}) DO NOTHING", table.id_column.quoted())
    } else {
        String::new()
    };
    format!(
        "INSERT INTO {} ({}) SELECT {} FROM UNNEST({}) AS u({}){conflict}",
        table.name.quoted(),
        list(&|_, column, _| column.name.quoted()),
        list(&|at, _, kind| format!("u.c{at}::{kind}")),
        list(&|at, _, kind| {
            let sent = if kind == "bytea" { "bytea" } else { "text" };
            format!("${at}::{sent}[]")
        }),
        list(&|at, _, _| format!("c{at}")),
    )
}

fn copy_sql(table: &Table) -> String {
    let names: Vec<String> = table
        .columns
        .iter()
        .map(|column| column.name.quoted())
        .collect();
    format!(
        "COPY {} ({}) FROM STDIN (FORMAT binary)",
        table.name.quoted(),
        names.join(", ")
    )
}
