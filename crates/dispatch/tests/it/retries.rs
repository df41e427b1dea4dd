//! Events that fail: retried on their schedule, dead when it ends, and the rest flow past.

use std::time::Duration;

use dispatch::RoutePolicies;
use domain::policy::{Backoff, RetryPolicy};
use domain::ports::{BreakerState, DestinationLimits, StateError};
use domain::{Cause, HumanDuration, Outcome, Reason, Seq};

use crate::destination::{Act, Fake, LIMITS};
use crate::memory::Memory;
use crate::rig::Wanted;

fn policies(max_retries: u32, backoff: Backoff) -> RoutePolicies {
    RoutePolicies {
        retry: RetryPolicy {
            max_retries,
            retry_interval: HumanDuration::from_secs(10),
            backoff,
            max_interval: HumanDuration::from_secs(60),
            jitter: 0.0,
        },
        ..RoutePolicies::default()
    }
}

fn wanted(fake: &std::sync::Arc<Fake>, policies: RoutePolicies) -> Wanted<'_> {
    Wanted {
        policies,
        ..Wanted::new("r", &["a"], fake)
    }
}

fn retry() -> Act {
    Act::Say(Outcome::Retry {
        cause: Cause::new("http 500", "oops"),
        after: None,
    })
}

fn delivered() -> Act {
    Act::Say(Outcome::Delivered)
}

