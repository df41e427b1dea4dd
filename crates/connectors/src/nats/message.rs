//! What a message is made of besides its body.

use std::fmt::Write as _;

use async_nats::jetstream::message::PublishMessage;
use domain::ports::Delivery;

use super::options::Address;
use crate::carried;

/// A value longer than this is left out: a stream takes 64 KiB of headers, and a message all of the server's
/// `max_payload`. Only a content type can be so long; an error is bounded before.
const LONGEST_VALUE: usize = 1024;

/// The message for an event or a dead letter.
pub(super) fn message(delivery: &Delivery, to: &Address) -> PublishMessage {
    let mut message = PublishMessage::build()
        .payload(delivery.stored.event.body.clone())
        .message_id(id(delivery, to));
    if let Some(stream) = &to.stream {
        message = message.expected_stream(stream);
    }
    for (name, value) in carried::attributes(delivery) {
        let value = safe(&value);
        if value.len() <= LONGEST_VALUE {
            message = message.header(name, value.as_str());
        }
    }
    message
}

/// What the stream knows repeats by. It looks at nothing else, at the subject neither, so that an event that goes two
/// ways into one stream, or goes there and becomes a dead letter of another route, has an id for each: what the stream
/// takes for a repeat it throws away and acknowledges.
fn id(delivery: &Delivery, to: &Address) -> String {
    let mut id = format!("{}@{}", delivery.stored.id, to.subject);
    if let Some(letter) = &delivery.letter {
        // Writing to a string does not fail.
        let _ = write!(id, "!{}.{}", letter.route, letter.redrives);
    }
    id
}

/// A header's value is ASCII without line breaks (NATS' ADR-4): other characters are written as JSON writes them, and
/// what controls a terminal is a blank.
fn safe(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.trim().chars() {
        if c.is_ascii_control() {
            safe.push(' ');
        } else if c.is_ascii() {
            safe.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(safe, "\\u{unit:04x}");
            }
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use domain::RouteName;

    use super::*;
    use crate::samples::{dead, live};

    fn dead_on(route: &str) -> Delivery {
        let mut delivery = dead(b"", 0);
        let letter = delivery.letter.as_mut().unwrap();
        Arc::make_mut(letter).route = RouteName::new(route).unwrap();
        delivery
    }

    #[test]
    fn only_the_same_thing_to_the_same_place_has_the_same_id() {
        let to = |subject: &str| Address {
            subject: subject.into(),
            stream: None,
        };
        let ids = [
            id(&live(b""), &to("a")),
            id(&live(b""), &to("b")),
            id(&dead(b"", 0), &to("a")),
            id(&dead(b"", 1), &to("a")),
            id(&dead_on("two"), &to("a")),
        ];
        for (at, one) in ids.iter().enumerate() {
            assert!(!ids[at + 1..].contains(one), "{one}");
        }
        assert_eq!(ids[0], "01010101-0101-0101-0101-010101010101@a");
        let mut again = live(b"");
        again.attempt = 7;
        assert_eq!(id(&again, &to("a")), ids[0]);
    }

    #[test]
    fn a_value_is_ascii_in_one_line() {
        for (text, expected) in [
            ("plain: \"text\"", "plain: \"text\""),
            ("ä 😀", "\\u00e4 \\ud83d\\ude00"),
            ("a\r\nX-Injected: 1\u{1b}[0m\t", "a  X-Injected: 1 [0m"),
            (" \r\n", ""),
        ] {
            assert_eq!(safe(text), expected);
        }
    }
}
