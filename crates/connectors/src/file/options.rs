//! The options of a `file` destination.

use std::path::PathBuf;
use std::sync::Arc;

use domain::ports::Destination;
use serde::Deserialize;

use super::destination::File;
use crate::options::{Backend, BuildError, Context, OptionsError, batch_max};
use crate::reference::OptionDoc;

/// The word for it in the configuration.
pub(crate) const KIND: &str = "file";

pub(crate) const REFERENCE: &[OptionDoc] = &[
    OptionDoc {
        key: "path",
        value: "path",
        default: "\"{data_dir}/events.ndjson\"",
        limit: "relative to the working directory; its directory must exist",
        effect: "The file that lines are appended to. Made if it is not there, for its owner only.",
    },
    OptionDoc {
        key: "batch_max",
        value: "integer",
        default: "1000",
        limit: "1 to 10000",
        effect: "The most events in one write and sync.",
    },
];

/// A `file` destination as it was written.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// The file. Default: `events.ndjson` in the data directory.
    pub path: Option<PathBuf>,
    /// The most events in one write and sync. Default 1000, 1 to 10,000.
    pub batch_max: Option<u32>,
}

impl Options {
    /// Checks the values; reads nothing.
    ///
    /// # Errors
    /// The key and what would be right.
    pub(crate) fn validate(&self) -> Result<Config, OptionsError> {
        if self
            .path
            .as_ref()
            .is_some_and(|path| path.as_os_str().is_empty())
        {
            return Err(OptionsError::new("path", "cannot be empty: name a file"));
        }
        Ok(Config {
            path: self.path.clone(),
            batch_max: batch_max(self.batch_max)?,
        })
    }
}

/// Checked options.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    path: Option<PathBuf>,
    batch_max: usize,
}

impl Backend for Config {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn build(&self, context: &Context) -> Result<Arc<dyn Destination>, BuildError> {
        let path = self.path.clone();
        let path = path.unwrap_or_else(|| context.data_dir.join("events.ndjson"));
        Ok(Arc::new(File::new(path, self.batch_max)))
    }
}
