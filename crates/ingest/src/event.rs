//! From a request to an event: `Unverified` as it came, `Verified` once its scheme said so.
//!
//! Only [`Unverified::verify`] makes a [`Verified`], and admission takes nothing else: an event that did
//! not prove where it comes from cannot reach the journal, by construction.

use std::sync::Arc;

use aws_lc_rs::digest;
use bytes::Bytes;
use domain::{DedupKey, Event, EventId, Headers, HeadersBuilder, Timestamp};
use http::request;

use crate::json;
use crate::refusal::Refused;
use crate::release::QUARANTINE_ID;
use crate::source::{Dedup, Source};
use crate::split;
use crate::unwrap;
use crate::verify::{ClientCertificate, Consumed, Handshake, Identity, Received, Refusal};

/// A request with its whole body, not yet checked.
pub(crate) struct Unverified<'r> {
    pub source: &'r Arc<Source>,
    /// Let go of once the event is made of it: it keeps the connection's buffer.
    pub head: &'r mut request::Parts,
    pub body: Bytes,
    pub received_at: Timestamp,
    pub remote: Option<String>,
    pub client: Option<&'r ClientCertificate>,
}

/// Events that proved where they come from: one, or as many as their request was taken apart into.
pub(crate) struct Verified<'r> {
    source: &'r Arc<Source>,
    events: Vec<Event>,
}

impl<'r> Unverified<'r> {
    /// What the scheme looks at. `url` is what [`Source::url`] says.
    fn received<'a>(&'a self, url: Option<&'a str>) -> Received<'a> {
        Received {
            method: self.head.method.as_str(),
            path: self.path(),
            url,
            headers: &self.head.headers,
            body: &self.body,
            now: self.received_at,
            client: self.client,
        }
    }

    fn path(&self) -> &str {
        let path = self.head.uri.path_and_query();
        path.map_or("/", |path| path.as_str())
    }

    /// What is to be said if this is no event but a challenge.
    pub(crate) fn handshake(&self) -> Option<Handshake> {
        let url = self.source.url(self.path());
        let (source, received) = (self.source, self.received(url.as_deref()));
        let known = source.scheme.handshake(&received);
        known.or_else(|| source.handshake?.answer(&received, &*source.scheme))
    }

    /// Where the certificate is that it names, if that is not known yet.
    ///
    /// # Errors
    /// [`Refusal`].
    pub(crate) fn wants(&self) -> Result<Option<String>, Refusal> {
        self.source.scheme.wants(&self.received(None))
    }

