//! The options of a `redis` destination.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use domain::ports::Destination;
use domain::{HumanDuration, Secret};
use serde::Deserialize;

use super::command::Target;
use super::connect::Way;
use super::destination::Redis;
use super::reading::Reading;
use super::url::{Login, Url};
use crate::options::{Backend, BuildError, Context, OptionsError, batch_max, wait};
use crate::reference::{OptionDoc, sql};
use crate::tls::Files;

/// The word for it in the configuration.
pub(crate) const KIND: &str = "redis";

/// The most replicas that can be waited for.
const MAX_REPLICAS: u32 = 16;

pub(crate) const REFERENCE: &[OptionDoc] = &[
    OptionDoc {
        key: "url",
        value: "secret string",
        default: "",
        limit: "redis://user:password@host:6379/0, rediss:// for TLS; several hosts with commas",
        effect: "Where the server is. Without a user the default user logs in, without a password nobody. Of several hosts the first that can be reached is taken; with `sentinel` they are the sentinels. In a cluster any of its nodes will do.",
    },
    OptionDoc {
        key: "url_file",
        value: "path",
        default: "",
        limit: "instead of `url`",
        effect: "A file with the URL, read again for every new connection.",
    },
    OptionDoc {
        key: "list",
        value: "string",
        default: "",
        limit: "this or `stream`",
        effect: "The key of a list. Each event is put at its end (RPUSH) as one JSON object.",
    },
    OptionDoc {
        key: "stream",
        value: "string",
        default: "",
        limit: "this or `list`",
        effect: "The key of a stream. Each event is an entry (XADD) with its attributes as fields and the body, byte for byte, as `body`. It is never trimmed.",
    },
    OptionDoc {
        key: "sentinel",
        value: "table: `master`, and if they want a login `user`, `password` or `password_file`",
        default: "",
        limit: "`url` then names the sentinels, with port 26379 where none is written",
        effect: "Asks the sentinels where the server of that name is, for every new connection. User and password of `url` are the server's.",
    },
    OptionDoc {
        key: "wait_replicas",
        value: "integer",
        default: "0",
        limit: "0 to 16",
        effect: "How many replicas must have an event too before it is delivered (WAIT). 0 waits for none.",
    },
    OptionDoc {
        key: "ca_file",
        value: "path",
        default: "",
        limit: "with rediss://",
        effect: "Certificates in PEM that are trusted instead of the system's. Read again for every new connection, as the next two are.",
    },
    OptionDoc {
        key: "cert_file",
        value: "path",
        default: "",
        limit: "with rediss://; needs `key_file`",
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
        effect: "The most events sent before all of them are answered.",
        ..sql::BATCH_MAX
    },
    OptionDoc {
        key: "concurrency",
        value: "integer",
        default: "2",
        limit: "1 to 64",
        effect: "Connections, and so batches in flight at once.",
    },
    OptionDoc {
        key: "connect_timeout",
        value: "duration",
        default: "\"5s\"",
        limit: "100ms to 1h",
        effect: "The longest that one connection may take to open, a host, TLS and login included.",
    },
    OptionDoc {
        key: "timeout",
        value: "duration",
        default: "\"10s\"",
        limit: "100ms to 1h",
        effect: "The longest that the server may take for one answer. After it the connection is thrown away and the destination is unavailable.",
    },
];

/// A `redis` destination as it was written.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Where the server is. This or `url_file`.
    pub url: Option<Secret>,
    /// A file with the URL.
    pub url_file: Option<PathBuf>,
    /// The key of a list. This or `stream`.
    pub list: Option<String>,
    /// The key of a stream.
    pub stream: Option<String>,
    /// Whom to ask where the server is.
    pub sentinel: Option<SentinelOptions>,
    /// How many replicas must have an event. Default 0, at most 16.
    pub wait_replicas: Option<u32>,
    /// Certificates to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// A certificate to show to the server.
    pub cert_file: Option<PathBuf>,
    /// Its key.
    pub key_file: Option<PathBuf>,
    /// The most events sent before all are answered. Default 1000, 1 to 10,000.
    pub batch_max: Option<u32>,
    /// Connections. Default 2, 1 to 64.
    pub concurrency: Option<u32>,
    /// The longest that one connection may take to open, a host. Default `"5s"`.
    pub connect_timeout: Option<HumanDuration>,
    /// The longest that the server may take for one answer. Default `"10s"`.
    pub timeout: Option<HumanDuration>,
}

/// The sentinels' name for the server, and how to log in to them.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SentinelOptions {
    /// What they call it.
    pub master: String,
    /// The user they want; the default user without it.
    pub user: Option<String>,
    /// The password they want.
    pub password: Option<Secret>,
    /// A file with it.
    pub password_file: Option<PathBuf>,
}

