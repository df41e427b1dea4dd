//! Rows in the binary format of COPY, written once into one buffer.
//!
//! Only for column types whose binary form is known here; anything else goes by INSERT, where the server
//! reads text.

use bytes::Bytes;

use crate::field::Field;
use crate::row::{Placement, Row, escaped};

/// The binary form of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wire {
    Uuid,
    /// `text`, `varchar` and `json`: the bytes of the text.
    Text,
    Timestamp,
    /// A version byte, then the text.
    Jsonb,
    Bytes,
}

impl Wire {
    /// The form for a field in a column of that type; `None` where it is not known or would need a cast.
    pub(super) fn of(field: Field, kind: &str) -> Option<Self> {
        match (field, kind) {
            (Field::Id, "uuid") => Some(Self::Uuid),
            (Field::ReceivedAt, "timestamp with time zone") => Some(Self::Timestamp),
            (Field::Headers | Field::Body, "jsonb") => Some(Self::Jsonb),
            (Field::Headers | Field::Body, "json") => Some(Self::Text),
            (Field::Body | Field::BodyRaw, "bytea") => Some(Self::Bytes),
            (Field::BodyRaw | Field::ReceivedAt, _) => None,
            (_, "text" | "character varying") => Some(Self::Text),
            _ => None,
        }
    }
}

/// Microseconds from the Unix epoch to PostgreSQL's, 2000-01-01.
const POSTGRES_EPOCH: i64 = 946_684_800_000_000;

const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// Roughly what a row takes besides body and headers.
const ROW_BYTES: usize = 256;

pub(super) fn encode(rows: &[Row<'_>], columns: &[(Field, Wire)]) -> Bytes {
    let weight: usize = rows
        .iter()
        .map(|row| row.stored.event.weight() + ROW_BYTES)
        .sum();
    let mut out = Vec::with_capacity(weight);
    out.extend_from_slice(SIGNATURE);
    let count = i16::try_from(columns.len()).unwrap_or(i16::MAX);
    for row in rows {
        out.extend_from_slice(&count.to_be_bytes());
        for (field, wire) in columns {
            value(row, *field, *wire, &mut out);
        }
    }
    out.extend_from_slice(&(-1_i16).to_be_bytes());
    Bytes::from(out)
}

fn value(row: &Row<'_>, field: Field, wire: Wire, out: &mut Vec<u8>) {
    let event = &*row.stored.event;
    match field {
        Field::Id if wire == Wire::Uuid => {
            sized(out, |out| out.extend_from_slice(row.stored.id.as_bytes()));
        }
        Field::Id => text(out, &row.stored.id.to_string()),
        Field::Source => text(out, event.source.as_str()),
        Field::ReceivedAt => {
            let micros = event.received_at.as_microsecond() - POSTGRES_EPOCH;
            sized(out, |out| out.extend_from_slice(&micros.to_be_bytes()));
        }
        Field::Method => text(out, &escaped(&event.method)),
        Field::Path => text(out, &escaped(&event.path)),
        Field::Headers => json(out, wire, |out| row.headers(out)),
        Field::ContentType => optional(out, event.content_type()),
        Field::Body if row.placement == Placement::Body => {
            json(out, wire, |out| out.extend_from_slice(&event.body));
        }
        Field::BodyRaw if row.placement == Placement::Raw => {
            sized(out, |out| out.extend_from_slice(&event.body));
        }
        Field::Body | Field::BodyRaw => null(out),
        Field::EventType => optional(out, event.event_type.as_deref()),
    }
}

fn json(out: &mut Vec<u8>, wire: Wire, write: impl FnOnce(&mut Vec<u8>)) {
    sized(out, |out| {
        if wire == Wire::Jsonb {
            out.push(1);
        }
        write(out);
    });
}

fn text(out: &mut Vec<u8>, text: &str) {
    sized(out, |out| out.extend_from_slice(text.as_bytes()));
}

fn optional(out: &mut Vec<u8>, given: Option<&str>) {
    match given {
        Some(given) => text(out, &escaped(given)),
        None => null(out),
    }
}

fn null(out: &mut Vec<u8>) {
    out.extend_from_slice(&(-1_i32).to_be_bytes());
}

/// Writes a value with its length before it.
fn sized(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    write(out);
    let length = i32::try_from(out.len() - at - 4).unwrap_or(i32::MAX);
    if let Some(place) = out.get_mut(at..at + 4) {
        place.copy_from_slice(&length.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_that_would_need_a_cast_is_not_copied() {
        assert_eq!(Wire::of(Field::Id, "uuid"), Some(Wire::Uuid));
        assert_eq!(Wire::of(Field::Id, "text"), Some(Wire::Text));
        assert_eq!(Wire::of(Field::Id, "bigint"), None);
        assert_eq!(Wire::of(Field::BodyRaw, "text"), None);
        assert_eq!(Wire::of(Field::ReceivedAt, "text"), None);
        assert_eq!(Wire::of(Field::Body, "bytea"), Some(Wire::Bytes));
        assert_eq!(Wire::of(Field::Source, "citext"), None);
    }
}
