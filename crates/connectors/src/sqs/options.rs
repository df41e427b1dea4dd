//! The options of an `sqs` destination.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use domain::ports::Destination;
use domain::{HumanDuration, Secret};
use serde::Deserialize;

use super::destination::Sqs;
use super::group::Group;
use crate::aws::endpoint::{Endpoint, check_region};
use crate::aws::keys::{self, Keys};
use crate::options::{Backend, BuildError, Context, OptionsError};
use crate::reference::OptionDoc;

/// The word for it in the configuration.
pub(crate) const KIND: &str = "sqs";

/// SQS takes no more in one request.
pub(super) const BATCH_MAX: u32 = 10;

/// When nothing says otherwise. `queue.amazonaws.com` is there as well.
const REGION: &str = "us-east-1";

pub(crate) const REFERENCE: &[OptionDoc] = &[
    OptionDoc {
        key: "queue_url",
        value: "string",
        default: "",
        limit: "https:// or http://, with the queue's name at its end; .fifo for a FIFO queue",
        effect: "The queue. It must exist.",
    },
    OptionDoc {
        key: "region",
        value: "string",
        default: "",
        limit: "as us-east-1; that of `queue_url` if it names one",
        effect: "The region that requests are signed for. Default: what `queue_url` names, else us-east-1: a server that is not AWS takes any.",
    },
    OptionDoc {
        key: "endpoint_url",
        value: "string",
        default: "",
        limit: "https:// or http://",
        effect: "Where requests go. Default: scheme, host and port of `queue_url`.",
    },
    keys::ACCESS_KEY_ID,
    keys::SECRET_ACCESS_KEY,
    keys::SECRET_ACCESS_KEY_FILE,
    keys::PROFILE,
    OptionDoc {
        key: "message_group",
        value: "string",
        default: "\"source\"",
        limit: "\"source\", \"event\" or a JSON pointer; only for a FIFO queue",
        effect: "What makes a group of a FIFO queue, within which messages keep their order: the source, each event on its own, or a value of the body (\"/conversationId\"; an event without it counts by its source).",
    },
    OptionDoc {
        key: "batch_max",
        value: "integer",
        default: "10",
        limit: "1 to 10",
        effect: "The most messages in one request.",
    },
    OptionDoc {
        key: "concurrency",
        value: "integer",
        default: "8",
        limit: "1 to 256",
        effect: "Requests under way at once.",
    },
    OptionDoc {
        key: "connect_timeout",
        value: "duration",
        default: "\"5s\"",
        limit: "100ms to 30s",
        effect: "The longest that a connection may take to open, TLS included. It is part of `timeout`.",
    },
    OptionDoc {
        key: "timeout",
        value: "duration",
        default: "\"10s\"",
        limit: "100ms to 30s",
        effect: "The longest that one request may take to its answer, looking up keys included. After it the destination is unavailable.",
    },
];

/// An `sqs` destination as it was written.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// The queue.
    pub queue_url: Option<String>,
    /// The region that requests are signed for.
    pub region: Option<String>,
    /// Where requests go. Default: the origin of `queue_url`.
    pub endpoint_url: Option<String>,
    /// The access key. Without it, keys come the AWS way.
    pub access_key_id: Option<Secret>,
    /// Its secret.
    pub secret_access_key: Option<Secret>,
    /// A file with its secret.
    pub secret_access_key_file: Option<PathBuf>,
    /// The profile that keys come from.
    pub profile: Option<String>,
    /// What makes a group of a FIFO queue. Default `"source"`.
    pub message_group: Option<String>,
    /// The most messages in one request. Default 10, 1 to 10.
    pub batch_max: Option<u32>,
    /// Requests under way at once. Default 8, 1 to 256.
    pub concurrency: Option<u32>,
    /// The longest that a connection may take to open. Default `"5s"`.
    pub connect_timeout: Option<HumanDuration>,
    /// The longest that one request may take. Default `"10s"`, at most `"30s"`.
    pub timeout: Option<HumanDuration>,
}

