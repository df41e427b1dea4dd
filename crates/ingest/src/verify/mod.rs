//! Verification: the registry of schemes, and what they share.
//!
//! One small file a scheme: its options, its check, its signing side, its cases. Adding one is a file
//! and a row in [`VerifyOptions`]. A scheme sees the raw request, never changes it, compares in
//! constant time, and does not say which part was wrong.

mod api_key;
mod basic;
mod bearer;
mod genesys;
mod hmac;
mod keys;
mod none;
mod standard_webhooks;

use bytes::Bytes;
use domain::{Secret, Timestamp};
use http::HeaderMap;
use serde::Deserialize;

/// What a scheme looks at.
#[derive(Debug, Clone, Copy)]
pub struct Received<'a> {
    /// The method.
    pub method: &'a str,
    /// Path and query.
    pub path: &'a str,
    /// The headers.
    pub headers: &'a HeaderMap,
    /// The body, byte for byte.
    pub body: &'a Bytes,
    /// When the request came.
    pub now: Timestamp,
}

/// A request that did not prove where it comes from. The text is for our own log and counters only: the
/// sender is not told which part was wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The header with the proof is not there.
    #[error("signature missing")]
    Missing,
    /// The header cannot be read.
    #[error("signature malformed")]
    Malformed,
    /// The proof is wrong under every secret.
    #[error("signature wrong")]
    Wrong,
    /// The signed time is too far from ours.
    #[error("timestamp outside the tolerance")]
    Stale,
}

/// What a scheme knows of a request that proved itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Proven {
    /// The parts that together make a repeat a repeat; empty: unknown.
    pub dedup: Vec<String>,
    /// The sender's name for this kind of event.
    pub event_type: Option<String>,
    /// A header that held a credential; it is taken off before storing.
    pub consumed: Option<http::HeaderName>,
}

/// A POST that is to be signed.
#[derive(Debug, Clone, Copy)]
pub struct Unsigned<'a> {
    /// Path and query.
    pub path: &'a str,
    /// The body, byte for byte.
    pub body: &'a [u8],
    /// Names the message where the scheme wants a name.
    pub id: &'a str,
    /// When it is sent.
    pub now: Timestamp,
}

/// A request as a sender of this scheme would sign it.
#[derive(Debug, Clone, Default)]
pub struct Signed {
    /// Headers to send along.
    pub headers: Vec<(String, String)>,
}

/// A scheme with its secrets.
pub trait Scheme: Send + Sync + std::fmt::Debug {
    /// Its name in the configuration.
    fn name(&self) -> &'static str;

    /// Checks a request.
    ///
    /// # Errors
    /// [`Refusal`].
    fn verify(&self, request: &Received<'_>) -> Result<Proven, Refusal>;

    /// Signs a request as a sender would, with the first secret.
    fn sign(&self, request: &Unsigned<'_>) -> Signed;

    /// Reads secret files again. On an error the secrets stay as they were.
    ///
    /// # Errors
    /// Which file, and why.
    fn reload(&self) -> Result<(), String>;
}

/// The `verify` table of a source: a scheme's name and what it needs.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "scheme", rename_all = "kebab-case")]
pub enum VerifyOptions {
    /// Takes everything.
    None(none::Options),
    /// `Authorization: Bearer …`.
    Bearer(bearer::Options),
    /// `Authorization: Basic …`.
    Basic(basic::Options),
    /// A secret in a header.
    ApiKey(api_key::Options),
    /// A signature over the body, described by its options.
    Hmac(hmac::Options),
    /// Genesys Cloud Open Messaging.
    GenesysOpenMessaging(genesys::Options),
    /// Standard Webhooks, HMAC and ed25519.
    StandardWebhooks(standard_webhooks::Options),
}

impl VerifyOptions {
    /// Builds the scheme, reading its secret files.
    ///
    /// # Errors
    /// What is missing or unreadable; never a secret.
    pub fn build(&self) -> Result<Box<dyn Scheme>, String> {
        Ok(match self {
            Self::None(_) => Box::new(none::None("none")),
            Self::Bearer(options) => Box::new(bearer::Bearer::new(options)?),
            Self::Basic(options) => Box::new(basic::Basic::new(options)?),
            Self::ApiKey(options) => Box::new(api_key::ApiKey::new(options)?),
            Self::Hmac(options) => Box::new(hmac::Hmac::new(options)?),
            Self::GenesysOpenMessaging(options) => Box::new(genesys::Genesys::new(options)?),
            Self::StandardWebhooks(options) => {
                Box::new(standard_webhooks::StandardWebhooks::new(options)?)
            }
        })
    }

    /// Checks the options by building the scheme and letting it go.
    ///
    /// # Errors
    /// What is missing or unreadable; never a secret.
    pub fn validate(&self) -> Result<(), String> {
        self.build().map(drop)
    }

    /// Secrets of signatures that are shorter than they should be: a line each, with the secret's place and what
    /// would be better. Reads secret files.
    #[must_use]
    pub fn weak_secrets(&self) -> Vec<String> {
        let short = match self {
            Self::Hmac(options) => options.short_secrets(LEAST_SECRET),
            Self::GenesysOpenMessaging(options) => options.short_secrets(LEAST_SECRET),
            // Nothing signed is seen by others, or the scheme has a least length of its own.
            Self::None(_)
            | Self::Bearer(_)
            | Self::Basic(_)
            | Self::ApiKey(_)
            | Self::StandardWebhooks(_) => Vec::new(),
        };
        let line = |place| {
            format!(
                "{place} is shorter than {LEAST_SECRET} bytes, so that it may be found by trying from one signed request: use a longer one, as `openssl rand -hex 32` makes"
            )
        };
        short.into_iter().map(line).collect()
    }

    /// No verification at all.
    #[must_use]
    pub const fn none() -> Self {
        Self::None(none::Options {})
    }
}

/// The least bytes that a secret of a signature should have. A shorter one can be found by trying: whoever sees
/// a single signed request can try as fast as they compute.
const LEAST_SECRET: usize = 16;

/// A header's value as text.
fn text<'a>(headers: &'a HeaderMap, name: &str) -> Result<&'a str, Refusal> {
    headers
        .get(name)
        .ok_or(Refusal::Missing)?
        .to_str()
        .map_err(|_| Refusal::Malformed)
}

