//! The options of an `http` destination.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use domain::ports::Destination;
use domain::{HumanDuration, Secret};
use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;

use super::destination::Http;
use super::request::SigningKey;
use crate::options::{Backend, BuildError, Context, OptionsError};
use crate::reference::OptionDoc;

/// The word for it in the configuration.
pub(crate) const KIND: &str = "http";

pub(crate) const REFERENCE: &[OptionDoc] = &[
    OptionDoc {
        key: "url",
        value: "secret string",
        default: "",
        limit: "http:// or https://",
        effect: "Where each event is posted. The event's own path is not added.",
    },
    OptionDoc {
        key: "url_file",
        value: "path",
        default: "",
        limit: "instead of `url`",
        effect: "A file with the URL, read at the start and again for every probe.",
    },
    OptionDoc {
        key: "headers",
        value: "table of secret strings",
        default: "",
        limit: "",
        effect: "Headers that every request has, in place of the event's own of that name.",
    },
    OptionDoc {
        key: "sign",
        value: "table",
        default: "",
        limit: "`{ secret = \"whsec_…\" }` or `{ secret_file = \"…\" }`",
        effect: "Signs each request as Standard Webhooks says, with webhook-id, webhook-timestamp and webhook-signature. A file is read at the start.",
    },
    OptionDoc {
        key: "concurrency",
        value: "integer",
        default: "8",
        limit: "1 to 256",
        effect: "Requests in flight at once.",
    },
    OptionDoc {
        key: "max_rate",
        value: "integer",
        default: "",
        limit: "1 to 100000",
        effect: "The most requests a second, spread evenly.",
    },
    OptionDoc {
        key: "connect_timeout",
        value: "duration",
        default: "\"5s\"",
        limit: "100ms to 30s",
        effect: "The longest that a connection may take to open.",
    },
    OptionDoc {
        key: "timeout",
        value: "duration",
        default: "\"10s\"",
        limit: "100ms to 30s",
        effect: "The longest that a request may take, from its first byte to the answer. After it the destination is taken for away.",
    },
];

/// An `http` destination as it was written.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Where events are posted. This or `url_file`.
    pub url: Option<Secret>,
    /// A file with the URL.
    pub url_file: Option<PathBuf>,
    /// Headers of every request.
    pub headers: BTreeMap<String, Secret>,
    /// How requests are signed.
    pub sign: Option<SignOptions>,
    /// Requests in flight at once. Default 8, 1 to 256.
    pub concurrency: Option<u32>,
    /// The most requests a second.
    pub max_rate: Option<u32>,
    /// The longest that a connection may take to open. Default `"5s"`.
    pub connect_timeout: Option<HumanDuration>,
    /// The longest that a request may take. Default `"10s"`, at most `"30s"`.
    pub timeout: Option<HumanDuration>,
}

/// The `sign` table.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SignOptions {
    /// The secret, as `whsec_…`. This or `secret_file`.
    pub secret: Option<Secret>,
    /// A file with it.
    pub secret_file: Option<PathBuf>,
}

impl Options {
    /// Checks the values; reads nothing.
    ///
    /// # Errors
    /// The key and what would be right. Never a value that may be secret.
    pub(crate) fn validate(&self) -> Result<Config, OptionsError> {
        let place = match (&self.url, &self.url_file) {
            (Some(url), None) => Place::Url(
                parse_url(url.expose()).map_err(|reason| OptionsError::new("url", reason))?,
            ),
            (None, Some(path)) => Place::File(path.clone()),
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
        let concurrency = self.concurrency.unwrap_or(8);
        if !(1..=256).contains(&concurrency) {
            return Err(OptionsError::new("concurrency", "must be from 1 to 256"));
        }
        if self
            .max_rate
            .is_some_and(|rate| !(1..=100_000).contains(&rate))
        {
            return Err(OptionsError::new("max_rate", "must be from 1 to 100000"));
        }
        Ok(Config {
            place,
            headers: self.header_map()?,
            sign: self.signing()?,
            concurrency: concurrency as usize,
            max_rate: self.max_rate,
            connect_timeout: wait("connect_timeout", self.connect_timeout, 5)?,
            timeout: wait("timeout", self.timeout, 10)?,
        })
    }

    fn header_map(&self) -> Result<HeaderMap, OptionsError> {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            let wrong = |what: &str| OptionsError::new("headers", format!("{name:?} {what}"));
            let parsed = HeaderName::from_bytes(name.as_bytes());
            let parsed = parsed.map_err(|_| wrong("is no name of a header"))?;
            let value = HeaderValue::from_str(value.expose());
            let mut value = value.map_err(|_| wrong("has a value that no header can have"))?;
            value.set_sensitive(true);
            headers.insert(parsed, value);
        }
        Ok(headers)
    }

