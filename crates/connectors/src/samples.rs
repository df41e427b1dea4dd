//! Events for unit tests, one live and one dead.

use std::sync::Arc;

use domain::ports::Delivery;
use domain::{
    DestinationName, Envelope, Event, EventId, Headers, Reason, RouteName, Seq, SourceName,
    StoredEvent, Timestamp,
};

pub(crate) fn live(body: &'static [u8]) -> Delivery {
    let event = Event {
        source: SourceName::new("shop").unwrap(),
        received_at: Timestamp::UNIX_EPOCH,
        method: "POST".into(),
        path: "/".into(),
        headers: [("content-type", &b"text/plain"[..])]
            .into_iter()
            .collect::<Headers>(),
        body: bytes::Bytes::from_static(body),
        event_type: None,
        remote: None,
        dedup: None,
        only: None,
    };
    Delivery {
        stored: StoredEvent {
            seq: Seq(1),
            id: EventId::from_bytes([1; 16]),
            event: Arc::new(event),
        },
        attempt: 2,
        letter: None,
    }
}

pub(crate) fn dead(body: &'static [u8], redrives: u32) -> Delivery {
    let mut delivery = live(body);
    delivery.letter = Some(Arc::new(Envelope {
        body_at: None,
        id: delivery.stored.id,
        source: SourceName::new("shop").unwrap(),
        route: RouteName::new("orders").unwrap(),
        destination: Some(DestinationName::new("db").unwrap()),
        received_at: Timestamp::UNIX_EPOCH,
        attempts: 3,
        first_failure_at: Timestamp::UNIX_EPOCH,
        last_failure_at: Timestamp::UNIX_EPOCH,
        reason: Reason::Rejected,
        error: "http 422: \u{1}\r\n\u{ffff}ä".into(),
        redrives,
        content_type: Some("text/plain".into()),
        body: bytes::Bytes::from_static(body),
    }));
    delivery
}
