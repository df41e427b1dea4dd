//! The options of an `http` destination.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use domain::ports::Destination;
use domain::{Clock, HumanDuration, Secret};
use http::{HeaderName, HeaderValue};
use serde::Deserialize;

use super::address::Address;
use super::destination::Http;
use super::guard::Guard;
use super::headers;
use super::sign::{self, Signer};
use crate::options::{Backend, BuildError, Context, OptionsError};
use crate::reference::OptionDoc;

/// The word for it in the configuration.
pub(crate) const KIND: &str = "http";

const MAX_HEADERS: usize = 64;

/// Requests at once unless the options say otherwise.
const CONCURRENCY: u32 = 8;

/// The longest that a guarded connection may take to open.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

pub(crate) const REFERENCE: &[OptionDoc] = &[
    OptionDoc {
        key: "url",
        value: "secret string",
        default: "",
        limit: "https:// or http://, with user:password@ if you like",
        effect: "Where each event is posted to, exactly as written: the event's own path is not added. It is never shown but for host and port.",
    },
    OptionDoc {
        key: "url_file",
        value: "path",
        default: "",
        limit: "instead of `url`",
        effect: "A file with the URL, read again when it was read more than 5s ago.",
    },
    OptionDoc {
        key: "headers",
        value: "table of secret strings",
        default: "",
        limit: "at most 64; not those of the connection (host, content-length), not forebay-…",
        effect: "Headers for every request, in place of the event's own of the same name. Their values are never shown.",
    },
    OptionDoc {
        key: "sign",
        value: "table: `secret` or `secret_file`",
        default: "",
        limit: "base64, behind whsec_ or alone",
        effect: "Signs each request by Standard Webhooks (webhook-id, webhook-timestamp, webhook-signature), in place of the event's own such headers. A file is read again as `url_file` is.",
    },
    OptionDoc {
        key: "concurrency",
        value: "integer",
        default: "8",
        limit: "1 to 256",
        effect: "Requests under way at once.",
    },
    OptionDoc {
        key: "max_rate",
        value: "integer",
        default: "",
        limit: "1 to 100000",
        effect: "Requests a second, evenly spaced, over all routes to this destination. Without it they go as fast as they are answered.",
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
        effect: "The longest that one request may take to its answer, connecting included. After it the destination is unavailable.",
    },
];

/// An `http` destination as it was written.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Where events are posted to. This or `url_file`.
    pub url: Option<Secret>,
    /// A file with the URL.
    pub url_file: Option<PathBuf>,
    /// Headers for every request. At most 64.
    pub headers: Option<BTreeMap<String, Secret>>,
    /// Signs each request.
    pub sign: Option<SignOptions>,
    /// Requests under way at once. Default 8, 1 to 256.
    pub concurrency: Option<u32>,
    /// Requests a second. Default: no limit; 1 to 100,000.
    pub max_rate: Option<u32>,
    /// The longest that a connection may take to open. Default `"5s"`.
    pub connect_timeout: Option<HumanDuration>,
    /// The longest that one request may take. Default `"10s"`, at most `"30s"`.
    pub timeout: Option<HumanDuration>,
}

/// The secret of Standard Webhooks: one of the two.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SignOptions {
    /// `whsec_…`.
    pub secret: Option<Secret>,
    /// A file with it.
    pub secret_file: Option<PathBuf>,
}

impl Options {
    /// Checks the values; reads nothing.
    ///
    /// # Errors
    /// The key and what would be right.
    pub(crate) fn validate(&self) -> Result<Config, OptionsError> {
        let endpoint = match (&self.url, &self.url_file) {
            (Some(url), None) => Given::Here(address(url.expose())?),
            (None, Some(path)) => Given::File(path.clone()),
            (None, None) => {
                return Err(OptionsError::new(
                    "url",
                    "is missing: write https://host/path, or name a file with it in `url_file`",
                ));
            }
            (Some(_), Some(_)) => {
                return Err(OptionsError::new(
                    "url_file",
                    "does not go with `url`: keep one of them",
                ));
            }
        };
        let concurrency = self.concurrency.unwrap_or(CONCURRENCY);
        if !(1..=256).contains(&concurrency) {
            return Err(OptionsError::new("concurrency", "must be from 1 to 256"));
        }
        if self
            .max_rate
            .is_some_and(|rate| !(1..=100_000).contains(&rate))
        {
            return Err(OptionsError::new(
                "max_rate",
                "must be from 1 to 100000; leave it out for no limit",
            ));
        }
        let signer = self.sign.as_ref().map(signer).transpose()?;
        Ok(Config {
            endpoint,
            headers: self.headers(signer.is_some())?,
            signer,
            concurrency: concurrency as usize,
            max_rate: self.max_rate,
            connect_timeout: wait("connect_timeout", self.connect_timeout, 5)?,
            timeout: wait("timeout", self.timeout, 10)?,
            guard: None,
        })
    }

