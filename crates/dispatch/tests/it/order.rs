//! Order by key and strict.

use std::collections::BTreeMap;
use std::time::Duration;

use dispatch::{Options, RoutePolicies};
use domain::policy::{Backoff, Order, RetryPolicy};
use domain::ports::DestinationLimits;
use domain::{Cause, HumanDuration, Outcome, Pointer};

use crate::destination::{Act, Fake, LIMITS};
use crate::memory::Memory;
use crate::rig::{Wanted, start};

fn by_key() -> RoutePolicies {
    ordered(Order::Key(Pointer::parse("/k").unwrap()))
}

fn ordered(order: Order) -> RoutePolicies {
    RoutePolicies {
        order,
        retry: RetryPolicy {
            max_retries: 3,
            retry_interval: HumanDuration::from_secs(10),
            backoff: Backoff::Fixed,
            max_interval: HumanDuration::from_secs(60),
            jitter: 0.0,
        },
        ..RoutePolicies::default()
    }
}

fn retry() -> Act {
    Act::Say(Outcome::Retry {
        cause: Cause::new("sqlstate 40001", "again"),
        after: None,
    })
}

fn reject() -> Act {
    Act::Say(Outcome::Reject {
        cause: Cause::new("sqlstate 23514", "never"),
    })
}

fn delivered() -> Act {
    Act::Say(Outcome::Delivered)
}

/// The order in which the events of each key were delivered: numbers by number modulo `keys`.
fn order_per_key(fake: &Fake, keys: u64) -> BTreeMap<u64, Vec<u64>> {
    let mut per_key: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for seq in fake.delivered_in_order() {
        per_key.entry(seq % keys).or_default().push(seq);
    }
    per_key
}

