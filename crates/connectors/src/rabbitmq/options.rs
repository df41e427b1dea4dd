//! The options of a `rabbitmq` destination.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use domain::ports::Destination;
use domain::{HumanDuration, Secret};
use lapin::types::ShortString;
use rustls::ClientConfig;
use serde::Deserialize;

use super::destination::RabbitMq;
use crate::broker_url::{BrokerUrl, Scheme};
use crate::options::{Backend, BuildError, Context, OptionsError, batch_max, wait};
use crate::reference::{OptionDoc, sql};
use crate::tls::{Files, Wrong};

/// The word for it in the configuration.
pub(crate) const KIND: &str = "rabbitmq";

const FORM: &str = "amqps://user:password@host/vhost";

const SCHEMES: &[Scheme] = &[
    Scheme {
        name: "amqps",
        tls: true,
        port: 5671,
    },
    Scheme {
        name: "amqp",
        tls: false,
        port: 5672,
    },
];

pub(crate) const REFERENCE: &[OptionDoc] = &[
    OptionDoc {
        key: "url",
        value: "secret string",
        default: "",
        limit: "amqps:// or amqp://user:password@host:port/vhost",
        effect: "Where the broker is. Without user and password they are guest; without a virtual host it is /. A slash in its name is written %2f. Shown by host, port and virtual host only.",
    },
    OptionDoc {
        key: "url_file",
        value: "path",
        default: "",
        limit: "instead of `url`",
        effect: "A file with the URL, read again for every new connection.",
    },
    OptionDoc {
        key: "exchange",
        value: "string",
        default: "\"\"",
        limit: "at most 255 bytes; must exist",
        effect: "The exchange that events are published to. The default exchange, \"\", leads to the queue that `routing_key` names.",
    },
    OptionDoc {
        key: "routing_key",
        value: "string",
        default: "",
        limit: "at most 255 bytes; needed with the default exchange",
        effect: "The routing key of every message. A message that no binding takes is not delivered: the destination is unavailable until a queue is bound.",
    },
    OptionDoc {
        key: "queue",
        value: "string",
        default: "",
        limit: "at most 255 bytes; `routing_key` with the default exchange",
        effect: "The queue that `dlq import` reads. With an `exchange` nothing is read without it.",
    },
    OptionDoc {
        key: "ca_file",
        value: "path",
        default: "",
        limit: "with amqps://",
        effect: "Certificates in PEM that are trusted instead of the system's. Read again for every new connection, as the next two are.",
    },
    OptionDoc {
        key: "cert_file",
        value: "path",
        default: "",
        limit: "with amqps://; needs `key_file`",
        effect: "A certificate in PEM to show to the broker.",
    },
    OptionDoc {
        key: "key_file",
        value: "path",
        default: "",
        limit: "with `cert_file`",
        effect: "Its key in PEM.",
    },
    OptionDoc {
        effect: "The most events published before all their confirms are awaited.",
        ..sql::BATCH_MAX
    },
    OptionDoc {
        key: "concurrency",
        value: "integer",
        default: "2",
        limit: "1 to 64",
        effect: "Channels, and so batches in flight at once, over one connection.",
    },
    OptionDoc {
        key: "connect_timeout",
        value: "duration",
        default: "\"5s\"",
        limit: "100ms to 1h",
        effect: "The longest that the connection may take to open, TLS and login included.",
    },
    OptionDoc {
        key: "timeout",
        value: "duration",
        default: "\"10s\"",
        limit: "100ms to 1h",
        effect: "The longest that the broker may go without confirming anything of a batch, or leave a question unanswered. After it the connection is thrown away and the destination is unavailable.",
    },
];

/// A `rabbitmq` destination as it was written.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Where the broker is. This or `url_file`.
    pub url: Option<Secret>,
    /// A file with the URL.
    pub url_file: Option<PathBuf>,
    /// The exchange. Default `""`, the default exchange.
    pub exchange: Option<String>,
    /// The routing key. Default `""`.
    pub routing_key: Option<String>,
    /// The queue that is read. Default `routing_key` with the default exchange.
    pub queue: Option<String>,
    /// Certificates to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// A certificate to show to the server.
    pub cert_file: Option<PathBuf>,
    /// Its key.
    pub key_file: Option<PathBuf>,
    /// The most events in a batch. Default 1000, 1 to 10,000.
    pub batch_max: Option<u32>,
    /// Channels. Default 2, 1 to 64.
    pub concurrency: Option<u32>,
    /// The longest that the connection may take to open. Default `"5s"`.
    pub connect_timeout: Option<HumanDuration>,
    /// The longest that the broker may be silent. Default `"10s"`.
    pub timeout: Option<HumanDuration>,
}

