//! What a SQL destination writes to: a table, or the user's own statement.
//!
//! Checks the options that all SQL destinations share and that `table`, `columns` and `statement` are not
//! mixed. The events table is a table like the user's own, with its columns filled by name.

use std::collections::BTreeMap;

use domain::Pointer;
use serde::Deserialize;

use crate::OptionsError;
use crate::field::Field;
use crate::identifier::{Identifier, TableName};
use crate::statement::{Dialect, Statement};

/// The type of the events table's `body` column, when Forebay makes the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BodyType {
    /// Keeps the text byte for byte.
    #[default]
    Json,
    /// Keeps the meaning, and can be indexed.
    Jsonb,
}

/// The shared options as they were written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TargetOptions<'a> {
    /// Whose SQL `statement` is.
    pub(crate) dialect: Dialect,
    pub(crate) table: Option<&'a str>,
    pub(crate) body_type: Option<BodyType>,
    pub(crate) columns: Option<&'a BTreeMap<String, String>>,
    pub(crate) id_column: Option<&'a str>,
    pub(crate) statement: Option<&'a str>,
}

/// Where events go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    Table(Table),
    Statement(Statement),
}

/// A table and what goes into its columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Table {
    pub(crate) name: TableName,
    /// Set for the events table: it is made if it is not there.
    pub(crate) own: Option<BodyType>,
    /// Which of the columns takes the id.
    pub(crate) id_column: Identifier,
    /// All columns that are written, the id's first.
    pub(crate) columns: Vec<Column>,
}

/// A column and what goes into it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Column {
    pub(crate) name: Identifier,
    pub(crate) value: ColumnValue,
}

/// What goes into a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ColumnValue {
    /// A named part of the event.
    Field(Field),
    /// A value out of the body.
    Pointer(Pointer),
}

impl TargetOptions<'_> {
    pub(crate) fn validate(self) -> Result<Target, OptionsError> {
        if let Some(text) = self.statement {
            self.statement_stands_alone()?;
            return Statement::parse(text, self.dialect).map(Target::Statement);
        }
        let name = TableName::new(self.table.unwrap_or(TableName::DEFAULT))?;
        let table = match (self.columns, self.id_column) {
            (None, None) => events_table(name, self.body_type.unwrap_or_default())?,
            (None, Some(_)) => {
                return Err(OptionsError::new(
                    "id_column",
                    "goes with `columns` only; the events table's own is called id",
                ));
            }
            (Some(_), None) => {
                return Err(OptionsError::new(
                    "id_column",
                    "`columns` needs it: name the column that takes the event's id, and give it a unique index, so that a repeat is written once",
                ));
            }
            (Some(columns), Some(id_column)) => {
                if self.body_type.is_some() {
                    return Err(OptionsError::new(
                        "body_type",
                        "does not go with `columns`: your table has its own types",
                    ));
                }
                own_table(name, id_column, columns)?
            }
        };
        Ok(Target::Table(table))
    }

    fn statement_stands_alone(self) -> Result<(), OptionsError> {
        let others = [
            ("table", self.table.is_some()),
            ("columns", self.columns.is_some()),
            ("id_column", self.id_column.is_some()),
            ("body_type", self.body_type.is_some()),
        ];
        match others.into_iter().find(|(_, given)| *given) {
            Some((key, _)) => Err(OptionsError::new(
                key,
                "does not go with `statement`, which says itself where to write: remove one of them",
            )),
            None => Ok(()),
        }
    }
}

fn events_table(name: TableName, body_type: BodyType) -> Result<Table, OptionsError> {
    let column = |field: Field| {
        Ok(Column {
            name: Identifier::new("table", field.name())?,
            value: ColumnValue::Field(field),
        })
    };
    Ok(Table {
        name,
        own: Some(body_type),
        id_column: Identifier::new("table", Field::Id.name())?,
        columns: Field::EVENTS_TABLE
            .into_iter()
            .map(column)
            .collect::<Result<_, _>>()?,
    })
}

fn own_table(
    name: TableName,
    id_column: &str,
    given: &BTreeMap<String, String>,
) -> Result<Table, OptionsError> {
    if given.is_empty() {
        return Err(OptionsError::new(
            "columns",
            "names no column; write columns = { conversation_id = \"/conversationId\" }",
        ));
    }
    if given.contains_key(id_column) {
        return Err(OptionsError::new(
            "columns",
            "fills the column of `id_column` as well, which takes the event's id: use two columns",
        ));
    }
    let id_column = Identifier::new("id_column", id_column)?;
    let mut columns = vec![Column {
        name: id_column.clone(),
        value: ColumnValue::Field(Field::Id),
    }];
    for (column, value) in given {
        columns.push(Column {
            name: Identifier::new("columns", column)?,
            value: column_value(value)?,
        });
    }
    Ok(Table {
        name,
        own: None,
        id_column,
        columns,
    })
}

fn column_value(text: &str) -> Result<ColumnValue, OptionsError> {
    let Some(name) = text.strip_prefix('$') else {
        return Pointer::parse(text).map(ColumnValue::Pointer).map_err(|_| {
            OptionsError::new(
                "columns",
                "a value is a JSON pointer, as in \"/conversationId\" or \"/items/0/id\", or a named part of the event, as in \"$received_at\"",
            )
        });
    };
    Field::parse(name).map(ColumnValue::Field).ok_or_else(|| {
        let reason = format!(
            "${name} is not a part of an event; there are {}",
            Field::listed()
        );
        OptionsError::new("columns", reason)
    })
}
