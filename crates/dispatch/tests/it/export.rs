//! Dead letters go to their targets: all of them, each to every one, whatever a target does.

use std::sync::Arc;
use std::time::Duration;

use dispatch::{RoutePolicies, TargetSpec};
use domain::policy::{BreakerPolicy, Order};
use domain::ports::{BreakerState, DeadFilter, DeadLetters, Destination, Selection};
use domain::{Cause, DestinationName, Outcome, Reason};

use crate::corners::{answers_404, delivered, fixed, reject, retry};
use crate::destination::{Act, Fake, LIMITS};
use crate::memory::Memory;
use crate::rig::{Rig, Wanted};
use crate::world::{at, name};

fn target(name: &str, fake: &Arc<Fake>) -> TargetSpec {
    TargetSpec {
        name: DestinationName::new(name).unwrap(),
        destination: Arc::clone(fake) as Arc<dyn Destination>,
    }
}

/// A route whose destination rejects everything, with these targets.
pub(crate) async fn rejecting(
    memory: &Memory,
    fake: &Arc<Fake>,
    targets: &[(&str, &Arc<Fake>)],
) -> Rig {
    fake.script(|_, _| reject());
    let wanted = Wanted {
        policies: fixed(Order::None),
        targets: targets
            .iter()
            .map(|(name, fake)| target(name, fake))
            .collect(),
        ..Wanted::new("r", &["a"], fake)
    };
    memory.start(&[wanted]).await
}

pub(crate) fn each_once(fake: &Fake, count: u64) {
    let delivered = fake.delivered();
    assert_eq!(delivered.len() as u64, count);
    assert!(delivered.values().all(|times| *times == 1), "{delivered:?}");
}

