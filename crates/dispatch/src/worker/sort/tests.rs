//! Sorting: each outcome goes its own way.

use std::sync::Arc;
use std::time::Duration;

use domain::policy::{Backoff, RetryPolicy};
use domain::ports::{Delivery, Resolution};
use domain::{
    BatchOutcome, Cause, Event, EventId, HumanDuration, Outcome, Reason, RouteName, Seq, SeqRange,
    SourceName, StoredEvent, Timestamp,
};

use super::{Rules, Sorted, sort};
use crate::attempt::{Attempted, Batch, LiveMark, Marks, ParkedMark};
use crate::metrics::Metrics;

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

fn policy() -> RetryPolicy {
    RetryPolicy {
        max_retries: 2,
        retry_interval: HumanDuration::from_secs(10),
        backoff: Backoff::Exponential,
        jitter: 0.0,
        ..RetryPolicy::default()
    }
}

fn delivery(seq: u64, attempt: u32) -> Delivery {
    let event = Event {
        source: SourceName::new("s").unwrap(),
        received_at: NOW,
        method: "POST".into(),
        path: "/".into(),
        headers: domain::Headers::default(),
        body: "x".into(),
        event_type: None,
        remote: None,
        dedup: None,
        only: None,
    };
    Delivery {
        stored: StoredEvent {
            seq: Seq(seq),
            id: EventId::from_bytes([0; 16]),
            event: Arc::new(event),
        },
        attempt,
        letter: None,
    }
}

fn sorted(deliveries: Vec<Delivery>, marks: Marks, outcomes: Vec<Outcome>) -> Sorted {
    let attempted = Attempted {
        batch: Batch { deliveries, marks },
        outcome: BatchOutcome {
            outcomes,
            unavailable: None,
        },
        withheld: false,
    };
    let metrics = Metrics::default().of(&RouteName::new("r").unwrap());
    let rules = Rules {
        retry: &policy(),
        metrics: &metrics,
        now: NOW,
    };
    sort(attempted, &rules)
}

/// Events 2, 4, 6 …, each with a number of another source before it.
fn live(outcomes: Vec<Outcome>) -> Sorted {
    let count = outcomes.len() as u64;
    let deliveries = (1..=count).map(|n| delivery(n * 2, 1)).collect();
    let mark = |n: u64| LiveMark {
        from: Seq(n * 2 - 1),
        weight: 100,
        key: None,
    };
    sorted(
        deliveries,
        Marks::Live((1..=count).map(mark).collect()),
        outcomes,
    )
}

fn parked(attempt: u32, outcome: Outcome) -> Sorted {
    let mark = ParkedMark {
        first_failure_at: NOW,
        due_at: NOW,
        weight: 100,
        key: None,
        redriven: false,
    };
    sorted(
        vec![delivery(7, attempt)],
        Marks::Parked(vec![mark]),
        vec![outcome],
    )
}

fn retry(after: Option<u64>) -> Outcome {
    Outcome::Retry {
        cause: Cause::new("http 500", "oops"),
        after: after.map(Duration::from_secs),
    }
}

fn reject() -> Outcome {
    Outcome::Reject {
        cause: Cause::new("http 422", "no"),
    }
}

fn range(first: u64, last: u64) -> SeqRange {
    SeqRange {
        first: Seq(first),
        last: Seq(last),
    }
}

#[test]
fn each_outcome_goes_its_own_way_and_delivered_stretches_stay_whole() {
    let sorted = live(vec![
        Outcome::Delivered,
        Outcome::Delivered,
        reject(),
        Outcome::NotDone,
        retry(None),
        Outcome::Throttled {
            after: Some(Duration::from_secs(7)),
        },
        Outcome::Delivered,
    ]);
    let stretches = |done: &crate::completion::Completion| -> Vec<_> {
        done.settled.iter().map(|s| (s.range, s.events)).collect()
    };
    assert_eq!(
        stretches(&sorted.progress),
        [(range(1, 4), 2), (range(13, 14), 1)]
    );
    assert_eq!(
        stretches(&sorted.rows),
        [(range(5, 6), 1), (range(9, 10), 1)]
    );
    assert_eq!(sorted.progress.delivered[0].range, range(1, 4));
    assert_eq!(sorted.progress.counters.delivered, 3);
    assert_eq!(sorted.released, (3, 300));
    let back: Vec<_> = sorted
        .put_back
        .iter()
        .map(|w| (w.from, w.stored.seq))
        .collect();
    assert_eq!(back, [(Seq(7), Seq(8)), (Seq(11), Seq(12))]);
    assert_eq!(sorted.throttled, Some(Some(Duration::from_secs(7))));
    assert_eq!(sorted.rows.buries[0].reason, Reason::Rejected);
    assert_eq!(sorted.rows.parks[0].attempts, 1);
    assert_eq!(sorted.under_way.len(), 2);
}

#[test]
fn the_last_retry_that_fails_is_the_end() {
    for attempt in 1..=2 {
        let sorted = parked(attempt, retry(None));
        assert_eq!(sorted.rows.parks[0].attempts, attempt);
        assert!(sorted.rows.buries.is_empty());
    }
    let sorted = parked(3, retry(None));
    assert!(sorted.rows.parks.is_empty());
    let bury = &sorted.rows.buries[0];
    assert_eq!((bury.attempts, bury.reason), (3, Reason::RetriesExhausted));
}

#[test]
fn a_retry_waits_for_the_policy_or_longer_if_asked_but_an_hour_at_most() {
    let due = |attempt, after| {
        let sorted = parked(attempt, retry(after));
        sorted.rows.parks[0].due_at.as_second()
    };
    assert_eq!(due(1, None), 10);
    assert_eq!(due(2, None), 20);
    assert_eq!(due(1, Some(3)), 10);
    assert_eq!(due(1, Some(90)), 90);
    assert_eq!(due(1, Some(100_000)), 3600);
}

#[test]
fn a_parked_event_that_is_delivered_leaves_and_has_its_own_stretch() {
    let sorted = parked(2, Outcome::Delivered);
    assert_eq!(sorted.rows.resolved, [(Seq(7), Resolution::Delivered)]);
    assert_eq!(sorted.rows.counters.delivered, 1);
    assert_eq!(sorted.progress.counters.delivered, 0);
    assert_eq!(sorted.rows.delivered[0].range, range(7, 7));
    assert!(
        sorted.rows.settled.is_empty(),
        "its number was settled when it was parked"
    );
    let unspent = parked(2, Outcome::NotDone);
    assert_eq!(unspent.still_parked[0].0, Seq(7));
    assert_eq!(unspent.rows.rows(), 0);
}
