//! Outages that look like poison, poison that looks like an outage, and outages that spend attempts.

use std::time::Duration;

use dispatch::RoutePolicies;
use domain::policy::{Backoff, BreakerPolicy, OnOutage, RetryPolicy};
use domain::ports::{BreakerState, DestinationLimits};
use domain::{Cause, HumanDuration, Outcome, Reason};

use crate::destination::{Act, Fake, LIMITS};
use crate::memory::Memory;
use crate::rig::start;

/// One event a batch, as an HTTP destination has it.
const SINGLE: DestinationLimits = DestinationLimits {
    batch_events: 1,
    ..LIMITS
};

fn blanket(code: &str) -> Cause {
    Cause::new(code, "what a broken one says").blanket()
}

fn answers_500() -> Act {
    Act::Say(Outcome::Retry {
        cause: blanket("http 500"),
        after: None,
    })
}

fn answers_404() -> Act {
    Act::Say(Outcome::Reject {
        cause: blanket("http 404"),
    })
}

fn answers_422() -> Act {
    Act::Say(Outcome::Reject {
        cause: Cause::new("http 422", "never this event"),
    })
}

fn delivered() -> Act {
    Act::Say(Outcome::Delivered)
}

fn fixed(max_retries: u32) -> RoutePolicies {
    RoutePolicies {
        retry: RetryPolicy {
            max_retries,
            retry_interval: HumanDuration::from_secs(1),
            backoff: Backoff::Fixed,
            max_interval: HumanDuration::from_secs(60),
            jitter: 0.0,
        },
        ..RoutePolicies::default()
    }
}

#[tokio::test(start_paused = true)]
async fn with_retry_an_outage_spends_exactly_four_attempts_a_second_apart() {
    let memory = Memory::new(&["r"]);
    let fake = Fake::new(LIMITS);
    fake.set_up(false);
    let policies = RoutePolicies {
        on_outage: OnOutage::Retry,
        ..fixed(3)
    };
    let rig = start(&memory, &fake, policies).await;
    memory.journal.add("a", 7);
    tokio::time::sleep(Duration::from_secs(60)).await;
    for seq in 1..=7 {
        let attempts = fake.attempts_of(seq);
        let at: Vec<u128> = attempts.iter().map(|seen| seen.at.as_millis()).collect();
        assert_eq!(at, [0, 1000, 2000, 3000], "event {seq}");
    }
    let dead = memory.state.dead("r");
    assert_eq!(dead.len(), 7);
    for letter in dead {
        assert_eq!(
            (letter.reason, letter.attempts),
            (Reason::RetriesExhausted, 4)
        );
        assert_eq!(letter.cause.code, "refused");
    }
    let status = rig.status("r").await;
    assert_eq!(status.breaker, BreakerState::Passing);
    assert!(fake.probes().is_empty(), "nothing is probed");
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_run_of_answers_of_a_broken_destination_is_an_outage_and_taken_back() {
    for act in [answers_500 as fn() -> Act, answers_404] {
        let memory = Memory::new(&["r"]);
        let fake = Fake::new(SINGLE);
        fake.script(move |_, _| act());
        let rig = start(&memory, &fake, fixed(3)).await;
        memory.journal.add("a", 100);
        rig.until("r", |status| status.breaker != BreakerState::Passing)
            .await;
        // Half an hour of it, and nothing is spent.
        tokio::time::sleep(Duration::from_secs(1800)).await;
        assert_eq!(memory.state.dead("r").len(), 0);
        let parked = memory.state.parked("r");
        assert!(parked.len() <= 25, "{}", parked.len());
        assert!(parked.iter().all(|park| park.attempts == 0), "{parked:?}");
        fake.script(|_, _| delivered());
        let status = rig
            .until("r", |status| status.ledger.delivered == 100)
            .await;
        assert_eq!((status.ledger.parked, status.ledger.dead), (0, 0));
        assert!(fake.delivered().values().all(|count| *count == 1));
        // Each was tried for the first time again: no attempt was spent.
        assert!(fake.seen().iter().all(|seen| seen.attempt == 1));
        rig.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_delivery_between_ends_a_run() {
    let memory = Memory::new(&["r"]);
    let limits = DestinationLimits {
        concurrency: 1,
        ..SINGLE
    };
    let fake = Fake::new(limits);
    fake.script(|seq, _| {
        if seq % 15 == 0 {
            delivered()
        } else {
            answers_404()
        }
    });
    let rig = start(&memory, &fake, fixed(3)).await;
    memory.journal.add("a", 60);
    let status = rig.until("r", |status| status.ledger.delivered == 4).await;
    assert_eq!(status.ledger.dead, 56);
    assert_eq!(status.breaker, BreakerState::Passing);
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn refusals_of_single_events_are_no_run() {
    let memory = Memory::new(&["r"]);
    let fake = Fake::new(LIMITS);
    fake.script(|_, _| answers_422());
    let rig = start(&memory, &fake, fixed(3)).await;
    memory.journal.add("a", 200);
    let status = rig.until("r", |status| status.ledger.dead == 200).await;
    assert_eq!(status.breaker, BreakerState::Passing);
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_run_can_be_switched_off_and_its_length_set() {
    for (run, dead) in [(0, 30), (5, 0)] {
        let memory = Memory::new(&["r"]);
        let fake = Fake::new(SINGLE);
        fake.script(|_, _| answers_404());
        let policies = RoutePolicies {
            breaker: BreakerPolicy { run },
            ..fixed(3)
        };
        let rig = start(&memory, &fake, policies).await;
        memory.journal.add("a", 30);
        tokio::time::sleep(Duration::from_secs(600)).await;
        assert_eq!(memory.state.dead("r").len(), dead, "run = {run}");
        rig.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_that_goes_through_all_its_faces_spends_nothing() {
    let memory = Memory::new(&["r"]);
    let fake = Fake::new(SINGLE);
    let rig = start(&memory, &fake, fixed(3)).await;
    memory.journal.add("a", 50);
    rig.until("r", |status| status.ledger.delivered == 50).await;
    fake.script(|_, _| answers_500());
    memory.journal.add("a", 100);
    tokio::time::sleep(Duration::from_secs(300)).await;
    fake.script(|_, _| Act::GoAway);
    tokio::time::sleep(Duration::from_secs(300)).await;
    fake.script(|_, _| answers_404());
    memory.journal.add("a", 100);
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert_eq!(memory.state.dead("r").len(), 0);
    // And one event hangs the application whenever it comes to it.
    fake.script(|seq, _| if seq == 77 { Act::Hang } else { delivered() });
    let status = rig
        .until("r", |status| status.ledger.delivered == 249)
        .await;
    assert_eq!(status.ledger.dead, 0);
    fake.script(|_, _| delivered());
    let status = rig
        .until("r", |status| status.ledger.delivered == 250)
        .await;
    assert_eq!((status.ledger.parked, status.ledger.dead), (0, 0));
    assert!(fake.delivered().values().all(|count| *count == 1));
    rig.stop().await;
}
