//! Routes that come and go while others run.

use std::sync::Arc;
use std::time::Duration;

use dispatch::{ControlError, RouteSpec};
use domain::policy::Order;
use domain::ports::{State, StateError};
use domain::{Cause, Outcome, Seq, SourceName};

use crate::corners::{fixed, reject};
use crate::destination::{Act, Fake, LIMITS};
use crate::memory::Memory;
use crate::rig::{Rig, Wanted};
use crate::world::name;

const LONG: Duration = Duration::from_secs(60);

/// The route as state knows it now.
async fn spec(memory: &Memory, wanted: &Wanted<'_>) -> RouteSpec {
    wanted.spec(&memory.state.routes().await.unwrap())
}

fn two_of<'a>(fakes: [&'a Arc<Fake>; 2]) -> [Wanted<'a>; 2] {
    [
        Wanted::new("r", &["a"], fakes[0]),
        Wanted::new("s", &["a"], fakes[1]),
    ]
}

async fn two(memory: &Memory, fakes: [&Arc<Fake>; 2]) -> Rig {
    memory.start(&two_of(fakes)).await
}

#[tokio::test(start_paused = true)]
async fn a_route_that_comes_begins_where_state_says_and_disturbs_no_other() {
    let memory = Memory::new(&["r", "s"]);
    let [old, new] = [Fake::new(LIMITS), Fake::new(LIMITS)];
    let rig = memory.start(&[Wanted::new("r", &["a"], &old)]).await;
    memory.journal.add("a", 200);
    let wanted = Wanted::new("s", &["a", "b"], &new);
    let control = rig.dispatch.control();
    control.add(spec(&memory, &wanted).await).await.unwrap();
    let again = control.add(spec(&memory, &wanted).await).await;
    assert_eq!(again, Err(ControlError::Running));
    memory.journal.add("a", 100);
    memory.journal.add("b", 50);
    let status = rig
        .until("s", |status| status.ledger.delivered == 350)
        .await;
    assert_eq!((status.ledger.accepted, status.ledger.pending), (350, 0));
    rig.until("r", |status| status.ledger.delivered == 300)
        .await;
    for fake in [&new, &old] {
        assert!(fake.delivered().values().all(|count| *count == 1));
    }
    assert!(
        rig.dispatch
            .backlogs()
            .taken(&SourceName::new("b").unwrap())
    );
    rig.until("s", |status| status.cursor == Seq(350)).await;
    assert_eq!(memory.journal.released("s"), Some(Seq(350)));
    rig.stop().await;
    let stopping = control.add(spec(&memory, &wanted).await).await;
    assert_eq!(stopping, Err(ControlError::Stopping));
}

