//! A dead letter as it leaves Forebay: the event's own bytes, and beside them what became of it, under names that
//! are the same everywhere (attributes of a message, HTTP headers, keys of an object).
//!
//! Where the carrier has a place of its own for names and values, they are [`Envelope::attributes`] and the
//! body goes as it is; where it has not, the envelope as a JSON object holds both.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use jiff::Timestamp;
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;

use crate::outcome::MAX_ERROR_BYTES;
use crate::ports::DeadLetter;
use crate::{DestinationName, EventId, Reason, RouteName, SourceName};

/// What goes outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// The event's id.
    pub id: EventId,
    /// Where it came in.
    pub source: SourceName,
    /// Whose it was.
    pub route: RouteName,
    /// Where it could not be delivered; `None` once that is no longer known.
    pub destination: Option<DestinationName>,
    /// When it came in.
    pub received_at: Timestamp,
    /// Attempts spent since it was accepted or last redriven.
    pub attempts: u32,
    /// When the first attempt failed.
    pub first_failure_at: Timestamp,
    /// When the last one did.
    pub last_failure_at: Timestamp,
    /// Why it was given up.
    pub reason: Reason,
    /// What the destination said last, as code and detail. No secret, no payload.
    pub error: String,
    /// How often it was put back on its route.
    pub redrives: u32,
    /// The `content-type` that it came with.
    pub content_type: Option<String>,
    /// The body, byte for byte.
    pub body: Bytes,
    /// Where the body is, if it is too large to go along: `s3://bucket/key`.
    pub body_at: Option<String>,
}

impl Envelope {
    /// The envelope of a letter.
    #[must_use]
    pub fn of(letter: &DeadLetter, destination: Option<DestinationName>) -> Self {
        let event = &letter.stored.event;
        Self {
            id: letter.stored.id,
            source: event.source.clone(),
            route: letter.route.clone(),
            destination,
            received_at: event.received_at,
            attempts: letter.attempts,
            first_failure_at: letter.first_failure_at,
            last_failure_at: letter.last_failure_at,
            reason: letter.reason,
            error: letter.cause.to_string(),
            redrives: letter.redrives,
            content_type: event.content_type().map(str::to_owned),
            body: event.body.clone(),
            body_at: None,
        }
    }

    /// The same without the body, which is at that place: it says so instead, in JSON.
    #[must_use]
    pub fn pointing_at(&self, place: String) -> Self {
        let body = serde_json::json!({ "forebay-body-at": place }).to_string();
        Self {
            body: body.into(),
            body_at: Some(place),
            ..self.clone()
        }
    }

    /// Everything but the body, in order. What is not known is left out.
    #[must_use]
    pub fn attributes(&self) -> Vec<(&'static str, String)> {
        let attributes = self.named().into_iter().map(|(name, value)| {
            let text = match value {
                Value::String(text) => text,
                number => number.to_string(),
            };
            (name, text)
        });
        attributes.collect()
    }

    fn named(&self) -> Vec<(&'static str, Value)> {
        let destination = self.destination.as_ref().map(DestinationName::as_str);
        let content_type = self.content_type.as_deref();
        let body_at = self.body_at.as_deref();
        let known = [
            ("forebay-event-id", Some(self.id.to_string().into())),
            ("forebay-source", Some(self.source.as_str().into())),
            ("forebay-route", Some(self.route.as_str().into())),
            ("forebay-destination", destination.map(Into::into)),
            (
                "forebay-received-at",
                Some(self.received_at.to_string().into()),
            ),
            ("forebay-attempts", Some(self.attempts.into())),
            (
                "forebay-first-failure-at",
                Some(self.first_failure_at.to_string().into()),
            ),
            (
                "forebay-last-failure-at",
                Some(self.last_failure_at.to_string().into()),
            ),
            ("forebay-reason", Some(self.reason.as_str().into())),
            ("forebay-error", Some(bounded(&self.error).into())),
            ("forebay-redrives", Some(self.redrives.into())),
            ("content-type", content_type.map(Into::into)),
            ("forebay-body-at", body_at.map(Into::into)),
        ];
        known
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)))
            .collect()
    }
}