fn assert_in_order(fake: &Fake, keys: u64) {
    for (key, seqs) in order_per_key(fake, keys) {
        assert!(seqs.is_sorted(), "key {key}: {seqs:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn events_behind_a_parked_one_are_held_and_the_other_keys_flow() {
    let memory = Memory::new(&["r"]);
    let fake = Fake::new(LIMITS);
    fake.script(|seq, attempt| {
        if seq == 3 && attempt < 3 {
            retry()
        } else {
            delivered()
        }
    });
    let rig = start(&memory, &fake, by_key()).await;
    // Number n has the key n % 10.
    memory.journal.add_keyed("a", 1000, 10);
    let status = rig
        .until("r", |status| status.ledger.delivered == 900)
        .await;
    assert_eq!(
        (status.ledger.parked, status.ledger.pending, status.held),
        (1, 99, 99)
    );
    let status = rig
        .until("r", |status| status.ledger.delivered == 1000)
        .await;
    assert_eq!(
        (status.ledger.parked, status.held, status.cursor.0),
        (0, 0, 1000)
    );
    assert_in_order(&fake, 10);
    assert!(fake.delivered().values().all(|count| *count == 1));
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_key_is_in_one_attempt_at_a_time_and_once_in_a_batch() {
    let memory = Memory::new(&["r"]);
    let fake = Fake::new(LIMITS);
    fake.set_slow(Duration::from_millis(5));
    let rig = start(&memory, &fake, by_key()).await;
    memory.journal.add_keyed("a", 300, 4);
    rig.until("r", |status| status.ledger.delivered == 300)
        .await;
    let mut batches: BTreeMap<usize, Vec<u64>> = BTreeMap::new();
    for seen in fake.seen() {
        batches.entry(seen.batch).or_default().push(seen.seq % 4);
    }
    for (batch, mut keys) in batches {
        let all = keys.len();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), all, "batch {batch}");
    }
    assert_in_order(&fake, 4);
    assert_eq!(fake.most_of_a_key_at_once(4), 1);
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn events_without_the_key_have_no_order() {
    let memory = Memory::new(&["r"]);
    let fake = Fake::new(LIMITS);
    fake.script(|seq, attempt| {
        if seq == 1 && attempt == 1 {
            retry()
        } else {
            delivered()
        }
    });
    let rig = start(&memory, &fake, by_key()).await;
    memory.journal.add("a", 50);
    let status = rig.until("r", |status| status.ledger.delivered == 49).await;
    assert_eq!((status.ledger.parked, status.held), (1, 0));
    rig.until("r", |status| status.ledger.delivered == 50).await;
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_rejected_event_lets_the_next_of_its_key_go() {
    let memory = Memory::new(&["r"]);
    let fake = Fake::new(LIMITS);
    fake.script(|seq, _| if seq % 20 == 3 { reject() } else { delivered() });
    let rig = start(&memory, &fake, by_key()).await;
    memory.journal.add_keyed("a", 200, 10);
    let status = rig
        .until("r", |status| status.ledger.delivered == 190)
        .await;
    assert_eq!(status.ledger.dead, 10);
    assert_in_order(&fake, 10);
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn after_a_crash_the_parked_still_hold_their_keys() {
    let memory = Memory::new(&["r"]);
    let fake = Fake::new(LIMITS);
    fake.script(|seq, attempt| {
        if seq == 3 && attempt < 3 {
            retry()
        } else {
            delivered()
        }
    });
    let rig = start(&memory, &fake, by_key()).await;
    memory.journal.add_keyed("a", 100, 10);
    rig.until("r", |status| status.ledger.parked == 1 && status.held == 9)
        .await;
    drop(rig);
    let rig = start(&memory, &fake, by_key()).await;
    memory.journal.add_keyed("a", 100, 10);
    let status = rig
        .until("r", |status| status.ledger.delivered >= 180)
        .await;
    assert_eq!(status.held, 19);
    rig.until("r", |status| status.ledger.delivered == 200)
        .await;
    let first: Vec<u64> = first_deliveries(&fake, 10, 3);
    assert!(first.is_sorted(), "{first:?}");
    rig.stop().await;
}

/// The numbers of one key in the order of their first delivery.
fn first_deliveries(fake: &Fake, keys: u64, key: u64) -> Vec<u64> {
    let mut seen = std::collections::BTreeSet::new();
    let delivered = fake.delivered_in_order().into_iter();
    delivered
        .filter(|seq| seq % keys == key && seen.insert(*seq))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn held_events_are_not_in_the_window_and_many_fit() {
    let memory = Memory::new(&["r"]);
    let fake = Fake::new(LIMITS);
    fake.script(|seq, attempt| {
        if seq == 1 && attempt < 2 {
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
        policies: by_key(),
        ..Wanted::new("r", &["a"], &fake)
    };
    let rig = memory.start_with(options, &[wanted]).await;
    // All of one key but every tenth.
    memory
        .journal
        .add_keyed_by("a", 2000, |n| if n % 10 == 9 { n } else { 0 });
    let status = rig
        .until("r", |status| status.ledger.delivered == 200)
        .await;
    assert_eq!(status.held, 1799);
    rig.until("r", |status| status.ledger.delivered == 2000)
        .await;
    let of_one: Vec<u64> = fake.delivered_in_order();
    let of_one: Vec<u64> = of_one
        .into_iter()
        .filter(|seq| (seq - 1) % 10 != 9)
        .collect();
    assert!(of_one.is_sorted());
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn at_parked_max_the_route_reads_no_further_and_says_so() {
    let memory = Memory::new(&["r"]);
    let fake = Fake::new(LIMITS);
    fake.script(|seq, attempt| {
        if seq == 1 && attempt < 3 {
            retry()
        } else {
            delivered()
        }
    });
    let options = Options {
        window_events: 20,
        ..Options::default()
    };
    let policies = RoutePolicies {
        parked_max: 100,
        ..by_key()
    };
    let wanted = Wanted {
        policies,
        ..Wanted::new("r", &["a"], &fake)
    };
    let rig = memory.start_with(options, &[wanted]).await;
    memory.journal.add_keyed_by("a", 500, |_| 7);
    tokio::time::sleep(Duration::from_secs(5)).await;
    let status = rig.status("r").await;
    assert!((99..140).contains(&status.held), "{}", status.held);
    // A retry that fails meanwhile is the last error, and hides nothing.
    assert!(status.at_parked_max, "{status:?}");
    assert_eq!(status.last_error.unwrap().cause.code, "sqlstate 40001");
    let status = rig
        .until("r", |status| status.ledger.delivered == 500)
        .await;
    assert!(!status.at_parked_max, "{status:?}");
    assert!(fake.delivered_in_order().is_sorted());
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_held_event_that_damage_took_is_counted_and_the_next_goes() {
    let memory = Memory::new(&["r"]);
    let fake = Fake::new(LIMITS);
    fake.script(|seq, attempt| {
        if seq == 1 && attempt == 1 {
            retry()
        } else {
            delivered()
        }
    });
    let rig = start(&memory, &fake, by_key()).await;
    memory.journal.add_keyed_by("a", 6, |_| 7);
    rig.until("r", |status| status.held == 5).await;
    memory.journal.lose(3, 4);
    let status = rig.until("r", |status| status.cursor.0 == 6).await;
    assert_eq!((status.ledger.delivered, status.ledger.damaged), (4, 2));
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn strict_is_one_after_the_other_and_poison_is_dead_before_the_next_goes() {
    let memory = Memory::new(&["r"]);
    let limits = DestinationLimits {
        concurrency: 5,
        ..LIMITS
    };
    let fake = Fake::new(limits);
    fake.script(|seq, attempt| match seq {
        5 => reject(),
        9 if attempt < 3 => retry(),
        20 => retry(),
        _ => delivered(),
    });
    let rig = start(&memory, &fake, ordered(Order::Strict)).await;
    memory.journal.add("a", 40);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let status = rig.status("r").await;
    assert_eq!((status.ledger.delivered, status.ledger.dead), (7, 1));
    assert_eq!((status.ledger.parked, status.ledger.pending), (1, 31));
    assert_eq!(status.held, 31, "all behind the parked one are");
    let status = rig.until("r", |status| status.ledger.delivered == 38).await;
    assert_eq!(status.ledger.dead, 2);
    assert!(fake.delivered_in_order().is_sorted());
    // Nothing was tried while a parked one waited: attempts, too, are in order.
    let tried: Vec<u64> = fake.seen().iter().map(|seen| seen.seq).collect();
    assert!(tried.is_sorted(), "{tried:?}");
    let mut batches: Vec<usize> = fake.seen().iter().map(|seen| seen.batch).collect();
    let all = batches.len();
    batches.dedup();
    assert_eq!(batches.len(), all, "one at a time");
    rig.stop().await;
}