#[tokio::test(start_paused = true)]
async fn a_route_that_goes_leaves_all_it_did_in_state_and_goes_on_from_there_when_it_comes_again() {
    let memory = Memory::new(&["r", "s"]);
    let [stays, goes] = [Fake::new(LIMITS), Fake::new(LIMITS)];
    goes.set_slow(Duration::from_millis(700));
    let rig = two(&memory, [&stays, &goes]).await;
    memory.journal.add("a", 300);
    tokio::time::sleep(Duration::from_secs(3)).await;
    let control = rig.dispatch.control();
    control.remove(&name("s"), LONG).await.unwrap();
    let seen = goes.seen().len();
    assert!((30..300).contains(&seen), "{seen}");
    let records = memory.state.routes().await.unwrap();
    let record = records.iter().find(|record| record.name == name("s"));
    let delivered = record.unwrap().counters.delivered;
    assert_eq!(
        delivered, seen as u64,
        "what was under way has ended and is committed"
    );
    let released = memory.journal.released("s");
    tokio::time::sleep(LONG).await;
    assert_eq!(
        (goes.seen().len(), memory.journal.released("s")),
        (seen, released)
    );
    assert!(
        rig.statuses()
            .await
            .iter()
            .all(|status| status.name != name("s"))
    );
    // It has gone: there is nothing to do.
    control.remove(&name("s"), LONG).await.unwrap();
    goes.set_slow(Duration::ZERO);
    let wanted = Wanted::new("s", &["a"], &goes);
    control.add(spec(&memory, &wanted).await).await.unwrap();
    rig.until("s", |status| status.ledger.delivered == 300)
        .await;
    assert!(goes.delivered().values().all(|count| *count == 1));
    rig.until("r", |status| status.ledger.delivered == 300)
        .await;
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_route_that_hangs_goes_when_patience_ends_and_loses_nothing() {
    let memory = Memory::new(&["r", "s"]);
    let [stays, hangs] = [Fake::new(LIMITS), Fake::new(LIMITS)];
    hangs.script(|seq, _| match seq {
        7 => Act::Hang,
        _ => Act::Say(Outcome::Delivered),
    });
    let rig = two(&memory, [&stays, &hangs]).await;
    memory.journal.add("a", 20);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let control = rig.dispatch.control();
    control
        .remove(&name("s"), Duration::from_secs(5))
        .await
        .unwrap();
    hangs.script(|_, _| Act::Say(Outcome::Delivered));
    let wanted = Wanted::new("s", &["a"], &hangs);
    control.add(spec(&memory, &wanted).await).await.unwrap();
    rig.until("s", |status| status.ledger.delivered == 20).await;
    assert_eq!(hangs.delivered().len(), 20);
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_route_that_is_to_end_takes_no_event_after_its_last_and_counts_none() {
    let memory = Memory::new(&["r", "s"]);
    let [stays, ends] = [Fake::new(LIMITS), Fake::new(LIMITS)];
    ends.script(|seq, attempt| match (seq, attempt) {
        (5, 1) => Act::Say(Outcome::Retry {
            cause: Cause::new("http 500", "no"),
            after: None,
        }),
        _ => Act::Say(Outcome::Delivered),
    });
    let rig = memory.start(&[Wanted::new("r", &["a"], &stays)]).await;
    memory.journal.add("a", 50);
    let wanted = Wanted::new("s", &["a"], &ends);
    let spec = RouteSpec {
        until: Some(Seq(40)),
        ..spec(&memory, &wanted).await
    };
    rig.dispatch.control().add(spec).await.unwrap();
    memory.journal.add("a", 50);
    let status = rig.until("s", |status| status.ledger.delivered == 40).await;
    assert_eq!((status.ledger.accepted, status.ledger.pending), (40, 0));
    tokio::time::sleep(LONG).await;
    let status = rig.status("s").await;
    assert_eq!((status.ledger.accepted, status.cursor), (40, Seq(40)));
    assert!(ends.delivered().keys().all(|seq| *seq <= 40));
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_route_that_goes_right_after_state_was_full_leaves_all_it_did_there() {
    let memory = Memory::new(&["r", "s"]);
    let [stays, goes] = [Fake::new(LIMITS), Fake::new(LIMITS)];
    goes.script(|seq, _| match seq % 10 {
        3 => reject(),
        _ => Act::Say(Outcome::Delivered),
    });
    let mut wanted = two_of([&stays, &goes]);
    wanted[1].policies = fixed(Order::None);
    let rig = memory.start(&wanted).await;
    let full = StateError::Full("state.max_bytes is used up".into());
    memory.state.rows_meet(Some(full));
    memory.journal.add("a", 20);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(memory.state.dead("s").len(), 0);
    memory.state.rows_meet(None);
    let control = rig.dispatch.control();
    control.remove(&name("s"), LONG).await.unwrap();
    assert_eq!(memory.state.dead("s").len(), 2);
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_route_closes_once_what_was_taken_for_it_is_in_the_journal_or_takes_events_on() {
    let memory = Memory::new(&["r", "s"]);
    let fake = Fake::new(LIMITS);
    let wanted = [
        Wanted::new("r", &["a"], &fake),
        Wanted::new("s", &["b"], &fake),
    ];
    let rig = memory.start(&wanted).await;
    let (control, backlogs) = (rig.dispatch.control(), rig.dispatch.backlogs());
    let (source, route) = (SourceName::new("b").unwrap(), name("s"));
    let on_its_way = backlogs.entering(&source);
    assert!(backlogs.taken(&source));
    assert!(
        !control.close(&route, LONG).await,
        "it may still be acknowledged"
    );
    assert!(backlogs.taken(&source));
    let (closed, ()) = tokio::join!(control.close(&route, LONG), async {
        tokio::time::sleep(LONG / 2).await;
        assert!(!backlogs.taken(&source));
        drop(on_its_way);
    });
    assert!(closed && !backlogs.taken(&source));
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_route_that_came_to_its_last_event_keeps_nothing_of_the_journal_whatever_it_has_parked() {
    let memory = Memory::new(&["r", "s"]);
    let [stays, ends] = [Fake::new(LIMITS), Fake::new(LIMITS)];
    let no = Outcome::Retry {
        cause: Cause::new("http 500", "no"),
        after: None,
    };
    ends.script(move |seq, _| match seq {
        5 => Act::Say(no.clone()),
        _ => Act::Say(Outcome::Delivered),
    });
    let mut rig = memory.start(&[Wanted::new("r", &["a"], &stays)]).await;
    memory.journal.add("a", 50);
    let mut wanted = Wanted::new("s", &["a"], &ends);
    wanted.policies.retry.max_retries = 1_000_000;
    let until = Some(Seq(40));
    let coming = RouteSpec {
        until,
        ..spec(&memory, &wanted).await
    };
    rig.dispatch.control().add(coming).await.unwrap();
    let status = rig.until("s", |status| status.cursor == Seq(40)).await;
    assert_eq!((status.ledger.parked, status.ledger.pending), (1, 0));
    memory.journal.add("a", 50);
    let everything = Some(Seq(u64::MAX));
    assert_eq!(memory.journal.released("s"), everything);
    // Nor does it after a start, at which it is there already.
    rig.stop().await;
    memory.journal.forget_releases();
    rig = memory.start(&[Wanted::new("r", &["a"], &stays)]).await;
    let coming = RouteSpec {
        until,
        ..spec(&memory, &wanted).await
    };
    rig.dispatch.control().add(coming).await.unwrap();
    rig.until("s", |status| status.ledger.parked == 1).await;
    assert_eq!(memory.journal.released("s"), everything);
    rig.stop().await;
}
