//! Entries of a stream, as the server answers them, and as messages.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use domain::ports::Message;
use redis::Value;
use serde_json::Map;
use serde_json::map::Entry as Place;

/// The field that has the body, in entries that have one of that name.
const BODY: &str = "body";

/// One entry.
#[derive(Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) id: String,
    /// `None`: it was deleted, and only the group still knows of it.
    pub(super) fields: Option<Vec<(Bytes, Bytes)>>,
}

impl Entry {
    /// Bytes of all its values.
    pub(super) fn bytes(&self) -> usize {
        let fields = self.fields.iter().flatten();
        fields.map(|(name, value)| name.len() + value.len()).sum()
    }

    /// As a message: the field `body` is its body and the others are its attributes. An entry without that field has the
    /// value of its only field as its body, or a JSON object of all its fields, as an event's headers are written: no byte is
    /// lost by it. `None`: it was deleted.
    pub(super) fn message(self) -> Option<Message> {
        let fields = self.fields?;
        let (body, attributes) = read(fields);
        Some(Message {
            handle: self.id.clone(),
            id: Some(self.id),
            body,
            attributes,
            exact: false,
            event_type: None,
        })
    }
}

fn read(fields: Vec<(Bytes, Bytes)>) -> (Bytes, Vec<(String, String)>) {
    if let [(_, only)] = &*fields {
        return (only.clone(), Vec::new());
    }
    if let Some(place) = fields.iter().position(|(name, _)| name == BODY) {
        let mut fields = fields;
        let (_, body) = fields.remove(place);
        let attributes = fields.iter().filter_map(|(name, value)| {
            let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).ok();
            Some((text(name)?, text(value)?))
        });
        return (body, attributes.collect());
    }
    let mut object = Map::new();
    for (name, value) in &fields {
        let name = match std::str::from_utf8(name) {
            Ok(name) => name.to_owned(),
            Err(_) => format!("base64 {}", STANDARD.encode(name)),
        };
        // As headers are written: what is no text, and what is there more than once.
        let value = match std::str::from_utf8(value) {
            Ok(text) => text.into(),
            Err(_) => serde_json::json!({ "base64": STANDARD.encode(value) }),
        };
        match object.entry(name) {
            Place::Vacant(place) => drop(place.insert(value)),
            Place::Occupied(mut place) => match place.get_mut() {
                serde_json::Value::Array(all) => all.push(value),
                first => {
                    let all = vec![first.take(), value];
                    *first = all.into();
                }
            },
        }
    }
    let body = serde_json::Value::Object(object).to_string();
    let kind = ("content-type".to_owned(), "application/json".to_owned());
    (body.into(), vec![kind])
}

/// The entries of an answer to XREADGROUP; none if there are none.
pub(super) fn of_read(answer: Value) -> Vec<Entry> {
    // One stream was asked for: [[key, [entry, …]]].
    let mut streams = list(answer);
    let stream = match streams.len() {
        0 => return Vec::new(),
        _ => list(streams.swap_remove(0)),
    };
    let entries = stream.into_iter().nth(1).map(list).unwrap_or_default();
    entries.into_iter().filter_map(entry).collect()
}

/// What XAUTOCLAIM answered.
#[derive(Debug, PartialEq)]
pub(super) struct Claimed {
    /// Where it goes on; 0-0: everything was looked at.
    pub(super) next: String,
    pub(super) entries: Vec<Entry>,
    /// Entries that were deleted while they were somebody's.
    pub(super) lost: Vec<String>,
}

pub(super) fn of_autoclaim(answer: Value) -> Claimed {
    let mut parts = list(answer).into_iter();
    let next = parts.next().and_then(text);
    let entries = parts.next().map(list).unwrap_or_default();
    let lost = parts.next().map(list).unwrap_or_default();
    Claimed {
        next: next.unwrap_or_else(|| super::stream::FIRST.to_owned()),
        entries: entries.into_iter().filter_map(entry).collect(),
        lost: lost.into_iter().filter_map(text).collect(),
    }
}

fn entry(value: Value) -> Option<Entry> {
    let mut parts = list(value).into_iter();
    let id = parts.next().and_then(text)?;
    let fields = match parts.next() {
        Some(Value::Array(values)) => {
            let mut values = values.into_iter().filter_map(bytes);
            let mut fields = Vec::new();
            while let (Some(name), Some(value)) = (values.next(), values.next()) {
                fields.push((name, value));
            }
            Some(fields)
        }
        _ => None,
    };
    Some(Entry { id, fields })
}

fn list(value: Value) -> Vec<Value> {
    match value {
        Value::Array(values) => values,
        _ => Vec::new(),
    }
}

fn bytes(value: Value) -> Option<Bytes> {
    match value {
        Value::BulkString(bytes) => Some(bytes.into()),
        _ => None,
    }
}

fn text(value: Value) -> Option<String> {
    String::from_utf8(bytes(value)?.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Value {
        redis::parse_redis_value(text.as_bytes()).unwrap()
    }

    fn entry_of(fields: &[(&str, &str)]) -> Message {
        let fields = fields.iter().map(|(name, value)| {
            (
                Bytes::from((*name).to_owned()),
                Bytes::from((*value).to_owned()),
            )
        });
        let entry = Entry {
            id: "1-0".into(),
            fields: Some(fields.collect()),
        };
        entry.message().unwrap()
    }

    #[test]
    fn answers_are_read_as_the_server_writes_them() {
        let read = "*1\r\n*2\r\n$1\r\nq\r\n*2\r\n*2\r\n$3\r\n1-0\r\n*2\r\n$4\r\nbody\r\n$2\r\n{}\r\n*2\r\n$3\r\n2-0\r\n*-1\r\n";
        let entries = of_read(value(read));
        let ids: Vec<_> = entries.iter().map(|entry| entry.id.as_str()).collect();
        assert_eq!(ids, ["1-0", "2-0"]);
        assert!(entries[0].fields.is_some() && entries[1].fields.is_none());
        assert_eq!(of_read(value("*-1\r\n")), []);
        let claimed = of_autoclaim(value("*3\r\n$3\r\n0-0\r\n*0\r\n*1\r\n$3\r\n7-0\r\n"));
        assert_eq!(
            (&*claimed.next, &claimed.lost[..]),
            ("0-0", &["7-0".to_owned()][..])
        );
        assert_eq!(claimed.entries, []);
    }

    #[test]
    fn an_entry_s_body_is_its_field_of_that_name_or_its_only_one_or_all_of_them() {
        let ours = entry_of(&[("forebay-event-id", "x"), ("body", "{}")]);
        assert_eq!(&ours.body[..], b"{}");
        assert_eq!(ours.attribute("forebay-event-id"), Some("x"));
        assert_eq!(&entry_of(&[("payload", "p")]).body[..], b"p");
        let all = entry_of(&[("a", "1"), ("b", "\"")]);
        assert_eq!(&all.body[..], br#"{"a":"1","b":"\""}"#);
        assert_eq!(all.attribute("content-type"), Some("application/json"));
        assert_eq!((&*all.handle, all.id.as_deref()), ("1-0", Some("1-0")));
    }
}
