//! How an event is written down: a protobuf message, so that fields can be added later.
//!
//! The bytes that come out are what a journal record, a parked row and a dead letter hold. Field
//! numbers are never reused. Decoding takes the body as a slice of the input and copies nothing.

use bytes::{Bytes, BytesMut};
use jiff::Timestamp;
use prost::Message;

use super::{DedupKey, Event, Header};
use crate::SourceName;

#[derive(Clone, PartialEq, Message)]
struct EventRecord {
    #[prost(string, tag = "1")]
    source: String,
    /// Microseconds since the Unix epoch.
    #[prost(sint64, tag = "2")]
    received_at: i64,
    #[prost(string, tag = "3")]
    method: String,
    #[prost(string, tag = "4")]
    path: String,
    #[prost(message, repeated, tag = "5")]
    headers: Vec<HeaderRecord>,
    #[prost(bytes = "bytes", tag = "6")]
    body: Bytes,
    #[prost(string, optional, tag = "7")]
    event_type: Option<String>,
    #[prost(string, optional, tag = "8")]
    remote: Option<String>,
    /// Sixteen bytes, or nothing.
    #[prost(bytes = "bytes", optional, tag = "9")]
    dedup: Option<Bytes>,
}

#[derive(Clone, PartialEq, Message)]
struct HeaderRecord {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(bytes = "bytes", tag = "2")]
    value: Bytes,
}

/// Why stored bytes are not an event. Their checksum was right, so this means another version of
/// Forebay wrote them, or memory is failing.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Not the protobuf message it should be.
    #[error("a stored event cannot be read: {0}")]
    Malformed(#[from] prost::DecodeError),
    /// A field holds what it cannot hold.
    #[error("a stored event has a {0} that is out of range")]
    OutOfRange(&'static str),
}

fn record(event: &Event) -> EventRecord {
    EventRecord {
        source: event.source.as_str().to_owned(),
        received_at: event.received_at.as_microsecond(),
        method: event.method.clone(),
        path: event.path.clone(),
        headers: event
            .headers
            .iter()
            .map(|h| HeaderRecord {
                name: h.name.clone(),
                value: h.value.clone(),
            })
            .collect(),
        body: event.body.clone(),
        event_type: event.event_type.clone(),
        remote: event.remote.clone(),
        dedup: event.dedup.map(|key| Bytes::copy_from_slice(&key.0)),
    }
}

/// The number of bytes [`encode`] would append for this event.
#[must_use]
pub fn encoded_len(event: &Event) -> usize {
    record(event).encoded_len()
}

/// Appends the event's stored form to `out`.
pub fn encode(event: &Event, out: &mut BytesMut) {
    let record = record(event);
    out.reserve(record.encoded_len());
    record.encode_raw(out);
}

/// Reads a stored event back. The body shares `bytes`.
///
/// # Errors
/// [`DecodeError`] when the bytes are not what [`encode`] writes.
pub fn decode(bytes: Bytes) -> Result<Event, DecodeError> {
    let record = EventRecord::decode(bytes)?;
    Ok(Event {
        source: SourceName::new(&record.source).map_err(|_| DecodeError::OutOfRange("source"))?,
        received_at: Timestamp::from_microsecond(record.received_at)
            .map_err(|_| DecodeError::OutOfRange("time of receipt"))?,
        method: record.method,
        path: record.path,
        headers: record
            .headers
            .into_iter()
            .map(|h| Header {
                name: h.name,
                value: h.value,
            })
            .collect(),
        body: record.body,
        event_type: record.event_type,
        remote: record.remote,
        dedup: record
            .dedup
            .map(|key| <[u8; 16]>::try_from(&*key).map(DedupKey))
            .transpose()
            .map_err(|_| DecodeError::OutOfRange("deduplication key"))?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_encoded_comes_back_byte_for_byte(
            body in prop::collection::vec(any::<u8>(), 0..2000),
            value in prop::collection::vec(any::<u8>(), 0..50),
            micros in -1_000_000_000_000_i64..4_000_000_000_000_000,
            key in any::<Option<[u8; 16]>>(),
        ) {
            let event = Event {
                source: SourceName::new("genesys").unwrap(),
                received_at: Timestamp::from_microsecond(micros).unwrap(),
                method: "POST".into(),
                path: "/in/genesys?a=b%00".into(),
                headers: vec![Header { name: "x-odd".into(), value: value.into() }],
                body: body.into(),
                event_type: None,
                remote: Some("127.0.0.1:5".into()),
                dedup: key.map(DedupKey),
            };
            let mut out = BytesMut::new();
            encode(&event, &mut out);
            prop_assert_eq!(out.len(), encoded_len(&event));
            prop_assert_eq!(decode(out.freeze()).unwrap(), event);
        }

        #[test]
        fn odd_bytes_are_refused_not_panicked_on(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode(bytes.into());
        }
    }
}
