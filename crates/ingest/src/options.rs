//! What an operator can set of each HTTP source.

use std::collections::BTreeMap;

use domain::pointer::{Pointer, PointerError};
use domain::{ByteSize, HumanDuration, Unwrap};
use serde::{Deserialize, Serialize};

use crate::allow::AllowFrom;
use crate::rate::RateLimitOptions;
use crate::verify::{HandshakeShape, Split, VerifyOptions};

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
    /// Whose envelope the event is taken out of: `"eventbridge"`. Default: a body is stored as it came.
    #[serde(default)]
    pub unwrap: Option<Unwrap>,
    /// What becomes of a request that is not verified: `"refuse"` (default: it is told 401), or `"quarantine"`.
    #[serde(default)]
    pub on_invalid: OnInvalid,
    /// The most requests of the source in quarantine; further ones are told 401. Default 1,000.
    #[serde(default = "default_quarantine_max")]
    pub quarantine_max: u32,
    /// The most bytes of them, headers included. Default `"64MiB"`.
    #[serde(default = "default_quarantine_max_bytes")]
    pub quarantine_max_bytes: ByteSize,
    /// How long they stay in quarantine before they are discarded, and counted so. Default 30 days.
    #[serde(default = "default_quarantine_keep")]
    pub quarantine_keep: HumanDuration,
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

pub(crate) const fn default_quarantine_keep() -> HumanDuration {
    HumanDuration::from_secs(30 * 24 * 60 * 60)
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
            pointer if Pointer::parse(pointer).is_ok() => Ok(Self::Pointer(pointer.to_owned())),
            text if text.starts_with('/') => Err(serde::de::Error::custom(PointerError)),
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
            unwrap: None,
            on_invalid: OnInvalid::default(),
            quarantine_max: default_quarantine_max(),
            quarantine_max_bytes: default_quarantine_max_bytes(),
            quarantine_keep: default_quarantine_keep(),
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
            && (pointer.is_empty() || Pointer::parse(pointer).is_err())
        {
            return Err(("dedup", PointerError.to_string()));
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
        if self.quarantine_keep < HumanDuration::from_secs(1) {
            return Err(("quarantine_keep", "must be at least 1s".into()));
        }
        let verifies = self
            .verify
            .as_ref()
            .is_some_and(|verify| *verify != VerifyOptions::none());
        if self.on_invalid == OnInvalid::Quarantine && !verifies {
            let reason = "needs `verify`: what is not verified at all is never invalid";
            return Err(("on_invalid", reason.into()));
        }
        let scheme = self.verify.as_ref().map(|verify| verify.about().name);
        if self.on_invalid == OnInvalid::Quarantine && scheme == Some("mtls") {
            let reason = "is not for scheme mtls: the certificate is the connection's, so that what came without the right one can never be verified later";
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
                let reason = "is missing: the sender signs the URL that it posts to: add it, as public_url = \"https://hooks.example.com\"";
                return Err(("public_url", reason.into()));
            }
        }
        if self.handshake == Some(HandshakeShape::X) {
            let verify = self.verify.clone().unwrap_or_else(VerifyOptions::none);
            let scheme = verify.build().map_err(|reason| ("verify", reason))?;
            if scheme.hmac_of(b"").is_none() {
                let reason = "\"x\" answers with an HMAC of the token: verify must have scheme = \"hmac\" and sign \"{body}\" alone";
                return Err(("handshake", reason.into()));
            }
        }
        if self.split.is_some() && self.unwrap.is_some() {
            let reason = "takes one event out of its envelope, and split takes several out of a body: give one of them";
            return Err(("unwrap", reason.into()));
        }
        if let Some(split) = &self.split {
            let verify = self.verify.clone().unwrap_or_else(VerifyOptions::none);
            let scheme = verify.build().map_err(|reason| ("verify", reason))?;
            split.with(&*scheme).map_err(|reason| ("split", reason))?;
        }
        Ok(())
    }
}

/// A path without the slash at its end, which makes no other path: some senders add one.
pub(crate) fn without_slash(path: &str) -> &str {
    match path.strip_suffix('/') {
        None | Some("") => path,
        Some(rest) => rest,
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
            .find(|(_, source)| source.paths.iter().any(|own| without_slash(own) == path))
        {
            return Err((name.clone(), format!("path {path} is the listener's own")));
        }
    }
    for (name, source) in sources {
        for path in std::iter::once(format!("/in/{name}")).chain(source.paths.iter().cloned()) {
            match taken.insert(without_slash(&path).to_owned(), name) {
                Some(other) if other != name => {
                    return Err((
                        name.clone(),
                        format!(
                            "path {path} belongs to source {other} already (a slash at the end makes no other path)"
                        ),
                    ));
                }
                _ => {}
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slash_at_the_end_makes_no_other_path() {
        let source = |paths: &[&str]| SourceOptions {
            paths: paths.iter().map(|path| (*path).to_owned()).collect(),
            ..SourceOptions::default()
        };
        let of = |a: &[&str], b: &[&str]| {
            let named = [("a", source(a)), ("b", source(b))];
            let named = named.map(|(name, of)| (domain::SourceName::new(name).unwrap(), of));
            check_paths(&BTreeMap::from(named)).map_err(|(_, reason)| reason)
        };
        assert_eq!(of(&["/x", "/x/"], &["/y"]), Ok(()));
        for (a, b) in [("/x", "/x/"), ("/x/", "/x"), ("/y", "/in/a/")] {
            let reason = of(&[a], &[b]).unwrap_err();
            assert!(reason.contains("belongs to source a already"), "{reason}");
        }
        let own = of(&["/healthz/"], &[]).unwrap_err();
        assert_eq!(own, "path /healthz is the listener's own");
        assert_eq!(
            ["/", "//", "/a/", "/a//"].map(without_slash),
            ["/", "/", "/a", "/a/"]
        );
    }

    #[test]
    fn a_pointer_with_a_tilde_that_stands_for_nothing_is_refused() {
        for (pointer, is_right) in [("/a~1b~0", true), ("/a~2b", false), ("/a~", false)] {
            let split = serde_json::from_value::<SplitOptions>(pointer.into());
            assert_eq!(split.is_ok(), is_right, "{pointer}");
            let options = SourceOptions {
                dedup: DedupOptions::Pointer(pointer.into()),
                ..SourceOptions::default()
            };
            assert_eq!(options.validate().is_ok(), is_right, "{pointer}");
        }
    }
}
