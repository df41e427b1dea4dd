//! A table as the server has it, and the events table if it has to be made.
//!
//! Asked by SHOW, which takes a name as the server's own file system does. Upper and lower case in a column's name
//! are the same to MySQL.

use domain::Unavailable;
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Error, Row};

use super::error::setup;
use crate::target::Table;

/// What of a table matters.
#[derive(Debug)]
pub(super) struct Found {
    /// `None` for a view.
    pub(super) engine: Option<String>,
    /// Whether the id's column has a unique index of its own.
    pub(super) unique: bool,
    pub(super) columns: Vec<FoundColumn>,
}

#[derive(Debug)]
pub(super) struct FoundColumn {
    pub(super) name: String,
    /// As SHOW writes it: `char(36)`, `int(10) unsigned`.
    pub(super) kind: String,
    pub(super) must_be_filled: bool,
}

impl FoundColumn {
    pub(super) fn is(&self, name: &str) -> bool {
        self.name.to_lowercase() == name.to_lowercase()
    }
}

/// Everything about the table that matters, or `None` when there is none.
pub(super) async fn look(conn: &mut Conn, table: &Table) -> Result<Option<Found>, Unavailable> {
    let doing = format!("look at the table {}", table.name);
    let failed = |error: Error| setup(&doing, &error);
    let name = table.name.backticked();
    let columns: Vec<Row> = match conn.query(format!("SHOW COLUMNS FROM {name}")).await {
        Ok(rows) => rows,
        Err(Error::Server(refusal)) if refusal.code == 1146 => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let columns = columns.iter().map(|row| {
        let text = |name: &str| text(row, name);
        let extra = text("Extra").unwrap_or_default().to_lowercase();
        let filled = text("Null").is_some_and(|null| null == "YES")
            || text("Default").is_some()
            || extra.contains("auto_increment")
            || extra.contains("generated");
        FoundColumn {
            name: text("Field").unwrap_or_default(),
            kind: text("Type").unwrap_or_default().to_lowercase(),
            must_be_filled: !filled,
        }
    });
    let columns = columns.collect();
    let indexes: Vec<Row> = conn
        .query(format!("SHOW INDEX FROM {name}"))
        .await
        .map_err(failed)?;
    let (schema, own_name) = table.name.parts();
    let engines: Vec<(String, Option<String>)> = conn
        .exec(
            "SELECT TABLE_NAME, ENGINE FROM information_schema.TABLES \
             WHERE TABLE_SCHEMA = COALESCE(?, DATABASE()) AND TABLE_NAME = ?",
            (schema, own_name),
        )
        .await
        .map_err(failed)?;
    // A server that tells upper from lower case may still compare without.
    let exact = engines.iter().find(|(name, _)| name == own_name);
    let engine = exact
        .or(engines.first())
        .and_then(|(_, engine)| engine.clone());
    Ok(Some(Found {
        engine,
        unique: is_unique(&indexes, table.id_column.as_str()),
        columns,
    }))
}

/// A column of what SHOW gives. A default may be bytes that are no text.
fn text(row: &Row, name: &str) -> Option<String> {
    let value = row.get_opt::<Option<Vec<u8>>, _>(name)?;
    let bytes = value.ok().flatten()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// Whether one of the indexes is unique, on this column alone and on the whole of it.
fn is_unique(indexes: &[Row], id_column: &str) -> bool {
    let id = id_column.to_lowercase();
    indexes.iter().any(|row| {
        let key = text(row, "Key_name");
        let columns = indexes
            .iter()
            .filter(|other| text(other, "Key_name") == key);
        text(row, "Non_unique").is_some_and(|non_unique| non_unique == "0")
            && text(row, "Column_name").is_some_and(|name| name.to_lowercase() == id)
            && text(row, "Sub_part").is_none()
            && columns.count() == 1
    })
}

pub(super) async fn create(conn: &mut Conn, table: &Table) -> Result<(), Unavailable> {
    // JSON is kept byte for byte in LONGTEXT only: MySQL's JSON takes it apart. Text is compared as it is.
    let sql = format!(
        "CREATE TABLE IF NOT EXISTS {} (id CHAR(36) CHARACTER SET ascii NOT NULL PRIMARY KEY, \
         source VARCHAR(64) NOT NULL, received_at DATETIME(6) NOT NULL, method TEXT NOT NULL, \
         path MEDIUMTEXT NOT NULL, headers JSON NOT NULL, content_type MEDIUMTEXT, body LONGTEXT, \
         body_raw LONGBLOB) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
        table.name.backticked()
    );
    conn.query_drop(sql)
        .await
        .map_err(|error| setup(&format!("make the table {}", table.name), &error))
}
