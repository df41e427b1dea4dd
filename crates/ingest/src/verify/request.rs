//! What a scheme looks at, and what it says.

use std::borrow::Cow;

use bytes::Bytes;
use domain::Timestamp;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, StatusCode};

use super::client::ClientCertificate;

/// What a scheme looks at.
#[derive(Debug, Clone, Copy)]
pub struct Received<'a> {
    /// The method.
    pub method: &'a str,
    /// Path and query.
    pub path: &'a str,
    /// The URL as the sender has it, where the source says its `public_url`.
    pub url: Option<&'a str>,
    /// The headers.
    pub headers: &'a HeaderMap,
    /// The body, byte for byte.
    pub body: &'a Bytes,
    /// When the request came.
    pub now: Timestamp,
    /// The certificate that the client showed, if it did; it has been verified.
    pub client: Option<&'a ClientCertificate>,
}

impl<'a> Received<'a> {
    /// The decoded value of a parameter of the query, the first of that name.
    pub(super) fn parameter(&self, name: &str) -> Option<Cow<'a, str>> {
        let (_, query) = self.path.split_once('?')?;
        form_urlencoded::parse(query.as_bytes())
            .find(|(key, _)| key == name)
            .map(|(_, value)| value)
    }
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
    /// The signed time is in milliseconds where the scheme has seconds.
    #[error("timestamp in milliseconds, and not in seconds since 1970")]
    Milliseconds,
    /// A challenge came without the token that we agreed on, or with another.
    #[error("verify_token wrong")]
    Token,
    /// It is signed, but not for us: another account, topic or webhook.
    #[error("signed for somebody else")]
    Foreign,
}

/// What held a credential in a request that proved itself; it is taken off before storing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Consumed {
    /// Nothing did.
    #[default]
    Nothing,
    /// A header.
    Header(HeaderName),
    /// A parameter of the query.
    Parameter(&'static str),
}

/// What the sender says of an event.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Identity {
    /// The parts that together make a repeat a repeat; empty: unknown.
    pub dedup: Vec<String>,
    /// The sender's name for this kind of event.
    pub event_type: Option<String>,
}

impl Identity {
    /// Of an id and a type, each where there is one. An id that is empty says nothing.
    pub(super) fn of(id: Option<&str>, event_type: Option<&str>) -> Self {
        let said = |text: &&str| !text.is_empty();
        Self {
            dedup: id.filter(said).map(str::to_owned).into_iter().collect(),
            event_type: event_type.filter(said).map(str::to_owned),
        }
    }
}

/// How a request that is no event is dealt with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Handshake {
    /// It is answered like this.
    Answer(Reply),
    /// It does not prove where it comes from.
    Refused(Refusal),
    /// It is answered 200 once this URL has been fetched.
    Confirm(String),
    /// It is answered 200: the sender says that nothing more will come.
    Ended,
}

/// An answer to a challenge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// The headers, `content-type` included.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Reply {
    fn new(content_type: &'static str, body: impl Into<Bytes>) -> Self {
        let mut headers = HeaderMap::new();
        let content_type = http::HeaderValue::from_static(content_type);
        headers.insert(CONTENT_TYPE, content_type);
        // It holds what somebody said: no browser is to take it for anything else.
        let no_guess = http::HeaderValue::from_static("nosniff");
        headers.insert(http::header::X_CONTENT_TYPE_OPTIONS, no_guess);
        Self {
            status: StatusCode::OK,
            headers,
            body: body.into(),
        }
    }

    /// 200 with a text.
    pub(crate) fn text(body: impl Into<Bytes>) -> Self {
        Self::new("text/plain", body)
    }

    /// 200 with JSON.
    pub(super) fn json(body: &serde_json::Value) -> Self {
        Self::new("application/json", body.to_string())
    }
}

/// How a body with several events is taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Split {
    /// The items of the JSON array that a pointer (RFC 6901) finds; `""` is the whole body.
    Array(String),
    /// One JSON value a line (NDJSON).
    Lines,
    /// The items of the body, an array, of a request with this content type; any other request is one event.
    Batch(&'static str),
}

impl Split {
    /// Whether a request with these headers is taken apart.
    pub(crate) fn is_for(&self, headers: &HeaderMap) -> bool {
        let Self::Batch(batch) = self else {
            return true;
        };
        let said = field(headers, CONTENT_TYPE.as_str()).unwrap_or_default();
        let said = said.split(';').next().unwrap_or_default();
        said.trim().eq_ignore_ascii_case(batch)
    }
}

/// A POST that is to be signed.
#[derive(Debug, Clone, Copy)]
pub struct Unsigned<'a> {
    /// Path and query.
    pub path: &'a str,
    /// The URL as the sender has it, where the source says its `public_url`.
    pub url: Option<&'a str>,
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
    /// The body, where the signature stands in it.
    pub body: Option<Vec<u8>>,
    /// Path and query, where a credential stands there.
    pub path: Option<String>,
}

impl Signed {
    /// Headers alone.
    pub(super) fn with<const N: usize>(headers: [(&str, String); N]) -> Self {
        Self {
            headers: headers
                .map(|(name, value)| (name.to_owned(), value))
                .to_vec(),
            ..Self::default()
        }
    }
}

/// A request cannot be signed here: the sender signs with a key that only it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("only the sender has the key that signs; what is configured here can verify and no more")]
pub struct CannotSign;

/// A made-up event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// Its `content-type`.
    pub content_type: &'static str,
    /// Its body.
    pub body: Vec<u8>,
    /// Headers beside those of the signature.
    pub headers: Vec<(String, String)>,
}

impl Sample {
    /// A body of JSON.
    pub(super) fn json(body: &serde_json::Value) -> Self {
        Self {
            content_type: "application/json",
            body: body.to_string().into_bytes(),
            headers: Vec::new(),
        }
    }

    /// The same with a header of the sender's, as one that names the kind of event.
    pub(super) fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// A header's value as text.
pub(super) fn text<'a>(headers: &'a HeaderMap, name: &str) -> Result<&'a str, Refusal> {
    headers
        .get(name)
        .ok_or(Refusal::Missing)?
        .to_str()
        .map_err(|_| Refusal::Malformed)
}

/// A header that says something of the event, where it is there and is text.
pub(super) fn field<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// Compares without telling by its time where the difference is. The lengths may be learned.
pub(super) fn same(one: &[u8], other: &[u8]) -> bool {
    aws_lc_rs::constant_time::verify_slices_are_equal(one, other).is_ok()
}