    /// Checks the signature, then what the source demands of the body. `room` is asked before there are several events
    /// of one, for what they take of the memory beyond the request.
    ///
    /// # Errors
    /// [`Refused::NotVerified`], [`Refused::NotJson`], [`Refused::NotSplit`]; what `room` says.
    pub(crate) fn verify(
        self,
        room: impl FnOnce(u64) -> Result<(), Refused>,
    ) -> Result<Verified<'r>, Refused> {
        let url = self.source.url(self.path());
        let received = self.received(url.as_deref());
        let consumed = self.source.scheme.verify(&received)?;
        if self.source.require_json && !json::is_json(&self.body) {
            return Err(Refused::NotJson);
        }
        let identity = self.source.scheme.identify(&received);
        let whole = Event {
            source: self.source.name.clone(),
            received_at: self.received_at,
            method: self.head.method.as_str().to_owned(),
            path: kept_path(self.path(), &consumed),
            headers: kept_headers(self.head, &consumed),
            dedup: self.dedup_key(&identity),
            event_type: identity.event_type.clone(),
            remote: self.remote.clone(),
            body: self.body.clone(),
            only: None,
        };
        let split = self.source.split.as_ref();
        let events = match split.filter(|split| split.is_for(&self.head.headers)) {
            None => vec![match self.source.unwrap {
                Some(envelope) => unwrap::out_of(envelope, whole),
                None => whole,
            }],
            Some(split) => {
                let items = split::items(&self.body, split)?;
                let each = whole.weight() - whole.body.len();
                room(each as u64 * items.len().saturating_sub(1) as u64)?;
                self.items(&whole, &identity, items)
            }
        };
        self.head.uri = http::Uri::default();
        self.head.headers = http::HeaderMap::new();
        Ok(Verified {
            source: self.source,
            events,
        })
    }

    /// The events that the whole is taken apart into. Each has what the request has but for its body, its type and its
    /// key, and is JSON whatever the request was.
    fn items(&self, whole: &Event, identity: &Identity, items: Vec<Bytes>) -> Vec<Event> {
        let mut headers = HeadersBuilder::with_capacity(whole.headers.bytes() + 64);
        for header in whole.headers.iter() {
            if !matches!(header.name, "content-type" | "content-length") {
                headers.push(header.name, header.value);
            }
        }
        headers.push("content-type", b"application/json");
        let headers = headers.build();
        let event = |(at, body): (usize, Bytes)| {
            let own = self.source.scheme.identify_item(&body);
            Event {
                dedup: self.item_key(at, &body, &own, identity),
                event_type: own.event_type.or_else(|| identity.event_type.clone()),
                headers: headers.clone(),
                body,
                ..whole.clone()
            }
        };
        items.into_iter().enumerate().map(event).collect()
    }

    /// What makes a repeat of an item: its own key, or its place in a request that has one.
    fn item_key(
        &self,
        at: usize,
        body: &[u8],
        own: &Identity,
        whole: &Identity,
    ) -> Option<DedupKey> {
        let source = self.source.name.as_str();
        let place = at.to_string();
        match &self.source.dedup {
            Dedup::Off => None,
            Dedup::Scheme if !own.dedup.is_empty() => {
                Some(key(source, own.dedup.iter().map(String::as_bytes)))
            }
            Dedup::Scheme if whole.dedup.is_empty() => None,
            Dedup::Scheme => {
                let parts = whole.dedup.iter().map(String::as_bytes);
                Some(key(source, parts.chain([place.as_bytes()])))
            }
            Dedup::Header(name) => {
                let value = self.head.headers.get(name)?;
                (!value.is_empty()).then(|| key(source, [value.as_bytes(), place.as_bytes()]))
            }
            Dedup::Pointer(pointer) => Some(key(source, [&*pointer.find(body)?])),
        }
    }

    /// `None`: nothing says what would make a repeat of it. A value that is empty says nothing.
    fn dedup_key(&self, identity: &Identity) -> Option<DedupKey> {
        let source = self.source.name.as_str();
        match &self.source.dedup {
            Dedup::Off => None,
            Dedup::Scheme if identity.dedup.is_empty() => None,
            Dedup::Scheme => Some(key(source, identity.dedup.iter().map(String::as_bytes))),
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

/// Path and query, less the parameter that held a credential.
fn kept_path(path: &str, consumed: &Consumed) -> String {
    let (Consumed::Parameter(credential), Some((before, query))) = (consumed, path.split_once('?'))
    else {
        return path.to_owned();
    };
    let named = |pair: &&str| {
        let mut parsed = form_urlencoded::parse(pair.as_bytes());
        parsed.all(|(name, _)| name != *credential)
    };
    let kept: Vec<&str> = query.split('&').filter(named).collect();
    if kept.is_empty() {
        before.to_owned()
    } else {
        [before, "?", &kept.join("&")].concat()
    }
}

/// All headers in the order they came.
pub(crate) fn all_headers(head: &request::Parts) -> Headers {
    kept_headers(head, &Consumed::Nothing)
}

/// All headers in the order they came, less the credential that verification consumed.
fn kept_headers(head: &request::Parts, consumed: &Consumed) -> Headers {
    let sizes = head.headers.iter();
    let sizes = sizes.map(|(name, value)| name.as_str().len() + value.len() + 10);
    let mut headers = HeadersBuilder::with_capacity(sizes.sum());
    for (name, value) in &head.headers {
        if !matches!(consumed, Consumed::Header(credential) if credential == name) {
            headers.push(name.as_str(), value.as_bytes());
        }
    }
    headers.build()
}

/// The first 128 bits of SHA-256 over the parts, each with its length, so that no two lists of parts look
/// the same. 128 bits: a million keys meet by chance once in 10^26 windows.
pub(crate) fn key<'a>(source: &'a str, parts: impl IntoIterator<Item = &'a [u8]>) -> DedupKey {
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
    /// Puts the id that the request was kept under to each, and gives a key to each that has none: that of its place in
    /// the request.
    pub(crate) fn out_of_quarantine(mut self, kept: EventId) -> Self {
        let source = self.source.name.as_str();
        let text = kept.to_string();
        let headers = self.events.first().map(|event| {
            let others = event
                .headers
                .iter()
                .filter(|header| header.name != QUARANTINE_ID);
            let others = others.map(|header| (header.name, header.value));
            others
                .chain([(QUARANTINE_ID, text.as_bytes())])
                .collect::<Headers>()
        });
        for (at, event) in self.events.iter_mut().enumerate() {
            let place = (at as u64).to_le_bytes();
            let own = || key(source, [&b"quarantine"[..], kept.as_bytes(), &place]);
            event.dedup.get_or_insert_with(own);
            event.headers = headers.clone().unwrap_or_default();
        }
        self
    }

    /// Takes it apart, for admission only.
    pub(crate) fn into_parts(self) -> (&'r Arc<Source>, Vec<Event>) {
        (self.source, self.events)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_in_the_query_is_not_stored_however_it_is_spelt() {
        let token = Consumed::Parameter("access_token");
        for (path, kept) in [
            ("/in/x?access_token=secret", "/in/x"),
            ("/in/x?a=1&access_token=secret&b=2", "/in/x?a=1&b=2"),
            ("/in/x?%61ccess_token=secret&a=%20", "/in/x?a=%20"),
            ("/in/x?access_token=1&access_token=2", "/in/x"),
            ("/in/x", "/in/x"),
        ] {
            assert_eq!(kept_path(path, &token), kept);
        }
        assert_eq!(kept_path("/in/x?a", &Consumed::Nothing), "/in/x?a");
    }

    #[test]
    fn keys_differ_by_source_and_by_where_the_parts_end() {
        let of = |source, parts: &[&[u8]]| key(source, parts.iter().copied());
        assert_eq!(of("a", &[b"1", b"2"]), of("a", &[b"1", b"2"]));
        assert_ne!(of("a", &[b"1", b"2"]), of("b", &[b"1", b"2"]));
        assert_ne!(of("a", &[b"12", b""]), of("a", &[b"1", b"2"]));
    }
}
