//! Dead letters that are brought back.

use std::time::Duration;

use dispatch::RoutePolicies;
use domain::policy::{Order, RetryPolicy};
use domain::ports::{DeadFilter, DeadLetters, RedriveStatus, Selection};
use domain::{Cause, Outcome};

use crate::destination::{Act, Fake, LIMITS};
use crate::memory::Memory;
use crate::rig::start;
use crate::world::at;

fn reject() -> Act {
    Act::Say(Outcome::Reject {
        cause: Cause::new("sqlstate 23514", "never"),
    })
}

fn delivered() -> Act {
    Act::Say(Outcome::Delivered)
}

const ALL: fn() -> Selection = || Selection::Filter(DeadFilter::default());

#[tokio::test(start_paused = true)]
async fn a_redrive_delivers_what_was_dead_with_fresh_attempts() {
    let memory = Memory::new(&["r"]);
    let fake = Fake::new(LIMITS);
    fake.script(|_, _| reject());
    let rig = start(&memory, &fake, RoutePolicies::default()).await;
    memory.journal.add("a", 1234);
    rig.until("r", |status| status.ledger.dead == 1234).await;
    fake.script(|_, _| delivered());
    let job = memory
        .state
        .begin_redrive(&ALL(), None, at())
        .await
        .unwrap();
    assert_eq!(job.matched, 1234);
    memory.redrive_begun.notify_one();
    let status = rig
        .until("r", |status| status.ledger.delivered == 1234)
        .await;
    assert_eq!((status.ledger.dead, status.ledger.parked), (0, 0));
    assert!(fake.seen().iter().all(|seen| seen.attempt == 1));
    let job = memory.state.redrive(job.id).await.unwrap().unwrap();
    assert_eq!((job.status, job.moved), (RedriveStatus::Done, 1234));
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_redrive_never_meets_its_own_failures() {
    let memory = Memory::new(&["r"]);
    let fake = Fake::new(LIMITS);
    fake.script(|_, _| reject());
    let rig = start(&memory, &fake, RoutePolicies::default()).await;
    memory.journal.add("a", 50);
    rig.until("r", |status| status.ledger.dead == 50).await;
    let job = memory
        .state
        .begin_redrive(&ALL(), None, at())
        .await
        .unwrap();
    memory.redrive_begun.notify_one();
    tokio::time::sleep(Duration::from_secs(600)).await;
    let job = memory.state.redrive(job.id).await.unwrap().unwrap();
    assert_eq!((job.status, job.moved), (RedriveStatus::Done, 50));
    for seq in 1..=50 {
        assert_eq!(fake.attempts_of(seq).len(), 2, "event {seq}");
    }
    assert_eq!(rig.status("r").await.ledger.dead, 50);
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_redrive_keeps_its_rate_and_goes_on_after_a_restart() {
    let memory = Memory::new(&["r"]);
    let fake = Fake::new(LIMITS);
    fake.script(|_, _| reject());
    let rig = start(&memory, &fake, RoutePolicies::default()).await;
    memory.journal.add("a", 100);
    rig.until("r", |status| status.ledger.dead == 100).await;
    fake.script(|_, _| delivered());
    memory
        .state
        .begin_redrive(&ALL(), Some(10), at())
        .await
        .unwrap();
    memory.redrive_begun.notify_one();
    tokio::time::sleep(Duration::from_secs(5)).await;
    let status = rig.status("r").await;
    assert!(
        (40..=60).contains(&status.ledger.delivered),
        "{}",
        status.ledger.delivered
    );
    rig.stop().await;
    let rig = start(&memory, &fake, RoutePolicies::default()).await;
    rig.until("r", |status| status.ledger.delivered == 100)
        .await;
    assert!(fake.delivered().values().all(|count| *count == 1));
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn live_events_flow_while_many_are_brought_back() {
    let memory = Memory::new(&["r"]);
    let fake = Fake::new(LIMITS);
    fake.script(|_, _| reject());
    let rig = start(&memory, &fake, RoutePolicies::default()).await;
    memory.journal.add("a", 5000);
    rig.until("r", |status| status.ledger.dead == 5000).await;
    fake.script(|_, _| delivered());
    fake.set_slow(Duration::from_millis(10));
    memory
        .state
        .begin_redrive(&ALL(), None, at())
        .await
        .unwrap();
    memory.redrive_begun.notify_one();
    tokio::time::sleep(Duration::from_secs(1)).await;
    memory.journal.add("a", 500);
    rig.until("r", |status| status.ledger.delivered == 5500)
        .await;
    let order = fake.delivered_in_order();
    let last_live = order.iter().rposition(|seq| *seq > 5000).unwrap();
    let behind = order[last_live..].len();
    assert!(
        behind > 1000,
        "live events waited for {} dead letters",
        5000 - behind
    );
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_strict_route_takes_its_dead_letters_back_one_after_the_other() {
    let memory = Memory::new(&["r"]);
    let fake = Fake::new(LIMITS);
    fake.script(|seq, _| if seq % 2 == 0 { reject() } else { delivered() });
    let policies = || RoutePolicies {
        order: Order::Strict,
        retry: RetryPolicy::default(),
        ..RoutePolicies::default()
    };
    let rig = start(&memory, &fake, policies()).await;
    memory.journal.add("a", 40);
    rig.until("r", |status| status.ledger.dead == 20).await;
    fake.script(|_, _| delivered());
    memory
        .state
        .begin_redrive(&ALL(), None, at())
        .await
        .unwrap();
    memory.redrive_begun.notify_one();
    memory.journal.add("a", 10);
    let status = rig.until("r", |status| status.ledger.delivered == 50).await;
    assert_eq!((status.ledger.dead, status.ledger.parked), (0, 0));
    let mut batches: Vec<usize> = fake.seen().iter().map(|seen| seen.batch).collect();
    let all = batches.len();
    batches.dedup();
    assert_eq!(batches.len(), all, "one at a time");
    let brought: Vec<u64> = fake.delivered_in_order();
    let brought: Vec<u64> = brought
        .into_iter()
        .filter(|seq| seq % 2 == 0 && *seq <= 40)
        .collect();
    assert!(brought.is_sorted(), "{brought:?}");
    rig.stop().await;
}