#[tokio::test(start_paused = true)]
async fn a_target_whose_route_has_gone_is_shown_no_more() {
    let memory = Memory::new(&["r"]);
    let (fake, dlq) = (Fake::new(LIMITS), Fake::new(LIMITS));
    dlq.script(|_, _| Act::Hang);
    let rig = rejecting(&memory, &fake, &[("dlq", &dlq)]).await;
    memory.journal.add("a", 5);
    rig.until("r", |status| status.ledger.dead == 5).await;
    let shown = async || {
        tokio::time::sleep(Duration::from_secs(5)).await;
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &rig.registry).unwrap();
        text.contains("forebay_export_pending_events{destination=\"dlq\"} 5")
    };
    assert!(shown().await);
    let control = rig.dispatch.control();
    let patience = Duration::from_secs(5);
    control.remove(&name("r"), patience).await.unwrap();
    assert!(!shown().await);
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn every_target_is_given_every_letter_with_what_became_of_it() {
    let memory = Memory::new(&["r"]);
    let (fake, sqs, s3) = (Fake::new(LIMITS), Fake::new(LIMITS), Fake::new(LIMITS));
    let rig = rejecting(&memory, &fake, &[("sqs", &sqs), ("s3", &s3)]).await;
    memory.journal.add("a", 500);
    rig.until("r", |status| {
        status.ledger.dead == 500 && status.exports.iter().all(|export| export.pending == 0)
    })
    .await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    for target in [&sqs, &s3] {
        each_once(target, 500);
        let letters = target.letters();
        let letter = &letters[0];
        assert_eq!((letter.route.as_str(), letter.source.as_str()), ("r", "a"));
        assert_eq!(
            letter.destination.as_ref().map(DestinationName::as_str),
            Some("to-r")
        );
        assert_eq!((letter.reason, letter.attempts), (Reason::Rejected, 1));
        assert_eq!(letter.error, "sqlstate 23514: never");
    }
    let status = rig.status("r").await;
    let names: Vec<_> = status
        .exports
        .iter()
        .map(|one| one.target.as_str())
        .collect();
    assert_eq!((names, status.ledger.dead), (vec!["sqs", "s3"], 500));
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_target_that_is_away_loses_nothing_and_keeps_nobody_else_waiting() {
    let memory = Memory::new(&["r"]);
    let (fake, down, well) = (Fake::new(LIMITS), Fake::new(LIMITS), Fake::new(LIMITS));
    down.set_up(false);
    let rig = rejecting(&memory, &fake, &[("down", &down), ("well", &well)]).await;
    memory.journal.add("a", 100);
    tokio::time::sleep(Duration::from_secs(3600)).await;
    each_once(&well, 100);
    let status = rig.status("r").await;
    let export = &status.exports[0];
    assert_eq!(
        (export.breaker, export.pending),
        (BreakerState::Tripped, 100)
    );
    assert_eq!(
        export.last_error.as_ref().map(|last| &*last.cause.code),
        Some("refused")
    );
    assert_eq!(
        status.breaker,
        BreakerState::Passing,
        "the route's own is not concerned"
    );
    assert!(
        down.probes().len() > 100,
        "it is asked at least twice a minute"
    );
    down.set_up(true);
    rig.until("r", |status| status.exports[0].pending == 0)
        .await;
    each_once(&down, 100);
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_target_that_answers_the_same_to_everything_is_away_and_is_asked_again() {
    let memory = Memory::new(&["r"]);
    let (fake, target) = (Fake::new(LIMITS), Fake::new(LIMITS));
    target.script(|_, _| answers_404());
    let rig = rejecting(&memory, &fake, &[("target", &target)]).await;
    memory.journal.add("a", 30);
    tokio::time::sleep(Duration::from_secs(86_400)).await;
    let export = rig.status("r").await.exports[0].clone();
    assert_eq!((export.pending, export.refused), (30, 0));
    assert_ne!(export.breaker, BreakerState::Passing);
    target.script(|_, _| delivered());
    rig.until("r", |status| status.exports[0].pending == 0)
        .await;
    each_once(&target, 30);
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_a_target_will_not_take_is_marked_and_the_others_pass_it() {
    let memory = Memory::new(&["r"]);
    let (fake, target) = (Fake::new(LIMITS), Fake::new(LIMITS));
    // One is too large, one is refused by a status, one fails each time, and one hangs the target.
    target.script(|seq, _| match seq {
        7 => Act::Say(Outcome::Reject {
            cause: Cause::new("too-large", "over 262144 bytes"),
        }),
        23 => answers_404(),
        42 => retry(),
        60 => Act::Hang,
        _ => delivered(),
    });
    let rig = rejecting(&memory, &fake, &[("target", &target)]).await;
    memory.journal.add("a", 100);
    tokio::time::sleep(Duration::from_secs(3600)).await;
    // Of the one that hangs it is not known whether the target hangs or the letter makes it, until others pass.
    assert_eq!(target.delivered().len(), 96);
    assert_eq!(rig.status("r").await.exports[0].refused, 3);
    for _ in 0..4 {
        memory.journal.add("a", 5);
        tokio::time::sleep(Duration::from_secs(300)).await;
    }
    let export = rig.status("r").await.exports[0].clone();
    assert_eq!((export.pending, export.refused), (0, 4));
    assert_eq!(target.delivered().len(), 116);
    assert_eq!(target.attempts_of(7).len(), 1);
    assert_eq!(target.attempts_of(42).len(), 5);
    // Later ones are taken as ever.
    memory.journal.add("a", 10);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(target.delivered().len(), 126);
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn letters_of_an_open_run_go_nowhere_before_it_is_over() {
    let memory = Memory::new(&["r"]);
    let (fake, target_fake) = (Fake::new(LIMITS), Fake::new(LIMITS));
    fake.script(|_, _| answers_404());
    let wanted = Wanted {
        policies: RoutePolicies {
            breaker: BreakerPolicy { run: 20 },
            ..fixed(Order::None)
        },
        targets: vec![target("target", &target_fake)],
        ..Wanted::new("r", &["a"], &fake)
    };
    let rig = memory.start(&[wanted]).await;
    memory.journal.add("a", 15);
    rig.until("r", |status| status.ledger.dead == 15).await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(target_fake.letters().len(), 0);
    // It turns out to be an outage: they go back, and are no letters.
    memory.journal.add("a", 15);
    rig.until("r", |status| status.breaker != BreakerState::Passing)
        .await;
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert_eq!(target_fake.letters().len(), 0);
    fake.script(|_, _| delivered());
    rig.until("r", |status| status.ledger.delivered == 30).await;
    // A run that is neither ended nor long enough keeps nothing back for longer than a minute.
    fake.script(|_, _| answers_404());
    memory.journal.add("a", 5);
    rig.until("r", |status| status.ledger.dead == 5).await;
    tokio::time::sleep(Duration::from_secs(55)).await;
    assert_eq!(target_fake.letters().len(), 0);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(target_fake.letters().len(), 5);
    // And one that a delivery ended, not even so long.
    memory.journal.add("a", 5);
    rig.until("r", |status| status.ledger.dead == 10).await;
    fake.script(|_, _| delivered());
    memory.journal.add("a", 1);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(target_fake.letters().len(), 10);
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn after_a_restart_a_target_goes_on_where_it_was() {
    let memory = Memory::new(&["r"]);
    let (fake, target) = (Fake::new(LIMITS), Fake::new(LIMITS));
    let rig = rejecting(&memory, &fake, &[("target", &target)]).await;
    memory.journal.add("a", 300);
    rig.until("r", |status| status.ledger.dead == 300).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    rig.stop().await;
    let rig = rejecting(&memory, &fake, &[("target", &target)]).await;
    memory.journal.add("a", 100);
    tokio::time::sleep(Duration::from_secs(60)).await;
    each_once(&target, 400);
    // A kill repeats at most what was under way, and loses nothing.
    target.set_slow(Duration::from_millis(50));
    memory.journal.add("a", 500);
    tokio::time::sleep(Duration::from_millis(300)).await;
    drop(rig);
    target.set_slow(Duration::ZERO);
    let rig = rejecting(&memory, &fake, &[("target", &target)]).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(target.delivered().len(), 900);
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_letter_that_dies_again_is_exported_again_and_a_purged_one_is_nobodys_loss() {
    let memory = Memory::new(&["r"]);
    let (fake, target) = (Fake::new(LIMITS), Fake::new(LIMITS));
    let rig = rejecting(&memory, &fake, &[("target", &target)]).await;
    memory.journal.add("a", 10);
    rig.until("r", |status| {
        status.exports[0].pending == 0 && status.ledger.dead == 10
    })
    .await;
    let all = Selection::Filter(DeadFilter::default());
    memory.state.begin_redrive(&all, None, at()).await.unwrap();
    memory.redrive_begun.notify_one();
    tokio::time::sleep(Duration::from_secs(60)).await;
    let redrives: Vec<_> = target
        .letters()
        .iter()
        .map(|letter| letter.redrives)
        .collect();
    assert_eq!(redrives, [[0; 10], [1; 10]].concat());
    target.set_up(false);
    memory.journal.add("a", 10);
    rig.until("r", |status| status.ledger.dead == 20).await;
    let through = memory.state.last_letter().await.unwrap();
    memory.state.purge(&all, through, 100).await.unwrap();
    target.set_up(true);
    memory.journal.add("a", 5);
    rig.until("r", |status| {
        status.ledger.dead == 5 && status.exports[0].pending == 0
    })
    .await;
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn large_letters_in_hand_are_bounded_and_one_that_is_not_taken_keeps_nobody_waiting() {
    let memory = Memory::new(&["r"]);
    let (fake, target) = (Fake::new(LIMITS), Fake::new(LIMITS));
    target.script(|seq, _| match seq {
        1 => answers_404(),
        _ => delivered(),
    });
    let rig = rejecting(&memory, &fake, &[("target", &target)]).await;
    for _ in 0..40 {
        memory.journal.add_large("a", 9 << 20);
    }
    rig.until("r", |status| {
        status.exports[0].refused == 1 && status.exports[0].pending == 0
    })
    .await;
    assert_eq!(target.delivered().len(), 39);
    rig.stop().await;
}
