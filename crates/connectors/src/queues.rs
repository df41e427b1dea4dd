//! The `[sources.*]` sections of queues, and the one factory behind them.
//!
//! A queue is read by the backend that would deliver to it: its connection keys are those of the destination of the same
//! type, checked and built by the same code.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use domain::ports::{Destination, Finding, Inlet, Message};
use domain::{ByteSize, Unavailable, Unwrap};
use serde::Deserialize;

use crate::options::{Backend, BuildError, Context, DestinationOptions, OptionsError};
use crate::reference::OptionDoc;

/// The largest body that is taken unless the section says otherwise: as of an HTTP source.
const MAX_BODY: ByteSize = ByteSize::mib(10);

/// Of every type.
pub(crate) const MAX_BODY_DOC: OptionDoc = OptionDoc {
    key: "max_body",
    value: "size",
    default: "\"10MiB\"",
    limit: "at least 1 byte",
    effect: "The largest body that is taken. A message with a larger one stays in the queue.",
};

/// What a source's section says of a queue, by its `type`. Unknown keys are refused.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum QueueOptions {
    /// An SQS queue.
    Sqs(crate::sqs::QueueOptions),
    /// A list or a stream of a Redis server.
    Redis(crate::redis::QueueOptions),
    /// A queue of a RabbitMQ broker.
    Rabbitmq(crate::rabbitmq::QueueOptions),
}

/// The types of queue that can be a source, each with its options.
pub const QUEUE_REFERENCES: &[(&str, &[OptionDoc])] = &[
    (crate::sqs::KIND, crate::sqs::QUEUE_REFERENCE),
    (crate::redis::KIND, crate::redis::QUEUE_REFERENCE),
    (crate::rabbitmq::KIND, crate::rabbitmq::QUEUE_REFERENCE),
];

impl QueueOptions {
    /// Reads the options of this type, the section without `type`: so whoever reads them knows where a mistake is.
    /// `None`: there is no such type.
    pub fn read<'de, D: serde::Deserializer<'de>>(
        kind: &str,
        options: D,
    ) -> Option<Result<Self, D::Error>> {
        let read = match kind {
            crate::sqs::KIND => Deserialize::deserialize(options).map(Self::Sqs),
            crate::redis::KIND => Deserialize::deserialize(options).map(Self::Redis),
            crate::rabbitmq::KIND => Deserialize::deserialize(options).map(Self::Rabbitmq),
            _ => return None,
        };
        Some(read)
    }

    /// Checks every value and how they go together. Reads nothing but what is given.
    ///
    /// # Errors
    /// The key and what would be right.
    pub fn validate(&self) -> Result<QueueConfig, OptionsError> {
        let config = match self {
            Self::Sqs(options) => options.validate()?,
            Self::Redis(options) => options.validate()?,
            Self::Rabbitmq(options) => options.validate()?,
        };
        if config.max_body.0 == 0 {
            return Err(OptionsError::new("max_body", "must be at least 1 byte"));
        }
        Ok(config)
    }

    /// Whether it reads what the destination delivers to, as far as both are written the same way.
    #[must_use]
    pub fn reads_from(&self, destination: &DestinationOptions) -> bool {
        match (self, destination) {
            (Self::Sqs(queue), DestinationOptions::Sqs(to)) => queue.queue_url == to.queue_url,
            (Self::Redis(queue), DestinationOptions::Redis(to)) => {
                let server = (&queue.url, &queue.url_file) == (&to.url, &to.url_file);
                server && (&queue.list, &queue.stream) == (&to.list, &to.stream)
            }
            (Self::Rabbitmq(queue), DestinationOptions::Rabbitmq(to)) => {
                let server = (&queue.url, &queue.url_file) == (&to.url, &to.url_file);
                let own = to
                    .exchange
                    .is_none()
                    .then_some(())
                    .and(to.routing_key.as_ref());
                server && to.queue.as_ref().or(own) == Some(&queue.queue)
            }
            _ => false,
        }
    }
}

/// Checked options of a queue; what [`build_queue`] takes.
#[derive(Debug, Clone)]
pub struct QueueConfig {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) reads: String,
    pub(crate) max_body: ByteSize,
    pub(crate) unwrap: Option<Unwrap>,
}

impl QueueConfig {
    pub(crate) fn new(
        backend: impl Backend + 'static,
        reads: String,
        max_body: Option<ByteSize>,
    ) -> Self {
        Self {
            backend: Arc::new(backend),
            reads,
            max_body: max_body.unwrap_or(MAX_BODY),
            unwrap: None,
        }
    }

    pub(crate) fn unwrapping(self, unwrap: Option<Unwrap>) -> Self {
        Self { unwrap, ..self }
    }

    /// Whose envelope its events are taken out of.
    #[must_use]
    pub const fn envelope(&self) -> Option<Unwrap> {
        self.unwrap
    }

    /// The word for its type: `sqs`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        self.backend.kind()
    }

    /// What is read, for people; no secret.
    #[must_use]
    pub fn reads(&self) -> &str {
        &self.reads
    }

    /// The largest body that is taken, in bytes.
    #[must_use]
    pub const fn max_body(&self) -> u64 {
        self.max_body.0
    }
}

