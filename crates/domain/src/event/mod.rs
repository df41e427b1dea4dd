//! What came in: the sender's bytes, unchanged, with what arrived with them.

mod codec;
mod headers;

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;

use crate::{EventId, RouteId, Seq, SourceName};

pub use codec::{DecodeError, decode, encode, encoded_len};
pub use headers::{Header, Headers, HeadersBuilder};

/// A 128-bit hash of what makes two posts the same event, by the source's scheme. The source is part
/// of what was hashed, so keys of different sources never meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DedupKey(pub [u8; 16]);

/// The sender's bytes with what arrived with them. Not yet stored, or read back from the journal.
///
/// Cloning is cheap where it matters: the body is shared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Where it came in.
    pub source: SourceName,
    /// When the request's head was read, to the microsecond.
    pub received_at: Timestamp,
    /// The HTTP method, or what stands for it at a source that is not HTTP.
    pub method: String,
    /// Path and query as they came.
    pub path: String,
    /// The headers in the order they came, less the credentials that verification consumed.
    pub headers: Headers,
    /// The body, byte for byte.
    pub body: Bytes,
    /// The sender's name for this kind of event, where the scheme knows it.
    pub event_type: Option<String>,
    /// The sender's address, as far as it is known and trusted.
    pub remote: Option<String>,
    /// What makes a repeat a repeat; `None` where the source does not deduplicate.
    pub dedup: Option<DedupKey>,
    /// The only route that it is for; every route of its source where there is none. Of what comes back from outside
    /// and was one route's.
    pub only: Option<RouteId>,
}

impl Event {
    /// The first value of a header; `name` in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers.get(name)
    }

    /// The `content-type` header, if it is there and readable.
    #[must_use]
    pub fn content_type(&self) -> Option<&str> {
        self.header("content-type")
            .and_then(|value| std::str::from_utf8(value).ok())
    }

    /// Roughly the memory the event holds, for bounding windows. In bytes.
    #[must_use]
    pub fn weight(&self) -> usize {
        self.body.len() + self.headers.bytes() + self.path.len() + 256
    }
}

/// An event that the journal holds durably.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEvent {
    /// Its place in the journal.
    pub seq: Seq,
    /// Its id.
    pub id: EventId,
    /// The event itself, shared between the routes that deliver it.
    pub event: Arc<Event>,
}
