//! The options of an `sqs` source: those of the destination that say where the queue is and who may read it.

use std::path::PathBuf;

use domain::{ByteSize, HumanDuration, Secret, Unwrap};
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
    doc("queue_url"),
    doc("region"),
    doc("endpoint_url"),
    doc("access_key_id"),
    doc("secret_access_key"),
    doc("secret_access_key_file"),
    doc("profile"),
    doc("connect_timeout"),
    doc("timeout"),
    MAX_BODY_DOC,
    OptionDoc {
        key: "unwrap",
        value: "string",
        default: "",
        limit: "`eventbridge`",
        effect: "Takes the event out of the envelope of EventBridge: its body is `detail`, its type `detail-type`, and its `id` is what makes a repeat. What is no such envelope stays as it is.",
    },
];

/// An `sqs` source as it was written.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QueueOptions {
    /// The queue.
    pub queue_url: Option<String>,
    /// The region that requests are signed for.
    pub region: Option<String>,
    /// Where requests go.
    pub endpoint_url: Option<String>,
    /// The access key. Without it, keys come the AWS way.
    pub access_key_id: Option<Secret>,
    /// Its secret.
    pub secret_access_key: Option<Secret>,
    /// A file with its secret.
    pub secret_access_key_file: Option<PathBuf>,
    /// The profile that keys come from.
    pub profile: Option<String>,
    /// The longest that a connection may take to open.
    pub connect_timeout: Option<HumanDuration>,
    /// The longest that one request may take.
    pub timeout: Option<HumanDuration>,
    /// The largest body that is taken.
    pub max_body: Option<ByteSize>,
    /// Whose envelope the events are taken out of.
    pub unwrap: Option<Unwrap>,
}

impl QueueOptions {
    pub(crate) fn validate(&self) -> Result<QueueConfig, OptionsError> {
        let options = Options {
            queue_url: self.queue_url.clone(),
            region: self.region.clone(),
            endpoint_url: self.endpoint_url.clone(),
            access_key_id: self.access_key_id.clone(),
            secret_access_key: self.secret_access_key.clone(),
            secret_access_key_file: self.secret_access_key_file.clone(),
            profile: self.profile.clone(),
            connect_timeout: self.connect_timeout,
            timeout: self.timeout,
            ..Options::default()
        };
        let config = options.validate()?;
        let reads = config.place();
        Ok(QueueConfig::new(config, reads, self.max_body).unwrapping(self.unwrap))
    }
}