#[tokio::test(start_paused = true)]
async fn the_schedule_is_kept_to_the_second_and_ends_after_the_last_retry() {
    let cases = [
        (Backoff::Fixed, [0, 10, 20, 30, 40]),
        (Backoff::Linear, [0, 10, 30, 60, 100]),
        (Backoff::Exponential, [0, 10, 30, 70, 130]),
    ];
    for (backoff, expected) in cases {
        let memory = Memory::new(&["r"]);
        let fake = Fake::new(LIMITS);
        fake.script(|seq, _| if seq == 3 { retry() } else { delivered() });
        let rig = memory.start(&[wanted(&fake, policies(4, backoff))]).await;
        memory.journal.add("a", 10);
        tokio::time::sleep(Duration::from_secs(3600)).await;
        let attempts = fake.attempts_of(3);
        let at: Vec<u64> = attempts.iter().map(|seen| seen.at.as_secs()).collect();
        assert_eq!(at, expected, "{backoff:?}");
        let numbers: Vec<u32> = attempts.iter().map(|seen| seen.attempt).collect();
        assert_eq!(numbers, [1, 2, 3, 4, 5]);
        let dead = memory.state.dead("r");
        assert_eq!(
            (dead.len(), dead[0].reason, dead[0].attempts),
            (1, Reason::RetriesExhausted, 5)
        );
        assert!(dead[0].last_failure_at > dead[0].first_failure_at);
        let status = rig.status("r").await;
        assert_eq!(
            (
                status.ledger.delivered,
                status.ledger.dead,
                status.ledger.parked
            ),
            (9, 1, 0)
        );
        rig.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_parked_event_waits_while_the_rest_flow_and_is_delivered_when_due() {
    let memory = Memory::new(&["r"]);
    let fake = Fake::new(LIMITS);
    fake.script(|seq, attempt| {
        if seq % 10 == 0 && attempt < 3 {
            retry()
        } else {
            delivered()
        }
    });
    let rig = memory
        .start(&[wanted(&fake, policies(8, Backoff::Fixed))])
        .await;
    memory.journal.add("a", 1000);
    let status = rig
        .until("r", |status| status.ledger.delivered == 900)
        .await;
    assert_eq!((status.ledger.parked, status.cursor), (100, Seq(1000)));
    let status = rig
        .until("r", |status| status.ledger.delivered == 1000)
        .await;
    assert_eq!((status.ledger.parked, status.ledger.dead), (0, 0));
    assert!(fake.delivered().values().all(|count| *count == 1));
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_event_that_is_due_again_before_its_parking_is_heard_of_is_attempted_once_at_a_time() {
    let memory = Memory::new(&["r"]);
    let fake = Fake::new(LIMITS);
    fake.script(|seq, attempt| match (seq, attempt) {
        (1, 1) => Act::Say(Outcome::Retry {
            cause: Cause::new("http 500", "oops"),
            after: Some(Duration::from_secs(10)),
        }),
        (2, 1) => retry(),
        _ => delivered(),
    });
    let mut policies = policies(8, Backoff::Fixed);
    policies.retry.retry_interval = HumanDuration::from_millis(1);
    let rig = memory.start(&[wanted(&fake, policies)]).await;
    memory.journal.add("a", 1);
    tokio::time::sleep(Duration::from_millis(9_990)).await;
    // The second is parked, and due, just before the first makes the route look for what is due; the
    // settler hears of it while both are under way.
    memory.state.set_slow(Duration::from_millis(100));
    fake.set_slow(Duration::from_millis(1));
    memory.journal.add("a", 1);
    tokio::time::sleep(Duration::from_millis(5)).await;
    fake.set_slow(Duration::from_secs(1));
    let status = rig.until("r", |status| status.ledger.delivered == 2).await;
    assert_eq!(status.ledger.parked, 0);
    tokio::time::sleep(Duration::from_secs(60)).await;
    for seq in [1, 2] {
        assert_eq!(fake.attempts_of(seq).len(), 2, "{:?}", fake.seen());
    }
    assert!(rig.dispatch.failure().borrow().is_none());
    assert_eq!(rig.status("r").await.ledger.delivered, 2);
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_event_that_a_clock_ahead_of_time_parked_is_tried_again_once_the_clock_is_right() {
    for restarted in [false, true] {
        let memory = Memory::new(&["r"]);
        let fake = Fake::new(LIMITS);
        fake.script(|_, attempt| if attempt < 3 { retry() } else { delivered() });
        let routes = || [wanted(&fake, policies(8, Backoff::Fixed))];
        let mut rig = memory.start(&routes()).await;
        memory.clock.set_ahead(24 * 3600);
        memory.journal.add("a", 1);
        rig.until("r", |status| status.ledger.parked == 1).await;
        memory.clock.set_ahead(0);
        if restarted {
            rig.stop().await;
            rig = memory.start(&routes()).await;
        }
        let status = rig.until("r", |status| status.ledger.delivered == 1).await;
        assert_eq!((status.ledger.parked, status.ledger.dead), (0, 0));
        let at: Vec<u64> = fake.seen().iter().map(|seen| seen.at.as_secs()).collect();
        assert!(at[1] <= 6 && at[2] == at[1] + 10, "{at:?}");
        rig.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_rejected_event_alone_becomes_a_dead_letter() {
    let memory = Memory::new(&["r"]);
    let fake = Fake::new(LIMITS);
    let reject = || {
        Act::Say(Outcome::Reject {
            cause: Cause::new("sqlstate 23514", "check violated"),
        })
    };
    fake.script(move |seq, _| if seq == 42 { reject() } else { delivered() });
    let rig = memory
        .start(&[wanted(&fake, policies(8, Backoff::Fixed))])
        .await;
    memory.journal.add("a", 100);
    let status = rig.until("r", |status| status.ledger.pending == 0).await;
    assert_eq!((status.ledger.delivered, status.ledger.dead), (99, 1));
    let dead = memory.state.dead("r");
    assert_eq!(
        (dead[0].stored.seq, dead[0].reason),
        (Seq(42), Reason::Rejected)
    );
    assert_eq!(status.breaker, BreakerState::Passing);
    assert_eq!(fake.attempts_of(42).len(), 1);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &rig.registry).unwrap();
    for line in [
        r#"forebay_events_dead_total{route="r",reason="rejected"} 1"#,
        r#"forebay_events_delivered_total{route="r"} 99"#,
        r#"forebay_attempts_total{route="r",outcome="reject"} 1"#,
        r#"forebay_route_dead_events{route="r"} 1"#,
        r#"forebay_ledger_imbalance{route="r"} 0"#,
    ] {
        assert!(text.contains(line), "{line} is missing in\n{text}");
    }
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_event_that_makes_the_destination_panic_fails_alone() {
    let memory = Memory::new(&["r"]);
    let fake = Fake::new(LIMITS);
    fake.script(|seq, _| if seq == 5 { Act::Panic } else { delivered() });
    let rig = memory
        .start(&[wanted(&fake, policies(1, Backoff::Fixed))])
        .await;
    memory.journal.add("a", 30);
    let status = rig.until("r", |status| status.ledger.dead == 1).await;
    assert_eq!((status.ledger.delivered, status.ledger.parked), (29, 0));
    let dead = memory.state.dead("r");
    assert_eq!(
        (dead[0].stored.seq, dead[0].cause.code.as_str()),
        (Seq(5), "panic")
    );
    assert!(rig.dispatch.failure().borrow().is_none());
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_throttled_route_pauses_as_long_as_asked_and_spends_nothing() {
    let memory = Memory::new(&["r"]);
    let fake = Fake::new(LIMITS);
    fake.script(|_, _| {
        Act::Say(Outcome::Throttled {
            after: Some(Duration::from_secs(90)),
        })
    });
    let rig = memory
        .start(&[wanted(&fake, policies(0, Backoff::Fixed))])
        .await;
    memory.journal.add("a", 5);
    tokio::time::sleep(Duration::from_secs(80)).await;
    let seen = fake.seen().len();
    assert!((1..=5).contains(&seen), "{seen}");
    fake.script(|_, _| delivered());
    let status = rig.until("r", |status| status.ledger.delivered == 5).await;
    assert_eq!(
        (status.ledger.dead, status.breaker),
        (0, BreakerState::Passing)
    );
    assert!(fake.seen().iter().all(|seen| seen.attempt == 1));
    assert!(fake.seen()[seen].at >= Duration::from_secs(90));
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_route_that_is_throttled_longer_than_its_breaker_waits_sleeps_through_both() {
    let memory = Memory::new(&["r"]);
    let fake = Fake::new(DestinationLimits {
        batch_events: 1,
        ..LIMITS
    });
    fake.script(|seq, _| match seq {
        1 => Act::Say(Outcome::Throttled {
            after: Some(Duration::from_secs(90)),
        }),
        _ => Act::GoAway,
    });
    let rig = memory
        .start(&[wanted(&fake, policies(8, Backoff::Fixed))])
        .await;
    memory.journal.add("a", 2);
    // A worker that wakes without end lets no time pass.
    tokio::time::sleep(Duration::from_secs(80)).await;
    assert_eq!(fake.seen().len(), 2, "{:?}", fake.seen());
    fake.script(|_, _| delivered());
    let status = rig.until("r", |status| status.ledger.delivered == 2).await;
    assert_eq!(status.breaker, BreakerState::Passing);
    assert!(fake.seen()[2].at >= Duration::from_secs(90));
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn burying_waits_for_room_while_deliveries_are_committed() {
    let memory = Memory::new(&["r"]);
    let fake = Fake::new(LIMITS);
    fake.script(|seq, _| if seq == 1 { retry() } else { delivered() });
    memory
        .state
        .rows_meet(Some(StateError::Full("state.max_bytes".into())));
    let rig = memory
        .start(&[wanted(&fake, policies(0, Backoff::Fixed))])
        .await;
    memory.journal.add("a", 50);
    let status = rig.until("r", |status| status.ledger.delivered == 49).await;
    assert_eq!(
        (status.cursor, status.ledger.dead, status.ledger.pending),
        (Seq(0), 0, 1)
    );
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!(rig.dispatch.failure().borrow().is_none());
    memory.state.rows_meet(None);
    let status = rig.until("r", |status| status.ledger.dead == 1).await;
    assert_eq!(status.cursor, Seq(50));
    assert_eq!(fake.attempts_of(1).len(), 1);
    rig.stop().await;
}
