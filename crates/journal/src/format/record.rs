//! A record: one event within a frame.
//!
//! | bytes | field |
//! |---|---|
//! | 0..4 | length of what follows |
//! | 4..20 | event id |
//! | 20..36 | 128-bit deduplication hash; all zero: none |
//! | 36 | length of the source's name |
//! | 37.. | the source's name, then the stored event (`domain::event::encode`) |
//!
//! Id, hash and source stand outside the event so that counting, deduplication and skipping other
//! routes' events need not decode it. The id is filled in by the writer, which gives ids in journal
//! order; everything else is laid out by whoever appends, off the writer's path.

use bytes::{BufMut, Bytes, BytesMut};
use domain::{DedupKey, Event, EventId};

use super::{take, u32_at};

/// Bytes ahead of the source's name.
pub const RECORD_HEADER_BYTES: usize = 37;

const ID_AT: usize = 4;
const KEY_AT: usize = 20;
const SOURCE_LEN_AT: usize = 36;

/// The bytes that [`append`] adds for this event.
#[must_use]
pub fn encoded_len(event: &Event) -> usize {
    RECORD_HEADER_BYTES + event.source.as_str().len() + domain::event::encoded_len(event)
}

/// Lays an event out as a record at the end of `out`, with an id yet to be filled in.
pub fn append(event: &Event, out: &mut BytesMut) {
    let start = out.len();
    let source = event.source.as_str().as_bytes();
    out.put_bytes(0, KEY_AT);
    out.put_slice(&event.dedup.map_or([0; 16], |key| key.0));
    // A name has at most 64 bytes (domain::name).
    out.put_u8(u8::try_from(source.len()).unwrap_or(u8::MAX));
    out.put_slice(source);
    domain::event::encode(event, out);
    let len = u32::try_from(out.len() - start - 4).unwrap_or(u32::MAX);
    out[start..start + 4].copy_from_slice(&len.to_le_bytes());
}

/// An event as a record of its own, with an id yet to be filled in.
#[must_use]
pub fn encode(event: &Event) -> BytesMut {
    let mut out = BytesMut::with_capacity(encoded_len(event));
    append(event, &mut out);
    out
}

/// Where each record of a payload that was laid out here starts.
pub fn starts(payload: &[u8]) -> impl Iterator<Item = usize> {
    let next = |at: &usize| {
        let after = *at + 4 + u32_at(payload, *at) as usize;
        (after < payload.len()).then_some(after)
    };
    std::iter::successors((!payload.is_empty()).then_some(0), next)
}

/// Fills the id into the record that starts at `record`.
pub fn set_id(record: &mut [u8], id: EventId) {
    record[ID_AT..KEY_AT].copy_from_slice(id.as_bytes());
}

/// A record within a frame's payload. Shares the payload's bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The event's id.
    pub id: EventId,
    /// Its deduplication hash.
    pub key: Option<DedupKey>,
    /// The source's name and the stored event, still encoded.
    rest: Bytes,
    source_len: usize,
}

impl Record {
    /// The source's name.
    #[must_use]
    pub fn source(&self) -> &str {
        // Checked when the record was read.
        std::str::from_utf8(&self.rest[..self.source_len]).unwrap_or_default()
    }

    /// The stored event, for `domain::event::decode`.
    #[must_use]
    pub fn event(&self) -> Bytes {
        self.rest.slice(self.source_len..)
    }

    /// The size of the record in its frame.
    #[must_use]
    pub fn size(&self) -> usize {
        RECORD_HEADER_BYTES + self.rest.len()
    }
}

/// Iterates over the records of a payload whose checksum was right. Ends early (and says so by
/// yielding fewer than the frame's count) if the lengths within do not add up.
#[derive(Debug, Clone)]
pub struct Records {
    payload: Bytes,
}

impl Records {
    /// Over the records in `payload`.
    #[must_use]
    pub const fn new(payload: Bytes) -> Self {
        Self { payload }
    }
}

impl Iterator for Records {
    type Item = Record;

    fn next(&mut self) -> Option<Record> {
        let bytes = &self.payload;
        if bytes.len() < RECORD_HEADER_BYTES {
            return None;
        }
        let end = 4_usize.checked_add(u32_at(bytes, 0) as usize)?;
        let source_len = usize::from(bytes[SOURCE_LEN_AT]);
        if end > bytes.len() || RECORD_HEADER_BYTES + source_len > end {
            return None;
        }
        std::str::from_utf8(&bytes[RECORD_HEADER_BYTES..RECORD_HEADER_BYTES + source_len]).ok()?;
        let key: [u8; 16] = take(bytes, KEY_AT);
        let record = self.payload.split_to(end);
        Some(Record {
            id: EventId::from_bytes(take(&record, ID_AT)),
            key: (key != [0; 16]).then_some(DedupKey(key)),
            rest: record.slice(RECORD_HEADER_BYTES..),
            source_len,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::{SourceName, Timestamp};

    fn event(source: &str, key: Option<[u8; 16]>) -> Event {
        Event {
            source: SourceName::new(source).unwrap(),
            received_at: Timestamp::from_second(1_790_000_000).unwrap(),
            method: "POST".into(),
            path: "/".into(),
            headers: domain::Headers::default(),
            body: Bytes::from_static(b"{}"),
            event_type: None,
            remote: None,
            dedup: key.map(DedupKey),
            only: None,
        }
    }

    #[test]
    fn records_read_back_one_after_the_other() {
        let id = EventId::from_bytes([7; 16]);
        let mut payload = BytesMut::new();
        for (source, key) in [("genesys", None), ("a", Some([3; 16]))] {
            let mut record = encode(&event(source, key));
            set_id(&mut record, id);
            payload.extend_from_slice(&record);
        }
        let total = payload.len();
        let records: Vec<_> = Records::new(payload.freeze()).collect();
        assert_eq!(records.len(), 2);
        assert_eq!(records.iter().map(Record::size).sum::<usize>(), total);
        assert_eq!(
            (records[0].source(), records[0].key, records[0].id),
            ("genesys", None, id)
        );
        assert_eq!(
            (records[1].source(), records[1].key),
            ("a", Some(DedupKey([3; 16])))
        );
        assert_eq!(
            domain::event::decode(records[1].event()).unwrap(),
            event("a", Some([3; 16]))
        );
    }

    #[test]
    fn lengths_that_do_not_add_up_end_the_iteration() {
        let record = encode(&event("a", None)).freeze();
        assert_eq!(Records::new(record.slice(..record.len() - 1)).count(), 0);
        assert_eq!(Records::new(Bytes::from_static(&[0xff; 64])).count(), 0);
    }
}
