//! Sources as admin sees them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::SourceName;

/// A source that refuses events for trouble of our own, and what that means for its sender.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Refusing {
    /// Since when.
    pub since: Timestamp,
    /// The last refusal.
    pub until: Timestamp,
    /// It could take events again from then on, and none has come yet; `None`: it still refuses, as far as is known.
    #[serde(default)]
    pub takes_since: Option<Timestamp>,
    /// The code of the last refusal.
    pub code: String,
    /// How long its sender tries, in seconds.
    pub window_seconds: Option<f64>,
    /// How much of that is left for what was refused first; 0 once events are lost for good.
    pub left_seconds: Option<f64>,
    /// When events begin to be lost for good.
    pub lost_from: Option<Timestamp>,
}

/// Requests that a source turned away for a reason of its own, as a wrong secret, until an hour after the last of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TurnedAway {
    /// The code that they were told; `quarantined` where they were told 200 and are kept apart.
    pub code: String,
    /// What was wrong with the last one's proof, or where in its body; nothing of the request.
    pub reason: Option<String>,
    /// The first of them.
    pub since: Timestamp,
    /// The last of them.
    pub last_at: Timestamp,
    /// How many there were.
    pub requests: u64,
    /// Events of the source that were accepted meanwhile.
    pub accepted_meanwhile: u64,
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
    /// And when it was.
    #[serde(default)]
    pub last_refusal_at: Option<Timestamp>,
    /// What it turned away of late for reasons of its own.
    #[serde(default)]
    pub turned_away: Vec<TurnedAway>,
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