/// Compares without telling by its time where the difference is. The lengths may be learned.
fn same(one: &[u8], other: &[u8]) -> bool {
    aws_lc_rs::constant_time::verify_slices_are_equal(one, other).is_ok()
}

/// The secret's bytes as they are.
#[expect(clippy::unnecessary_wraps, reason = "the shape of a key parser")]
fn plain(secret: &Secret) -> Result<Secret, String> {
    Ok(secret.clone())
}

/// What stands for a scheme where a queue has seen to it who may write.
pub(crate) fn by_the_queue() -> Box<dyn Scheme> {
    Box::new(none::None("queue"))
}

#[cfg(test)]
mod cases {
    //! What the schemes' case tables share.

    use super::*;

    impl<'a> Unsigned<'a> {
        /// Where only the body counts.
        pub(super) const fn of(body: &'a [u8]) -> Self {
            Self {
                path: "/in/x",
                body,
                id: "",
                now: Timestamp::UNIX_EPOCH,
            }
        }
    }

    /// A request with these headers and this body, now.
    pub(super) struct Case {
        pub headers: HeaderMap,
        pub body: Bytes,
        pub now: Timestamp,
    }

    impl Case {
        pub(super) fn new(headers: &[(&str, &str)], body: &str, second: i64) -> Self {
            let headers = headers
                .iter()
                .map(|(name, value)| {
                    (
                        name.parse::<http::HeaderName>().unwrap(),
                        value.parse().unwrap(),
                    )
                })
                .collect();
            Self {
                headers,
                body: Bytes::copy_from_slice(body.as_bytes()),
                now: Timestamp::from_second(second).unwrap(),
            }
        }

        pub(super) fn check(&self, scheme: &dyn Scheme) -> Result<Proven, Refusal> {
            let Self { headers, body, now } = self;
            scheme.verify(&Received {
                method: "POST",
                path: "/in/x",
                headers,
                body,
                now: *now,
            })
        }
    }

    /// What the scheme signs, it takes; and a changed body, a stranger's secret or no signature it refuses.
    pub(super) fn signs_what_it_takes(
        scheme: &dyn Scheme,
        stranger: &dyn Scheme,
        covers_body: bool,
    ) {
        let now = Timestamp::from_second(1_790_000_000).unwrap();
        let case = |signed: &Signed, body: &str| {
            let headers: Vec<_> = signed
                .headers
                .iter()
                .map(|(n, v)| (n.as_str(), v.as_str()))
                .collect();
            Case::new(&headers, body, 1_790_000_000)
        };
        let post = Unsigned {
            path: "/in/x",
            body: b"{\"id\":\"1\"}",
            id: "msg_1",
            now,
        };
        let signed = scheme.sign(&post);
        case(&signed, "{\"id\":\"1\"}").check(scheme).unwrap();
        if covers_body {
            assert_eq!(
                case(&signed, "{\"id\":\"2\"}").check(scheme),
                Err(Refusal::Wrong)
            );
        }
        let strange = stranger.sign(&post);
        assert_eq!(
            case(&strange, "{\"id\":\"1\"}").check(scheme),
            Err(Refusal::Wrong)
        );
        assert_eq!(
            case(&Signed::default(), "{\"id\":\"1\"}").check(scheme),
            Err(Refusal::Missing)
        );
    }
}
