//! What goes along with a body, under names that are the same for every carrier.
//!
//! An event on its way to its destination carries who it is; a dead letter on its way to a target carries what became
//! of it as well, which is its [`Envelope`](domain::Envelope). A carrier with names and values of its own (headers,
//! attributes, fields) takes [`attributes`] and the body as it is. One that has only a text takes [`object`].

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use domain::ports::Delivery;
use serde_json::Value;

use crate::headers;

/// The names and values that go with the body, in order. Of a dead letter `forebay-attempts` says how many were
/// spent; of an event `forebay-attempt` says which this is.
pub(crate) fn attributes(delivery: &Delivery) -> Vec<(&'static str, String)> {
    if let Some(letter) = &delivery.letter {
        return letter.attributes();
    }
    let event = &delivery.stored.event;
    let mut attributes = vec![
        ("forebay-event-id", delivery.stored.id.to_string()),
        ("forebay-source", event.source.as_str().to_owned()),
        ("forebay-received-at", event.received_at.to_string()),
        ("forebay-attempt", delivery.attempt.to_string()),
    ];
    if let Some(content_type) = event.content_type() {
        attributes.push(("content-type", content_type.to_owned()));
    }
    attributes
}

/// Appends one JSON object in one line: the attributes, all but counts as strings, and the body as `body`, or as
/// `body_base64` if it is not UTF-8. Of a dead letter it is what `forebay dlq export` writes.
pub(crate) fn object(delivery: &Delivery, out: &mut Vec<u8>) {
    if let Some(letter) = &delivery.letter
        && serde_json::to_writer(&mut *out, &**letter).is_ok()
    {
        return;
    }
    let body = &delivery.stored.event.body;
    out.reserve(body.len() + 256);
    out.push(b'{');
    for (name, value) in attributes(delivery) {
        headers::string(name, out);
        out.push(b':');
        if name == "forebay-attempt" {
            out.extend_from_slice(value.as_bytes());
        } else {
            headers::string(&value, out);
        }
        out.push(b',');
    }
    match std::str::from_utf8(body) {
        Ok(text) => {
            out.extend_from_slice(b"\"body\":");
            headers::string(text, out);
        }
        Err(_) => {
            out.extend_from_slice(b"\"body_base64\":\"");
            out.extend_from_slice(STANDARD.encode(body).as_bytes());
            out.push(b'"');
        }
    }
    out.push(b'}');
}

/// The body and the attributes of what [`object`] wrote; `None`: it is something else.
pub(crate) fn read(text: &[u8]) -> Option<(Bytes, Vec<(String, String)>)> {
    // Most of what is not ours is told by its first byte, and the rest by the name that all of ours have.
    if text.first() != Some(&b'{') {
        return None;
    }
    let object: serde_json::Map<String, Value> = serde_json::from_slice(text).ok()?;
    object.get("forebay-event-id")?;
    let (mut body, mut attributes) = (None, Vec::new());
    for (name, value) in object {
        match (name.as_str(), value) {
            ("body", Value::String(text)) => body = Some(Bytes::from(text)),
            ("body_base64", Value::String(text)) => body = Some(STANDARD.decode(text).ok()?.into()),
            (_, Value::String(text)) => attributes.push((name, text)),
            (_, Value::Null) => {}
            (_, other) => attributes.push((name, other.to_string())),
        }
    }
    Some((body?, attributes))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use domain::{
        DestinationName, Envelope, Event, EventId, Headers, Reason, RouteName, Seq, SourceName,
        StoredEvent, Timestamp,
    };

    use super::*;

    fn delivery(body: &'static [u8]) -> Delivery {
        Delivery {
            stored: StoredEvent {
                seq: Seq(1),
                id: EventId::from_bytes([1; 16]),
                event: Arc::new(Event {
                    source: SourceName::new("shop").unwrap(),
                    received_at: Timestamp::UNIX_EPOCH,
                    method: "POST".into(),
                    path: "/".into(),
                    headers: [("content-type", &b"text/plain"[..])]
                        .into_iter()
                        .collect::<Headers>(),
                    body: Bytes::from_static(body),
                    event_type: None,
                    remote: None,
                    dedup: None,
                    only: None,
                }),
            },
            attempt: 2,
            letter: None,
        }
    }

    fn written(delivery: &Delivery) -> Value {
        let mut out = Vec::new();
        object(delivery, &mut out);
        assert!(!out.contains(&b'\n'));
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn an_event_carries_who_it_is() {
        let expected = serde_json::json!({
            "forebay-event-id": "01010101-0101-0101-0101-010101010101",
            "forebay-source": "shop",
            "forebay-received-at": "1970-01-01T00:00:00Z",
            "forebay-attempt": 2,
            "content-type": "text/plain",
            "body": "a\nb",
        });
        assert_eq!(written(&delivery(b"a\nb")), expected);
        assert_eq!(written(&delivery(b"\xff"))["body_base64"], "/w==");
    }

    #[test]
    fn what_was_written_is_read_back_and_what_others_wrote_is_not_taken_for_ours() {
        for body in [&b"a\nb"[..], b"\xff\x00", b"", b"{\"forebay-event-id\":1}"] {
            let delivery = delivery(body);
            let mut out = Vec::new();
            object(&delivery, &mut out);
            let (found, attributes) = read(&out).unwrap();
            assert_eq!(found, body);
            let written = super::attributes(&delivery);
            for (name, value) in written {
                assert!(attributes.contains(&(name.to_owned(), value)), "{name}");
            }
        }
        for other in [
            &b"{}"[..],
            b"",
            b"[1]",
            b"{\"body\":\"x\"}",
            b"{\"forebay-event-id\":\"x\"}",
        ] {
            assert_eq!(read(other), None);
        }
    }

    #[test]
    fn a_dead_letter_carries_what_became_of_it_as_well() {
        let mut dead = delivery(b"{}");
        dead.letter = Some(Arc::new(Envelope {
            body_at: None,
            id: dead.stored.id,
            source: SourceName::new("shop").unwrap(),
            route: RouteName::new("orders").unwrap(),
            destination: Some(DestinationName::new("db").unwrap()),
            received_at: Timestamp::UNIX_EPOCH,
            attempts: 3,
            first_failure_at: Timestamp::UNIX_EPOCH,
            last_failure_at: Timestamp::UNIX_EPOCH,
            reason: Reason::Rejected,
            error: "sqlstate 23514: new row violates check constraint good".into(),
            redrives: 0,
            content_type: None,
            body: Bytes::from_static(b"{}"),
        }));
        let object = written(&dead);
        assert_eq!(object["forebay-reason"], "rejected");
        assert_eq!(object["forebay-attempts"], 3);
        assert_eq!(object["body"], "{}");
        let names: Vec<_> = attributes(&dead)
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        assert!(names.contains(&"forebay-error") && !names.contains(&"forebay-attempt"));
    }
}
