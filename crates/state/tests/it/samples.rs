//! Events, parked ones and dead letters to settle.

use std::sync::Arc;

use domain::ports::{BatchLimit, Bury, Park};
use domain::{
    Cause, Event, EventId, Reason, RouteName, Seq, SeqRange, SourceName, StoredEvent, Timestamp,
};

/// Ten small events.
pub(crate) const TEN: BatchLimit = BatchLimit {
    events: 10,
    bytes: 1 << 20,
};

pub(crate) fn route(name: &str) -> RouteName {
    RouteName::new(name).unwrap()
}

pub(crate) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_790_000_000 + second).unwrap()
}

pub(crate) fn range(first: u64, last: u64) -> SeqRange {
    SeqRange::new(Seq(first), Seq(last)).unwrap()
}

pub(crate) fn stored(seq: u64) -> StoredEvent {
    let event = Event {
        source: SourceName::new("genesys").unwrap(),
        received_at: at(0),
        method: "POST".into(),
        path: "/in/genesys".into(),
        headers: domain::Headers::default(),
        body: bytes::Bytes::from(format!("body {seq}")),
        event_type: None,
        remote: None,
        dedup: None,
        only: None,
    };
    StoredEvent {
        seq: Seq(seq),
        id: EventId::from_bytes(u128::from(seq).to_be_bytes()),
        event: Arc::new(event),
    }
}

pub(crate) fn park(seq: u64, attempts: u32, due: i64) -> Park {
    Park {
        stored: stored(seq),
        attempts,
        due_at: at(due),
        first_failure_at: at(0),
        last_failure_at: at(1),
        cause: Cause::new("http 500", "oops"),
        key: None,
    }
}

pub(crate) fn bury(seq: u64) -> Bury {
    Bury {
        stored: stored(seq),
        attempts: 3,
        reason: Reason::Rejected,
        cause: Cause::new("sqlstate 23514", "check violated"),
        first_failure_at: at(0),
        last_failure_at: at(2),
        key: None,
    }
}