    fn signing(&self) -> Result<Option<Signing>, OptionsError> {
        let wrong = |reason: &str| OptionsError::new("sign", reason);
        let Some(sign) = &self.sign else {
            return Ok(None);
        };
        match (&sign.secret, &sign.secret_file) {
            (Some(secret), None) => SigningKey::parse(secret)
                .map(|key| Some(Signing::Key(key)))
                .map_err(|reason| wrong(&format!("secret {reason}"))),
            (None, Some(path)) => Ok(Some(Signing::File(path.clone()))),
            _ => Err(wrong("needs one of secret and secret_file")),
        }
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

/// A URL that can be posted to. The reason never quotes it.
fn parse_url(text: &str) -> Result<Url, String> {
    let wrong = || "must be http://host/path or https://host/path".to_owned();
    let url = Url::parse(text.trim()).map_err(|_| wrong())?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(wrong());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(
            "must hold no user and password: set headers = { authorization = \"…\" }".into(),
        );
    }
    Ok(url)
}

/// Checked options.
#[derive(Clone)]
pub(crate) struct Config {
    pub(super) place: Place,
    pub(super) headers: HeaderMap,
    sign: Option<Signing>,
    pub(super) concurrency: usize,
    pub(super) max_rate: Option<u32>,
    pub(super) connect_timeout: Duration,
    pub(super) timeout: Duration,
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("http").finish_non_exhaustive()
    }
}

/// Where the URL comes from.
#[derive(Clone)]
pub(super) enum Place {
    Url(Url),
    File(PathBuf),
}

impl Place {
    const fn key(&self) -> &'static str {
        match self {
            Self::Url(_) => "url",
            Self::File(_) => "url_file",
        }
    }

    /// The URL now. Blocks on a file.
    pub(super) fn url(&self) -> Result<Url, String> {
        match self {
            Self::Url(url) => Ok(url.clone()),
            Self::File(path) => {
                let text = std::fs::read_to_string(path)
                    .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
                parse_url(&text).map_err(|reason| format!("{}: {reason}", path.display()))
            }
        }
    }
}

#[derive(Clone)]
enum Signing {
    Key(SigningKey),
    File(PathBuf),
}

impl Signing {
    /// The key. Blocks on a file.
    fn key(&self) -> Result<SigningKey, String> {
        match self {
            Self::Key(key) => Ok(key.clone()),
            Self::File(path) => {
                let text = std::fs::read_to_string(path)
                    .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
                SigningKey::parse(&Secret::new(text))
                    .map_err(|reason| format!("{}: the secret {reason}", path.display()))
            }
        }
    }
}

impl Backend for Config {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn build(&self, context: &Context) -> Result<Arc<dyn Destination>, BuildError> {
        let refuse = |key| {
            let name = context.name.clone();
            move |reason| BuildError { name, key, reason }
        };
        let url = self.place.url().map_err(refuse(self.place.key()))?;
        let key = self.sign.as_ref().map(Signing::key).transpose();
        let key = key.map_err(refuse("sign"))?;
        let http = Http::new(self.clone(), url, key, Arc::clone(&context.clock));
        let http =
            http.map_err(|error| refuse("type")(format!("no client can be made: {error}")))?;
        Ok(Arc::new(http))
    }
}
