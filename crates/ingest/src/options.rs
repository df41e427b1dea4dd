//! What an operator can set: the listener's limits, and each HTTP source.

use std::collections::BTreeMap;
use std::time::Duration;

use domain::{ByteSize, HumanDuration};
use serde::{Deserialize, Serialize};

use crate::allow::AllowFrom;
use crate::rate::RateLimitOptions;
use crate::verify::{HandshakeShape, Split, VerifyOptions};

/// Limits of the ingest listener, the `[server.limits]` section. They hold before any work is done for
/// a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ListenerOptions {
    /// The most connections at once. Default 10,000. One more is told 503 and closed.
    pub max_connections: usize,
    /// The most connections of one address at once; of IPv6 a /64 is one address. Default 1,000. One more is
    /// told 503 and closed.
    pub max_connections_per_address: usize,
    /// How long a client may take to send a request's headers, and may stay idle between two
    /// requests. Default `"30s"`.
    pub header_timeout: HumanDuration,
    /// How long a client may take to send a body. Default `"30s"`; slower is told 408.
    pub body_timeout: HumanDuration,
    /// How many bytes a second a body must come with once ten seconds have passed; `0` for as slow as it likes.
    /// Default `"512B"`; slower is told 408.
    pub min_body_rate: ByteSize,
    /// The largest head of a request, all headers together. Default `"32KiB"`; more is told 431.
    pub max_header_bytes: ByteSize,
    /// The most bytes of heads and bodies in memory over all requests; a quarter of it is for what
    /// connections have half read, where one of HTTP/2 counts as 16 KiB at least. Default `"64MiB"`; a
    /// request that would go over it is told 503.
    pub max_in_flight_bytes: ByteSize,
    /// The most requests at once on one HTTP/2 connection. Default 64.
    pub max_streams: u32,
    /// How many of the newest deduplication keys are remembered, over all sources. Default 1,000,000;
    /// each takes 40 bytes of memory. What the journal still holds of them is back after a restart.
    pub dedup_keys: u32,
}

impl Default for ListenerOptions {
    fn default() -> Self {
        Self {
            max_connections: 10_000,
            max_connections_per_address: 1_000,
            header_timeout: HumanDuration::from_secs(30),
            body_timeout: HumanDuration::from_secs(30),
            min_body_rate: ByteSize(512),
            max_header_bytes: ByteSize(32 << 10),
            max_in_flight_bytes: ByteSize::mib(64),
            max_streams: 64,
            dedup_keys: 1_000_000,
        }
    }
}

impl ListenerOptions {
    /// Checks the limits.
    ///
    /// # Errors
    /// The key and what would be right.
    pub fn validate(&self) -> Result<Limits, (&'static str, String)> {
        let above_zero = [
            ("max_connections", self.max_connections as u64),
            (
                "max_connections_per_address",
                self.max_connections_per_address as u64,
            ),
            ("max_streams", u64::from(self.max_streams)),
            ("dedup_keys", u64::from(self.dedup_keys)),
        ];
        if let Some((key, _)) = above_zero.iter().find(|(_, value)| *value == 0) {
            return Err((key, "must be at least 1".into()));
        }
        if self.header_timeout.0.is_zero() || self.body_timeout.0.is_zero() {
            return Err((
                "header_timeout",
                "header_timeout and body_timeout must be longer than 0s".into(),
            ));
        }
        let header_bytes = usize::try_from(self.max_header_bytes.0).unwrap_or(usize::MAX);
        if !(8 << 10..=256 << 10).contains(&header_bytes) {
            return Err(("max_header_bytes", "must be from 8KiB to 256KiB".into()));
        }
        // Half a head may be twice the limit of a whole one, and has a quarter of the memory.
        let least = (1 << 20).max(8 * header_bytes as u64);
        if self.max_in_flight_bytes.0 < least {
            return Err((
                "max_in_flight_bytes",
                "must be at least 1MiB, and at least 8 times max_header_bytes".into(),
            ));
        }
        Ok(Limits {
            connections: self.max_connections,
            connections_per_address: self.max_connections_per_address,
            header_timeout: self.header_timeout.0,
            body_timeout: self.body_timeout.0,
            min_body_rate: self.min_body_rate.0,
            header_bytes,
            in_flight_bytes: self.max_in_flight_bytes.0,
            streams: self.max_streams,
            dedup_keys: self.dedup_keys,
        })
    }
}