/// Makes the reader of a queue. Connects to nothing; reads certificates and secret files once to see that they are there.
///
/// # Errors
/// A file that it needs cannot be read.
pub fn build_queue(config: &QueueConfig, context: &Context) -> Result<Arc<dyn Inlet>, BuildError> {
    Ok(Arc::new(ReadOnly(config.backend.build(context)?)))
}

/// A backend that is only read.
struct ReadOnly(Arc<dyn Destination>);

impl ReadOnly {
    fn inlet(&self) -> Result<&dyn Inlet, Unavailable> {
        let none = || Unavailable::new("configuration", "it cannot be read");
        self.0.inlet().ok_or_else(none)
    }
}

#[async_trait]
impl Inlet for ReadOnly {
    async fn receive(&self, limit: usize, wait: Duration) -> Result<Vec<Message>, Unavailable> {
        self.inlet()?.receive(limit, wait).await
    }

    async fn look(&self) -> Result<(), Unavailable> {
        self.inlet()?.look().await
    }

    fn is_mistake(&self, why: &Unavailable) -> bool {
        self.0.inlet().is_some_and(|inlet| inlet.is_mistake(why))
    }

    async fn inspect(&self) -> Result<Vec<Finding>, Unavailable> {
        self.inlet()?.inspect().await
    }

    fn readers(&self) -> usize {
        self.0.inlet().map_or(1, Inlet::readers)
    }

    async fn keep(&self, handles: &[String]) -> Result<(), Unavailable> {
        self.inlet()?.keep(handles).await
    }

    async fn give_back(&self, handles: Vec<String>) -> Result<(), Unavailable> {
        self.inlet()?.give_back(handles).await
    }

    async fn let_go(&self, handles: Vec<String>) -> Result<(), Unavailable> {
        self.inlet()?.let_go(handles).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(json: serde_json::Value) -> String {
        let options: Result<QueueOptions, _> = serde_json::from_value(json);
        match options {
            Ok(options) => options.validate().map(|_| ()).unwrap_err().to_string(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn what_makes_no_sense_is_named_by_its_key() {
        let url = "redis://h:6379";
        for (json, expected) in [
            (serde_json::json!({"type": "sqs"}), "queue_url: "),
            (
                serde_json::json!({"type": "sqs", "queue_url": "https://sqs.us-east-1.amazonaws.com/1/q", "max_body": "0B"}),
                "max_body: must be at least 1 byte",
            ),
            (
                serde_json::json!({"type": "sqs", "batch_max": 1}),
                "unknown field `batch_max`",
            ),
            (
                serde_json::json!({"type": "redis", "url": url}),
                "list: is missing",
            ),
            (
                serde_json::json!({"type": "redis", "url": url, "list": "a", "stream": "b"}),
                "stream: does not go with `list`",
            ),
            (
                serde_json::json!({"type": "redis", "url": url, "list": "a", "group": "g"}),
                "group: goes with a `stream` only",
            ),
            (
                serde_json::json!({"type": "redis", "url": url, "list": "a", "delete": false}),
                "delete: goes with a `stream` only",
            ),
            (
                serde_json::json!({"type": "redis", "url": url, "stream": "a", "group": ""}),
                "group: must have 1 to 200 characters",
            ),
            (
                serde_json::json!({"type": "redis", "url": url, "stream": "a", "wait_replicas": 1}),
                "unknown field `wait_replicas`",
            ),
            (
                serde_json::json!({"type": "rabbitmq", "url": "amqp://h"}),
                "queue: is missing",
            ),
            (
                serde_json::json!({"type": "rabbitmq", "url": "amqp://h", "queue": ""}),
                "queue: is missing",
            ),
            (
                serde_json::json!({"type": "rabbitmq", "url": "amqp://h", "queue": "q", "exchange": "e"}),
                "unknown field `exchange`",
            ),
        ] {
            let told = wrong(json.clone());
            assert!(told.starts_with(expected), "{json}: {told}");
        }
    }

    #[test]
    fn what_is_read_is_told_without_a_secret() {
        for (json, expected) in [
            (
                serde_json::json!({"type": "sqs", "queue_url": "https://sqs.eu-west-1.amazonaws.com/1/orders"}),
                "queue orders at sqs.eu-west-1.amazonaws.com:443",
            ),
            (
                serde_json::json!({"type": "redis", "url": "redis://u:hunter2@h:6379", "stream": "orders"}),
                "stream orders, as group forebay",
            ),
            (
                serde_json::json!({"type": "redis", "url": "redis://u:hunter2@h:6379", "list": "orders"}),
                "list orders",
            ),
            (
                serde_json::json!({"type": "rabbitmq", "url": "amqp://u:hunter2@h", "queue": "orders"}),
                "queue orders",
            ),
        ] {
            let options: QueueOptions = serde_json::from_value(json).unwrap();
            let config = options.validate().unwrap();
            assert_eq!(config.reads(), expected);
            assert!(!format!("{config:?}{options:?}").contains("hunter2"));
            assert_eq!(config.max_body(), 10 << 20);
        }
    }
}
