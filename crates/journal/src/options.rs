//! The `[journal]` section of the configuration.

use std::time::Duration;

use domain::{ByteSize, HumanDuration};
use serde::{Deserialize, Serialize};

use crate::format::FIRST_FRAME;

/// Which journal, and its limits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// The journal's type. Only `"embedded"`: files in `data_dir/journal`.
    #[serde(rename = "type")]
    pub kind: JournalType,
    /// The size of one segment file. Default `"64MiB"`, from `"1MiB"` to `"2GiB"`. An event must fit
    /// into one; space is given back a segment at a time.
    pub segment_bytes: ByteSize,
    /// The most disk that the journal takes, all files together. Default `"20GiB"`. What is
    /// unsettled is never evicted for it: when nothing settled is left to recycle, new events are
    /// refused with 503.
    pub max_bytes: ByteSize,
    /// Disk kept free for state: below it the journal makes no new segment. Default `"1GiB"`.
    pub min_free: ByteSize,
    /// How long settled events are kept for looking back and replay, while there is room. Default `"24h"`.
    pub retain: HumanDuration,
    /// Recent events kept in memory, so that routes that keep up never read the disk. Default
    /// `"16MiB"`.
    pub memory: ByteSize,
}

/// The types of journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JournalType {
    /// Files of this process's own.
    #[default]
    Embedded,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            kind: JournalType::Embedded,
            segment_bytes: ByteSize::mib(64),
            max_bytes: ByteSize::gib(20),
            min_free: ByteSize::gib(1),
            retain: HumanDuration::from_secs(24 * 3600),
            memory: ByteSize::mib(16),
        }
    }
}

impl Options {
    /// Checks the limits against each other and gives what opening consumes.
    ///
    /// # Errors
    /// The key and what would be right.
    pub fn validate(&self) -> Result<Config, (&'static str, String)> {
        let segment = self.segment_bytes;
        if segment < ByteSize::mib(1) || segment > ByteSize::gib(2) {
            return Err(("segment_bytes", "must be from 1MiB to 2GiB".into()));
        }
        if self.max_bytes.0 < segment.0 * 3 {
            return Err((
                "max_bytes",
                format!(
                    "must be at least three times segment_bytes ({segment}): one is written, one is spare, one is read"
                ),
            ));
        }
        Ok(Config {
            segment_bytes: segment.0,
            max_bytes: self.max_bytes.0,
            min_free: self.min_free.0,
            retain: self.retain.0,
            memory: self.memory.0,
        })
    }
}

/// Checked limits, in plain units.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Bytes of one segment file.
    pub segment_bytes: u64,
    /// Bytes of all files together.
    pub max_bytes: u64,
    /// Bytes of the disk kept free.
    pub min_free: u64,
    /// How long what is settled is kept.
    pub retain: Duration,
    /// Bytes of recent frames in memory.
    pub memory: u64,
}

impl Config {
    /// The largest frame that fits into an empty segment, in bytes.
    #[must_use]
    pub const fn max_frame(&self) -> u64 {
        self.segment_bytes - FIRST_FRAME
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_that_cannot_work_are_named() {
        let with = |segment_bytes, max_bytes| {
            Options {
                segment_bytes,
                max_bytes,
                ..Options::default()
            }
            .validate()
            .map_err(|(key, _)| key)
        };
        assert!(with(ByteSize::mib(64), ByteSize::gib(20)).is_ok());
        assert_eq!(
            with(ByteSize(1024), ByteSize::gib(20)),
            Err("segment_bytes")
        );
        assert_eq!(
            with(ByteSize::gib(3), ByteSize::gib(20)),
            Err("segment_bytes")
        );
        assert_eq!(
            with(ByteSize::mib(64), ByteSize::mib(128)),
            Err("max_bytes")
        );
    }
}
