//! Pausing, stopping, committing, and the end when state fails.

use std::time::Duration;

use dispatch::Options;
use domain::Seq;
use domain::ports::{RouteControlError, State, StateError};

use crate::destination::{Act, Fake, LIMITS};
use crate::memory::Memory;
use crate::rig::Wanted;

#[tokio::test(start_paused = true)]
async fn after_a_pause_nothing_is_started_and_the_pause_outlives_a_restart() {
    let memory = Memory::new(&["r"]);
    let fake = Fake::new(LIMITS);
    fake.set_slow(Duration::from_millis(100));
    let rig = memory.start(&[Wanted::new("r", &["a"], &fake)]).await;
    memory.journal.add("a", 500);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let routes = rig.dispatch.routes();
    routes.set_paused("r", true).await.unwrap();
    let seen = fake.seen().len();
    assert!((1..500).contains(&seen), "{seen}");
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(fake.seen().len(), seen);
    let status = rig.status("r").await;
    assert!(status.paused);
    assert_eq!(
        status.ledger.delivered, seen as u64,
        "what was under way finished"
    );
    rig.stop().await;

    let rig = memory.start(&[Wanted::new("r", &["a"], &fake)]).await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(fake.seen().len(), seen);
    rig.dispatch.routes().set_paused("r", false).await.unwrap();
    rig.until("r", |status| status.ledger.delivered == 500)
        .await;
    assert!(fake.delivered().values().all(|count| *count == 1));
    let unknown = rig.dispatch.routes().set_paused("nobody", true).await;
    assert!(matches!(unknown, Err(RouteControlError::Unknown(_))));
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_failed_commit_ends_everything_and_says_so() {
    let memory = Memory::new(&["r"]);
    let fake = Fake::new(LIMITS);
    let rig = memory.start(&[Wanted::new("r", &["a"], &fake)]).await;
    memory
        .state
        .all_meet(Some(StateError::Failed("disk I/O error".into())));
    memory.journal.add("a", 5);
    let mut failure = rig.dispatch.failure();
    let why = failure.wait_for(Option::is_some).await.unwrap().clone();
    assert!(why.unwrap().contains("disk I/O error"));
    let seen = fake.seen().len();
    memory.journal.add("a", 100);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(
        fake.seen().len(),
        seen,
        "nothing is delivered that cannot be written down"
    );
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_lock_of_another_program_on_state_ends_nothing_and_loses_nothing() {
    let memory = Memory::new(&["r"]);
    let fake = Fake::new(LIMITS);
    fake.script(|seq, _| match seq {
        3 => Act::Say(domain::Outcome::Reject {
            cause: domain::Cause::new("http 422", "no"),
        }),
        _ => Act::Say(domain::Outcome::Delivered),
    });
    let rig = memory.start(&[Wanted::new("r", &["a"], &fake)]).await;
    let busy = StateError::Busy("database is locked".into());
    memory.state.all_meet(Some(busy));
    memory.journal.add("a", 50);
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!(rig.dispatch.failure().borrow().is_none());
    let status = rig.status("r").await;
    assert_eq!((status.cursor, status.ledger.delivered), (Seq(0), 0));
    let said = status.last_error.unwrap();
    assert_eq!(said.cause.code, "state busy");
    memory.state.all_meet(None);
    let status = rig.until("r", |status| status.cursor == Seq(50)).await;
    assert_eq!((status.ledger.delivered, status.ledger.dead), (49, 1));
    assert!(fake.delivered().values().all(|count| *count == 1));
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn progress_of_all_routes_is_committed_together_and_not_for_each_batch() {
    let memory = Memory::new(&["one", "two"]);
    let (one, two) = (Fake::new(LIMITS), Fake::new(LIMITS));
    one.set_slow(Duration::from_millis(1));
    two.set_slow(Duration::from_millis(1));
    let routes = [
        Wanted::new("one", &["a"], &one),
        Wanted::new("two", &["a"], &two),
    ];
    let rig = memory.start(&routes).await;
    memory.journal.add("a", 6_000);
    rig.until("one", |status| status.ledger.pending == 0).await;
    rig.until("two", |status| status.ledger.pending == 0).await;
    let commits = memory.state.commits();
    let shortest = commits
        .windows(2)
        .map(|pair| pair[1] - pair[0])
        .min()
        .unwrap();
    assert!(shortest >= Duration::from_millis(199), "{shortest:?}");
    assert!(commits.len() < 20, "{}", commits.len());
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_second_count_that_disagrees_is_shown_as_an_imbalance() {
    let memory = Memory::new(&["r"]);
    let fake = Fake::new(LIMITS);
    let rig = memory.start(&[Wanted::new("r", &["a"], &fake)]).await;
    memory.journal.miscount(2);
    memory.journal.add("a", 5);
    tokio::time::sleep(Duration::from_secs(5)).await;
    let statuses = rig.dispatch.routes().statuses().await;
    assert_eq!(statuses[0].imbalance, -2, "{:?}", statuses[0]);
    assert_eq!(statuses[0].ledger.imbalance(), 0);
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_stop_abandons_what_hangs_and_keeps_what_was_done() {
    let memory = Memory::new(&["r"]);
    let fake = Fake::new(LIMITS);
    fake.script(|seq, _| {
        if seq > 10 {
            Act::Hang
        } else {
            Act::Say(domain::Outcome::Delivered)
        }
    });
    let rig = memory.start(&[Wanted::new("r", &["a"], &fake)]).await;
    memory.journal.add("a", 10);
    rig.until("r", |status| status.ledger.delivered == 10).await;
    memory.journal.add("a", 10);
    tokio::time::sleep(Duration::from_millis(1)).await;
    let before = tokio::time::Instant::now();
    rig.dispatch.stop(Duration::from_secs(8)).await;
    assert!(before.elapsed() <= Duration::from_secs(8));
    assert_eq!(
        memory.state.routes().await.unwrap()[0].counters.delivered,
        10
    );
}

#[tokio::test(start_paused = true)]
async fn a_window_holds_no_more_than_its_limit_however_large_the_backlog() {
    let memory = Memory::new(&["r"]);
    let fake = Fake::new(domain::ports::DestinationLimits {
        batch_events: 1000,
        concurrency: 100,
        ..LIMITS
    });
    fake.script(|_, _| Act::Hang);
    memory.journal.add("a", 5000);
    let options = Options {
        window_events: 50,
        ..Options::default()
    };
    let rig = memory
        .start_with(options, &[Wanted::new("r", &["a"], &fake)])
        .await;
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(fake.seen().len(), 50);
    drop(rig);
}
