//! What a connection found when it was set up, and the SQL that follows from it.
//!
//! The events table is made here if it is not there. Column types are taken from the server and never guessed.

use domain::Unavailable;
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Statement};

use super::error::setup;
use super::table::{self, Found};
use super::value::Kind;
use crate::body::Holds;
use crate::field::Field;
use crate::row::BodyPlan;
use crate::target::{Column, ColumnValue, Table, Target};

/// The most parameters that a statement can have.
const PARAMETERS: usize = 65_535;

/// How this connection writes.
#[derive(Debug)]
pub(super) enum Plan {
    Table(TablePlan),
    Statement(StatementPlan),
}

#[derive(Debug)]
pub(super) struct TablePlan {
    /// As it stands in SQL.
    table: String,
    id_column: String,
    pub(super) columns: Vec<PlannedColumn>,
    pub(super) body: BodyPlan,
    /// Whether a repeat of an id is recognised.
    pub(super) unique: bool,
    pub(super) engine: Option<String>,
    /// Columns that must be filled and are not.
    pub(super) unfilled: Vec<String>,
}

#[derive(Debug)]
pub(super) struct PlannedColumn {
    pub(super) name: String,
    pub(super) value: ColumnValue,
    pub(super) kind: Kind,
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

impl TablePlan {
    fn names(&self) -> String {
        let names: Vec<&str> = self.columns.iter().map(|one| one.name.as_str()).collect();
        names.join(", ")
    }

    /// One INSERT for so many rows. Nothing in it makes a conflict pass: which one it was is looked up afterwards.
    pub(super) fn insert(&self, rows: usize) -> String {
        let row = format!("({})", vec!["?"; self.columns.len()].join(","));
        let rows = vec![row; rows].join(",");
        format!(
            "INSERT INTO {} ({}) VALUES {rows}",
            self.table,
            self.names()
        )
    }

    /// The most rows that one INSERT can have.
    pub(super) fn rows_max(&self) -> usize {
        (PARAMETERS / self.columns.len().max(1)).max(1)
    }

    /// Which of these ids are there, given as they stand in SQL.
    pub(super) fn look_up(&self, ids: &[String]) -> String {
        let (id, table) = (&self.id_column, &self.table);
        format!("SELECT {id} FROM {table} WHERE {id} IN ({})", ids.join(","))
    }

    /// An INSERT of no row, which the server refuses where it would refuse one of an event: no table, no right,
    /// read-only.
    pub(super) fn probe(&self) -> String {
        let (names, table) = (self.names(), &self.table);
        format!("INSERT INTO {table} ({names}) SELECT {names} FROM {table} WHERE 1 = 0")
    }

    pub(super) fn id_is_bytes(&self) -> bool {
        self.columns.first().is_some_and(|id| id.kind == Kind::Id16)
    }
}

pub(super) async fn make(conn: &mut Conn, target: &Target) -> Result<Plan, Unavailable> {
    match target {
        Target::Table(table) => Ok(Plan::Table(table_plan(conn, table).await?)),
        Target::Statement(own) => {
            let failed = |error| setup("prepare the statement", &error);
            let statement = conn.prep(own.sql.as_str()).await.map_err(failed)?;
            if usize::from(statement.num_params()) != own.fields.len() {
                return Err(Unavailable::new(
                    "statement",
                    "the statement has parameters other than $id, $body and the like: use these only",
                ));
            }
            let asks = |field| own.fields.contains(&field);
            Ok(Plan::Statement(StatementPlan {
                statement,
                fields: own.fields.clone(),
                // The server does not say what a parameter's type is: text, until it refuses.
                body: BodyPlan {
                    body: asks(Field::Body).then_some(Holds::Text),
                    raw: asks(Field::BodyRaw),
                },
            }))
        }
    }
}

async fn table_plan(conn: &mut Conn, table: &Table) -> Result<TablePlan, Unavailable> {
    let mut found = table::look(conn, table).await?;
    if found.is_none() && table.own.is_some() {
        table::create(conn, table).await?;
        found = table::look(conn, table).await?;
    }
    let Some(found) = found else {
        let name = &table.name;
        return Err(Unavailable::new(
            "table",
            format!("there is no table {name}: make it, or correct `table`"),
        ));
    };
    let mut columns = Vec::with_capacity(table.columns.len());
    for column in &table.columns {
        columns.push(planned(table, &found, column)?);
    }
    let holds = |field: Field| {
        let of_field = |one: &&Column| one.value == ColumnValue::Field(field);
        let name = table.columns.iter().find(of_field)?.name.as_str();
        let there = found.columns.iter().find(|there| there.is(name))?;
        Some(body_holds(&there.kind, table.own.is_some()))
    };
    let body = BodyPlan {
        body: holds(Field::Body),
        raw: holds(Field::BodyRaw).is_some(),
    };
    let unfilled = found.columns.iter().filter(|there| {
        let written = table
            .columns
            .iter()
            .any(|ours| there.is(ours.name.as_str()));
        there.must_be_filled && !written
    });
    Ok(TablePlan {
        table: table.name.backticked(),
        id_column: table.id_column.backticked(),
        body,
        unique: found.unique,
        unfilled: unfilled.map(|there| there.name.clone()).collect(),
        engine: found.engine,
        columns,
    })
}

fn planned(table: &Table, found: &Found, column: &Column) -> Result<PlannedColumn, Unavailable> {
    let name = column.name.as_str();
    let there = found.columns.iter().find(|there| there.is(name));
    let there = there.ok_or_else(|| {
        Unavailable::new(
            "table",
            format!(
                "the table {} has no column {name}: add it, or write to another table",
                table.name
            ),
        )
    })?;
    Ok(PlannedColumn {
        name: column.name.backticked(),
        value: column.value.clone(),
        kind: Kind::of(&there.kind),
    })
}

/// In the events table `body` is JSON by promise, whatever text holds it.
fn body_holds(kind: &str, own: bool) -> Holds {
    let word = kind.split(['(', ' ']).next().unwrap_or(kind);
    match word {
        "json" => Holds::Json,
        _ if word.ends_with("blob") || word.ends_with("binary") => Holds::Bytes,
        _ if own => Holds::Json,
        _ => Holds::Text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_column_holds_what_its_type_does() {
        assert_eq!(body_holds("longtext", true), Holds::Json);
        assert_eq!(body_holds("longtext", false), Holds::Text);
        assert_eq!(body_holds("json", false), Holds::Json);
        assert_eq!(body_holds("mediumblob", true), Holds::Bytes);
        assert_eq!(body_holds("varbinary(99)", false), Holds::Bytes);
    }

    #[test]
    fn names_are_quoted_and_values_are_parameters() {
        let column = |name: &str| PlannedColumn {
            name: format!("`{name}`"),
            value: ColumnValue::Field(Field::Id),
            kind: Kind::Plain,
        };
        let plan = TablePlan {
            table: "`d`.`t`".into(),
            id_column: "`a`".into(),
            columns: vec![column("a"), column("b c")],
            body: BodyPlan {
                body: None,
                raw: false,
            },
            unique: true,
            engine: None,
            unfilled: Vec::new(),
        };
        assert_eq!(
            plan.insert(2),
            "INSERT INTO `d`.`t` (`a`, `b c`) VALUES (?,?),(?,?)"
        );
        assert_eq!(
            plan.look_up(&["'x'".into(), "'y'".into()]),
            "SELECT `a` FROM `d`.`t` WHERE `a` IN ('x','y')"
        );
        assert_eq!(plan.rows_max(), 32_767);
    }
}