impl Options {
    /// Checks the values; reads nothing.
    ///
    /// # Errors
    /// The key and what would be right.
    pub(crate) fn validate(&self) -> Result<Config, OptionsError> {
        let Some(queue_url) = &self.queue_url else {
            return Err(OptionsError::new(
                "queue_url",
                "is missing: write the queue's URL, as https://sqs.us-east-1.amazonaws.com/123456789012/dlq",
            ));
        };
        let queue =
            Endpoint::parse(queue_url).map_err(|reason| OptionsError::new("queue_url", reason))?;
        let Some(name) = queue_name(&queue) else {
            return Err(OptionsError::new(
                "queue_url",
                "must end with the queue's name: letters, digits, - and _, and .fifo at the end of a FIFO queue's",
            ));
        };
        let endpoint = match &self.endpoint_url {
            None => queue.origin(),
            Some(url) => {
                Endpoint::parse(url).map_err(|reason| OptionsError::new("endpoint_url", reason))?
            }
        };
        let is_fifo = is_fifo(&name);
        let group = self.message_group.as_deref();
        if group.is_some() && !is_fifo {
            return Err(OptionsError::new(
                "message_group",
                "is for a FIFO queue, whose name ends with .fifo",
            ));
        }
        let group = Group::parse(group.unwrap_or("source"))
            .map_err(|reason| OptionsError::new("message_group", reason))?;
        let batch_max = within("batch_max", self.batch_max, 10, BATCH_MAX)?;
        let concurrency = within("concurrency", self.concurrency, 8, 256)?;
        Ok(Config {
            region: self.region(&queue)?,
            endpoint_key: match self.endpoint_url {
                Some(_) => "endpoint_url",
                None => "queue_url",
            },
            queue_url: queue_url.clone(),
            queue: name,
            endpoint,
            keys: Keys::new(
                self.access_key_id.as_ref(),
                self.secret_access_key.as_ref(),
                self.secret_access_key_file.as_deref(),
                self.profile.as_deref(),
            )?,
            group: is_fifo.then_some(group),
            batch_max,
            concurrency,
            connect_timeout: wait("connect_timeout", self.connect_timeout, 5)?,
            timeout: wait("timeout", self.timeout, 10)?,
        })
    }

    fn region(&self, queue: &Endpoint) -> Result<String, OptionsError> {
        let named = queue.region();
        let Some(region) = &self.region else {
            return Ok(named.unwrap_or(REGION).to_owned());
        };
        let wrong = |reason: String| OptionsError::new("region", reason);
        check_region(region).map_err(wrong)?;
        match named {
            Some(named) if named != region => Err(wrong(format!(
                "is not that of `queue_url`, which is in {named}: leave it out"
            ))),
            _ => Ok(region.clone()),
        }
    }
}

fn queue_name(queue: &Endpoint) -> Option<String> {
    let url = queue.url();
    let name = url.path_segments()?.next_back()?;
    let plain = name.strip_suffix(".fifo").unwrap_or(name);
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let good = !plain.is_empty() && name.len() <= 80 && plain.bytes().all(fits);
    good.then(|| name.to_owned())
}

fn is_fifo(name: &str) -> bool {
    name.strip_suffix(".fifo").is_some()
}

fn within(
    key: &'static str,
    given: Option<u32>,
    default: u32,
    most: u32,
) -> Result<usize, OptionsError> {
    let count = given.unwrap_or(default);
    if (1..=most).contains(&count) {
        Ok(count as usize)
    } else {
        Err(OptionsError::new(key, format!("must be from 1 to {most}")))
    }
}

fn wait(
    key: &'static str,
    given: Option<HumanDuration>,
    default_seconds: u64,
) -> Result<Duration, OptionsError> {
    let wait = given.map_or(Duration::from_secs(default_seconds), |given| given.0);
    if (Duration::from_millis(100)..=Duration::from_secs(30)).contains(&wait) {
        Ok(wait)
    } else {
        Err(OptionsError::new(key, "must be from 100ms to 30s"))
    }
}

/// Checked options.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(super) queue_url: String,
    /// The queue's name.
    pub(super) queue: String,
    pub(super) endpoint: Endpoint,
    /// The option that says where requests go.
    pub(super) endpoint_key: &'static str,
    pub(super) region: String,
    pub(super) keys: Keys,
    /// What makes a group, if it is a FIFO queue.
    pub(super) group: Option<Group>,
    pub(super) batch_max: usize,
    pub(super) concurrency: usize,
    pub(super) connect_timeout: Duration,
    pub(super) timeout: Duration,
}

impl Config {
    /// The queue, for errors.
    pub(super) fn place(&self) -> String {
        format!("queue {} at {}", self.queue, self.endpoint.place())
    }
}

impl Backend for Config {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn build(&self, context: &Context) -> Result<Arc<dyn Destination>, BuildError> {
        let sqs = Sqs::new(self.clone(), Arc::clone(&context.clock));
        let sqs = sqs.map_err(|(key, reason)| BuildError {
            name: context.name.clone(),
            key,
            reason,
        })?;
        Ok(Arc::new(sqs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(json: serde_json::Value) -> Config {
        let options: Options = serde_json::from_value(json).unwrap();
        options.validate().unwrap()
    }

    #[test]
    fn a_queue_url_says_where_it_is_and_in_which_region() {
        let aws = config(serde_json::json!({
            "queue_url": "https://sqs.eu-central-1.amazonaws.com/123456789012/dead-letters",
        }));
        assert_eq!(aws.region, "eu-central-1");
        assert_eq!(
            aws.endpoint.text(),
            "https://sqs.eu-central-1.amazonaws.com"
        );
        assert_eq!(
            aws.place(),
            "queue dead-letters at sqs.eu-central-1.amazonaws.com:443"
        );
        assert!(aws.group.is_none());
        let other = config(serde_json::json!({
            "queue_url": "http://sqs.example/1/q.fifo",
            "endpoint_url": "http://127.0.0.1:4566/",
            "region": "garage",
        }));
        assert_eq!(other.endpoint.text(), "http://127.0.0.1:4566");
        assert_eq!(other.region, "garage");
        assert!(other.group.is_some());
    }
}
