//! One message: the body as SQS can take it, and the attributes beside it.
//!
//! SQS takes text of the characters that XML allows and puts U+FFFD in the place of others, so a body that is anything
//! else goes in base64, and `forebay-encoding` says so. It takes no empty body either. It takes ten attributes: some of
//! a dead letter's are one, as JSON.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use domain::ports::Delivery;
use serde_json::Value;

use crate::carried;

/// Says that the body is not as it came: `base64`, or `empty`.
const ENCODING: &str = "forebay-encoding";
/// What goes into one attribute.
const META: &str = "forebay-meta";
const IN_META: [&str; 4] = [
    "forebay-destination",
    "forebay-first-failure-at",
    "forebay-last-failure-at",
    "forebay-redrives",
];
/// Stands for an empty body.
const EMPTY: &str = "-";
/// Every attribute is of this type.
pub(super) const DATA_TYPE: &str = "String";

/// A message as it goes out.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) body: String,
    pub(super) attributes: Vec<(&'static str, String)>,
}

impl Message {
    pub(super) fn of(delivery: &Delivery) -> Self {
        let (body, encoding) = encoded(&delivery.stored.event.body);
        let mut attributes = folded(carried::attributes(delivery));
        if let Some(encoding) = encoding {
            attributes.push((ENCODING, encoding.to_owned()));
        }
        Self { body, attributes }
    }

    /// What it counts for with SQS: body, and the names, types and values of the attributes.
    pub(super) fn bytes(&self) -> usize {
        let attributes = self.attributes.iter();
        let attributes = attributes.map(|(name, value)| name.len() + DATA_TYPE.len() + value.len());
        self.body.len() + attributes.sum::<usize>()
    }
}

/// The body and how it was encoded, if it was.
fn encoded(body: &[u8]) -> (String, Option<&'static str>) {
    match std::str::from_utf8(body) {
        Ok("") => (EMPTY.to_owned(), Some("empty")),
        Ok(text) if text.chars().all(is_taken) => (text.to_owned(), None),
        _ => (STANDARD.encode(body), Some("base64")),
    }
}