/// All of it as one object, in the order of the attributes, counts as numbers, and at the end `body`, or
/// `body_base64` if the body is not UTF-8.
impl Serialize for Envelope {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let named = self.named();
        let mut object = serializer.serialize_map(Some(named.len() + 1))?;
        for (name, value) in named {
            object.serialize_entry(name, &value)?;
        }
        match std::str::from_utf8(&self.body) {
            Ok(text) => object.serialize_entry("body", text)?,
            Err(_) => object.serialize_entry("body_base64", &STANDARD.encode(&self.body))?,
        }
        object.end()
    }
}

/// As much of the text as goes outside.
fn bounded(text: &str) -> &str {
    let mut end = MAX_ERROR_BYTES.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn envelope(body: &'static [u8]) -> Envelope {
        Envelope {
            id: EventId::from_bytes([1; 16]),
            source: SourceName::new("shop").unwrap(),
            route: RouteName::new("orders").unwrap(),
            destination: Some(DestinationName::new("db").unwrap()),
            received_at: Timestamp::from_second(1_790_000_000).unwrap(),
            attempts: 3,
            first_failure_at: Timestamp::from_second(1_790_000_001).unwrap(),
            last_failure_at: Timestamp::from_second(1_790_000_002).unwrap(),
            reason: Reason::RetriesExhausted,
            error: "http 500: oops".into(),
            redrives: 1,
            content_type: Some("application/json".into()),
            body: Bytes::from_static(body),
            body_at: None,
        }
    }

    #[test]
    fn the_names_are_those_that_readers_rely_on_in_their_order() {
        let attributes = envelope(b"{}").attributes();
        let expected = [
            ("forebay-event-id", "01010101-0101-0101-0101-010101010101"),
            ("forebay-source", "shop"),
            ("forebay-route", "orders"),
            ("forebay-destination", "db"),
            ("forebay-received-at", "2026-09-21T14:13:20Z"),
            ("forebay-attempts", "3"),
            ("forebay-first-failure-at", "2026-09-21T14:13:21Z"),
            ("forebay-last-failure-at", "2026-09-21T14:13:22Z"),
            ("forebay-reason", "retries-exhausted"),
            ("forebay-error", "http 500: oops"),
            ("forebay-redrives", "1"),
            ("content-type", "application/json"),
        ];
        assert_eq!(
            attributes,
            expected.map(|(name, value)| (name, value.to_owned()))
        );
    }

    #[test]
    fn in_an_object_a_body_that_is_text_stays_text_and_any_other_is_base64() {
        let text = serde_json::to_string(&envelope(b"{\"n\":1}")).unwrap();
        let expected = concat!(
            r#"{"forebay-event-id":"01010101-0101-0101-0101-010101010101","forebay-source":"shop","#,
            r#""forebay-route":"orders","forebay-destination":"db","#,
            r#""forebay-received-at":"2026-09-21T14:13:20Z","forebay-attempts":3,"#,
            r#""forebay-first-failure-at":"2026-09-21T14:13:21Z","#,
            r#""forebay-last-failure-at":"2026-09-21T14:13:22Z","#,
            r#""forebay-reason":"retries-exhausted","forebay-error":"http 500: oops","#,
            r#""forebay-redrives":1,"content-type":"application/json","body":"{\"n\":1}"}"#,
        );
        assert_eq!(text, expected);
        let bytes = serde_json::to_value(envelope(b"\xff\x00")).unwrap();
        assert_eq!(
            (&bytes["body_base64"], bytes.get("body")),
            (&"/wA=".into(), None)
        );
    }

    #[test]
    fn what_is_not_known_is_left_out_and_a_long_error_is_cut() {
        let mut unknown = envelope(b"");
        (unknown.destination, unknown.content_type) = (None, None);
        unknown.error = "ä".repeat(2000);
        let object = serde_json::to_value(&unknown).unwrap();
        assert_eq!(object.as_object().map(serde_json::Map::len), Some(11));
        assert_eq!(
            object["forebay-error"].as_str().map(str::len),
            Some(MAX_ERROR_BYTES)
        );
    }
}
