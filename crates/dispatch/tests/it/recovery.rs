//! What an outage buried comes back by itself, and never at the cost of what is live.

use std::time::Duration;

use dispatch::RoutePolicies;
use domain::HumanDuration;
use domain::policy::{DeadLetterAfter, OnOutage};
use domain::ports::{BreakerState, DeadLetters};

use crate::corners::{delivered, reject};
use crate::destination::{Fake, LIMITS};
use crate::memory::Memory;
use crate::rig::{Rig, start};

fn returning() -> RoutePolicies {
    RoutePolicies {
        on_outage: OnOutage::DeadLetterAfter(DeadLetterAfter {
            dead_letter_after: HumanDuration::from_secs(60),
            redrive_on_recovery: true,
        }),
        ..RoutePolicies::default()
    }
}

/// `count` events that an outage buried; the destination is still away.
async fn buried(memory: &Memory, fake: &std::sync::Arc<Fake>, count: u64) -> Rig {
    fake.set_up(false);
    let rig = start(memory, fake, returning()).await;
    memory.journal.add("a", count);
    tokio::time::sleep(Duration::from_secs(120)).await;
    rig.until("r", |status| status.ledger.dead == count).await;
    rig
}

#[tokio::test(start_paused = true)]
async fn what_was_buried_comes_back_when_the_destination_is_slowly_at_first() {
    let memory = Memory::new(&["r"]);
    let fake = Fake::new(LIMITS);
    let rig = buried(&memory, &fake, 3000).await;
    fake.set_up(true);
    memory.journal.add("a", 1);
    rig.until("r", |status| status.ledger.delivered > 1).await;
    // 10 a second, then 20, then 40.
    tokio::time::sleep(Duration::from_millis(2500)).await;
    let after_3_s = rig.status("r").await.ledger.delivered;
    assert!((30..120).contains(&after_3_s), "{after_3_s}");
    tokio::time::sleep(Duration::from_secs(20)).await;
    let ledger = rig.status("r").await.ledger;
    assert_eq!((ledger.delivered, ledger.dead, ledger.parked), (3001, 0, 0));
    assert!(fake.delivered().values().all(|times| *times == 1));
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn nothing_needs_to_come_in_for_it_and_a_restart_does_not_matter() {
    let memory = Memory::new(&["r"]);
    let fake = Fake::new(LIMITS);
    let rig = buried(&memory, &fake, 100).await;
    rig.stop().await;
    let rig = start(&memory, &fake, returning()).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(rig.status("r").await.ledger.dead, 100, "it is still away");
    fake.set_up(true);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    rig.stop().await;
    let rig = start(&memory, &fake, returning()).await;
    rig.until("r", |status| status.ledger.delivered == 100)
        .await;
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn it_makes_way_while_live_events_wait() {
    let memory = Memory::new(&["r"]);
    let fake = Fake::new(LIMITS);
    let rig = buried(&memory, &fake, 2000).await;
    fake.set_up(true);
    // A live backlog of many seconds.
    fake.set_slow(Duration::from_millis(500));
    memory.journal.add("a", 3000);
    rig.until("r", |status| status.breaker == BreakerState::Passing)
        .await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    let status = rig.status("r").await;
    assert!(status.ledger.pending > 0 && status.oldest_pending_seconds > 2.0);
    assert!(status.ledger.dead > 1900, "{status:?}");
    rig.until("r", |status| status.ledger.pending == 0).await;
    fake.set_slow(Duration::ZERO);
    rig.until("r", |status| {
        status.ledger.dead == 0 && status.ledger.parked == 0
    })
    .await;
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn only_what_an_outage_buried_comes_back() {
    let memory = Memory::new(&["r"]);
    let fake = Fake::new(LIMITS);
    fake.script(|seq, _| if seq <= 10 { reject() } else { delivered() });
    let rig = start(&memory, &fake, returning()).await;
    memory.journal.add("a", 10);
    rig.until("r", |status| status.ledger.dead == 10).await;
    fake.set_up(false);
    memory.journal.add("a", 10);
    tokio::time::sleep(Duration::from_secs(120)).await;
    rig.until("r", |status| status.ledger.dead == 20).await;
    fake.set_up(true);
    tokio::time::sleep(Duration::from_secs(120)).await;
    let ledger = rig.status("r").await.ledger;
    assert_eq!((ledger.delivered, ledger.dead), (10, 10));
    let jobs = memory.state.running_redrives().await.unwrap();
    assert_eq!(jobs, []);
    rig.stop().await;
}
