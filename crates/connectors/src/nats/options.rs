//! The options of a `nats` destination.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use domain::ports::Destination;
use domain::{HumanDuration, Secret};
use rustls::ClientConfig;
use serde::Deserialize;

use super::destination::Nats;
use crate::broker_url::{BrokerUrl, Scheme};
use crate::options::{Backend, BuildError, Context, OptionsError, batch_max, wait};
use crate::reference::{OptionDoc, sql};
use crate::tls::{Files, Wrong};

/// The word for it in the configuration.
pub(crate) const KIND: &str = "nats";

const FORM: &str = "tls://user:password@host:4222";

/// A cluster has no more that a client needs to know by name.
const MAX_SERVERS: usize = 16;

const SCHEMES: &[Scheme] = &[
    Scheme {
        name: "tls",
        tls: true,
        port: 4222,
    },
    Scheme {
        name: "nats",
        tls: false,
        port: 4222,
    },
];

pub(crate) const REFERENCE: &[OptionDoc] = &[
    OptionDoc {
        key: "url",
        value: "secret string",
        default: "",
        limit: "tls:// or nats://user:password@host:port, or a token in place of user and password; several servers of a cluster with commas",
        effect: "Where the server is. Of several the first one's user and password count for all. With nats:// TLS is spoken only if the server insists on it. Shown by host and port only.",
    },
    OptionDoc {
        key: "url_file",
        value: "path",
        default: "",
        limit: "instead of `url`",
        effect: "A file with the URL, read again for every new connection.",
    },
    OptionDoc {
        key: "subject",
        value: "string",
        default: "",
        limit: "without wildcards; a stream must take it",
        effect: "The subject that every event is published to.",
    },
    OptionDoc {
        key: "stream",
        value: "string",
        default: "",
        limit: "must exist and take the subject",
        effect: "The stream that must acknowledge each event. Without it any stream that takes the subject will do.",
    },
    OptionDoc {
        key: "ca_file",
        value: "path",
        default: "",
        limit: "",
        effect: "Certificates in PEM that are trusted instead of the system's. Read again for every new connection, as the next two are.",
    },
    OptionDoc {
        key: "cert_file",
        value: "path",
        default: "",
        limit: "needs `key_file`",
        effect: "A certificate in PEM to show to the server.",
    },
    OptionDoc {
        key: "key_file",
        value: "path",
        default: "",
        limit: "with `cert_file`",
        effect: "Its key in PEM.",
    },
    OptionDoc {
        effect: "The most events published before all their acknowledgements are awaited.",
        ..sql::BATCH_MAX
    },
    OptionDoc {
        key: "concurrency",
        value: "integer",
        default: "2",
        limit: "1 to 64",
        effect: "Batches in flight at once, over one connection.",
    },
    OptionDoc {
        key: "connect_timeout",
        value: "duration",
        default: "\"5s\"",
        limit: "100ms to 1h",
        effect: "The longest that the connection to one server may take to open, TLS and login included.",
    },
    OptionDoc {
        key: "timeout",
        value: "duration",
        default: "\"10s\"",
        limit: "100ms to 1h",
        effect: "The longest that an acknowledgement or an answer may take. After it the connection is thrown away and the destination is unavailable.",
    },
];

/// A `nats` destination as it was written.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Where the server is. This or `url_file`.
    pub url: Option<Secret>,
    /// A file with the URL.
    pub url_file: Option<PathBuf>,
    /// The subject.
    pub subject: Option<String>,
    /// The stream that must acknowledge.
    pub stream: Option<String>,
    /// Certificates to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// A certificate to show to the server.
    pub cert_file: Option<PathBuf>,
    /// Its key.
    pub key_file: Option<PathBuf>,
    /// The most events in a batch. Default 1000, 1 to 10,000.
    pub batch_max: Option<u32>,
    /// Batches in flight at once. Default 2, 1 to 64.
    pub concurrency: Option<u32>,
    /// The longest that the connection may take to open. Default `"5s"`.
    pub connect_timeout: Option<HumanDuration>,
    /// The longest that an answer may take. Default `"10s"`.
    pub timeout: Option<HumanDuration>,
}

