//! Corners: what is set aside, taken back, brought back or held, when two of those meet.

use std::sync::Arc;
use std::time::Duration;

use dispatch::{Options, RoutePolicies};
use domain::policy::{Backoff, BreakerPolicy, Order, RetryPolicy};
use domain::ports::{BreakerState, DeadFilter, DeadLetters, DestinationLimits, Selection};
use domain::{Cause, EventId, HumanDuration, Outcome, Pointer};

use crate::destination::{Act, Fake, LIMITS};
use crate::memory::Memory;
use crate::rig::{Wanted, start};
use crate::world::at;

pub(crate) const SINGLE: DestinationLimits = DestinationLimits {
    batch_events: 1,
    ..LIMITS
};

pub(crate) fn fixed(order: Order) -> RoutePolicies {
    RoutePolicies {
        order,
        retry: RetryPolicy {
            max_retries: 8,
            retry_interval: HumanDuration::from_secs(10),
            backoff: Backoff::Fixed,
            max_interval: HumanDuration::from_secs(60),
            jitter: 0.0,
        },
        ..RoutePolicies::default()
    }
}

pub(crate) fn key() -> Order {
    Order::Key(Pointer::parse("/k").unwrap())
}

pub(crate) fn retry() -> Act {
    Act::Say(Outcome::Retry {
        cause: Cause::new("sqlstate 40001", "again"),
        after: None,
    })
}
pub(crate) fn reject() -> Act {
    Act::Say(Outcome::Reject {
        cause: Cause::new("sqlstate 23514", "never"),
    })
}
fn answers_500() -> Act {
    Act::Say(Outcome::Retry {
        cause: Cause::new("http 500", "broken").blanket(),
        after: None,
    })
}
pub(crate) fn answers_404() -> Act {
    Act::Say(Outcome::Reject {
        cause: Cause::new("http 404", "not found").blanket(),
    })
}
pub(crate) fn delivered() -> Act {
    Act::Say(Outcome::Delivered)
}

#[tokio::test(start_paused = true)]
async fn poison_at_the_head_of_a_strict_route_does_not_stop_it_after_an_outage() {
    let memory = Memory::new(&["r"]);
    let fake = Fake::new(SINGLE);
    fake.set_up(false);
    let rig = start(&memory, &fake, fixed(Order::Strict)).await;
    memory.journal.add("a", 10);
    rig.until("r", |status| status.breaker != BreakerState::Passing)
        .await;
    fake.script(|seq, _| if seq == 1 { answers_404() } else { delivered() });
    fake.set_up(true);
    tokio::time::sleep(Duration::from_secs(24 * 3600)).await;
    let status = rig.status("r").await;
    assert_eq!(
        (status.ledger.delivered, status.ledger.dead),
        (9, 1),
        "{status:?} attempts of 1: {}",
        fake.attempts_of(1).len()
    );
}

