//! A FIFO queue's groups and its ids against repeats.

use aws_lc_rs::digest;
use domain::Pointer;
use domain::ports::Delivery;

/// SQS takes no more in either of its ids.
const ID_CHARS: usize = 128;

/// What makes a group.
#[derive(Debug, Clone)]
pub(super) enum Group {
    Source,
    Event,
    Value(Pointer),
}

impl Group {
    /// # Errors
    /// What would be right.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        match text {
            "source" => Ok(Self::Source),
            "event" => Ok(Self::Event),
            "" => Err("cannot be empty: write \"source\", \"event\" or a JSON pointer".into()),
            _ => Pointer::parse(text)
                .map(Self::Value)
                .map_err(|error| format!("is neither \"source\" nor \"event\"; {error}")),
        }
    }

    /// The event's group. A value that SQS does not take as it is stands as its SHA-256.
    pub(super) fn of(&self, delivery: &Delivery) -> String {
        let event = &delivery.stored.event;
        match self {
            Self::Source => event.source.as_str().to_owned(),
            Self::Event => delivery.stored.id.to_string(),
            Self::Value(pointer) => match pointer.find(&event.body) {
                Ok(Some(value)) if fits(&value) => value.into_owned(),
                Ok(Some(value)) => {
                    let hash = digest::digest(&digest::SHA256, value.as_bytes());
                    let hash = hash.as_ref().iter();
                    hash.map(|byte| format!("{byte:02x}")).collect()
                }
                Ok(None) | Err(_) => event.source.as_str().to_owned(),
            },
        }
    }
}

fn fits(value: &str) -> bool {
    (1..=ID_CHARS).contains(&value.len()) && value.bytes().all(|byte| byte.is_ascii_graphic())
}

/// What a FIFO queue knows a repeat by, for five minutes. Of an event it is its id. A dead letter of another route, or
/// of the same one after a redrive, is another message, and must not be taken for a repeat.
pub(super) fn deduplication_id(delivery: &Delivery) -> String {
    let id = delivery.stored.id;
    match &delivery.letter {
        None => id.to_string(),
        Some(letter) => format!("{id}.{}.{}", letter.route.as_str(), letter.redrives),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{dead, live};

    #[test]
    fn a_group_is_the_source_the_event_or_a_value_of_the_body() {
        let event = live(br#"{"id": "c-1", "n": 7, "odd": "a b", "none": null}"#);
        let group = |text: &str| Group::parse(text).unwrap().of(&event);
        assert_eq!(group("source"), "shop");
        assert_eq!(group("event"), event.stored.id.to_string());
        assert_eq!(group("/id"), "c-1");
        assert_eq!(group("/n"), "7");
        assert_eq!(group("/odd").len(), 64);
        assert_eq!(group("/none"), "shop");
        assert_eq!(group("/absent"), "shop");
        let text = live(b"not json");
        assert_eq!(Group::parse("/id").unwrap().of(&text), "shop");
        assert!(Group::parse("id").is_err() && Group::parse("").is_err());
    }

    #[test]
    fn a_letter_that_died_again_is_no_repeat() {
        let event = live(b"{}");
        let id = event.stored.id.to_string();
        assert_eq!(deduplication_id(&event), id);
        assert_eq!(deduplication_id(&dead(b"{}", 0)), format!("{id}.orders.0"));
        assert_eq!(deduplication_id(&dead(b"{}", 2)), format!("{id}.orders.2"));
        let longest = format!("{id}.{}.{}", "r".repeat(64), u32::MAX);
        assert!(longest.len() <= ID_CHARS);
    }
}
