//! The options of a `file` destination.

use std::path::PathBuf;
use std::sync::Arc;

use domain::ports::Destination;
use serde::Deserialize;

use super::destination::File;
use crate::options::{Backend, BuildError, Context, OptionsError, batch_max};
use crate::reference::{OptionDoc, sql};

/// The word for it in the configuration.
pub(crate) const KIND: &str = "file";

pub(crate) const REFERENCE: &[OptionDoc] = &[
    OptionDoc {
        key: "path",
        value: "path",
        default: "",
        limit: "relative to the working directory; its directory must exist",
        effect: "The file that a line an event is appended to. Made if it is not there, for its owner alone.",
    },
    OptionDoc {
        effect: "The most events in one write.",
        ..sql::BATCH_MAX
    },
];

/// A `file` destination as it was written.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// The file.
    pub path: Option<PathBuf>,
    /// The most events in one write. Default 1000, 1 to 10,000.
    pub batch_max: Option<u32>,
}

impl Options {
    /// Checks the values; reads nothing.
    ///
    /// # Errors
    /// The key and what would be right.
    pub(crate) fn validate(&self) -> Result<Config, OptionsError> {
        let path = self.path.clone().unwrap_or_default();
        if path.as_os_str().is_empty() {
            return Err(OptionsError::new(
                "path",
                "is missing: name a file, as in \"/var/lib/forebay/events.ndjson\"",
            ));
        }
        Ok(Config {
            path,
            batch_max: batch_max(self.batch_max)?,
        })
    }
}

/// Checked options.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(super) path: PathBuf,
    pub(super) batch_max: usize,
}

impl Backend for Config {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn build(&self, _: &Context) -> Result<Arc<dyn Destination>, BuildError> {
        Ok(Arc::new(File::new(self)))
    }
}
