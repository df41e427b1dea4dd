//! The options of a `redis` source: those of the destination that say where the key is, and how it is read.

use std::path::PathBuf;
use std::sync::Arc;

use domain::ports::Destination;
use domain::{ByteSize, HumanDuration, Secret};
use serde::Deserialize;

use super::command::Target;
use super::destination::Redis;
use super::options::{Config, KIND, Options, REFERENCE, SentinelOptions};
use super::reading::{Consumer, Reading};
use crate::options::{Backend, BuildError, Context, OptionsError};
use crate::queues::{MAX_BODY_DOC, QueueConfig};
use crate::reference::{OptionDoc, doc_of};

/// The longest name of a group or a consumer, in characters.
const LONGEST_NAME: usize = 200;

/// What the destination says of the key.
const fn doc(key: &str) -> OptionDoc {
    doc_of(REFERENCE, key)
}

pub(crate) const QUEUE_REFERENCE: &[OptionDoc] = &[
    doc("url"),
    doc("url_file"),
    OptionDoc {
        effect: "The key of a list. Each element is a message; it is moved to a list of Forebay's own (LMOVE) until it is durable here.",
        ..doc("list")
    },
    OptionDoc {
        effect: "The key of a stream. It is read as one consumer of a group.",
        ..doc("stream")
    },
    OptionDoc {
        key: "group",
        value: "string",
        default: "\"forebay\"",
        limit: "with `stream`; 1 to 200 characters",
        effect: "The consumer group. It is made, from the first entry on, if it is not there.",
    },
    OptionDoc {
        key: "consumer",
        value: "string",
        default: "",
        limit: "1 to 200 characters",
        effect: "The name that what was taken lies under until it is durable here. It must stay the same from start to start, and be no other reader's. Default: the installation's id and the source's name.",
    },
    OptionDoc {
        key: "delete",
        value: "boolean",
        default: "true",
        limit: "with `stream`",
        effect: "Whether entries are deleted from the stream once they are durable here. With false they are only acknowledged, for streams that others read as well.",
    },
    doc("sentinel"),
    doc("ca_file"),
    doc("cert_file"),
    doc("key_file"),
    doc("connect_timeout"),
    doc("timeout"),
    MAX_BODY_DOC,
];

/// A `redis` source as it was written.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QueueOptions {
    /// Where the server is. This or `url_file`.
    pub url: Option<Secret>,
    /// A file with the URL.
    pub url_file: Option<PathBuf>,
    /// The key of a list. This or `stream`.
    pub list: Option<String>,
    /// The key of a stream.
    pub stream: Option<String>,
    /// The consumer group of a stream. Default `"forebay"`.
    pub group: Option<String>,
    /// The name that what was taken lies under.
    pub consumer: Option<String>,
    /// Whether entries are deleted once they are durable here. Default true.
    pub delete: Option<bool>,
    /// Whom to ask where the server is.
    pub sentinel: Option<SentinelOptions>,
    /// Certificates to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// A certificate to show to the server.
    pub cert_file: Option<PathBuf>,
    /// Its key.
    pub key_file: Option<PathBuf>,
    /// The longest that one connection may take to open.
    pub connect_timeout: Option<HumanDuration>,
    /// The longest that the server may take for one answer.
    pub timeout: Option<HumanDuration>,
    /// The largest body that is taken.
    pub max_body: Option<ByteSize>,
}

impl QueueOptions {
    pub(crate) fn validate(&self) -> Result<QueueConfig, OptionsError> {
        let options = Options {
            url: self.url.clone(),
            url_file: self.url_file.clone(),
            list: self.list.clone(),
            stream: self.stream.clone(),
            sentinel: self.sentinel.clone(),
            ca_file: self.ca_file.clone(),
            cert_file: self.cert_file.clone(),
            key_file: self.key_file.clone(),
            connect_timeout: self.connect_timeout,
            timeout: self.timeout,
            ..Options::default()
        };
        let config = options.validate()?;
        for (key, given) in [
            ("group", self.group.is_some()),
            ("delete", self.delete.is_some()),
        ] {
            if given && matches!(config.target, Target::List(_)) {
                return Err(OptionsError::new(key, "goes with a `stream` only"));
            }
        }
        let group = name("group", self.group.as_ref())?;
        let group = group.unwrap_or_else(|| "forebay".to_owned());
        let reads = match &config.target {
            Target::List(key) => format!("list {key}"),
            Target::Stream(key) => format!("stream {key}, as group {group}"),
        };
        let queue = Queue {
            config,
            group,
            consumer: name("consumer", self.consumer.as_ref())?,
            delete: self.delete.unwrap_or(true),
        };
        Ok(QueueConfig::new(queue, reads, self.max_body))
    }
}

fn name(key: &'static str, given: Option<&String>) -> Result<Option<String>, OptionsError> {
    let Some(name) = given else { return Ok(None) };
    let length = name.chars().count();
    if !(1..=LONGEST_NAME).contains(&length) || name.contains(char::is_control) {
        let reason = format!("must have 1 to {LONGEST_NAME} characters, no control characters");
        return Err(OptionsError::new(key, reason));
    }
    Ok(Some(name.clone()))
}

/// Checked options.
#[derive(Debug, Clone)]
struct Queue {
    config: Config,
    group: String,
    consumer: Option<String>,
    delete: bool,
}

impl Backend for Queue {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn build(&self, context: &Context) -> Result<Arc<dyn Destination>, BuildError> {
        self.config.check_files(context)?;
        let reading = Reading {
            group: self.group.clone(),
            consumer: match &self.consumer {
                Some(name) => Consumer::Given(name.clone()),
                None => Consumer::Usual(context.instance.clone(), context.name.to_string()),
            },
            delete: self.delete,
        };
        Ok(Arc::new(Redis::new(self.config.clone(), reading)))
    }
}
