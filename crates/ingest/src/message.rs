//! What a message from outside is to us.

use aws_lc_rs::digest;
use domain::ports::Message;
use domain::{DedupKey, Event, EventId, Headers, RouteId, RouteName, SourceName, Timestamp};

/// A dead letter that we sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ours {
    pub(crate) id: EventId,
    pub(crate) route: RouteName,
}

/// Whose letter the message was, if it says so.
pub(crate) fn ours(message: &Message) -> Option<Ours> {
    let id = message.attribute("forebay-event-id")?.parse().ok()?;
    let route = RouteName::new(message.attribute("forebay-route")?).ok()?;
    Some(Ours { id, route })
}

/// The source that the message names.
pub(crate) fn source(message: &Message) -> Option<SourceName> {
    SourceName::new(message.attribute("forebay-source")?).ok()
}

/// The message as an event of a source. It keeps what it was known by, so that it is taken once however often it comes:
/// a letter of ours the event's id, any other what its queue knows it by, each with its body. `only` is the route whose
/// letter it was: the others had the event when it came first.
pub(crate) fn event(
    message: &Message,
    source: &SourceName,
    way: &Way<'_>,
    only: Option<RouteId>,
    now: Timestamp,
) -> Event {
    let headers: Headers = message
        .attributes
        .iter()
        .map(|(name, value)| (name.to_ascii_lowercase(), value.as_bytes()))
        .collect();
    let received_at = message
        .attribute("forebay-received-at")
        .and_then(|text| text.parse().ok())
        .filter(|at| *at >= Timestamp::UNIX_EPOCH);
    let ours = message.attribute("forebay-event-id");
    let body: &[u8] = if message.exact { b"" } else { &message.body };
    let dedup = match (ours, &message.id) {
        (Some(id), _) => Some(key("import", source.as_str(), id, &message.body)),
        (None, Some(id)) => {
            let by = format!("queue {}", way.place);
            Some(key(&by, source.as_str(), id, body))
        }
        (None, None) => None,
    };
    Event {
        source: source.clone(),
        received_at: received_at.map_or(now, |at: Timestamp| at.min(now)),
        method: way.method.into(),
        path: format!("/{}/{}", way.method.to_ascii_lowercase(), way.place),
        headers,
        body: message.body.clone(),
        event_type: message.event_type.clone(),
        remote: None,
        dedup,
        only,
    }
}

/// How a message came in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Way<'w> {
    /// The word for it, where a request has its method.
    pub(crate) method: &'static str,
    /// The destination that is imported from, or the source.
    pub(crate) place: &'w str,
}

/// Where it came by and the source are part of it, as of every key. So is the body: ids are what other software made
/// them, which may number anew when it starts, or hand on the attributes of one message with several others. Those are
/// not each other's repeats, and each would be lost but the first.
fn key(by: &str, source: &str, id: &str, body: &[u8]) -> DedupKey {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(format!("{by}\0{source}\0{}\0{id}", id.len()).as_bytes());
    context.update(body);
    let hash = context.finish();
    let mut key = [0; 16];
    key.copy_from_slice(&hash.as_ref()[..16]);
    DedupKey(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(attributes: &[(&str, &str)]) -> Message {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Message {
            handle: "h".into(),
            id: None,
            body: bytes::Bytes::from_static(b"{}"),
            attributes: attributes.iter().map(owned).collect(),
            exact: false,
            event_type: None,
        }
    }

    #[test]
    fn a_letter_of_ours_is_known_by_its_id_and_its_route() {
        let id = "01a21284-a1d9-7517-a88d-9a9e67b71269";
        let both = message(&[("forebay-event-id", id), ("forebay-route", "orders")]);
        let found = ours(&both).unwrap();
        assert_eq!(
            (found.id.to_string(), found.route.as_str()),
            (id.into(), "orders")
        );
        for other in [
            message(&[]),
            message(&[("forebay-event-id", id)]),
            message(&[("forebay-event-id", "1"), ("forebay-route", "orders")]),
            message(&[
                ("forebay-event-id", id),
                ("forebay-route", "no such / name"),
            ]),
        ] {
            assert_eq!(ours(&other), None);
        }
    }

    #[test]
    fn an_event_has_the_message_s_bytes_and_attributes_and_never_comes_from_the_future() {
        let source = SourceName::new("shop").unwrap();
        let now = Timestamp::from_second(1_790_000_000).unwrap();
        let taken = message(&[
            ("forebay-event-id", "x"),
            ("forebay-received-at", "2026-01-01T00:00:00Z"),
            ("Content-Type", "text/plain"),
        ]);
        let way = Way {
            method: "IMPORT",
            place: "ops",
        };
        let event = event(&taken, &source, &way, None, now);
        assert_eq!(
            (&event.body[..], event.path.as_str()),
            (&b"{}"[..], "/import/ops")
        );
        assert_eq!(event.content_type(), Some("text/plain"));
        assert_eq!(event.received_at.to_string(), "2026-01-01T00:00:00Z");
        assert!(event.dedup.is_some());
        let ahead = message(&[("forebay-received-at", "2226-01-01T00:00:00Z")]);
        let ahead = super::event(&ahead, &source, &way, None, now);
        assert_eq!((ahead.received_at, ahead.dedup), (now, None));
        // No table has a place for it.
        let before = message(&[("forebay-received-at", "-009999-01-02T12:00:00Z")]);
        assert_eq!(
            super::event(&before, &source, &way, None, now).received_at,
            now
        );
    }

    #[test]
    fn other_bytes_under_an_id_that_was_there_before_are_another_message() {
        let source = SourceName::new("shop").unwrap();
        let key = |body: &'static [u8], attributes: &[(&str, &str)]| {
            let message = Message {
                id: Some("1".into()),
                body: bytes::Bytes::from_static(body),
                ..message(attributes)
            };
            let way = Way {
                method: "QUEUE",
                place: "a",
            };
            event(&message, &source, &way, None, Timestamp::UNIX_EPOCH).dedup
        };
        // Producers number their messages anew when they start, and consumers hand on attributes with another body.
        assert_eq!(key(b"a", &[]), key(b"a", &[]));
        assert_ne!(key(b"a", &[]), key(b"b", &[]));
        let ours = [("forebay-event-id", "x")];
        assert_eq!(key(b"a", &ours), key(b"a", &ours));
        assert_ne!(key(b"a", &ours), key(b"b", &ours));
    }

    #[test]
    fn a_message_is_known_by_the_event_s_id_or_by_its_queue_s_and_one_queue_s_ids_are_not_another_s()
     {
        let source = SourceName::new("shop").unwrap();
        let key = |id: Option<&str>, attributes: &[(&str, &str)], place| {
            let message = Message {
                id: id.map(Into::into),
                ..message(attributes)
            };
            let way = Way {
                method: "QUEUE",
                place,
            };
            event(&message, &source, &way, None, Timestamp::UNIX_EPOCH).dedup
        };
        assert_eq!(key(None, &[], "a"), None);
        assert_eq!(key(Some("1"), &[], "a"), key(Some("1"), &[], "a"));
        assert_ne!(key(Some("1"), &[], "a"), key(Some("2"), &[], "a"));
        assert_ne!(key(Some("1"), &[], "a"), key(Some("1"), &[], "b"));
        let ours = [("forebay-event-id", "x")];
        assert_eq!(key(Some("1"), &ours, "a"), key(Some("2"), &ours, "b"));
        assert_ne!(key(Some("x"), &[], "import"), key(None, &ours, "import"));
    }
}
