//! Letters that a target does not take, among many that it takes: none of them stops the others, and none is given up
//! for what is not its fault.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use domain::ports::{BreakerState, DestinationLimits};
use domain::{Cause, Outcome};
use tokio::time::Instant;

use crate::corners::{answers_404, delivered, retry};
use crate::destination::{Act, Fake, LIMITS};
use crate::export::{each_once, rejecting};
use crate::memory::Memory;

/// More letters than are in hand at once.
const MANY: u64 = 1500;

#[tokio::test(start_paused = true)]
async fn one_letter_that_is_never_taken_stops_no_export_however_many_come_after_it() {
    for act in [answers_404(), retry(), Act::GoAway, Act::Hang, Act::Panic] {
        let memory = Memory::new(&["r"]);
        let (fake, target) = (Fake::new(LIMITS), Fake::new(LIMITS));
        let poison = act.clone();
        target.script(move |seq, _| match seq {
            1 => poison.clone(),
            _ => delivered(),
        });
        let rig = rejecting(&memory, &fake, &[("target", &target)]).await;
        memory.journal.add("a", MANY);
        tokio::time::sleep(Duration::from_secs(4 * 3600)).await;
        let export = rig.status("r").await.exports[0].clone();
        assert_eq!((export.pending, export.refused), (0, 1), "{act:?}");
        assert_eq!(target.delivered().len() as u64, MANY - 1, "{act:?}");
        rig.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_target_answers_to_everything_for_an_hour_gives_no_letter_up() {
    let memory = Memory::new(&["r"]);
    let (fake, target) = (Fake::new(LIMITS), Fake::new(LIMITS));
    target.script(|_, _| retry());
    let rig = rejecting(&memory, &fake, &[("target", &target)]).await;
    memory.journal.add("a", 500);
    tokio::time::sleep(Duration::from_secs(3600)).await;
    let export = rig.status("r").await.exports[0].clone();
    assert_eq!((export.pending, export.refused), (500, 0));
    target.script(|_, _| delivered());
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!(rig.status("r").await.exports[0].pending, 0);
    each_once(&target, 500);
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_target_that_comes_and_goes_for_a_moment_loses_nothing() {
    let memory = Memory::new(&["r"]);
    // As an HTTP endpoint: each letter goes alone, and many side by side.
    let alone = DestinationLimits {
        batch_events: 1,
        concurrency: 30,
        ..LIMITS
    };
    let (fake, target) = (Fake::new(LIMITS), Fake::new(alone));
    let (calls, start) = (Arc::new(AtomicU64::new(0)), Instant::now());
    target.script(move |_, _| {
        let call = calls.fetch_add(1, Ordering::Relaxed);
        // Half of them, and no two letters the same ones.
        let unlucky = call.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 63 == 1;
        if unlucky && start.elapsed() < Duration::from_secs(10) {
            Act::GoAway
        } else {
            delivered()
        }
    });
    let rig = rejecting(&memory, &fake, &[("target", &target)]).await;
    memory.journal.add("a", MANY);
    tokio::time::sleep(Duration::from_secs(600)).await;
    let export = rig.status("r").await.exports[0].clone();
    assert_eq!((export.pending, export.refused), (0, 0));
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_letter_whose_target_is_well_and_what_it_needs_besides_is_not_waits_as_long_as_that_takes()
 {
    let memory = Memory::new(&["r"]);
    let (fake, target) = (Fake::new(LIMITS), Fake::new(LIMITS));
    target.script(|seq, _| match seq % 10 {
        0 => Act::Say(Outcome::Retry {
            cause: Cause::new("refused", "the store is not there").aside(),
            after: None,
        }),
        _ => delivered(),
    });
    let rig = rejecting(&memory, &fake, &[("target", &target)]).await;
    memory.journal.add("a", 100);
    tokio::time::sleep(Duration::from_secs(24 * 3600)).await;
    let export = rig.status("r").await.exports[0].clone();
    assert_eq!((export.breaker, export.refused), (BreakerState::Passing, 0));
    assert!(export.pending > 0);
    let error = export.last_error.map(|last| last.cause.detail);
    assert_eq!(error.as_deref(), Some("the store is not there"));
    assert_eq!(target.delivered().len(), 90);
    assert!(target.attempts_of(10).len() < 2000, "about once a minute");
    target.script(|_, _| delivered());
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!(rig.status("r").await.exports[0].pending, 0);
    each_once(&target, 100);
    rig.stop().await;
}
