//! More corners: redrives beside what fails of itself, orders that changed, counts that lag, state that takes nothing.

use std::time::Duration;

use dispatch::{BacklogPolicy, RoutePolicies};
use domain::policy::{BreakerPolicy, OnFull, Order};
use domain::ports::{
    BreakerState, DeadFilter, DeadLetters, DestinationLimits, Selection, StateError,
};
use domain::{EventId, SourceName};

use crate::corners::{SINGLE, answers_404, delivered, fixed, key, reject, retry};
use crate::destination::{Fake, LIMITS};
use crate::memory::Memory;
use crate::rig::{Rig, Wanted, start};
use crate::world::{World, at};

#[tokio::test(start_paused = true)]
async fn a_parked_event_that_completes_a_run_keeps_its_lane() {
    let memory = Memory::new(&["r"]);
    let fake = Fake::new(DestinationLimits {
        concurrency: 1,
        ..SINGLE
    });
    fake.script(|seq, attempt| match (seq, attempt) {
        (1, 1) => retry(),
        _ => answers_404(),
    });
    let policies = RoutePolicies {
        breaker: BreakerPolicy { run: 2 },
        ..fixed(key())
    };
    let rig = start(&memory, &fake, policies).await;
    memory.journal.add_keyed_by("a", 2, |_| 1);
    rig.until("r", |status| status.ledger.parked == 1 && status.held == 1)
        .await;
    memory.journal.add_keyed_by("a", 1, |_| 3);
    rig.until("r", |status| status.breaker != BreakerState::Passing)
        .await;
    fake.script(|_, _| delivered());
    rig.until("r", |status| status.ledger.delivered == 3).await;
    let order: Vec<u64> = fake
        .delivered_in_order()
        .into_iter()
        .filter(|seq| *seq < 3)
        .collect();
    assert_eq!(order, [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn letters_that_died_under_an_order_come_back_without_one() {
    let memory = Memory::new(&["r"]);
    let fake = Fake::new(LIMITS);
    fake.script(|_, _| reject());
    let rig = start(&memory, &fake, fixed(Order::Strict)).await;
    memory.journal.add("a", 5);
    rig.until("r", |status| status.ledger.dead == 5).await;
    rig.stop().await;
    fake.script(|_, _| delivered());
    let rig = start(&memory, &fake, fixed(Order::None)).await;
    memory
        .state
        .begin_redrive(&Selection::Filter(DeadFilter::default()), None, at())
        .await
        .unwrap();
    memory.redrive_begun.notify_one();
    tokio::time::sleep(Duration::from_secs(7 * 86_400)).await;
    let status = rig.status("r").await;
    assert_eq!((status.ledger.delivered, status.ledger.parked), (5, 0));
}

#[tokio::test(start_paused = true)]
async fn a_redrive_of_ids_does_not_wait_for_another_route_with_a_dead_letter() {
    let memory = Memory::new(&["p", "r"]);
    let (fake, other) = (Fake::new(LIMITS), Fake::new(LIMITS));
    fake.script(|_, _| reject());
    other.script(|seq, _| if seq == 2 { reject() } else { retry() });
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
    memory.journal.add("b", 5101);
    rig.until("p", |status| {
        status.ledger.parked >= 5000 && status.ledger.dead == 1
    })
    .await;
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
async fn a_route_that_keeps_up_buries_nothing() {
    let memory = Memory::new(&["r"]);
    let fake = Fake::new(LIMITS);
    let policies = RoutePolicies {
        backlog: Some(BacklogPolicy {
            max: dispatch::BacklogMax::Events(50),
            on_full: OnFull::DeadLetter,
        }),
        ..fixed(Order::None)
    };
    let rig = start(&memory, &fake, policies).await;
    let backlogs = rig.dispatch.backlogs();
    let source = SourceName::new("a").unwrap();
    // A thousand a second, each delivered at once; status is asked for now and then.
    for n in 0..3000_u64 {
        memory.journal.add("a", 1);
        backlogs.accepted(&source);
        tokio::time::sleep(Duration::from_millis(1)).await;
        if n % 170 == 0 {
            rig.status("r").await;
        }
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    let status = rig.status("r").await;
    assert_eq!((status.ledger.delivered, status.ledger.dead), (3000, 0));
}

#[tokio::test(start_paused = true)]
async fn redriven_poison_dies_again_after_an_outage() {
    let memory = Memory::new(&["r"]);
    let fake = Fake::new(SINGLE);
    fake.script(|_, _| reject());
    let rig = start(&memory, &fake, fixed(Order::None)).await;
    memory.journal.add("a", 50);
    rig.until("r", |status| status.ledger.dead == 50).await;
    fake.set_up(false);
    memory
        .state
        .begin_redrive(&Selection::Filter(DeadFilter::default()), None, at())
        .await
        .unwrap();
    memory.redrive_begun.notify_one();
    rig.until("r", |status| status.breaker != BreakerState::Passing)
        .await;
    fake.script(|_, _| answers_404());
    fake.set_up(true);
    tokio::time::sleep(Duration::from_secs(7 * 86_400)).await;
    let status = rig.status("r").await;
    assert_eq!(
        (status.ledger.dead, status.ledger.parked),
        (50, 0),
        "{} attempts, {status:?}",
        fake.seen().len()
    );
}

#[tokio::test(start_paused = true)]
async fn a_retry_that_is_due_does_not_wait_for_a_redrive() {
    let memory = Memory::new(&["r"]);
    let fake = Fake::new(LIMITS);
    fake.script(|_, _| reject());
    let rig = start(&memory, &fake, fixed(Order::None)).await;
    memory.journal.add("a", 20_000);
    rig.until("r", |status| status.ledger.dead == 20_000).await;
    fake.set_slow(Duration::from_millis(100));
    fake.script(|seq, attempt| {
        if seq == 20_001 && attempt == 1 {
            retry()
        } else {
            delivered()
        }
    });
    memory.journal.add("a", 1);
    memory
        .state
        .begin_redrive(&Selection::Filter(DeadFilter::default()), None, at())
        .await
        .unwrap();
    memory.redrive_begun.notify_one();
    tokio::time::sleep(Duration::from_secs(600)).await;
    let at: Vec<u64> = fake
        .attempts_of(20_001)
        .iter()
        .map(|seen| seen.at.as_secs())
        .collect();
    assert!(at[1] - at[0] < 20, "{at:?}");
}

#[tokio::test(start_paused = true)]
async fn twenty_five_poison_events_die_while_others_are_delivered() {
    let memory = Memory::new(&["r"]);
    let fake = Fake::new(SINGLE);
    fake.script(|seq, _| {
        if seq <= 25 {
            answers_404()
        } else {
            delivered()
        }
    });
    let rig = start(&memory, &fake, fixed(Order::None)).await;
    memory.journal.add("a", 25);
    let mut told = Vec::new();
    for n in 0..(24 * 60_u32) {
        tokio::time::sleep(Duration::from_secs(60)).await;
        memory.journal.add("a", 1);
        if n % 120 == 119 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let ledger = rig.status("r").await.ledger;
            told.push((
                n / 60,
                ledger.delivered,
                ledger.parked,
                ledger.dead,
                fake.seen().len(),
            ));
        }
    }
    let status = rig.status("r").await;
    assert_eq!(status.ledger.dead, 25, "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_delivered_and_not_committed_is_bounded() {
    let memory = Memory::new(&["r"]);
    let fake = Fake::new(LIMITS);
    memory
        .state
        .all_meet(Some(StateError::Busy("database is locked".into())));
    let rig = start(&memory, &fake, fixed(Order::None)).await;
    memory.journal.add("a", 60_000);
    tokio::time::sleep(Duration::from_secs(600)).await;
    let delivered = fake.delivered().len();
    drop(rig);
    assert!(
        delivered <= 4 * 10_000 + 30,
        "{delivered} events are delivered and none is committed"
    );
}

#[tokio::test(start_paused = true)]
async fn a_redrive_never_stops_the_reading() {
    let memory = Memory::new(&["r"]);
    let fake = Fake::new(LIMITS);
    fake.script(|_, _| reject());
    let policies = RoutePolicies {
        parked_max: 100,
        ..fixed(Order::None)
    };
    let rig = start(&memory, &fake, policies).await;
    memory.journal.add("a", 500);
    rig.until("r", |status| status.ledger.dead == 500).await;
    fake.script(|seq, _| if seq <= 500 { retry() } else { delivered() });
    memory
        .state
        .begin_redrive(&Selection::Filter(DeadFilter::default()), None, at())
        .await
        .unwrap();
    memory.redrive_begun.notify_one();
    tokio::time::sleep(Duration::from_secs(3)).await;
    for _ in 0..60 {
        memory.journal.add("a", 1);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let status = rig.status("r").await;
    assert!(
        status.ledger.delivered >= 59 && status.ledger.parked <= 100,
        "{} delivered, {} parked, {:?}",
        status.ledger.delivered,
        status.ledger.parked,
        status.last_error
    );
}

#[tokio::test]
async fn real_state_gives_letters_that_died_under_an_order_back_without_one() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::open(directory.path());
    world.register("r").await;
    let fake = Fake::new(LIMITS);
    fake.script(|_, _| reject());
    let wanted = |order| Wanted {
        policies: fixed(order),
        ..Wanted::new("r", &["a"], &fake)
    };
    let rig = Rig::over(&world, &[wanted(Order::Strict)]).await;
    world.append("a", 5).await;
    rig.until("r", |status| status.ledger.dead == 5).await;
    rig.stop().await;
    fake.script(|_, _| delivered());
    let rig = Rig::over(&world, &[wanted(Order::None)]).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    world
        .state
        .begin_redrive(&Selection::Filter(DeadFilter::default()), None, at())
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_secs(36)).await;
    let status = rig.status("r").await;
    assert_eq!((status.ledger.delivered, status.ledger.parked), (5, 0));
}
