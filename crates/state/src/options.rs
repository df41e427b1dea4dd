//! The `[state]` section of the configuration: how much room state may take.

use domain::ByteSize;
use serde::{Deserialize, Serialize};

/// Limits of the state store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// How large what waits in state may grow: parked events and dead letters. At it, burying and parking
    /// wait, and the events stay in the journal; progress, redrives and purges go on. It may be passed by
    /// as much as the routes have under way. Default `"10GiB"`, at least `"16MiB"`.
    pub max_bytes: ByteSize,
    /// What state leaves free on the disk when it buries and parks, so that settling always succeeds.
    /// Default `"256MiB"`; below `journal.min_free`, so that the journal stops first.
    pub min_free: ByteSize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_bytes: ByteSize::mib(10 << 10),
            min_free: ByteSize::mib(256),
        }
    }
}

impl Options {
    /// Checks the limits.
    ///
    /// # Errors
    /// The key and what would be right.
    pub fn validate(&self) -> Result<(), (&'static str, String)> {
        if self.max_bytes < ByteSize::mib(16) {
            return Err(("max_bytes", "must be at least 16MiB".into()));
        }
        Ok(())
    }
}
