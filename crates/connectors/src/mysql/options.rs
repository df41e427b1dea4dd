//! The options of a `mysql` destination.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use domain::ports::Destination;
use domain::{HumanDuration, Secret};
use serde::Deserialize;

use super::destination::Mysql;
use super::url::Url;
use crate::options::{Backend, BuildError, Context, OptionsError, batch_max, wait};
use crate::reference::{OptionDoc, sql};
use crate::statement::Dialect;
use crate::target::{BodyType, Target, TargetOptions};

/// The word for it in the configuration.
pub(crate) const KIND: &str = "mysql";

pub(crate) const REFERENCE: &[OptionDoc] = &[
    OptionDoc {
        key: "url",
        value: "secret string",
        default: "",
        limit: "mysql://user:password@host:3306/database?ssl-mode=…; mariadb:// as well",
        effect: "Where the server is. ssl-mode is disabled, preferred (default), required or verify-identity; ssl-ca names a PEM file, else the system's certificates are trusted; ssl-name is the name in the certificate where it is not the host's; socket is a Unix socket to use instead.",
    },
    OptionDoc {
        key: "url_file",
        value: "path",
        default: "",
        limit: "instead of `url`",
        effect: "A file with the URL, read again for every new connection.",
    },
    sql::TABLE,
    OptionDoc {
        key: "body_type",
        value: "string",
        default: "\"json\"",
        limit: "\"json\"; when Forebay makes the table",
        effect: "The column is LONGTEXT, which keeps the text byte for byte; MySQL's own JSON does not.",
    },
    sql::COLUMNS,
    sql::ID_COLUMN,
    sql::STATEMENT,
    sql::BATCH_MAX,
    OptionDoc {
        key: "concurrency",
        value: "integer",
        default: "2",
        limit: "1 to 64",
        effect: "Connections, and so batches in flight at once.",
    },
    OptionDoc {
        key: "connect_timeout",
        value: "duration",
        default: "\"10s\"",
        limit: "100ms to 1h",
        effect: "The longest that one connection may take to open.",
    },
    OptionDoc {
        key: "timeout",
        value: "duration",
        default: "\"30s\"",
        limit: "100ms to 1h",
        effect: "The longest that the server may take for one answer. After it the connection is thrown away and the destination is unavailable.",
    },
];

/// A `mysql` destination as it was written.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Where the server is. This or `url_file`.
    pub url: Option<Secret>,
    /// A file with the URL.
    pub url_file: Option<PathBuf>,
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
    /// Connections. Default 2, 1 to 64.
    pub concurrency: Option<u32>,
    /// The longest that one connection may take to open. Default `"10s"`.
    pub connect_timeout: Option<HumanDuration>,
    /// The longest that the server may take for one answer. Default `"30s"`.
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
                "must be \"json\" for mysql, which keeps JSON as text; for MySQL's own JSON type make the table yourself, with `body` of that type",
            ));
        }
        let server = match (&self.url, &self.url_file) {
            (Some(url), None) => Server::Url(Box::new(
                Url::parse(url.expose()).map_err(|reason| OptionsError::new("url", reason))?,
            )),
            (None, Some(path)) => Server::File(path.clone()),
            (None, None) => {
                return Err(OptionsError::new(
                    "url",
                    "is missing: write mysql://user:password@host:3306/database, or name a file with it in `url_file`",
                ));
            }
            (Some(_), Some(_)) => {
                return Err(OptionsError::new(
                    "url_file",
                    "does not go with `url`: keep one of them",
                ));
            }
        };
        let concurrency = self.concurrency.unwrap_or(2);
        if !(1..=64).contains(&concurrency) {
            return Err(OptionsError::new("concurrency", "must be from 1 to 64"));
        }
        let target = TargetOptions {
            dialect: Dialect::Mysql,
            table: self.table.as_deref(),
            body_type: self.body_type,
            columns: self.columns.as_ref(),
            id_column: self.id_column.as_deref(),
            statement: self.statement.as_deref(),
        };
        let target = target.validate()?;
        if let (Server::Url(url), Target::Table(table)) = (&server, &target)
            && url.database().is_none()
            && table.name.parts().0.is_none()
        {
            return Err(OptionsError::new(
                "url",
                "names no database: write mysql://user:password@host:3306/database, or `table` as database.table",
            ));
        }
        Ok(Config {
            server,
            target,
            batch_max: batch_max(self.batch_max)?,
            concurrency: concurrency as usize,
            connect_timeout: wait("connect_timeout", self.connect_timeout, 10)?,
            timeout: wait("timeout", self.timeout, 30)?,
        })
    }
}

/// Checked options.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(super) server: Server,
    pub(super) target: Target,
    pub(super) batch_max: usize,
    pub(super) concurrency: usize,
    pub(super) connect_timeout: Duration,
    pub(super) timeout: Duration,
}

/// Where the URL comes from.
#[derive(Debug, Clone)]
pub(super) enum Server {
    Url(Box<Url>),
    File(PathBuf),
}

impl Server {
    /// The key that it was given by.
    const fn key(&self) -> &'static str {
        match self {
            Self::Url(_) => "url",
            Self::File(_) => "url_file",
        }
    }

    /// The URL now. Blocks on a file.
    pub(super) fn url(&self) -> Result<Url, String> {
        match self {
            Self::Url(url) => Ok((**url).clone()),
            Self::File(path) => {
                let text = std::fs::read_to_string(path)
                    .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
                Url::parse(text.trim()).map_err(|reason| format!("{}: {reason}", path.display()))
            }
        }
    }
}

impl Backend for Config {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn build(&self, context: &Context) -> Result<Arc<dyn Destination>, BuildError> {
        let refuse = |reason| BuildError {
            name: context.name.clone(),
            key: self.server.key(),
            reason,
        };
        // A missing file is better found now than at the first connection.
        let url = self.server.url().map_err(refuse)?;
        url.trust().map_err(refuse)?;
        Ok(Arc::new(Mysql::new(self.clone())))
    }
}