impl Options {
    /// Checks the values; reads nothing.
    ///
    /// # Errors
    /// The key and what would be right.
    pub(crate) fn validate(&self) -> Result<Config, OptionsError> {
        let server = match (&self.url, &self.url_file) {
            (Some(url), None) => Server::Url(Box::new(
                parsed(url.expose()).map_err(|reason| OptionsError::new("url", reason))?,
            )),
            (None, Some(path)) => Server::File(path.clone()),
            (None, None) => {
                return Err(OptionsError::new(
                    "url",
                    format!("is missing: write {FORM}, or name a file with it in `url_file`"),
                ));
            }
            (Some(_), Some(_)) => {
                return Err(OptionsError::new(
                    "url_file",
                    "does not go with `url`: keep one of them",
                ));
            }
        };
        let files = Files::of(
            self.ca_file.as_ref(),
            self.cert_file.as_ref(),
            self.key_file.as_ref(),
        )?;
        if matches!(&server, Server::Url(url) if !url.tls) {
            files.insist_on_none("amqps")?;
        }
        let to = Address {
            exchange: short("exchange", self.exchange.as_deref())?,
            routing_key: short("routing_key", self.routing_key.as_deref())?,
        };
        if to.exchange.as_str().is_empty() && to.routing_key.as_str().is_empty() {
            return Err(OptionsError::new(
                "routing_key",
                "is missing: write the name of the queue, or name an `exchange`",
            ));
        }
        let queue = match self.queue.as_deref() {
            Some("") => return Err(OptionsError::new("queue", "has no name in it")),
            Some(name) => Some(short("queue", Some(name))?),
            None => to.is_queue().then(|| to.routing_key.clone()),
        };
        let concurrency = self.concurrency.unwrap_or(2);
        if !(1..=64).contains(&concurrency) {
            return Err(OptionsError::new("concurrency", "must be from 1 to 64"));
        }
        Ok(Config {
            server,
            files,
            to,
            queue,
            only_read: false,
            batch_max: batch_max(self.batch_max)?,
            concurrency: concurrency as usize,
            connect_timeout: wait("connect_timeout", self.connect_timeout, 5)?,
            timeout: wait("timeout", self.timeout, 10)?,
        })
    }
}

fn parsed(text: &str) -> Result<BrokerUrl, String> {
    BrokerUrl::parse(text, SCHEMES, FORM)
}

fn short(key: &'static str, given: Option<&str>) -> Result<ShortString, OptionsError> {
    ShortString::try_new(given.unwrap_or_default())
        .map_err(|_| OptionsError::new(key, "is longer than 255 bytes, which is AMQP's limit"))
}

/// Where every message is published to.
#[derive(Debug, Clone)]
pub(super) struct Address {
    pub(super) exchange: ShortString,
    pub(super) routing_key: ShortString,
}

impl Address {
    /// Whether the routing key is the name of a queue.
    pub(super) fn is_queue(&self) -> bool {
        self.exchange.as_str().is_empty()
    }
}

/// Checked options.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    server: Server,
    files: Files,
    pub(super) to: Address,
    /// What is read; `None`: not known.
    pub(super) queue: Option<ShortString>,
    /// It is a source's: it has no `routing_key` and no `exchange`.
    pub(super) only_read: bool,
    pub(super) batch_max: usize,
    pub(super) concurrency: usize,
    pub(super) connect_timeout: Duration,
    pub(super) timeout: Duration,
}

/// Where the URL comes from.
#[derive(Debug, Clone)]
enum Server {
    Url(Box<BrokerUrl>),
    File(PathBuf),
}

/// How to get to the broker.
#[derive(Debug)]
pub(super) struct Way {
    pub(super) url: BrokerUrl,
    pub(super) tls: Option<Arc<ClientConfig>>,
}

impl Config {
    /// The way to the broker as the options and the files have it now. Blocks on files.
    ///
    /// # Errors
    /// The key, and which file cannot be used.
    pub(super) fn way(&self) -> Result<Way, Wrong> {
        let url = match &self.server {
            Server::Url(url) => (**url).clone(),
            Server::File(path) => from_file(path).map_err(|why| ("url_file", why))?,
        };
        let tls = url.tls.then(|| self.files.config()).transpose()?;
        Ok(Way {
            url,
            tls: tls.map(Arc::new),
        })
    }
}

fn from_file(path: &Path) -> Result<BrokerUrl, String> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    parsed(text.trim()).map_err(|reason| format!("{} {reason}", path.display()))
}

impl Backend for Config {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn build(&self, context: &Context) -> Result<Arc<dyn Destination>, BuildError> {
        // A missing file is better found now than at the first connection.
        self.way().map_err(|(key, reason)| BuildError {
            name: context.name.clone(),
            key,
            reason,
        })?;
        Ok(Arc::new(RabbitMq::new(self.clone())))
    }
}
