//! Events that come in the envelope of whoever carried them.

use serde::{Deserialize, Serialize};

/// Whose envelope an event is taken out of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unwrap {
    /// Amazon EventBridge: the event is `detail`, its type is `detail-type`, and `id` is what makes a repeat.
    Eventbridge,
}
