//! Sources that join and leave a route between two starts, while events above its cursor are settled.

use std::collections::BTreeSet;

use domain::Seq;
use domain::ports::{RouteRecord, State};

use crate::destination::{Act, Fake, LIMITS};
use crate::rig::{Rig, Wanted};
use crate::world::{World, name};

/// Whether the route's record says that this number is settled.
fn is_settled(record: &RouteRecord, seq: u64) -> bool {
    let mut ranges = record.ranges.iter();
    Seq(seq) <= record.cursor || ranges.any(|settled| settled.range.contains(Seq(seq)))
}

/// Twenty times five events of `a` and one of `b`.
const EVENTS: u64 = 120;

fn of_b() -> BTreeSet<u64> {
    (1..=EVENTS).filter(|seq| seq % 6 == 0).collect()
}

/// One start with these sources; the batch of `hung` is never answered, and everything else is
/// settled. Then it ends as a crash would. What was delivered.
async fn run(world: &World, sources: &[&str], hung: Option<u64>) -> BTreeSet<u64> {
    let fake = Fake::new(LIMITS);
    fake.script(move |seq, _| match Some(seq) == hung {
        true => Act::Hang,
        false => Act::Say(domain::Outcome::Delivered),
    });
    let rig = Rig::over(world, &[Wanted::new("r", sources, &fake)]).await;
    let wanted = if hung.is_some() { 10 } else { 0 };
    rig.until("r", |status| status.ledger.pending <= wanted)
        .await;
    drop(rig);
    assert_eq!(world.state.imbalance(&name("r")).await.unwrap(), 0);
    fake.delivered().into_keys().collect()
}

async fn world(directory: &std::path::Path) -> World {
    let world = World::open(directory);
    world.register("r").await;
    for _ in 0..EVENTS / 6 {
        world.append("a", 5).await;
        world.append("b", 1).await;
    }
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_a_source_that_joins_are_delivered_from_the_cursor_on_also_within_settled_ranges()
{
    let directory = tempfile::tempdir().unwrap();
    let world = world(directory.path()).await;
    run(&world, &["a"], Some(15)).await;
    let record = world.state.routes().await.unwrap().remove(0);
    assert!(!record.ranges.is_empty(), "something is settled above");
    let second = run(&world, &["a", "b"], None).await;
    let joined: BTreeSet<u64> = second.intersection(&of_b()).copied().collect();
    let above: BTreeSet<u64> = of_b()
        .into_iter()
        .filter(|b| *b > record.cursor.0)
        .collect();
    assert_eq!(joined, above);
    let again = |seq: &&u64| is_settled(&record, **seq) && !of_b().contains(seq);
    let again: Vec<_> = second.iter().filter(again).collect();
    assert!(again.is_empty(), "delivered again: {again:?}");
    assert_eq!(world.state.routes().await.unwrap()[0].cursor, Seq(EVENTS));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_leaves_takes_nothing_out_of_the_ledger() {
    let directory = tempfile::tempdir().unwrap();
    let world = world(directory.path()).await;
    let first = run(&world, &["a", "b"], Some(15)).await;
    let record = world.state.routes().await.unwrap().remove(0);
    let second = run(&world, &["a"], None).await;
    let again = |seq: &&u64| is_settled(&record, **seq);
    let again: Vec<_> = second.iter().filter(again).collect();
    assert!(again.is_empty(), "delivered again: {again:?}");
    let of_a = (1..=EVENTS).filter(|seq| seq % 6 != 0);
    let all: BTreeSet<u64> = first.union(&second).copied().collect();
    assert!(of_a.into_iter().all(|a| all.contains(&a)));
    let record = world.state.routes().await.unwrap().remove(0);
    assert_eq!(record.cursor, Seq(EVENTS));
    // Those of `b` that were never settled are the route's no more.
    assert!(record.counters.delivered <= all.len() as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn sources_that_come_and_go_under_one_stuck_event_keep_the_ledger() {
    let directory = tempfile::tempdir().unwrap();
    let world = world(directory.path()).await;
    let mut delivered = BTreeSet::new();
    for sources in [&["a"][..], &["a", "b"], &["a", "b"], &["a"], &["a", "b"]] {
        delivered.extend(run(&world, sources, Some(15)).await);
    }
    delivered.extend(run(&world, &["a", "b"], None).await);
    let record = world.state.routes().await.unwrap().remove(0);
    assert_eq!(record.cursor, Seq(EVENTS));
    let missing: Vec<u64> = (7..=EVENTS)
        .filter(|seq| !delivered.contains(seq))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}
