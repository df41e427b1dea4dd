//! What is bound: values of an event as MySQL reads them, and how many bytes they take on the way.

use domain::{Cause, Timestamp};
use mysql_async::Value as Bound;

use crate::field::Field;
use crate::row::{Row, Value};
use crate::target::ColumnValue;

/// How a column reads what it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// As it is.
    Plain,
    /// `binary(16)`, which holds an id's bytes.
    Id16,
    /// A date and time without a time zone: sent in UTC, which is the session's.
    Time,
    /// A number, also for a JSON `true` or `false`.
    Number,
}

impl Kind {
    /// By the type's first word in `SHOW COLUMNS`.
    pub(super) fn of(kind: &str) -> Self {
        let word = kind.split(['(', ' ']).next().unwrap_or(kind);
        match word {
            "binary" if kind.starts_with("binary(16)") => Self::Id16,
            "datetime" | "timestamp" => Self::Time,
            "tinyint" | "smallint" | "mediumint" | "int" | "bigint" | "decimal" | "float"
            | "double" => Self::Number,
            _ => Self::Plain,
        }
    }
}

/// What goes into a column.
pub(super) fn column(row: &Row<'_>, value: &ColumnValue, kind: Kind) -> Result<Bound, Cause> {
    if kind == Kind::Id16 && *value == ColumnValue::Field(Field::Id) {
        return Ok(Bound::Bytes(row.stored.id.as_bytes().to_vec()));
    }
    let is_field_time = *value == ColumnValue::Field(Field::ReceivedAt);
    Ok(match (row.column(value)?, kind) {
        (Value::Text(text), Kind::Time) => Bound::Bytes(utc(&text)),
        (Value::Text(text), _) if is_field_time => Bound::Bytes(utc(&text)),
        (Value::Text(text), Kind::Number) => Bound::Bytes(number(&text)),
        (value, _) => plain(value),
    })
}

/// What goes into a statement's parameter.
pub(super) fn parameter(row: &Row<'_>, field: Field) -> Bound {
    match (field, row.field(field)) {
        (Field::ReceivedAt, Value::Text(text)) => Bound::Bytes(utc(&text)),
        (_, value) => plain(value),
    }
}

fn plain(value: Value<'_>) -> Bound {
    match value {
        Value::Null => Bound::NULL,
        Value::Text(text) => Bound::Bytes(text.into_owned()),
        Value::Bytes(bytes) => Bound::Bytes(bytes.to_vec()),
    }
}

/// RFC 3339 as MySQL reads it, which knows neither `T` with `Z` nor, before 8.0.19, an offset. Anything else stays
/// as it is, for the server to judge.
fn utc(text: &[u8]) -> Vec<u8> {
    let parsed = std::str::from_utf8(text)
        .ok()
        .and_then(|text| text.parse::<Timestamp>().ok());
    let Some(at) = parsed else {
        return text.to_vec();
    };
    let text = format!("{at:.6}");
    text.replace('T', " ").trim_end_matches('Z').into()
}

fn number(text: &[u8]) -> Vec<u8> {
    match text {
        b"true" => b"1".to_vec(),
        b"false" => b"0".to_vec(),
        other => other.to_vec(),
    }
}

/// The most bytes that these take in one packet: each with its length, its type and its bit among the nulls.
pub(super) fn weight(values: &[Bound]) -> usize {
    let each = |value: &Bound| match value {
        Bound::Bytes(bytes) => bytes.len() + 12,
        _ => 12,
    };
    values.iter().map(each).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_utc_and_what_is_no_time_stays() {
        let cases = [
            ("2026-03-01T12:00:00.123456Z", "2026-03-01 12:00:00.123456"),
            ("2026-03-01T14:00:00+02:00", "2026-03-01 12:00:00.000000"),
            ("2026-03-01 12:00:00", "2026-03-01 12:00:00"),
            ("Tuesday", "Tuesday"),
        ];
        for (text, expected) in cases {
            assert_eq!(utc(text.as_bytes()), expected.as_bytes(), "{text}");
        }
    }

    #[test]
    fn kinds_follow_the_columns_types() {
        for (kind, expected) in [
            ("binary(16)", Kind::Id16),
            ("binary(20)", Kind::Plain),
            ("datetime(6)", Kind::Time),
            ("timestamp", Kind::Time),
            ("int(10) unsigned", Kind::Number),
            ("tinyint(1)", Kind::Number),
            ("decimal(10,2)", Kind::Number),
            ("varchar(36)", Kind::Plain),
            ("date", Kind::Plain),
        ] {
            assert_eq!(Kind::of(kind), expected, "{kind}");
        }
    }
}
