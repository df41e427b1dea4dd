//! What waits too long, and what is too much: buried by a rule, where there is room for it.

use std::time::Duration;

use dispatch::{BacklogPolicy, RoutePolicies};
use domain::policy::{OnFull, OnOutage};
use domain::ports::BreakerState;
use domain::{Cause, HumanDuration, Outcome, Reason, SourceName};

use crate::destination::{Act, Fake, LIMITS};
use crate::memory::Memory;
use crate::rig::{Wanted, start};

const QUARTER: Duration = Duration::from_secs(15 * 60);

fn after_a_quarter() -> RoutePolicies {
    RoutePolicies {
        on_outage: OnOutage::dead_letter_after(HumanDuration(QUARTER)),
        ..RoutePolicies::default()
    }
}

fn delivered() -> Act {
    Act::Say(Outcome::Delivered)
}

#[tokio::test(start_paused = true)]
async fn what_waited_a_quarter_of_an_hour_for_a_destination_that_is_away_is_buried() {
    let memory = Memory::new(&["r"]);
    let fake = Fake::new(LIMITS);
    fake.set_up(false);
    let rig = start(&memory, &fake, after_a_quarter()).await;
    memory.journal.add("a", 3000);
    tokio::time::sleep(Duration::from_secs(60)).await;
    memory.journal.add("a", 500);
    tokio::time::sleep(QUARTER - Duration::from_secs(61)).await;
    assert_eq!(memory.state.dead("r").len(), 0);
    tokio::time::sleep(Duration::from_secs(15)).await;
    let dead = memory.state.dead("r");
    assert_eq!(dead.len(), 3000);
    assert!(
        dead.iter()
            .all(|letter| letter.reason == Reason::Outage && letter.attempts == 0)
    );
    assert_eq!(dead[0].cause.code, "refused");
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(memory.state.dead("r").len(), 3500);
    let status = rig.status("r").await;
    assert_eq!((status.cursor.0, status.ledger.pending), (3500, 0));
    // Back again, and nothing more is buried.
    fake.set_up(true);
    memory.journal.add("a", 100);
    let status = rig
        .until("r", |status| status.ledger.delivered == 100)
        .await;
    assert_eq!(
        (status.ledger.dead, status.breaker),
        (3500, BreakerState::Passing)
    );
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_jumps_buries_nothing_early() {
    let memory = Memory::new(&["r"]);
    let fake = Fake::new(LIMITS);
    fake.set_up(false);
    let rig = start(&memory, &fake, after_a_quarter()).await;
    memory.journal.add("a", 10);
    tokio::time::sleep(Duration::from_secs(60)).await;
    memory.clock.set_ahead(3600 * 24);
    tokio::time::sleep(QUARTER - Duration::from_secs(120)).await;
    assert_eq!(memory.state.dead("r").len(), 0);
    memory.clock.set_ahead(-3600 * 24);
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!(memory.state.dead("r").len(), 10);
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_stopped_forebay_does_not_age_its_events() {
    let memory = Memory::new(&["r"]);
    let fake = Fake::new(LIMITS);
    fake.set_up(false);
    let rig = start(&memory, &fake, after_a_quarter()).await;
    memory.journal.add("a", 10);
    tokio::time::sleep(Duration::from_secs(60)).await;
    rig.stop().await;
    tokio::time::sleep(QUARTER * 4).await;
    let rig = start(&memory, &fake, after_a_quarter()).await;
    tokio::time::sleep(QUARTER - Duration::from_secs(30)).await;
    assert_eq!(memory.state.dead("r").len(), 0);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(memory.state.dead("r").len(), 10);
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_short_outage_does_not_count_for_the_next() {
    let memory = Memory::new(&["r"]);
    let fake = Fake::new(LIMITS);
    let rig = start(&memory, &fake, after_a_quarter()).await;
    for _ in 0..4 {
        fake.set_up(false);
        memory.journal.add("a", 10);
        tokio::time::sleep(QUARTER / 2).await;
        fake.set_up(true);
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
    let status = rig.status("r").await;
    assert_eq!((status.ledger.delivered, status.ledger.dead), (40, 0));
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn burying_waits_while_state_has_no_room() {
    let memory = Memory::new(&["r"]);
    let fake = Fake::new(LIMITS);
    fake.set_up(false);
    memory.state.set_full(Some("state.max_bytes is used up"));
    let rig = start(&memory, &fake, after_a_quarter()).await;
    memory.journal.add("a", 100);
    tokio::time::sleep(QUARTER * 2).await;
    let status = rig.status("r").await;
    assert_eq!((status.ledger.dead, status.ledger.pending), (0, 100));
    memory.state.set_full(None);
    rig.until("r", |status| status.ledger.dead == 100).await;
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_fails_while_state_has_no_room_stays_in_the_journal_and_the_rest_flow() {
    let memory = Memory::new(&["r"]);
    let fake = Fake::new(LIMITS);
    fake.script(|seq, _| match seq % 10 {
        3 => Act::Say(Outcome::Reject {
            cause: Cause::new("sqlstate 23514", "never"),
        }),
        _ => delivered(),
    });
    memory.state.set_full(Some("state.max_bytes is used up"));
    let rig = start(&memory, &fake, RoutePolicies::default()).await;
    memory.journal.add("a", 200);
    let status = rig
        .until("r", |status| status.ledger.delivered == 180)
        .await;
    assert_eq!((status.ledger.dead, status.ledger.pending), (0, 20));
    assert_eq!(status.last_error.unwrap().cause.code, "state full");
    tokio::time::sleep(Duration::from_secs(30)).await;
    // Left alone in between, not tried over and over.
    assert!(
        fake.attempts_of(3).len() < 40,
        "{}",
        fake.attempts_of(3).len()
    );
    memory.state.set_full(None);
    let status = rig.until("r", |status| status.ledger.dead == 20).await;
    assert_eq!((status.ledger.delivered, status.cursor.0), (180, 200));
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_backlog_that_is_too_long_loses_its_oldest_to_the_dead_letters_and_no_more() {
    let memory = Memory::new(&["r"]);
    let fake = Fake::new(LIMITS);
    fake.set_up(false);
    let policies = RoutePolicies {
        backlog: Some(BacklogPolicy {
            max: dispatch::BacklogMax::Events(100),
            on_full: OnFull::DeadLetter,
        }),
        ..RoutePolicies::default()
    };
    let rig = start(&memory, &fake, policies).await;
    memory.journal.add("a", 130);
    tokio::time::sleep(Duration::from_secs(10)).await;
    let dead = memory.state.dead("r");
    // The oldest that were in no attempt just then: three batches of ten may have been.
    assert_eq!(dead.len(), 30);
    assert!(dead.iter().all(|letter| letter.stored.seq.0 <= 60));
    assert!(dead.iter().all(|letter| letter.reason == Reason::Backlog));
    assert!(
        rig.dispatch
            .backlogs()
            .admits(&SourceName::new("a").unwrap())
            .is_ok()
    );
    fake.set_up(true);
    rig.until("r", |status| status.ledger.delivered == 100)
        .await;
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_backlog_at_its_limit_refuses_its_sources_and_no_others() {
    let memory = Memory::new(&["r", "other"]);
    let fake = Fake::new(LIMITS);
    fake.set_up(false);
    let up = Fake::new(LIMITS);
    let policies = RoutePolicies {
        backlog: Some(BacklogPolicy {
            max: dispatch::BacklogMax::Events(100),
            on_full: OnFull::Refuse,
        }),
        ..RoutePolicies::default()
    };
    let wanted = [
        Wanted {
            policies,
            ..Wanted::new("r", &["a"], &fake)
        },
        Wanted::new("other", &["b"], &up),
    ];
    let rig = memory.start(&wanted).await;
    let backlogs = rig.dispatch.backlogs();
    let (a, b) = (SourceName::new("a").unwrap(), SourceName::new("b").unwrap());
    memory.journal.add("a", 100);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(backlogs.admits(&a).unwrap_err().0.as_str(), "r");
    assert!(backlogs.admits(&b).is_ok());
    assert!(rig.status("r").await.full && !rig.status("other").await.full);
    fake.set_up(true);
    rig.until("r", |status| status.ledger.delivered == 100)
        .await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(backlogs.admits(&a).is_ok());
    assert!(!rig.status("r").await.full);
    rig.stop().await;
}