impl Options {
    /// Checks the values; reads nothing.
    ///
    /// # Errors
    /// The key and what would be right.
    pub(crate) fn validate(&self) -> Result<Config, OptionsError> {
        let server = match (&self.url, &self.url_file) {
            (Some(url), None) => Server::Urls(
                parsed(url.expose()).map_err(|reason| OptionsError::new("url", reason))?,
            ),
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
        let Some(subject) = self.subject.clone().filter(|subject| !subject.is_empty()) else {
            return Err(OptionsError::new(
                "subject",
                "is missing: write the subject that a stream takes",
            ));
        };
        if let Some(reason) = no_subject(&subject) {
            return Err(OptionsError::new("subject", reason));
        }
        if self.stream.as_deref().is_some_and(|name| !is_stream(name)) {
            return Err(OptionsError::new(
                "stream",
                "is no stream's name: it has no blanks, dots, slashes, * and >",
            ));
        }
        let concurrency = self.concurrency.unwrap_or(2);
        if !(1..=64).contains(&concurrency) {
            return Err(OptionsError::new("concurrency", "must be from 1 to 64"));
        }
        Ok(Config {
            server,
            files,
            to: Address {
                subject,
                stream: self.stream.clone(),
            },
            batch_max: batch_max(self.batch_max)?,
            concurrency: concurrency as usize,
            connect_timeout: wait("connect_timeout", self.connect_timeout, 5)?,
            timeout: wait("timeout", self.timeout, 10)?,
        })
    }
}

/// Servers with commas between them.
fn parsed(text: &str) -> Result<Vec<BrokerUrl>, String> {
    let mut urls = Vec::new();
    for one in text.split(',') {
        let url = BrokerUrl::parse(one.trim(), SCHEMES, FORM)?;
        if !url.path.is_empty() {
            return Err(format!("has something behind the port: write {FORM}"));
        }
        urls.push(url);
    }
    if urls.len() > MAX_SERVERS {
        return Err(format!("has more than {MAX_SERVERS} servers"));
    }
    Ok(urls)
}

/// Why nothing can be published to it, if so.
fn no_subject(text: &str) -> Option<&'static str> {
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Some("has a blank or a control character in it, which no subject has");
    }
    if text.split('.').any(|word| word == "*" || word == ">") {
        return Some(
            "has a wildcard in it, which is for reading: write the one subject that is published to",
        );
    }
    let has_empty = text.split('.').any(str::is_empty);
    has_empty.then_some(
        "is empty, or has a dot at an end or two in a row: write words with one dot between them",
    )
}

fn is_stream(text: &str) -> bool {
    let is_odd = |c: char| c.is_whitespace() || c.is_control() || ".*>/\\".contains(c);
    !text.is_empty() && !text.chars().any(is_odd)
}

/// Where every message is published to.
#[derive(Debug, Clone)]
pub(super) struct Address {
    pub(super) subject: String,
    pub(super) stream: Option<String>,
}

/// Checked options.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(super) server: Server,
    files: Files,
    pub(super) to: Address,
    pub(super) batch_max: usize,
    pub(super) concurrency: usize,
    pub(super) connect_timeout: Duration,
    pub(super) timeout: Duration,
}

/// Where the URLs come from.
#[derive(Debug, Clone)]
pub(super) enum Server {
    Urls(Vec<BrokerUrl>),
    File(PathBuf),
}

/// How to get to the server.
#[derive(Debug)]
pub(super) struct Way {
    /// At least one.
    pub(super) urls: Vec<BrokerUrl>,
    /// A server that insists on TLS gets it, whatever the URL says.
    pub(super) tls: ClientConfig,
}

impl Config {
    /// The way to the server as the options and the files have it now. Blocks on files.
    ///
    /// # Errors
    /// The key, and which file cannot be used.
    pub(super) fn way(&self) -> Result<Way, Wrong> {
        let urls = match &self.server {
            Server::Urls(urls) => urls.clone(),
            Server::File(path) => from_file(path).map_err(|why| ("url_file", why))?,
        };
        let tls = if urls.iter().any(|url| url.tls) {
            self.files.config()?
        } else {
            self.files.config_if_wanted()?
        };
        Ok(Way { urls, tls })
    }
}

fn from_file(path: &Path) -> Result<Vec<BrokerUrl>, String> {
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
        Ok(Arc::new(Nats::new(self.clone())))
    }
}

#[cfg(test)]
mod tests {
    use super::no_subject;

    #[test]
    fn what_is_wrong_with_a_subject_is_said() {
        assert_eq!(no_subject("hooks.in"), None);
        for (subject, words) in [
            ("hooks.*", "for reading"),
            (">", "for reading"),
            ("a b", "blank"),
            ("a..b", "two in a row"),
            (".a", "dot at an end"),
            ("", "empty"),
        ] {
            let reason = no_subject(subject).unwrap();
            assert!(reason.contains(words), "{subject}: {reason}");
        }
    }
}