/// Whether XML 1.0 allows it.
fn is_taken(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

/// At most nine, none empty, none with what SQS does not take.
fn folded(carried: Vec<(&'static str, String)>) -> Vec<(&'static str, String)> {
    let mut attributes = Vec::with_capacity(10);
    let mut meta = serde_json::Map::new();
    for (name, value) in carried {
        if IN_META.contains(&name) {
            let value = match value.parse::<u64>() {
                Ok(number) if name == "forebay-redrives" => number.into(),
                _ => Value::String(value),
            };
            meta.insert(name.to_owned(), value);
        } else if !value.is_empty() {
            let taken = |c| if is_taken(c) { c } else { '\u{fffd}' };
            attributes.push((name, value.chars().map(taken).collect()));
        }
    }
    if !meta.is_empty() {
        attributes.push((META, Value::Object(meta).to_string()));
    }
    attributes
}

/// A message as it comes back: the bytes as they were before [`Message::of`], and each name by itself. What other
/// software sent is taken as it is.
pub(super) fn read(
    text: String,
    attributes: Vec<(String, String)>,
) -> (Bytes, Vec<(String, String)>) {
    let (mut encoding, mut plain) = (None, Vec::with_capacity(attributes.len() + IN_META.len()));
    for (name, value) in attributes {
        match &*name {
            ENCODING => encoding = Some(value),
            META => plain.extend(unfolded(&value)),
            _ => plain.push((name, value)),
        }
    }
    let body = match encoding.as_deref() {
        Some("empty") => Bytes::new(),
        Some("base64") => match STANDARD.decode(&text) {
            Ok(bytes) => Bytes::from(bytes),
            Err(_) => Bytes::from(text),
        },
        _ => Bytes::from(text),
    };
    (body, plain)
}

fn unfolded(meta: &str) -> Vec<(String, String)> {
    let meta: serde_json::Map<String, Value> = serde_json::from_str(meta).unwrap_or_default();
    let text = |value: Value| match value {
        Value::String(text) => text,
        other => other.to_string(),
    };
    meta.into_iter()
        .map(|(name, value)| (name, text(value)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{dead, live};

    #[test]
    fn a_text_goes_as_it_is_and_anything_else_so_that_a_reader_can_tell() {
        let long = "ä\u{d7ff}\u{e000}\u{fffd}\u{10000}\u{10ffff}\t\r\n ".to_owned();
        for text in ["{\"a\": 1}", " ", "-", "\u{feff}{}", long.as_str()] {
            assert_eq!(encoded(text.as_bytes()), (text.to_owned(), None));
        }
        for odd in ["\0", "a\u{1}", "\u{b}", "\u{1f}", "\u{fffe}", "\u{ffff}"] {
            assert_eq!(encoded(odd.as_bytes()).1, Some("base64"), "{odd:?}");
        }
        assert_eq!(encoded(b"\xff"), ("/w==".into(), Some("base64")));
        assert_eq!(encoded(b""), ("-".into(), Some("empty")));
    }

    #[test]
    fn no_message_has_more_than_ten_attributes() {
        let names = |message: &Message| -> Vec<&str> {
            message.attributes.iter().map(|(name, _)| *name).collect()
        };
        let event = Message::of(&live(b"{}"));
        let expected = [
            "forebay-event-id",
            "forebay-source",
            "forebay-received-at",
            "forebay-attempt",
            "content-type",
        ];
        assert_eq!(names(&event), expected);
        let letter = Message::of(&dead(b"\xff", 2));
        let expected = [
            "forebay-event-id",
            "forebay-source",
            "forebay-route",
            "forebay-received-at",
            "forebay-attempts",
            "forebay-reason",
            "forebay-error",
            "content-type",
            "forebay-meta",
            "forebay-encoding",
        ];
        assert_eq!(names(&letter), expected);
        let meta: Value = serde_json::from_str(&letter.attributes[8].1).unwrap();
        let expected = serde_json::json!({
            "forebay-destination": "db",
            "forebay-first-failure-at": "1970-01-01T00:00:00Z",
            "forebay-last-failure-at": "1970-01-01T00:00:00Z",
            "forebay-redrives": 2,
        });
        assert_eq!(meta, expected);
        assert_eq!(letter.attributes[6].1, "http 422: \u{fffd}\r\n\u{fffd}ä");
    }

    #[test]
    fn a_message_counts_with_all_that_sqs_counts() {
        let message = Message {
            body: "ä".into(),
            attributes: vec![("content-type", "x".into())],
        };
        assert_eq!(message.bytes(), 2 + 12 + 6 + 1);
    }

    #[test]
    fn what_went_out_comes_back_as_it_was() {
        for body in [&b"{}"[..], b"", b"-", b"\xff\0", "ä".as_bytes()] {
            let mut delivery = dead(b"", 3);
            std::sync::Arc::make_mut(&mut delivery.stored.event).body =
                Bytes::copy_from_slice(body);
            let sent = Message::of(&delivery);
            let attributes = sent.attributes.into_iter();
            let attributes = attributes.map(|(name, value)| (name.to_owned(), value));
            let (read, attributes) = read(sent.body, attributes.collect());
            assert_eq!(&read[..], body);
            let redrives = attributes
                .iter()
                .find(|(name, _)| name == "forebay-redrives");
            assert_eq!(redrives.map(|(_, value)| value.as_str()), Some("3"));
            assert!(
                attributes
                    .iter()
                    .all(|(name, _)| name != META && name != ENCODING)
            );
        }
        let foreign = vec![("forebay-encoding".to_owned(), "base64".to_owned())];
        assert_eq!(&read("no base64!".into(), foreign).0[..], b"no base64!");
    }
}
