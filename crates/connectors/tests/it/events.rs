//! Events for the tests to deliver, and what they look like in a table.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use connectors::{Context, DestinationOptions, build};
use domain::clock::ManualClock;
use domain::ports::{Delivery, Destination};
use domain::{
    DestinationName, Envelope, Event, EventId, Outcome, Reason, RouteName, Seq, SourceName,
    StoredEvent, Timestamp,
};

/// What a table holds: the body of each id, put together from `body` and `body_raw`.
pub(crate) type Bodies = BTreeMap<String, Vec<u8>>;

/// An event with that number, path and body. Its id follows from the number alone.
pub(crate) fn event(number: u32, path: &str, body: &[u8]) -> Delivery {
    let mut id = *b"\x01\x90\x12\x34\x56\x78\x70\0\x80\0\0\0\0\0\0\0";
    id[12..].copy_from_slice(&number.to_be_bytes());
    Delivery {
        stored: StoredEvent {
            seq: Seq(u64::from(number)),
            id: EventId::from_bytes(id),
            event: Arc::new(Event {
                source: SourceName::new("genesys").unwrap(),
                received_at: "2026-03-01T12:00:00.123456Z".parse().unwrap(),
                method: "POST".into(),
                path: path.into(),
                headers: [
                    ("content-type", &b"application/json"[..]),
                    ("x-odd", b"\xff\x00"),
                    ("x-many", b"one"),
                    ("x-many", b"two \"quoted\""),
                ]
                .into_iter()
                .collect(),
                body: Bytes::copy_from_slice(body),
                event_type: Some("message".into()),
                remote: None,
                dedup: None,
                only: None,
            }),
        },
        attempt: 1,
        letter: None,
    }
}

/// The same event as a dead letter.
pub(crate) fn as_dead(delivery: Delivery) -> Delivery {
    let event = &delivery.stored.event;
    let letter = Envelope {
        body_at: None,
        id: delivery.stored.id,
        source: event.source.clone(),
        route: RouteName::new("genesys-to-db").unwrap(),
        destination: Some(DestinationName::new("events-db").unwrap()),
        received_at: event.received_at,
        attempts: 9,
        first_failure_at: "2026-03-01T12:00:01Z".parse().unwrap(),
        last_failure_at: "2026-03-01T13:00:02.5Z".parse().unwrap(),
        reason: Reason::RetriesExhausted,
        error: "http 500: \"ä\"\r\nX-Injected: 1".into(),
        redrives: 2,
        content_type: event.content_type().map(str::to_owned),
        body: event.body.clone(),
    };
    Delivery {
        letter: Some(Arc::new(letter)),
        ..delivery
    }
}

/// `count` events with bodies that differ.
pub(crate) fn events(count: u32) -> Vec<Delivery> {
    (0..count)
        .map(|number| {
            let body = format!(r#"{{"number": {number}, "conversationId": "c-{number}"}}"#);
            event(number, "/in/genesys", body.as_bytes())
        })
        .collect()
}

/// What the table must hold when these were delivered.
pub(crate) fn bodies<'a>(batch: impl IntoIterator<Item = &'a Delivery>) -> Bodies {
    batch
        .into_iter()
        .map(|one| (one.stored.id.to_string(), one.stored.event.body.to_vec()))
        .collect()
}

/// The destination that a section of the configuration makes.
pub(crate) fn made(section: &serde_json::Value) -> Arc<dyn Destination> {
    let options: DestinationOptions = serde_json::from_value(section.clone()).unwrap();
    build(&options.validate().unwrap(), &context()).unwrap()
}

pub(crate) fn context() -> Context {
    Context {
        clock: Arc::new(ManualClock::new(Timestamp::UNIX_EPOCH)),
        data_dir: "/nonexistent".into(),
        name: DestinationName::new("events-db").unwrap(),
        instance: connectors::Instance::default(),
    }
}

/// Delivers, and insists that everything arrived.
pub(crate) async fn deliver_all(destination: &dyn Destination, batch: &[Delivery]) {
    let outcome = destination.deliver(batch).await;
    assert_eq!(outcome.unavailable, None);
    assert_eq!(outcome.outcomes, vec![Outcome::Delivered; batch.len()]);
}

/// Delivers once the destination is back: an idle connection may not know yet that it was cut.
pub(crate) async fn deliver_soon(to: &dyn Destination, batch: &[Delivery]) {
    testbed::until("it is delivered", testbed::DEADLINE, async || {
        let outcome = to.deliver(batch).await;
        match outcome.unavailable {
            Some(why) => Err(why.to_string()),
            None if outcome
                .outcomes
                .iter()
                .all(|one| *one == Outcome::Delivered) =>
            {
                Ok(())
            }
            None => panic!("{outcome:?}"),
        }
    })
    .await
    .unwrap();
}

/// Delivers, and insists that nothing is known and the destination is away. Gives the cause's code.
pub(crate) async fn deliver_to_nobody(destination: &dyn Destination, batch: &[Delivery]) -> String {
    let outcome = destination.deliver(batch).await;
    assert_eq!(outcome.outcomes, vec![Outcome::NotDone; batch.len()]);
    outcome
        .unavailable
        .expect("a destination that is away")
        .cause
        .code
}