/// What the largest head takes of the memory beyond its text, with room to spare.
const LARGEST_HEAD_MORE: u64 = 16 << 10;

/// Checked limits, in plain units.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Connections at once.
    pub connections: usize,
    /// Connections of one address at once.
    pub connections_per_address: usize,
    /// For a request's head, and between requests.
    pub header_timeout: Duration,
    /// For a body.
    pub body_timeout: Duration,
    /// Bytes a second of a body, after a grace; 0: none.
    pub min_body_rate: u64,
    /// Bytes of a request's head.
    pub header_bytes: usize,
    /// Bytes of heads and bodies over all requests.
    pub in_flight_bytes: u64,
    /// Requests at once on an HTTP/2 connection.
    pub streams: u32,
    /// Deduplication keys remembered.
    pub dedup_keys: u32,
}

impl Limits {
    /// The part of the memory for what connections have half read: a quarter.
    pub(crate) const fn for_half_read(&self) -> u64 {
        self.in_flight_bytes / 4
    }

    /// The part of the memory for requests: the rest.
    pub(crate) const fn for_requests(&self) -> u64 {
        self.in_flight_bytes - self.for_half_read()
    }

    /// The largest body that has room in the memory beside the largest head, when no other request is under
    /// way. One that is larger would be told 503 for ever.
    #[must_use]
    pub const fn largest_body(&self) -> u64 {
        // HTTP/1 lets a head of twice the limit come, path included; of HTTP/2 many short headers take the
        // most, three times their text for their places in the map.
        let head = 4 * self.header_bytes as u64 + LARGEST_HEAD_MORE;
        self.for_requests().saturating_sub(head)
    }
}

/// A `[sources.NAME]` section.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceOptions {
    /// The source's type. Only `"http"`.
    #[serde(rename = "type")]
    pub kind: SourceType,
    /// Paths it answers on, besides `/in/NAME`, which always works.
    #[serde(default)]
    pub paths: Vec<String>,
    /// How requests prove where they come from. Must be given when the listener is not on loopback;
    /// `{ scheme = "none" }` is allowed, in so many words.
    #[serde(default, skip_serializing)]
    pub verify: Option<VerifyOptions>,
    /// A challenge of the sender that is answered where the scheme knows of none.
    #[serde(default)]
    pub handshake: Option<HandshakeShape>,
    /// From the sender's first try to its last, the waiting for answers included: for saying when events begin to be
    /// lost. Default: what is known of the scheme's sender.
    #[serde(default)]
    pub retry_window: Option<HumanDuration>,
    /// The source's address as its sender has it, for schemes that sign the URL. With a path it stands for the whole
    /// of it; without one the request's path is put behind it.
    #[serde(default)]
    pub public_url: Option<PublicUrl>,
    /// Addresses and networks that it takes requests from; others are told 403. Default: anywhere.
    #[serde(default)]
    pub allow_from: Option<AllowFrom>,
    /// How many requests a second it takes; more are told 429 with `Retry-After`. Default: as many as come.
    #[serde(default)]
    pub rate_limit: Option<RateLimitOptions>,
    /// The largest body. Default `"10MiB"`; a larger one is told 413 and never truncated.
    #[serde(default = "default_max_body")]
    pub max_body: ByteSize,
    /// Whether a body that is not JSON is told 400. Default `false`.
    #[serde(default)]
    pub require_json: bool,
    /// What makes a repeat a repeat: `"scheme"` (default: what the verification scheme knows),
    /// `"off"`, `{ header = "x-id" }` or `{ pointer = "/id" }`.
    #[serde(default)]
    pub dedup: DedupOptions,
    /// How a body with several events is taken apart, each to be an event of its own: a JSON pointer to the array
    /// (`""` is the whole body), `"lines"` (one JSON value a line), or `"scheme"` (as its sender sends them). Default:
    /// a body is one event.
    #[serde(default)]
    pub split: Option<SplitOptions>,
    /// What becomes of a request that is not verified: `"refuse"` (default: it is told 401), or `"quarantine"`.
    #[serde(default)]
    pub on_invalid: OnInvalid,
    /// The most requests of the source in quarantine; further ones are told 401. Default 1,000.
    #[serde(default = "default_quarantine_max")]
    pub quarantine_max: u32,
    /// The most bytes of them, headers included. Default `"64MiB"`.
    #[serde(default = "default_quarantine_max_bytes")]
    pub quarantine_max_bytes: ByteSize,
    /// The answer to an accepted event, for senders that want something else than Forebay's own.
    #[serde(default)]
    pub respond: Option<RespondOptions>,
}

