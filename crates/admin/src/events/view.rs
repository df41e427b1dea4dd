//! How an event is shown: in a line of a list, and whole.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use domain::{EventId, Header, RouteName, Seq, SourceName, StoredEvent, Timestamp};
use serde::{Deserialize, Serialize};

use super::fates::RouteFate;

/// A line of a list.
#[derive(Debug, Serialize)]
pub(crate) struct Summary {
    id: EventId,
    seq: Seq,
    source: SourceName,
    received_at: Timestamp,
    method: String,
    path: String,
    event_type: Option<String>,
    content_type: Option<String>,
    /// Bytes of the body.
    size: usize,
    routes: Vec<RouteFate>,
}

impl Summary {
    pub(super) fn of(stored: &StoredEvent, routes: Vec<RouteFate>) -> Self {
        let event = &stored.event;
        Self {
            id: stored.id,
            seq: stored.seq,
            source: event.source.clone(),
            received_at: event.received_at,
            method: event.method.clone(),
            path: event.path.clone(),
            event_type: event.event_type.clone(),
            content_type: event.content_type().map(str::to_owned),
            size: event.body.len(),
            routes,
        }
    }
}

/// An event with everything that came with it.
#[derive(Debug, Serialize)]
pub(crate) struct EventView {
    #[serde(flatten)]
    summary: Summary,
    remote: Option<String>,
    /// Whether a repeat of it would be known as one. The key itself is a hash that helps nobody.
    has_dedup_key: bool,
    headers: Vec<HeaderView>,
    body: String,
    body_encoding: Encoding,
    /// The routes on which an operator gave its dead letter another body: what is delivered there is not `body`.
    edited_on: BTreeSet<RouteName>,
}

/// A header; `value_encoding` is there only when it is not plain text.
#[derive(Debug, Serialize)]
pub(crate) struct HeaderView {
    name: String,
    value: String,
    #[serde(skip_serializing_if = "Encoding::is_text")]
    value_encoding: Encoding,
}

/// How bytes stand in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) enum Encoding {
    /// As they are.
    #[default]
    #[serde(rename = "utf-8")]
    Text,
    /// They are not UTF-8.
    #[serde(rename = "base64")]
    Base64,
}

impl Encoding {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
    fn is_text(&self) -> bool {
        *self == Self::Text
    }
}

impl EventView {
    pub(super) fn of(
        stored: &StoredEvent,
        routes: Vec<RouteFate>,
        edited_on: BTreeSet<RouteName>,
    ) -> Self {
        let event = &stored.event;
        let (body, body_encoding) = lossless(&event.body);
        Self {
            summary: Summary::of(stored, routes),
            remote: event.remote.clone(),
            has_dedup_key: event.dedup.is_some(),
            headers: event.headers.iter().map(HeaderView::of).collect(),
            body,
            body_encoding,
            edited_on,
        }
    }
}

impl HeaderView {
    pub(crate) fn of(header: Header<'_>) -> Self {
        let (value, value_encoding) = lossless(header.value);
        Self {
            name: header.name.to_owned(),
            value,
            value_encoding,
        }
    }
}

/// The bytes as text if they are text, else as base64.
pub(crate) fn lossless(bytes: &[u8]) -> (String, Encoding) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (text.to_owned(), Encoding::Text),
        Err(_) => (STANDARD.encode(bytes), Encoding::Base64),
    }
}
