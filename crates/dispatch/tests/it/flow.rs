//! From the real journal to a destination, settled in the real state.

use std::collections::BTreeMap;
use std::time::Duration;

use domain::ports::{BreakerState, DestinationLimits, State};
use domain::{Cause, Outcome, Seq};

use crate::destination::{Act, Fake, LIMITS};
use crate::rig::{Rig, Wanted};
use crate::world::{World, name};

fn once(seqs: impl Iterator<Item = u64>) -> BTreeMap<u64, u32> {
    seqs.map(|seq| (seq, 1)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_event_is_delivered_once_and_the_ledger_balances_at_every_moment() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::open(directory.path());
    world.register("r").await;
    let fake = Fake::new(DestinationLimits {
        batch_events: 100,
        ..LIMITS
    });
    let rig = Rig::over(&world, &[Wanted::new("r", &["a"], &fake)]).await;
    for _ in 0..100 {
        world.append("a", 57).await;
        world.append("b", 3).await;
        rig.statuses().await;
    }
    let status = rig
        .until("r", |status| {
            status.ledger.delivered == 5700 && status.cursor == Seq(6000)
        })
        .await;
    assert_eq!((status.ledger.accepted, status.ledger.pending), (5700, 0));
    let ours = (1..=6000).filter(|seq| (seq - 1) % 60 < 57);
    assert_eq!(fake.delivered(), once(ours));
    rig.stop().await;
    assert_eq!(world.state.imbalance(&name("r")).await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_redelivers_only_what_was_not_settled() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::open(directory.path());
    world.register("r").await;
    world.append("a", 100).await;
    let fake = Fake::new(LIMITS);
    // The second batch is never answered, so that what comes after it settles above the cursor.
    fake.script(|seq, _| match seq {
        15 => Act::Hang,
        70 => Act::Say(Outcome::Reject {
            cause: Cause::new("http 422", "no"),
        }),
        _ => Act::Say(Outcome::Delivered),
    });
    let rig = Rig::over(&world, &[Wanted::new("r", &["a"], &fake)]).await;
    let before = rig.until("r", |status| status.ledger.pending <= 10).await;
    assert!(before.cursor < Seq(15));
    assert_eq!(before.ledger.dead, 1);
    // As a crash would: nothing is finished or committed.
    drop(rig);
    world.close().await;

    let world = World::open(directory.path());
    let again = Fake::new(LIMITS);
    let rig = Rig::over(&world, &[Wanted::new("r", &["a"], &again)]).await;
    let after = rig.until("r", |status| status.ledger.pending == 0).await;
    assert_eq!((after.ledger.delivered, after.ledger.dead), (99, 1));
    assert_eq!(after.cursor, Seq(100));
    let repeated = again.delivered();
    assert!(
        repeated.len() <= 10 && repeated.contains_key(&15),
        "{repeated:?}"
    );
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_whose_destination_is_down_does_not_hold_up_another_of_the_same_source() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::open(directory.path());
    world.register("up").await;
    world.register("down").await;
    let (up, down) = (Fake::new(LIMITS), Fake::new(LIMITS));
    down.set_up(false);
    let routes = [
        Wanted::new("up", &["a"], &up),
        Wanted::new("down", &["a"], &down),
    ];
    let rig = Rig::over(&world, &routes).await;
    world.append("a", 500).await;
    rig.until("up", |status| status.ledger.delivered == 500)
        .await;
    let status = rig.status("down").await;
    assert_eq!((status.ledger.pending, status.ledger.delivered), (500, 0));
    assert_ne!(status.breaker, BreakerState::Passing);
    assert!(status.oldest_pending_seconds > 0.0);
    down.set_up(true);
    rig.until("down", |status| status.ledger.delivered == 500)
        .await;
    assert_eq!(down.delivered(), once(1..=500));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_finishes_what_is_in_flight_and_commits_it() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::open(directory.path());
    world.register("r").await;
    let fake = Fake::new(LIMITS);
    fake.set_slow(Duration::from_millis(200));
    let rig = Rig::over(&world, &[Wanted::new("r", &["a"], &fake)]).await;
    world.append("a", 1000).await;
    while fake.seen().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    rig.stop().await;
    let delivered = fake.delivered().len() as u64;
    assert!((1..1000).contains(&delivered), "{delivered}");
    assert_eq!(fake.seen().len() as u64, delivered, "nothing was abandoned");
    let record = &world.state.routes().await.unwrap()[0];
    assert_eq!(record.counters.delivered, delivered);
}