/// What becomes of a request that is not verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnInvalid {
    /// It is told 401, and nothing of it is stored.
    #[default]
    Refuse,
    /// It is kept apart and told 200, and is an event only once it was verified after all.
    Quarantine,
}

const fn default_quarantine_max() -> u32 {
    1000
}

const fn default_quarantine_max_bytes() -> ByteSize {
    ByteSize::mib(64)
}

/// How a source takes bodies apart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SplitOptions {
    /// As the scheme's sender sends them.
    Scheme,
    /// One JSON value a line.
    Lines,
    /// The items of the array that this JSON pointer finds.
    Pointer(String),
}

impl<'de> Deserialize<'de> for SplitOptions {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            "scheme" => Ok(Self::Scheme),
            "lines" => Ok(Self::Lines),
            pointer if pointer.is_empty() || pointer.starts_with('/') => {
                Ok(Self::Pointer(pointer.to_owned()))
            }
            _ => Err(serde::de::Error::custom(
                "must be \"scheme\", \"lines\", or a JSON pointer to the array, as \"/entries\"; \"\" is the whole body",
            )),
        }
    }
}

impl SplitOptions {
    /// How it is done with this scheme.
    ///
    /// # Errors
    /// The scheme's sender sends one event a body.
    pub(crate) fn with(&self, scheme: &dyn crate::verify::Scheme) -> Result<Split, String> {
        match self {
            Self::Lines => Ok(Split::Lines),
            Self::Pointer(pointer) => Ok(Split::Array(pointer.clone())),
            Self::Scheme => scheme.split().ok_or_else(|| {
                format!(
                    "scheme {} knows of no bodies with several events: name the array, as \"/entries\", or \"lines\"",
                    scheme.name()
                )
            }),
        }
    }
}

/// Where a source is, as its sender has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PublicUrl(String);

impl PublicUrl {
    /// The URL of a request with this path and query.
    #[must_use]
    pub fn of(&self, path: &str) -> String {
        let Self(url) = self;
        if has_path(url) {
            let query = path.find('?').map_or("", |at| &path[at..]);
            [url, query].concat()
        } else {
            [url, path].concat()
        }
    }
}

fn has_path(url: &str) -> bool {
    url.split_once("://")
        .is_some_and(|(_, rest)| rest.contains('/'))
}

impl<'de> Deserialize<'de> for PublicUrl {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let uri: Option<http::Uri> = text.parse().ok();
        let http = |uri: &http::Uri| matches!(uri.scheme_str(), Some("http" | "https"));
        let good = uri.is_some_and(|uri| http(&uri) && uri.host().is_some_and(|h| !h.is_empty()));
        if !good || text.contains(['?', '#', '@']) {
            return Err(serde::de::Error::custom(
                "must be the URL that the sender posts to, without query, as in \"https://hooks.example.com\"",
            ));
        }
        // A slash alone is no path of its own.
        let plain = text.strip_suffix('/').filter(|rest| !has_path(rest));
        Ok(Self(plain.unwrap_or(&text).to_owned()))
    }
}

fn default_max_body() -> ByteSize {
    ByteSize::mib(10)
}

impl Default for SourceOptions {
    fn default() -> Self {
        Self {
            kind: SourceType::Http,
            paths: Vec::new(),
            verify: None,
            handshake: None,
            retry_window: None,
            public_url: None,
            allow_from: None,
            rate_limit: None,
            max_body: default_max_body(),
            require_json: false,
            dedup: DedupOptions::default(),
            split: None,
            on_invalid: OnInvalid::default(),
            quarantine_max: default_quarantine_max(),
            quarantine_max_bytes: default_quarantine_max_bytes(),
            respond: None,
        }
    }
}

/// The types of source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SourceType {
    /// Posts to the ingest listener.
    Http,
}

/// What makes a repeat a repeat.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DedupOptions {
    /// What the verification scheme knows of the sender.
    #[default]
    Scheme,
    /// Nothing: every post is an event.
    Off,
    /// The value of a header.
    Header(String),
    /// The value at a JSON pointer into the body (RFC 6901).
    Pointer(String),
}

