//! The options of a `sqlite` destination.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use domain::HumanDuration;
use domain::ports::Destination;
use serde::Deserialize;

use super::destination::Sqlite;
use crate::options::{Backend, BuildError, Context, OptionsError, batch_max};
use crate::reference::{OptionDoc, sql};
use crate::statement::Dialect;
use crate::target::{BodyType, Target, TargetOptions};

/// The word for it in the configuration.
pub(crate) const KIND: &str = "sqlite";

pub(crate) const REFERENCE: &[OptionDoc] = &[
    OptionDoc {
        key: "path",
        value: "path",
        default: "\"{data_dir}/events.db\"",
        limit: "relative to the working directory; its directory must exist",
        effect: "The database file. Made if it is not there.",
    },
    sql::TABLE,
    OptionDoc {
        key: "body_type",
        value: "string",
        default: "\"json\"",
        limit: "\"json\"",
        effect: "SQLite keeps JSON as text, byte for byte.",
    },
    sql::COLUMNS,
    sql::ID_COLUMN,
    sql::STATEMENT,
    sql::BATCH_MAX,
    OptionDoc {
        key: "timeout",
        value: "duration",
        default: "\"30s\"",
        limit: "100ms to 1h",
        effect: "The longest a batch may take, waiting for another program's lock included.",
    },
];

/// A `sqlite` destination as it was written.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// The file. Default: `events.db` in the data directory.
    pub path: Option<PathBuf>,
    /// The table. Default `"webhook_events"`.
    pub table: Option<String>,
    /// Only `"json"`.
    pub body_type: Option<BodyType>,
    /// Columns of the user's own table, with what goes into each.
    pub columns: Option<BTreeMap<String, String>>,
    /// The column that takes the event's id.
    pub id_column: Option<String>,
    /// The user's own SQL.
    pub statement: Option<String>,
    /// The most events in a transaction. Default 1000, 1 to 10,000.
    pub batch_max: Option<u32>,
    /// The longest a batch may take. Default `"30s"`.
    pub timeout: Option<HumanDuration>,
}

impl Options {
    /// Checks the values; reads nothing.
    ///
    /// # Errors
    /// The key and what would be right.
    pub(crate) fn validate(&self) -> Result<Config, OptionsError> {
        if self.body_type == Some(BodyType::Jsonb) {
            return Err(OptionsError::new(
                "body_type",
                "must be \"json\" for sqlite, which keeps JSON as text",
            ));
        }
        if self
            .path
            .as_ref()
            .is_some_and(|path| path.as_os_str().is_empty())
        {
            return Err(OptionsError::new("path", "cannot be empty: name a file"));
        }
        let timeout = self
            .timeout
            .map_or(Duration::from_secs(30), |given| given.0);
        if !(Duration::from_millis(100)..=Duration::from_secs(3600)).contains(&timeout) {
            return Err(OptionsError::new("timeout", "must be from 100ms to 1h"));
        }
        let target = TargetOptions {
            dialect: Dialect::Numbered,
            table: self.table.as_deref(),
            body_type: self.body_type,
            columns: self.columns.as_ref(),
            id_column: self.id_column.as_deref(),
            statement: self.statement.as_deref(),
        };
        Ok(Config {
            path: self.path.clone(),
            target: target.validate()?,
            batch_max: batch_max(self.batch_max)?,
            timeout,
        })
    }
}

/// Checked options.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(super) path: Option<PathBuf>,
    pub(super) target: Target,
    pub(super) batch_max: usize,
    pub(super) timeout: Duration,
}

impl Backend for Config {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn build(&self, context: &Context) -> Result<Arc<dyn Destination>, BuildError> {
        let path = self.path.clone();
        let path = path.unwrap_or_else(|| context.data_dir.join("events.db"));
        Ok(Arc::new(Sqlite::new(path, self.clone())))
    }
}
