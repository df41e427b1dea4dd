//! Outages: nothing is spent, nothing delivered is repeated, and the route comes back by itself.

use std::time::Duration;

use dispatch::{Options, RoutePolicies};
use domain::policy::RetryPolicy;
use domain::ports::{BreakerState, DestinationLimits};
use domain::{Cause, Outcome, Seq};

use crate::destination::{Act, Fake, LIMITS};
use crate::memory::Memory;
use crate::rig::Wanted;

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test(start_paused = true)]
async fn an_outage_of_an_hour_spends_no_attempt_and_ends_by_itself() {
    let memory = Memory::new(&["r"]);
    let fake = Fake::new(LIMITS);
    fake.set_up(false);
    let rig = memory.start(&[Wanted::new("r", &["a"], &fake)]).await;
    memory.journal.add("a", 200);
    tokio::time::sleep(HOUR).await;
    let status = rig.status("r").await;
    assert_eq!(
        (
            status.ledger.pending,
            status.ledger.parked,
            status.ledger.dead
        ),
        (200, 0, 0)
    );
    assert_eq!(status.breaker, BreakerState::Tripped);
    assert!(status.next_probe_at.is_some());
    assert_eq!(status.last_error.unwrap().cause.code, "refused");
    assert!(status.oldest_pending_seconds >= 3600.0);
    // 1 + 2 + 4 + 8 + 16 seconds, and then one each half minute at most.
    let probes = fake.probes();
    assert!((110..160).contains(&probes.len()), "{}", probes.len());
    let longest = probes
        .windows(2)
        .map(|pair| pair[1] - pair[0])
        .max()
        .unwrap();
    assert!(longest <= Duration::from_secs(31), "{longest:?}");

    fake.set_up(true);
    let status = rig
        .until("r", |status| status.ledger.delivered == 200)
        .await;
    assert_eq!(status.breaker, BreakerState::Passing);
    assert!(fake.seen().iter().all(|seen| seen.attempt == 1));
    assert!(fake.delivered().values().all(|count| *count == 1));
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_was_delivered_before_the_destination_went_away_is_not_repeated() {
    let memory = Memory::new(&["r"]);
    let fake = Fake::new(DestinationLimits {
        concurrency: 1,
        ..LIMITS
    });
    fake.script(|seq, _| {
        if seq == 7 {
            Act::GoAway
        } else {
            Act::Say(Outcome::Delivered)
        }
    });
    let rig = memory.start(&[Wanted::new("r", &["a"], &fake)]).await;
    memory.journal.add("a", 10);
    let status = rig.until("r", |status| status.ledger.delivered == 6).await;
    assert_eq!(
        (status.cursor, status.breaker),
        (Seq(6), BreakerState::Tripped)
    );
    fake.script(|_, _| Act::Say(Outcome::Delivered));
    rig.until("r", |status| status.ledger.delivered == 10).await;
    assert!(
        fake.delivered().values().all(|count| *count == 1),
        "{:?}",
        fake.delivered()
    );
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn after_an_outage_one_event_is_tried_before_the_rest() {
    let memory = Memory::new(&["r"]);
    let fake = Fake::new(LIMITS);
    fake.set_up(false);
    let rig = memory.start(&[Wanted::new("r", &["a"], &fake)]).await;
    memory.journal.add("a", 100);
    rig.until("r", |status| status.breaker == BreakerState::Tripped)
        .await;
    let before = fake.seen().len();
    fake.set_up(true);
    rig.until("r", |status| status.ledger.delivered == 100)
        .await;
    let seen = fake.seen();
    let first = &seen[before];
    assert_eq!(
        seen.iter().filter(|seen| seen.batch == first.batch).count(),
        1
    );
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn poison_that_looks_like_an_outage_is_parked_after_three_strikes_and_the_rest_flow() {
    let memory = Memory::new(&["r"]);
    let fake = Fake::new(DestinationLimits {
        batch_events: 1,
        concurrency: 1,
        ..LIMITS
    });
    fake.script(|seq, _| {
        if seq == 1 {
            Act::GoAway
        } else {
            Act::Say(Outcome::Delivered)
        }
    });
    let rig = memory.start(&[Wanted::new("r", &["a"], &fake)]).await;
    memory.journal.add("a", 50);
    let status = rig.until("r", |status| status.ledger.delivered == 49).await;
    let status = if status.ledger.parked == 1 {
        status
    } else {
        rig.until("r", |status| status.ledger.parked == 1).await
    };
    assert_eq!(status.ledger.pending, 0);
    let park = &memory.state.parked("r")[0];
    assert_eq!((park.stored.seq, park.attempts), (Seq(1), 1));
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn poison_in_the_middle_of_large_batches_is_narrowed_down() {
    let memory = Memory::new(&["r"]);
    let fake = Fake::new(DestinationLimits {
        batch_events: 1000,
        timeout: Duration::from_secs(2),
        ..LIMITS
    });
    fake.script(|seq, _| {
        if seq == 500 {
            Act::Hang
        } else {
            Act::Say(Outcome::Delivered)
        }
    });
    let rig = memory.start(&[Wanted::new("r", &["a"], &fake)]).await;
    memory.journal.add("a", 3000);
    rig.until("r", |status| status.ledger.delivered == 2999)
        .await;
    // Alone it cannot be told from an outage: it waits, until others pass again.
    tokio::time::sleep(HOUR).await;
    assert!(memory.state.parked("r").is_empty());
    for _ in 0..120 {
        memory.journal.add("a", 1);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(memory.state.parked("r")[0].stored.seq, Seq(500));
    rig.until("r", |status| status.ledger.delivered == 3119)
        .await;
    rig.stop().await;
}

/// One retry, ten seconds after the first failure.
fn one_retry() -> RoutePolicies {
    RoutePolicies {
        retry: RetryPolicy {
            max_retries: 1,
            jitter: 0.0,
            ..RetryPolicy::default()
        },
        ..RoutePolicies::default()
    }
}

fn fails() -> Act {
    Act::Say(Outcome::Retry {
        cause: Cause::new("http 500", "oops"),
        after: None,
    })
}

#[tokio::test(start_paused = true)]
async fn parked_poison_that_is_due_together_is_told_apart_and_what_is_due_beside_it_flows() {
    let memory = Memory::new(&["r"]);
    let fake = Fake::new(LIMITS);
    fake.script(|seq, attempt| match (seq, attempt) {
        (1..=3, 1) => fails(),
        (1 | 2, _) => Act::GoAway,
        _ => Act::Say(Outcome::Delivered),
    });
    let wanted = Wanted {
        policies: one_retry(),
        ..Wanted::new("r", &["a"], &fake)
    };
    let rig = memory.start(&[wanted]).await;
    memory.journal.add("a", 3);
    for _ in 0..2000 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        memory.journal.add("a", 1);
    }
    let status = rig.until("r", |status| status.ledger.pending == 0).await;
    assert_eq!((status.ledger.delivered, status.ledger.dead), (2001, 2));
    assert_eq!(fake.delivered().get(&3), Some(&1));
    for dead in memory.state.dead("r") {
        assert!(dead.cause.detail.contains("alone"), "{dead:?}");
    }
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_probe_comes_to_every_parked_event_also_where_poison_is_fetched_alone() {
    let memory = Memory::new(&["r"]);
    let fake = Fake::new(LIMITS);
    fake.script(|seq, attempt| match (seq, attempt) {
        (_, 1) => fails(),
        (1 | 2, _) => Act::GoAway,
        _ => Act::Say(Outcome::Delivered),
    });
    let wanted = Wanted {
        policies: one_retry(),
        ..Wanted::new("r", &["a"], &fake)
    };
    let rig = memory.start(&[wanted]).await;
    for _ in 0..3 {
        memory.journal.add_large("a", 3 << 20);
    }
    let status = rig.until("r", |status| status.ledger.delivered == 1).await;
    assert_eq!(status.ledger.parked, 2);
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_probe_comes_to_parked_events_also_while_live_poison_waits() {
    let memory = Memory::new(&["r"]);
    let fake = Fake::new(LIMITS);
    fake.script(|seq, attempt| match (seq, attempt) {
        (1, 1) => fails(),
        (2, _) => Act::GoAway,
        _ => Act::Say(Outcome::Delivered),
    });
    let wanted = Wanted {
        policies: one_retry(),
        ..Wanted::new("r", &["a"], &fake)
    };
    let rig = memory.start(&[wanted]).await;
    memory.journal.add("a", 1);
    rig.until("r", |status| status.ledger.parked == 1).await;
    memory.journal.add("a", 1);
    let status = rig.until("r", |status| status.ledger.delivered == 1).await;
    assert_eq!((status.ledger.pending, status.ledger.parked), (1, 0));
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_destination_that_hangs_is_given_up_on_and_taken_for_away() {
    let memory = Memory::new(&["r"]);
    let fake = Fake::new(LIMITS);
    fake.script(|_, _| Act::Hang);
    let rig = memory.start(&[Wanted::new("r", &["a"], &fake)]).await;
    memory.journal.add("a", 5);
    let status = rig.until("r", |status| status.last_error.is_some()).await;
    assert_eq!(status.last_error.unwrap().cause.code, "timeout");
    assert_eq!((status.ledger.pending, status.ledger.parked), (5, 0));
    fake.script(|_, _| Act::Say(Outcome::Delivered));
    rig.until("r", |status| status.ledger.delivered == 5).await;
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn one_slow_event_does_not_hold_up_the_others() {
    let memory = Memory::new(&["r"]);
    let fake = Fake::new(DestinationLimits {
        batch_events: 1,
        ..LIMITS
    });
    fake.script(|seq, _| {
        if seq == 1 {
            Act::Hang
        } else {
            Act::Say(Outcome::Delivered)
        }
    });
    let rig = memory.start(&[Wanted::new("r", &["a"], &fake)]).await;
    let before = tokio::time::Instant::now();
    memory.journal.add("a", 100);
    let status = rig.until("r", |status| status.ledger.delivered == 99).await;
    assert!(before.elapsed() < Duration::from_secs(1));
    assert_eq!(status.cursor, Seq(0), "the oldest is not settled");
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_source_that_joins_after_an_outage_counts_from_the_cursor_on() {
    let memory = Memory::new(&["r"]);
    let fake = Fake::new(LIMITS);
    fake.set_up(false);
    let rig = memory.start(&[Wanted::new("r", &["a"], &fake)]).await;
    for _ in 0..50 {
        memory.journal.add("a", 1);
        tokio::time::sleep(Duration::from_secs(1)).await;
        memory.journal.add("b", 3);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    rig.stop().await;
    assert_eq!(
        memory.state.commits(),
        [],
        "numbers of other sources are no news while an event below them waits"
    );
    fake.set_up(true);
    let rig = memory.start(&[Wanted::new("r", &["a", "b"], &fake)]).await;
    rig.until("r", |status| status.ledger.delivered == 200)
        .await;
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn damage_is_settled_as_damage_and_the_count_still_agrees() {
    let memory = Memory::new(&["r"]);
    let fake = Fake::new(LIMITS);
    memory.journal.add("a", 20);
    memory.journal.add("b", 3);
    memory.journal.damage(7);
    memory.journal.add("a", 20);
    memory.journal.damage(2);
    let rig = memory.start(&[Wanted::new("r", &["a"], &fake)]).await;
    let status = rig.until("r", |status| status.ledger.delivered == 40).await;
    assert_eq!((status.ledger.damaged, status.ledger.accepted), (9, 49));
    assert_eq!(status.cursor, Seq(52));
    rig.stop().await;
    assert_eq!(memory.journal.released("r"), Some(Seq(52)));
}

#[tokio::test(start_paused = true)]
async fn damage_in_what_was_settled_before_a_restart_disturbs_no_count() {
    let memory = Memory::new(&["r"]);
    let fake = Fake::new(DestinationLimits {
        batch_events: 1,
        ..LIMITS
    });
    fake.script(|seq, _| match seq {
        1 => Act::Hang,
        _ => Act::Say(Outcome::Delivered),
    });
    for _ in 0..10 {
        memory.journal.add("a", 2);
        memory.journal.add("b", 1);
    }
    let rig = memory.start(&[Wanted::new("r", &["a"], &fake)]).await;
    rig.until("r", |status| status.ledger.delivered == 19).await;
    drop(rig);
    // Two events that were delivered, and one of another source; then the last three numbers, of which
    // only those of the route were settled.
    memory.journal.lose(7, 9);
    memory.journal.lose(28, 30);
    let fake = Fake::new(LIMITS);
    let rig = memory.start(&[Wanted::new("r", &["a"], &fake)]).await;
    let status = rig.until("r", |status| status.ledger.pending == 0).await;
    assert_eq!(status.ledger.delivered, 20);
    let status = rig.until("r", |status| status.cursor == Seq(30)).await;
    assert_eq!(status.ledger.accepted, 20 + status.ledger.damaged);
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn damage_that_another_route_meets_in_what_was_delivered_is_no_imbalance() {
    let memory = Memory::new(&["ahead", "behind"]);
    let (ahead, behind) = (Fake::new(LIMITS), Fake::new(LIMITS));
    ahead.script(|seq, _| match seq {
        1 => Act::Hang,
        _ => Act::Say(Outcome::Delivered),
    });
    behind.set_up(false);
    let options = Options {
        window_events: 12,
        ..Options::default()
    };
    let routes = [
        Wanted::new("ahead", &["a"], &ahead),
        Wanted::new("behind", &["a"], &behind),
    ];
    memory.journal.add("a", 1);
    let rig = memory.start_with(options, &routes).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    memory.journal.add("a", 29);
    rig.until("ahead", |status| status.ledger.delivered == 29)
        .await;
    memory.journal.lose(20, 24);
    ahead.script(|_, _| Act::Say(Outcome::Delivered));
    behind.set_up(true);
    let status = rig.until("behind", |status| status.cursor == Seq(30)).await;
    assert_eq!((status.ledger.delivered, status.ledger.damaged), (25, 5));
    let status = rig.until("ahead", |status| status.cursor == Seq(30)).await;
    assert_eq!((status.ledger.delivered, status.ledger.damaged), (30, 0));
    memory.journal.add("a", 10);
    for route in ["ahead", "behind"] {
        rig.until(route, |status| status.cursor == Seq(40)).await;
    }
    rig.stop().await;
}

/// The journal's index of a segment is made anew at the first damaged place that is handed out, and then
/// lacks what was lost in the second one as well.
#[tokio::test(start_paused = true)]
async fn a_second_damaged_place_that_no_route_has_come_to_is_no_imbalance() {
    let memory = Memory::new(&["ahead", "behind"]);
    let (ahead, behind) = (Fake::new(LIMITS), Fake::new(LIMITS));
    ahead.script(|seq, _| match seq {
        20 => Act::Hang,
        _ => Act::Say(Outcome::Delivered),
    });
    behind.script(|seq, _| match seq {
        1..=12 => Act::Say(Outcome::Delivered),
        _ => Act::Hang,
    });
    behind.set_up(false);
    let options = Options {
        window_events: 12,
        ..Options::default()
    };
    let routes = [
        Wanted::new("ahead", &["a"], &ahead),
        Wanted::new("behind", &["a"], &behind),
    ];
    memory.journal.add("a", 19);
    let rig = memory.start_with(options, &routes).await;
    rig.until("ahead", |status| status.cursor == Seq(19)).await;
    memory.journal.add("a", 1);
    tokio::time::sleep(Duration::from_secs(1)).await;
    memory.journal.add("a", 30);
    rig.until("ahead", |status| status.ledger.delivered == 49)
        .await;
    // All of it stands in one segment, of which the one behind reads no more than the first place.
    memory.journal.lose(14, 15);
    memory.journal.lose(40, 44);
    memory.journal.recount(1, 50);
    behind.set_up(true);
    rig.until("behind", |status| status.ledger.damaged == 2)
        .await;
    ahead.script(|_, _| Act::Say(Outcome::Delivered));
    let status = rig.until("ahead", |status| status.cursor == Seq(50)).await;
    assert_eq!((status.ledger.delivered, status.ledger.damaged), (50, 0));
    behind.script(|_, _| Act::Say(Outcome::Delivered));
    let status = rig.until("behind", |status| status.cursor == Seq(50)).await;
    assert_eq!((status.ledger.delivered, status.ledger.damaged), (43, 7));
    rig.stop().await;
}
