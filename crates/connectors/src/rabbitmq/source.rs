//! The options of a `rabbitmq` source: those of the destination that say where the broker is, and the queue.

use std::path::PathBuf;

use domain::{ByteSize, HumanDuration, Secret};
use serde::Deserialize;

use super::options::{Options, REFERENCE};
use crate::options::OptionsError;
use crate::queues::{MAX_BODY_DOC, QueueConfig};
use crate::reference::{OptionDoc, doc_of};

/// What the destination says of the key.
const fn doc(key: &str) -> OptionDoc {
    doc_of(REFERENCE, key)
}

pub(crate) const QUEUE_REFERENCE: &[OptionDoc] = &[
    doc("url"),
    doc("url_file"),
    OptionDoc {
        default: "",
        limit: "at most 255 bytes",
        effect: "The queue. It must exist. Messages are acknowledged once they are durable here.",
        ..doc("queue")
    },
    doc("ca_file"),
    doc("cert_file"),
    doc("key_file"),
    doc("connect_timeout"),
    doc("timeout"),
    MAX_BODY_DOC,
];

/// A `rabbitmq` source as it was written.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QueueOptions {
    /// Where the broker is. This or `url_file`.
    pub url: Option<Secret>,
    /// A file with the URL.
    pub url_file: Option<PathBuf>,
    /// The queue.
    pub queue: String,
    /// Certificates to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// A certificate to show to the broker.
    pub cert_file: Option<PathBuf>,
    /// Its key.
    pub key_file: Option<PathBuf>,
    /// The longest that the connection may take to open.
    pub connect_timeout: Option<HumanDuration>,
    /// The longest that the broker may be silent.
    pub timeout: Option<HumanDuration>,
    /// The largest body that is taken.
    pub max_body: Option<ByteSize>,
}

impl QueueOptions {
    pub(crate) fn validate(&self) -> Result<QueueConfig, OptionsError> {
        if self.queue.is_empty() {
            let reason = "is missing: write the name of the queue that is read";
            return Err(OptionsError::new("queue", reason));
        }
        let options = Options {
            url: self.url.clone(),
            url_file: self.url_file.clone(),
            routing_key: Some(self.queue.clone()),
            queue: Some(self.queue.clone()),
            ca_file: self.ca_file.clone(),
            cert_file: self.cert_file.clone(),
            key_file: self.key_file.clone(),
            connect_timeout: self.connect_timeout,
            timeout: self.timeout,
            ..Options::default()
        };
        let mut config = options.validate().map_err(|error| match error.key {
            "routing_key" => OptionsError::new("queue", error.reason),
            _ => error,
        })?;
        config.only_read = true;
        let reads = format!("queue {}", self.queue);
        Ok(QueueConfig::new(config, reads, self.max_body))
    }
}
