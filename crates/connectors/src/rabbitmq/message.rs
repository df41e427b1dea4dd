//! What a message is made of besides its body.

use domain::ports::{Delivery, Message};
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, ShortString};

use crate::carried;

/// Kept on the broker's disk, if its queue is durable.
const PERSISTENT: u8 = 2;

/// A value longer than this is left out: all of them together must fit into one frame, and a broker may have been set
/// to the smallest, 4 KiB. Only a content type can be so long; an error is bounded before.
const LONGEST_VALUE: usize = 1024;

/// The properties: who it is in AMQP's own places, and everything that goes with the body as headers. Nothing of the
/// sender's headers is among them, so that no `x-death` of a former life makes the broker take the message for one that
/// goes round in a circle.
pub(super) fn properties(delivery: &Delivery) -> BasicProperties {
    let event = &delivery.stored.event;
    let mut headers = FieldTable::default();
    for (name, value) in carried::attributes(delivery) {
        if value.len() > LONGEST_VALUE {
            continue;
        }
        if let Ok(name) = ShortString::try_new(name) {
            headers.insert(name, AMQPValue::LongString(value.into()));
        }
    }
    let mut properties = BasicProperties::default()
        .with_delivery_mode(PERSISTENT)
        .with_headers(headers);
    if let Ok(id) = ShortString::try_new(delivery.stored.id.to_string()) {
        properties = properties.with_message_id(id);
    }
    if let Ok(name) = ShortString::try_new("forebay") {
        properties = properties.with_app_id(name);
    }
    let content_type = event.content_type().map(ShortString::try_new);
    if let Some(Ok(content_type)) = content_type {
        properties = properties.with_content_type(content_type);
    }
    if let Ok(second) = u64::try_from(event.received_at.as_second()) {
        properties = properties.with_timestamp(second);
    }
    properties
}

/// What the broker itself adds on a message's way. None of it goes along: it is of the former life, and an `x-death` that
/// came back would make the broker take the message for one that goes round in a circle.
const BROKERS: [&str; 4] = [
    "x-death",
    "x-delivery-count",
    "x-first-death-",
    "x-last-death-",
];

/// A message as it comes back: the body as it was, and each header that is a text, a number or a truth. What other
/// software sent has what AMQP keeps beside the headers as well.
pub(super) fn read(handle: String, delivery: lapin::message::Delivery) -> Message {
    let properties = &delivery.properties;
    let headers = properties.headers().as_ref().map(FieldTable::inner);
    let mut attributes: Vec<(String, String)> = headers
        .into_iter()
        .flatten()
        .filter(|(name, _)| !BROKERS.iter().any(|of_it| name.as_str().starts_with(of_it)))
        .filter_map(|(name, value)| Some((name.to_string(), text(value)?)))
        .collect();
    let has = |name: &str| {
        let mut headers = attributes.iter();
        headers.any(|(known, _)| known.eq_ignore_ascii_case(name))
    };
    if !has("forebay-event-id") {
        let beside = [
            ("content-type", properties.content_type()),
            ("content-encoding", properties.content_encoding()),
            ("message-id", properties.message_id()),
            ("correlation-id", properties.correlation_id()),
            ("type", properties.kind()),
        ];
        let beside: Vec<_> = beside
            .into_iter()
            .filter(|(name, _)| !has(name))
            .filter_map(|(name, value)| Some((name.to_owned(), value.as_ref()?.to_string())))
            .collect();
        attributes.extend(beside);
    }
    let id = properties.message_id().as_ref().map(ToString::to_string);
    Message {
        handle,
        id,
        body: delivery.data.into(),
        attributes,
        exact: false,
        event_type: None,
    }
}

fn text(value: &AMQPValue) -> Option<String> {
    Some(match value {
        AMQPValue::LongString(text) => std::str::from_utf8(text.as_bytes()).ok()?.to_owned(),
        AMQPValue::ShortString(text) => text.to_string(),
        AMQPValue::Boolean(truth) => truth.to_string(),
        AMQPValue::ShortShortInt(number) => number.to_string(),
        AMQPValue::ShortShortUInt(number) => number.to_string(),
        AMQPValue::ShortInt(number) => number.to_string(),
        AMQPValue::ShortUInt(number) => number.to_string(),
        AMQPValue::LongInt(number) => number.to_string(),
        AMQPValue::LongUInt(number) => number.to_string(),
        AMQPValue::LongLongInt(number) => number.to_string(),
        AMQPValue::Timestamp(number) => number.to_string(),
        AMQPValue::Float(number) => number.to_string(),
        AMQPValue::Double(number) => number.to_string(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use domain::Headers;

    use super::*;
    use crate::samples::live;

    fn of(content_type: &str) -> BasicProperties {
        let headers = [
            ("content-type", content_type.as_bytes()),
            ("x-death", b"[{count: 9}]"),
        ];
        let mut delivery = live(b"{}");
        let event = Arc::make_mut(&mut delivery.stored.event);
        event.headers = headers.into_iter().collect::<Headers>();
        event.received_at = "2026-03-01T12:00:00.9Z".parse().unwrap();
        properties(&delivery)
    }

    #[test]
    fn amqps_own_places_are_filled_and_the_senders_headers_are_not_there() {
        let properties = of("text/plain");
        assert_eq!(*properties.delivery_mode(), Some(2));
        assert_eq!(*properties.timestamp(), Some(1_772_366_400));
        let text = |value: &Option<ShortString>| value.as_ref().map(ToString::to_string);
        assert_eq!(
            text(properties.message_id()).as_deref(),
            Some("01010101-0101-0101-0101-010101010101")
        );
        assert_eq!(text(properties.app_id()).as_deref(), Some("forebay"));
        assert_eq!(
            text(properties.content_type()).as_deref(),
            Some("text/plain")
        );
        let headers = properties.headers().as_ref().unwrap();
        let names: Vec<_> = headers.inner().keys().map(ShortString::as_str).collect();
        assert_eq!(
            names,
            [
                "content-type",
                "forebay-attempt",
                "forebay-event-id",
                "forebay-received-at",
                "forebay-source",
            ]
        );
    }

    #[test]
    fn a_content_type_that_has_no_room_is_left_out() {
        let properties = of(&format!("text/plain; x={}", "y".repeat(300)));
        assert_eq!(*properties.content_type(), None);
        let headers = properties.headers().as_ref().unwrap();
        assert!(headers.inner().contains_key("content-type"));
        let properties = of(&"y".repeat(2000));
        let headers = properties.headers().as_ref().unwrap();
        assert!(!headers.inner().contains_key("content-type"));
    }
}