/// An answer of one's own to an accepted event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RespondOptions {
    /// The status, from 200 to 299. Default 200.
    pub status: u16,
    /// The content type. Default `"text/plain; charset=utf-8"`.
    pub content_type: String,
    /// The body. Default: empty.
    pub body: String,
}

impl Default for RespondOptions {
    fn default() -> Self {
        Self {
            status: 200,
            content_type: "text/plain; charset=utf-8".into(),
            body: String::new(),
        }
    }
}

impl SourceOptions {
    /// Checks what can be checked without the other sources.
    ///
    /// # Errors
    /// The key and what would be right.
    pub fn validate(&self) -> Result<(), (&'static str, String)> {
        for path in &self.paths {
            if !path.starts_with('/') || path.contains(['?', '#', ' ']) {
                return Err((
                    "paths",
                    format!("{path:?} must start with '/' and have no '?', '#' or blank"),
                ));
            }
        }
        if let Some(limit) = self.rate_limit {
            limit.validate().map_err(|reason| ("rate_limit", reason))?;
        }
        if self.max_body.0 == 0 {
            return Err(("max_body", "must be at least 1 byte".into()));
        }
        if let DedupOptions::Pointer(pointer) = &self.dedup
            && !pointer.starts_with('/')
        {
            return Err((
                "dedup",
                "a JSON pointer starts with '/', as in \"/id\"".into(),
            ));
        }
        if let DedupOptions::Header(name) = &self.dedup
            && name.parse::<http::HeaderName>().is_err()
        {
            return Err(("dedup", format!("{name:?} is no header name")));
        }
        if self.quarantine_max == 0 {
            return Err(("quarantine_max", "must be at least 1".into()));
        }
        if self.quarantine_max_bytes < ByteSize::mib(1) {
            return Err(("quarantine_max_bytes", "must be at least 1MiB".into()));
        }
        let verifies = self
            .verify
            .as_ref()
            .is_some_and(|verify| *verify != VerifyOptions::none());
        if self.on_invalid == OnInvalid::Quarantine && !verifies {
            let reason = "needs `verify`: what is not verified at all is never invalid";
            return Err(("on_invalid", reason.into()));
        }
        if let Some(respond) = &self.respond {
            if !(200..300).contains(&respond.status) {
                return Err(("respond", "status must be from 200 to 299: any other asks the sender to try again or to give up".into()));
            }
            if http::HeaderValue::from_str(&respond.content_type).is_err() {
                return Err(("respond", "content_type cannot stand in a header".into()));
            }
        }
        if let Some(verify) = &self.verify {
            let scheme = verify.build().map_err(|reason| ("verify", reason))?;
            if scheme.signs_url() && self.public_url.is_none() {
                let reason = "must be said: the sender signs the URL that it posts to, as in \"https://hooks.example.com\"";
                return Err(("public_url", reason.into()));
            }
        }
        if self.handshake == Some(HandshakeShape::X)
            && !matches!(self.verify, Some(VerifyOptions::Hmac(_)))
        {
            let reason = "\"x\" answers with an HMAC: verify must have scheme = \"hmac\"";
            return Err(("handshake", reason.into()));
        }
        if let Some(split) = &self.split {
            let verify = self.verify.clone().unwrap_or_else(VerifyOptions::none);
            let scheme = verify.build().map_err(|reason| ("verify", reason))?;
            split.with(&*scheme).map_err(|reason| ("split", reason))?;
        }
        Ok(())
    }
}

/// All sources, by name, with paths that no two of them share.
///
/// # Errors
/// The second source that wants a path, and the path.
pub fn check_paths(
    sources: &BTreeMap<domain::SourceName, SourceOptions>,
) -> Result<(), (domain::SourceName, String)> {
    let mut taken: BTreeMap<String, &domain::SourceName> = BTreeMap::new();
    for path in ["/healthz", "/readyz"] {
        if let Some((name, _)) = sources
            .iter()
            .find(|(_, source)| source.paths.iter().any(|own| own == path))
        {
            return Err((name.clone(), format!("path {path} is the listener's own")));
        }
    }
    for (name, source) in sources {
        for path in std::iter::once(format!("/in/{name}")).chain(source.paths.iter().cloned()) {
            match taken.insert(path.clone(), name) {
                Some(other) if other != name => {
                    return Err((
                        name.clone(),
                        format!("path {path} belongs to source {other} already"),
                    ));
                }
                _ => {}
            }
        }
    }
    Ok(())
}
