//! From a request to an event: `Unverified` as it came, `Verified` once its scheme said so.
//!
//! Only [`Unverified::verify`] makes a [`Verified`], and admission takes nothing else: an event that did
//! not prove where it comes from cannot reach the journal, by construction.

use std::sync::Arc;

use aws_lc_rs::digest;
use bytes::Bytes;
use domain::{DedupKey, Event, Headers, HeadersBuilder, Timestamp};
use http::request;

use crate::json;
use crate::refusal::Refused;
use crate::source::{Dedup, Source};
use crate::verify::{Proven, Received};

/// A request with its whole body, not yet checked.
pub(crate) struct Unverified<'r> {
    pub source: &'r Arc<Source>,
    /// Let go of once the event is made of it: it keeps the connection's buffer.
    pub head: &'r mut request::Parts,
    pub body: Bytes,
    pub received_at: Timestamp,
    pub remote: Option<String>,
}

/// An event that proved where it comes from.
pub(crate) struct Verified<'r> {
    source: &'r Arc<Source>,
    event: Event,
}

impl<'r> Unverified<'r> {
    /// Checks the signature, then what the source demands of the body.
    ///
    /// # Errors
    /// [`Refused::NotVerified`], [`Refused::NotJson`].
    pub(crate) fn verify(self) -> Result<Verified<'r>, Refused> {
        let path = self
            .head
            .uri
            .path_and_query()
            .map_or("/", |path| path.as_str());
        let proven = self.source.scheme.verify(&Received {
            method: self.head.method.as_str(),
            path,
            headers: &self.head.headers,
            body: &self.body,
            now: self.received_at,
        })?;
        if self.source.require_json && !json::is_json(&self.body) {
            return Err(Refused::NotJson);
        }
        let event = Event {
            source: self.source.name.clone(),
            received_at: self.received_at,
            method: self.head.method.as_str().to_owned(),
            path: path.to_owned(),
            headers: kept_headers(self.head, &proven),
            dedup: self.dedup_key(&proven),
            event_type: proven.event_type,
            remote: self.remote,
            body: self.body,
        };
        self.head.uri = http::Uri::default();
        self.head.headers = http::HeaderMap::new();
        Ok(Verified {
            source: self.source,
            event,
        })
    }

    /// `None`: nothing says what would make a repeat of it. A value that is empty says nothing.
    fn dedup_key(&self, proven: &Proven) -> Option<DedupKey> {
        let source = self.source.name.as_str();
        match &self.source.dedup {
            Dedup::Off => None,
            Dedup::Scheme if proven.dedup.is_empty() => None,
            Dedup::Scheme => Some(key(source, proven.dedup.iter().map(String::as_bytes))),
            Dedup::Header(name) => {
                let value = self.head.headers.get(name)?;
                (!value.is_empty()).then(|| key(source, [value.as_bytes()]))
            }
            Dedup::Pointer(pointer) => {
                let value = pointer.find(&self.body)?;
                Some(key(source, [&*value]))
            }
        }
    }
}

/// All headers in the order they came, less the credential that verification consumed.
fn kept_headers(head: &request::Parts, proven: &Proven) -> Headers {
    let sizes = head.headers.iter();
    let sizes = sizes.map(|(name, value)| name.as_str().len() + value.len() + 10);
    let mut headers = HeadersBuilder::with_capacity(sizes.sum());
    for (name, value) in &head.headers {
        if proven.consumed.as_ref() != Some(name) {
            headers.push(name.as_str(), value.as_bytes());
        }
    }
    headers.build()
}

/// The first 128 bits of SHA-256 over the parts, each with its length, so that no two lists of parts look
/// the same. 128 bits: a million keys meet by chance once in 10^26 windows.
fn key<'a>(source: &'a str, parts: impl IntoIterator<Item = &'a [u8]>) -> DedupKey {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in std::iter::once(source.as_bytes()).chain(parts) {
        context.update(&(part.len() as u64).to_le_bytes());
        context.update(part);
    }
    let hash = context.finish();
    let mut key = [0; 16];
    key.copy_from_slice(&hash.as_ref()[..16]);
    DedupKey(key)
}

impl<'r> Verified<'r> {
    /// Takes it apart, for admission only.
    pub(crate) fn into_parts(self) -> (&'r Arc<Source>, Event) {
        (self.source, self.event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_differ_by_source_and_by_where_the_parts_end() {
        let of = |source, parts: &[&[u8]]| key(source, parts.iter().copied());
        assert_eq!(of("a", &[b"1", b"2"]), of("a", &[b"1", b"2"]));
        assert_ne!(of("a", &[b"1", b"2"]), of("b", &[b"1", b"2"]));
        assert_ne!(of("a", &[b"12", b""]), of("a", &[b"1", b"2"]));
    }
}