    fn headers(&self, signed: bool) -> Result<Vec<(HeaderName, HeaderValue)>, OptionsError> {
        let wrong = |reason: String| OptionsError::new("headers", reason);
        let given = self.headers.iter().flatten();
        if self
            .headers
            .as_ref()
            .is_some_and(|all| all.len() > MAX_HEADERS)
        {
            return Err(wrong(format!("has more than {MAX_HEADERS} headers")));
        }
        let mut headers: Vec<(HeaderName, HeaderValue)> = Vec::new();
        for (name, value) in given {
            // A name is shown only once it is known to be one: what is not may be a secret in the wrong place.
            let name = HeaderName::try_from(name)
                .map_err(|_| wrong("has a name that is none: letters, digits and -".into()))?;
            let mut value = HeaderValue::try_from(value.expose()).map_err(|_| {
                wrong(format!(
                    "{name} has a value with a line break or the like in it"
                ))
            })?;
            if let Some(why) = headers::unfit(&name) {
                return Err(wrong(format!("{name} {why}")));
            }
            if signed && [sign::ID, sign::TIMESTAMP, sign::SIGNATURE].contains(&name) {
                return Err(wrong(format!(
                    "{name} is what `sign` sets: keep one of them"
                )));
            }
            if headers.iter().any(|(other, _)| *other == name) {
                return Err(wrong(format!("{name} is there twice")));
            }
            value.set_sensitive(true);
            headers.push((name, value));
        }
        Ok(headers)
    }
}

fn address(text: &str) -> Result<Address, OptionsError> {
    Address::parse(text).map_err(|reason| OptionsError::new("url", reason))
}

fn signer(options: &SignOptions) -> Result<Given<Signer>, OptionsError> {
    match (&options.secret, &options.secret_file) {
        (Some(secret), None) => Signer::new(secret)
            .map(Given::Here)
            .map_err(|reason| OptionsError::new("sign", reason)),
        (None, Some(path)) => Ok(Given::File(path.clone())),
        _ => Err(OptionsError::new(
            "sign",
            "needs `secret` or `secret_file`, and one of them only",
        )),
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

/// What stands in the configuration or in a file of its own.
#[derive(Debug, Clone)]
pub(super) enum Given<T> {
    Here(T),
    File(PathBuf),
}

/// Checked options.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(super) endpoint: Given<Address>,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) signer: Option<Given<Signer>>,
    pub(super) concurrency: usize,
    pub(super) max_rate: Option<u32>,
    pub(super) connect_timeout: Duration,
    pub(super) timeout: Duration,
    /// What the address may be, where it is not the operator who gave it.
    pub(super) guard: Option<Guard>,
}

/// The destination of a subscription: posts to an address that was given by the API, under a guard. No headers of its
/// own, no signature, no redirect, no proxy; at most 8 requests at once. Blocks on the system's
/// certificates; connects to nothing.
///
/// What the guard refuses is not an error here, for the configuration may have changed since the address was taken: such
/// a destination is unavailable (`private-address`, `plain-http`) until it changes back. [`Guard::check`] refuses it in
/// time.
///
/// # Errors
/// What is wrong with the URL, to be put behind its field's name, or why TLS cannot be set up.
pub fn guarded(
    url: &str,
    guard: Guard,
    timeout: Duration,
    clock: Arc<dyn Clock>,
) -> Result<Arc<dyn Destination>, String> {
    let everything = Guard {
        allow_http: true,
        allow_private: true,
    };
    let config = Config {
        guard: Some(guard),
        ..Config::to(everything.address(url)?, timeout)
    };
    let http = Http::new(config, clock).map_err(|(_, reason)| reason)?;
    Ok(Arc::new(http))
}

impl Config {
    /// As little as there can be: an address and a timeout.
    pub(super) fn to(address: Address, timeout: Duration) -> Self {
        Self {
            endpoint: Given::Here(address),
            headers: Vec::new(),
            signer: None,
            concurrency: CONCURRENCY as usize,
            max_rate: None,
            connect_timeout: timeout.min(CONNECT_TIMEOUT),
            timeout,
            guard: None,
        }
    }
}

impl Backend for Config {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn build(&self, context: &Context) -> Result<Arc<dyn Destination>, BuildError> {
        let refuse = |(key, reason)| BuildError {
            name: context.name.clone(),
            key,
            reason,
        };
        let clock = Arc::clone(&context.clock);
        let http = Http::new(self.clone(), clock).map_err(refuse)?;
        Ok(Arc::new(http))
    }
}
