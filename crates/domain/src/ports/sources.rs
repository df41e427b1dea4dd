//! Sources as admin sees them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::SourceName;

/// A source that refuses events for trouble of our own, and what that means for its sender.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Refusing {
    /// Since when.
    pub since: Timestamp,
    /// The code of the last refusal.
    pub code: String,
    /// How long its sender tries, in seconds.
    pub window_seconds: Option<f64>,
    /// How much of that is left for what was refused first; 0 once events are lost for good.
    pub left_seconds: Option<f64>,
    /// When events begin to be lost for good.
    pub lost_from: Option<Timestamp>,
}

/// A source, now. The counts are since the process started.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
    /// Requests that were not verified and are in quarantine now, also those from before the process started.
    #[serde(default)]
    pub quarantined: u64,
    /// The last refusal's code.
    pub last_refusal: Option<String>,
    /// From its sender's first try to its last, in seconds, where that is known.
    #[serde(default)]
    pub retry_window_seconds: Option<f64>,
    /// It refuses events for trouble of our own.
    #[serde(default)]
    pub refusing: Option<Refusing>,
    /// When the last event was accepted.
    pub last_accepted_at: Option<Timestamp>,
}

/// The configured sources.
pub trait Sources: Send + Sync {
    /// All of them, by name.
    fn statuses(&self) -> Vec<SourceStatus>;
}