impl Options {
    /// Checks the values; reads nothing.
    ///
    /// # Errors
    /// The key and what would be right.
    pub(crate) fn validate(&self) -> Result<Config, OptionsError> {
        let server = match (&self.url, &self.url_file) {
            (Some(url), None) => Server::Url(
                Url::parse(url.expose()).map_err(|reason| OptionsError::new("url", reason))?,
            ),
            (None, Some(path)) => Server::File(path.clone()),
            (None, None) => {
                return Err(OptionsError::new(
                    "url",
                    "is missing: write redis://user:password@host:6379, or name a file with it in `url_file`",
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
            files.insist_on_none("rediss")?;
        }
        let concurrency = self.concurrency.unwrap_or(2);
        if !(1..=64).contains(&concurrency) {
            return Err(OptionsError::new("concurrency", "must be from 1 to 64"));
        }
        let wait_replicas = self.wait_replicas.unwrap_or(0);
        if wait_replicas > MAX_REPLICAS {
            return Err(OptionsError::new("wait_replicas", "must be from 0 to 16"));
        }
        Ok(Config {
            server,
            files,
            target: self.target()?,
            sentinel: self.sentinel.as_ref().map(sentinel).transpose()?,
            wait_replicas,
            batch_max: batch_max(self.batch_max)?,
            concurrency: concurrency as usize,
            connect_timeout: wait("connect_timeout", self.connect_timeout, 5)?,
            timeout: wait("timeout", self.timeout, 10)?,
        })
    }

    fn target(&self) -> Result<Target, OptionsError> {
        let (key, name, target): (_, _, fn(String) -> Target) = match (&self.list, &self.stream) {
            (Some(name), None) => ("list", name, Target::List),
            (None, Some(name)) => ("stream", name, Target::Stream),
            (None, None) => {
                return Err(OptionsError::new(
                    "list",
                    "is missing: name the key of a list in `list`, or of a stream in `stream`",
                ));
            }
            (Some(_), Some(_)) => {
                return Err(OptionsError::new(
                    "stream",
                    "does not go with `list`: keep one of them",
                ));
            }
        };
        if name.is_empty() || name.len() > 1024 || name.contains(char::is_control) {
            return Err(OptionsError::new(
                key,
                "must be a key of 1 to 1024 bytes, without control characters",
            ));
        }
        Ok(target(name.clone()))
    }
}

fn sentinel(options: &SentinelOptions) -> Result<Sentinel, OptionsError> {
    let wrong = |reason| Err(OptionsError::new("sentinel", reason));
    if options.master.is_empty() {
        return wrong("needs `master`: what the sentinels call the server");
    }
    let password = match (&options.password, &options.password_file) {
        (Some(_), Some(_)) => {
            return wrong("has `password` and `password_file`: keep one of them");
        }
        (Some(password), None) => Some(Password::Here(password.clone())),
        (None, Some(path)) => Some(Password::File(path.clone())),
        (None, None) if options.user.is_some() => {
            return wrong("has a `user` and no `password` or `password_file`");
        }
        (None, None) => None,
    };
    Ok(Sentinel {
        master: options.master.clone(),
        user: options.user.clone(),
        password,
    })
}

/// Where the URL comes from.
#[derive(Debug, Clone)]
enum Server {
    Url(Url),
    File(PathBuf),
}

#[derive(Debug, Clone)]
enum Password {
    Here(Secret),
    File(PathBuf),
}

#[derive(Debug, Clone)]
struct Sentinel {
    master: String,
    user: Option<String>,
    password: Option<Password>,
}

/// Checked options.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    server: Server,
    files: Files,
    sentinel: Option<Sentinel>,
    pub(super) target: Target,
    pub(super) wait_replicas: u32,
    pub(super) batch_max: usize,
    pub(super) concurrency: usize,
    pub(super) connect_timeout: Duration,
    pub(super) timeout: Duration,
}

impl Config {
    /// The way to the server as the options and the files have it now. Blocks on files.
    ///
    /// # Errors
    /// The key, and which file cannot be used.
    pub(super) fn way(&self) -> Result<Way, (&'static str, String)> {
        let url = match &self.server {
            Server::Url(url) => url.clone(),
            Server::File(path) => {
                let text = read(path).map_err(|why| ("url_file", why))?;
                let parsed = Url::parse(text.expose().trim());
                parsed.map_err(|why| ("url_file", format!("{} {why}", path.display())))?
            }
        };
        let tls = if url.tls {
            Some(Arc::new(self.files.config()?))
        } else {
            None
        };
        let sentinel = match &self.sentinel {
            None => None,
            Some(sentinel) => Some((
                sentinel.master.clone(),
                sentinel.login().map_err(|why| ("sentinel", why))?,
            )),
        };
        Ok(Way { url, tls, sentinel })
    }

    /// A missing file is better found now than at the first connection.
    ///
    /// # Errors
    /// Which key names it.
    pub(super) fn check_files(&self, context: &Context) -> Result<(), BuildError> {
        let way = self.way().map(drop);
        way.map_err(|(key, reason)| BuildError {
            name: context.name.clone(),
            key,
            reason,
        })
    }

    /// How many hosts one connection may have to try, as far as the options say.
    pub(super) fn hosts(&self) -> u32 {
        let written = match &self.server {
            Server::Url(url) => url.hosts(),
            Server::File(_) => 3,
        };
        // The master that sentinels name is one more, and so is the node that last had the key.
        u32::try_from(written).unwrap_or(u32::MAX).saturating_add(1)
    }
}

impl Sentinel {
    fn login(&self) -> Result<Option<Login>, String> {
        let password = match &self.password {
            None => return Ok(None),
            Some(Password::Here(password)) => password.clone(),
            Some(Password::File(path)) => Secret::new(read(path)?.expose().trim().to_owned()),
        };
        Ok(Some(Login {
            user: self.user.clone(),
            password,
        }))
    }
}

fn read(path: &std::path::Path) -> Result<Secret, String> {
    std::fs::read_to_string(path)
        .map(Secret::new)
        .map_err(|error| format!("cannot read {}: {error}", path.display()))
}

impl Backend for Config {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn build(&self, context: &Context) -> Result<Arc<dyn Destination>, BuildError> {
        self.check_files(context)?;
        let reading = Reading::usual(context);
        Ok(Arc::new(Redis::new(self.clone(), reading)))
    }
}
