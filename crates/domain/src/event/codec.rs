//! How an event is written down: a protobuf message, so that fields can be added later.
//!
//! The bytes that come out are what a journal record, a parked row and a dead letter hold. Field
//! numbers are never reused. Decoding takes the body as a slice of the input and copies nothing.

use bytes::{Bytes, BytesMut};
use jiff::Timestamp;
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len, sint64};

use super::{DedupKey, Event, Headers};
use crate::{RouteId, SourceName};

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
    /// A message each: the name is field 1, the value field 2 ([`Headers`]).
    #[prost(bytes = "bytes", repeated, tag = "5")]
    headers: Vec<Bytes>,
    #[prost(bytes = "bytes", tag = "6")]
    body: Bytes,
    #[prost(string, optional, tag = "7")]
    event_type: Option<String>,
    #[prost(string, optional, tag = "8")]
    remote: Option<String>,
    /// Sixteen bytes, or nothing.
    #[prost(bytes = "bytes", optional, tag = "9")]
    dedup: Option<Bytes>,
    #[prost(uint64, optional, tag = "10")]
    only: Option<u64>,
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

/// The number of bytes [`encode`] appends for this event.
#[must_use]
pub fn encoded_len(event: &Event) -> usize {
    let fields = [
        field_len(1, event.source.as_str().len()),
        field_len(3, event.method.len()),
        field_len(4, event.path.len()),
        field_len(6, event.body.len()),
        event
            .event_type
            .as_ref()
            .map_or(0, |text| key_len(7) + length_delimited_len(text.len())),
        event
            .remote
            .as_ref()
            .map_or(0, |text| key_len(8) + length_delimited_len(text.len())),
        event
            .dedup
            .map_or(0, |_| key_len(9) + length_delimited_len(16)),
        event
            .only
            .as_ref()
            .map_or(0, |route| key_len(10) + encoded_len_varint(route.0)),
    ];
    let micros = event.received_at.as_microsecond();
    let received_at = if micros == 0 {
        0
    } else {
        sint64::encoded_len(2, &micros)
    };
    fields.iter().sum::<usize>() + received_at + event.headers.bytes()
}

/// Appends the event's stored form to `out`.
///
/// Written field by field from the event itself: it is on the way of every acknowledgement, and making
/// a message first would copy every header. A test holds the two to the same bytes.
pub fn encode(event: &Event, out: &mut BytesMut) {
    out.reserve(encoded_len(event));
    put_field(1, event.source.as_str().as_bytes(), out);
    let micros = event.received_at.as_microsecond();
    if micros != 0 {
        sint64::encode(2, &micros, out);
    }
    put_field(3, event.method.as_bytes(), out);
    put_field(4, event.path.as_bytes(), out);
    out.extend_from_slice(event.headers.as_fields());
    put_field(6, &event.body, out);
    for (tag, text) in [(7, &event.event_type), (8, &event.remote)] {
        if let Some(text) = text {
            put(tag, text.as_bytes(), out);
        }
    }
    if let Some(key) = event.dedup {
        put(9, &key.0, out);
    }
    if let Some(route) = &event.only {
        encode_key(10, WireType::Varint, out);
        encode_varint(route.0, out);
    }
}

/// Of a field that is left out when it is empty, as proto3 has it.
fn field_len(tag: u32, len: usize) -> usize {
    if len == 0 {
        0
    } else {
        key_len(tag) + length_delimited_len(len)
    }
}

fn length_delimited_len(len: usize) -> usize {
    encoded_len_varint(len as u64) + len
}

fn put_field(tag: u32, bytes: &[u8], out: &mut BytesMut) {
    if !bytes.is_empty() {
        put(tag, bytes, out);
    }
}

fn put(tag: u32, bytes: &[u8], out: &mut BytesMut) {
    encode_key(tag, WireType::LengthDelimited, out);
    encode_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
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
        headers: Headers::from_messages(&record.headers)
            .ok_or(DecodeError::OutOfRange("header"))?,
        body: record.body,
        event_type: record.event_type,
        remote: record.remote,
        dedup: record
            .dedup
            .map(|key| <[u8; 16]>::try_from(&*key).map(DedupKey))
            .transpose()
            .map_err(|_| DecodeError::OutOfRange("deduplication key"))?,
        only: record.only.map(RouteId),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, PartialEq, Message)]
    struct HeaderRecord {
        #[prost(string, tag = "1")]
        name: String,
        #[prost(bytes = "bytes", tag = "2")]
        value: Bytes,
    }

    /// The event as the message that the field numbers declare.
    fn record(event: &Event) -> EventRecord {
        EventRecord {
            source: event.source.as_str().to_owned(),
            received_at: event.received_at.as_microsecond(),
            method: event.method.clone(),
            path: event.path.clone(),
            headers: event
                .headers
                .iter()
                .map(|header| {
                    let record = HeaderRecord {
                        name: header.name.into(),
                        value: Bytes::copy_from_slice(header.value),
                    };
                    record.encode_to_vec().into()
                })
                .collect(),
            body: event.body.clone(),
            event_type: event.event_type.clone(),
            remote: event.remote.clone(),
            dedup: event.dedup.map(|key| Bytes::copy_from_slice(&key.0)),
            only: event.only.map(|route| route.0),
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_comes_back_byte_for_byte(
            body in prop::collection::vec(any::<u8>(), 0..2000),
            value in prop::collection::vec(any::<u8>(), 0..50),
            micros in -1_000_000_000_000_i64..4_000_000_000_000_000,
            key in any::<Option<[u8; 16]>>(),
            texts in any::<(Option<String>, Option<String>, String)>(),
            only in any::<Option<u64>>(),
        ) {
            let event = Event {
                source: SourceName::new("genesys").unwrap(),
                received_at: Timestamp::from_microsecond(micros).unwrap(),
                method: "POST".into(),
                path: "/in/genesys?a=b%00".into(),
                headers: [("x-odd", &value[..]), (&texts.2, b"")].into_iter().collect(),
                body: body.into(),
                event_type: texts.0,
                remote: texts.1,
                dedup: key.map(DedupKey),
                only: only.map(RouteId),
            };
            let mut out = BytesMut::new();
            encode(&event, &mut out);
            prop_assert_eq!(out.len(), encoded_len(&event));
            prop_assert_eq!(&out[..], record(&event).encode_to_vec());
            prop_assert_eq!(decode(out.freeze()).unwrap(), event);
        }

        #[test]
        fn odd_bytes_are_refused_not_panicked_on(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode(bytes.into());
        }
    }
}
