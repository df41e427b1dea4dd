//! Sources as admin sees them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::SourceName;

/// A source, now. The counts are since the process started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceStatus {
    /// Its name.
    pub name: SourceName,
    /// Its type in the configuration: `http`, `sqs`.
    #[serde(rename = "type")]
    pub kind: String,
    /// What is read, of a queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reads: Option<String>,
    /// Why a queue is not read just now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// The paths it answers on, `/in/{name}` first; none of a queue.
    pub paths: Vec<String>,
    /// The verification scheme's name; `queue` where whoever may write to the queue is believed.
    pub scheme: String,
    /// Events accepted durably.
    pub accepted: u64,
    /// Of those, events that no route's `when` wants.
    #[serde(default)]
    pub discarded: u64,
    /// Repeats that were answered with the first one's id.
    pub duplicates: u64,
    /// Requests refused.
    pub refused: u64,
    /// The last refusal's code.
    pub last_refusal: Option<String>,
    /// When the last event was accepted.
    pub last_accepted_at: Option<Timestamp>,
}

/// The configured sources.
pub trait Sources: Send + Sync {
    /// All of them, by name.
    fn statuses(&self) -> Vec<SourceStatus>;
}
