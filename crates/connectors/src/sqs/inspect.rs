//! What a queue says of itself, and what of it is weaker than promised.

use std::collections::HashMap;

use aws_sdk_sqs::types::QueueAttributeName;
use domain::ports::Finding;

use super::options::Config;

/// What every queue has taken ever since, in one message and in one request.
pub(super) const SMALLEST_LIMIT: usize = 256 << 10;

/// SQS keeps nothing longer.
const LONGEST_RETENTION: u64 = 14 * DAY;
const DAY: u64 = 24 * 60 * 60;

/// What the queue takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Facts {
    /// Bytes in one message.
    pub(super) message_bytes: usize,
    /// How long it keeps a message, in seconds. `None` if it does not say.
    pub(super) retention: Option<u64>,
    /// Whether it may be asked.
    pub(super) is_readable: bool,
}

impl Facts {
    /// Of a queue that may be written and not be asked.
    pub(super) const UNKNOWN: Self = Self {
        message_bytes: SMALLEST_LIMIT,
        retention: None,
        is_readable: false,
    };

    pub(super) fn read(attributes: Option<&HashMap<QueueAttributeName, String>>) -> Self {
        let number = |name| attributes?.get(&name)?.parse::<u64>().ok();
        let limit = number(QueueAttributeName::MaximumMessageSize);
        let limit = limit.and_then(|limit| usize::try_from(limit).ok());
        Self {
            message_bytes: limit.unwrap_or(SMALLEST_LIMIT),
            retention: number(QueueAttributeName::MessageRetentionPeriod),
            is_readable: true,
        }
    }

    /// Bytes in one request.
    pub(super) fn request_bytes(&self) -> usize {
        self.message_bytes.max(SMALLEST_LIMIT)
    }

    /// What is weaker than promised.
    pub(super) fn findings(&self, config: &Config) -> Vec<Finding> {
        let queue = &config.queue;
        let mut findings = Vec::new();
        let mut find = |text: String| findings.push(Finding { text });
        if let Some(text) = config.endpoint.finding(config.endpoint_key) {
            find(text);
        }
        if !self.is_readable {
            find(format!(
                "the keys may not ask queue {queue} for its limits, so that messages over {SMALLEST_LIMIT} bytes are rejected: grant them sqs:GetQueueAttributes"
            ));
        }
        if let Some(kept) = self.retention.filter(|kept| *kept < LONGEST_RETENTION) {
            find(format!(
                "queue {queue} keeps a message for {}, and what nobody has read by then is gone: set its MessageRetentionPeriod to {LONGEST_RETENTION} (14 days), above all if dead letters go there",
                span(kept)
            ));
        }
        if self.is_readable && self.message_bytes < SMALLEST_LIMIT {
            find(format!(
                "queue {queue} takes messages of up to {} bytes only, and larger events are rejected: raise its MaximumMessageSize",
                self.message_bytes
            ));
        }
        findings
    }
}

fn span(seconds: u64) -> String {
    if seconds.is_multiple_of(DAY) {
        format!("{} days", seconds / DAY)
    } else {
        format!("{seconds} s")
    }
}