#[tokio::test(start_paused = true)]
async fn poison_at_the_head_of_the_only_key_does_not_stop_it_after_an_outage() {
    let memory = Memory::new(&["r"]);
    let fake = Fake::new(SINGLE);
    fake.set_up(false);
    let rig = start(&memory, &fake, fixed(key())).await;
    memory.journal.add_keyed_by("a", 10, |_| 7);
    rig.until("r", |status| status.breaker != BreakerState::Passing)
        .await;
    fake.script(|seq, _| if seq == 1 { answers_404() } else { delivered() });
    fake.set_up(true);
    tokio::time::sleep(Duration::from_secs(24 * 3600)).await;
    let status = rig.status("r").await;
    assert_eq!(
        (status.ledger.delivered, status.ledger.dead),
        (9, 1),
        "{status:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn what_was_set_aside_keeps_its_place_behind_what_is_taken_back() {
    let memory = Memory::new(&["r"]);
    let fake = Fake::new(DestinationLimits {
        concurrency: 1,
        ..SINGLE
    });
    let state = Arc::clone(&memory.state);
    fake.script(move |seq, _| match seq {
        1 => answers_500(),
        2 => delivered(),
        3 => answers_404(),
        _ => {
            state.set_full(Some("full"));
            answers_500()
        }
    });
    let policies = RoutePolicies {
        breaker: BreakerPolicy { run: 2 },
        ..fixed(key())
    };
    let rig = start(&memory, &fake, policies).await;
    // 1 and 2 have keys of their own; 3 and 4 one.
    memory.journal.add_keyed_by("a", 4, |n| n.min(2));
    rig.until("r", |status| status.breaker != BreakerState::Passing)
        .await;
    memory.state.set_full(None);
    fake.script(|_, _| delivered());
    rig.until("r", |status| status.ledger.delivered == 4).await;
    let order: Vec<u64> = fake
        .delivered_in_order()
        .into_iter()
        .filter(|seq| *seq > 2)
        .collect();
    assert_eq!(order, [3, 4]);
}

#[tokio::test(start_paused = true)]
async fn a_redrive_does_not_wait_for_a_route_it_has_nothing_to_do_with() {
    let memory = Memory::new(&["p", "r"]);
    let (fake, other) = (Fake::new(LIMITS), Fake::new(LIMITS));
    fake.script(|_, _| reject());
    other.script(|_, _| retry());
    let rig = memory
        .start(&[
            Wanted {
                policies: fixed(Order::None),
                ..Wanted::new("r", &["a"], &fake)
            },
            Wanted {
                policies: fixed(Order::None),
                ..Wanted::new("p", &["b"], &other)
            },
        ])
        .await;
    memory.journal.add("a", 1);
    memory.journal.add("b", 5100);
    rig.until("p", |status| status.ledger.parked >= 5000).await;
    rig.dispatch.routes().set_paused("p", true).await.unwrap();
    fake.script(|_, _| delivered());
    let id = EventId::from_bytes(1_u128.to_be_bytes());
    memory
        .state
        .begin_redrive(&Selection::Ids(vec![id]), None, at())
        .await
        .unwrap();
    memory.redrive_begun.notify_one();
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(rig.status("r").await.ledger.delivered, 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_redriven_by_a_clock_ahead_is_not_stuck_when_it_is_set_right() {
    let memory = Memory::new(&["r"]);
    let fake = Fake::new(LIMITS);
    fake.script(|_, _| reject());
    let rig = start(&memory, &fake, fixed(Order::None)).await;
    memory.journal.add("a", 5);
    rig.until("r", |status| status.ledger.dead == 5).await;
    rig.dispatch.routes().set_paused("r", true).await.unwrap();
    fake.script(|_, _| delivered());
    memory.clock.set_ahead(365 * 86_400);
    memory
        .state
        .begin_redrive(&Selection::Filter(DeadFilter::default()), None, at())
        .await
        .unwrap();
    memory.redrive_begun.notify_one();
    rig.until("r", |status| status.ledger.parked == 5).await;
    memory.clock.set_ahead(0);
    rig.dispatch.routes().set_paused("r", false).await.unwrap();
    tokio::time::sleep(Duration::from_secs(7 * 86_400)).await;
    assert_eq!(rig.status("r").await.ledger.delivered, 5);
}

#[tokio::test(start_paused = true)]
async fn a_run_is_an_outage_when_state_is_full_too() {
    let memory = Memory::new(&["r"]);
    let fake = Fake::new(SINGLE);
    fake.script(|_, _| answers_500());
    memory.state.set_full(Some("full"));
    let rig = start(&memory, &fake, fixed(Order::None)).await;
    memory.journal.add("a", 1000);
    tokio::time::sleep(Duration::from_secs(600)).await;
    let status = rig.status("r").await;
    assert_ne!(
        status.breaker,
        BreakerState::Passing,
        "{} attempts in ten minutes",
        fake.seen().len()
    );
}

#[tokio::test(start_paused = true)]
async fn a_redriven_letter_that_is_parked_does_not_stop_other_keys() {
    let memory = Memory::new(&["r"]);
    let fake = Fake::new(LIMITS);
    fake.script(|_, _| reject());
    let options = Options {
        window_events: 20,
        ..Options::default()
    };
    let wanted = Wanted {
        policies: fixed(key()),
        ..Wanted::new("r", &["a"], &fake)
    };
    let rig = memory.start_with(options, &[wanted]).await;
    memory.journal.add_keyed_by("a", 1, |_| 7);
    rig.until("r", |status| status.ledger.dead == 1).await;
    fake.script(|seq, _| if seq == 1 { retry() } else { delivered() });
    fake.set_slow(Duration::from_millis(20));
    memory
        .journal
        .add_keyed_by("a", 200, |n| if n < 100 { 7 } else { n });
    memory
        .state
        .begin_redrive(&Selection::Filter(DeadFilter::default()), None, at())
        .await
        .unwrap();
    memory.redrive_begun.notify_one();
    tokio::time::sleep(Duration::from_secs(60)).await;
    let others = fake.delivered().keys().filter(|seq| **seq > 101).count();
    eprintln!(
        "T8 attempts of 1: {:?} dl {}",
        fake.attempts_of(1),
        fake.delivered().len()
    );
    let status = rig.status("r").await;
    assert_eq!(
        others, 100,
        "held {} parked {} pending {}",
        status.held, status.ledger.parked, status.ledger.pending
    );
}

#[tokio::test(start_paused = true)]
async fn held_events_come_back_no_more_than_the_window_takes() {
    let memory = Memory::new(&["r"]);
    let fake = Fake::new(LIMITS);
    fake.script(|seq, attempt| {
        if seq <= 200 && attempt == 1 {
            retry()
        } else {
            delivered()
        }
    });
    let options = Options {
        window_events: 20,
        ..Options::default()
    };
    let wanted = Wanted {
        policies: fixed(key()),
        ..Wanted::new("r", &["a"], &fake)
    };
    let rig = memory.start_with(options, &[wanted]).await;
    memory.journal.add_keyed("a", 200, 200);
    rig.until("r", |status| status.ledger.parked == 200).await;
    memory.journal.add_keyed("a", 200 * 60, 200);
    rig.until("r", |status| status.held == 200 * 60).await;
    fake.set_slow(Duration::from_secs(1));
    let mut most = 0;
    for _ in 0..60 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let status = rig.status("r").await;
        // Neither held nor settled: they are in memory.
        most = most.max(status.ledger.pending.saturating_sub(status.held));
    }
    assert!(
        most <= 20 + 64,
        "{most} events in memory with a window of 20"
    );
}

#[tokio::test(start_paused = true)]
async fn what_was_parked_before_the_route_had_an_order_is_not_overtaken() {
    for order in [key(), Order::Strict] {
        let memory = Memory::new(&["r"]);
        let fake = Fake::new(LIMITS);
        fake.script(|seq, attempt| {
            if seq == 1 && attempt == 1 {
                retry()
            } else {
                delivered()
            }
        });
        let rig = start(&memory, &fake, fixed(Order::None)).await;
        memory.journal.add_keyed_by("a", 1, |_| 7);
        rig.until("r", |status| status.ledger.parked == 1).await;
        rig.stop().await;
        let rig = start(&memory, &fake, fixed(order)).await;
        memory.journal.add_keyed_by("a", 3, |_| 7);
        rig.until("r", |status| status.ledger.delivered == 4).await;
        assert_eq!(fake.delivered_in_order(), [1, 2, 3, 4]);
        rig.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_member_refused_while_its_run_is_taken_back_keeps_its_lane() {
    let memory = Memory::new(&["r"]);
    let fake = Fake::new(DestinationLimits {
        concurrency: 4,
        ..SINGLE
    });
    let refused = || {
        Act::Say(Outcome::Reject {
            cause: Cause::new("http 422", "never"),
        })
    };
    fake.script(move |seq, attempt| match (seq, attempt) {
        (1, 1) | (4, _) => answers_500(),
        _ => refused(),
    });
    let policies = RoutePolicies {
        breaker: BreakerPolicy { run: 2 },
        ..fixed(key())
    };
    let rig = start(&memory, &fake, policies).await;
    // 1 and 2 have one key.
    memory.journal.add_keyed_by("a", 2, |_| 1);
    tokio::time::sleep(Duration::from_millis(9900)).await;
    fake.set_slow(Duration::from_secs(1));
    tokio::time::sleep(Duration::from_millis(200)).await;
    fake.set_slow(Duration::from_millis(1));
    memory.state.set_slow(Duration::from_secs(2));
    memory.journal.add_keyed_by("a", 1, |_| 3);
    tokio::time::sleep(Duration::from_millis(200)).await;
    memory.journal.add_keyed_by("a", 1, |_| 4);
    tokio::time::sleep(Duration::from_millis(1200)).await;
    memory.state.set_slow(Duration::ZERO);
    fake.script(|_, _| delivered());
    tokio::time::sleep(Duration::from_secs(60)).await;
    let order: Vec<u64> = fake
        .delivered_in_order()
        .into_iter()
        .filter(|seq| *seq < 3)
        .collect();
    eprintln!(
        "{:?} dead {:?}",
        fake.attempts_of(1),
        memory.state.dead("r").len()
    );
    assert!(
        order == [1, 2]
            || order == [2] && memory.state.dead("r").iter().any(|l| l.stored.seq.0 == 1),
        "{order:?}"
    );
    let status = rig.status("r").await;
    assert_eq!(status.ledger.parked, 0);
}
