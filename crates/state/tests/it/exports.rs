//! The contract of exports: each target goes on where it was, and what all of them have goes in its time.

use domain::ports::{
    BatchLimit, DeadLetters, DeadQuery, ExportConfirmed, ExportCounts, Exported, Exports, Letter,
    Selection, State, Unexportable,
};
use domain::{Cause, DestinationName, RouteName, Seq};

use crate::contract::{Store, imbalance, with_route};
use crate::dead::{all, buried, of};
use crate::samples::{TEN, at, bury, route};

fn target(name: &str) -> DestinationName {
    DestinationName::new(name).unwrap()
}

fn step(route: &RouteName, to: &str, through: u64, second: i64) -> Exported {
    Exported {
        route: route.clone(),
        target: target(to),
        through: Letter(through),
        unexportable: Vec::new(),
        at: at(second),
    }
}

async fn after(state: &impl Exports, name: &RouteName, letter: u64, limit: BatchLimit) -> Vec<u64> {
    let letters = state
        .letters_after(name, Letter(letter), limit)
        .await
        .unwrap();
    letters.iter().map(|letter| letter.stored.seq.0).collect()
}

pub(crate) async fn each_target_goes_on_where_it_was_after_reopening<S: Store>() {
    let (store, state, name) = with_route::<S>().await;
    buried(&state, &name, (1..=5).map(bury).collect()).await;
    assert_eq!(after(&state, &name, 0, TEN).await, [1, 2, 3, 4, 5]);
    state.exported(step(&name, "sqs", 3, 10)).await.unwrap();
    state.exported(step(&name, "s3", 5, 10)).await.unwrap();
    drop(state);
    let state = store.open().await;
    let position = async |to: &str| state.export_position(&name, &target(to)).await.unwrap();
    assert_eq!(position("sqs").await, Letter(3));
    assert_eq!(position("s3").await, Letter(5));
    assert_eq!(
        position("new").await,
        Letter(0),
        "one that is new is given all"
    );
    let counts = state.export_counts(&name, &target("sqs")).await.unwrap();
    assert_eq!((counts.pending, counts.refused), (2, 0));
    assert_eq!(after(&state, &name, 3, TEN).await, [4, 5]);
    // It never goes back, and another name of the route changes nothing.
    state.exported(step(&name, "sqs", 2, 20)).await.unwrap();
    assert_eq!(position("sqs").await, Letter(3));
    state.rename_route(&name, &route("other")).await.unwrap();
    let renamed = state.export_position(&route("other"), &target("s3")).await;
    assert_eq!(renamed.unwrap(), Letter(5));
}

pub(crate) async fn a_page_is_bounded_and_has_one_letter_at_least<S: Store>() {
    let (_store, state, name) = with_route::<S>().await;
    buried(&state, &name, (1..=5).map(bury).collect()).await;
    let two = BatchLimit { events: 2, ..TEN };
    assert_eq!(after(&state, &name, 1, two).await, [2, 3]);
    let tiny = BatchLimit { bytes: 1, ..TEN };
    assert_eq!(after(&state, &name, 1, tiny).await, [2]);
}

pub(crate) async fn what_a_target_will_not_take_is_known_until_the_letter_goes<S: Store>() {
    let (_store, state, name) = with_route::<S>().await;
    buried(&state, &name, (1..=3).map(bury).collect()).await;
    let refused = Exported {
        unexportable: vec![
            Unexportable {
                letter: Letter(2),
                cause: Cause::new("too-large", "over 262144 bytes"),
            },
            // It was purged meanwhile.
            Unexportable {
                letter: Letter(99),
                cause: Cause::new("too-large", "over 262144 bytes"),
            },
        ],
        ..step(&name, "sqs", 3, 10)
    };
    state.exported(refused).await.unwrap();
    let counts = state.export_counts(&name, &target("sqs")).await.unwrap();
    let expected = ExportCounts {
        pending: 0,
        refused: 1,
    };
    assert_eq!(counts, expected);
    let query = DeadQuery {
        limit: 10,
        ..DeadQuery::default()
    };
    // Newest first.
    let mut letters = state.dead_page(&query).await.unwrap().letters;
    letters.reverse();
    assert_eq!(letters[0].not_exported, []);
    let exported = async |letter| {
        let exported = state.exported_to(Letter(letter)).await.unwrap();
        let one = |one: ExportConfirmed| (one.target.to_string(), one.at);
        exported.into_iter().map(one).collect::<Vec<_>>()
    };
    assert_eq!(exported(1).await, [("sqs".to_owned(), at(10))]);
    assert_eq!(exported(2).await, [], "it would not take that one");
    assert_eq!(exported(99).await, []);
    state.exported(step(&name, "s3", 1, 20)).await.unwrap();
    state.exported(step(&name, "s3", 3, 500)).await.unwrap();
    let both = [("s3".to_owned(), at(500)), ("sqs".to_owned(), at(10))];
    assert_eq!(exported(3).await, both);
    assert_eq!(exported(1).await[0].1, at(20));
    let refusal = &letters[1].not_exported[0];
    assert_eq!((refusal.target.as_str(), refusal.at), ("sqs", at(10)));
    assert_eq!(refusal.cause.code, "too-large");
    let through = state.last_letter().await.unwrap();
    state.purge(&all(), through, 10).await.unwrap();
    let counts = state.export_counts(&name, &target("sqs")).await.unwrap();
    assert_eq!(counts, ExportCounts::default());
}

pub(crate) async fn a_letter_goes_when_every_target_has_had_it_long_enough<S: Store>() {
    let (_store, state, name) = with_route::<S>().await;
    buried(&state, &name, (1..=6).map(bury).collect()).await;
    let both = [target("sqs"), target("s3")];
    let discard = async |second, limit| {
        let gone = state
            .discard_exported(&name, &both, at(second), limit)
            .await;
        gone.unwrap()
    };
    assert_eq!(discard(1_000_000, 10).await, 0, "nobody has any");
    // Minutes apart: each is remembered by its own time.
    state.exported(step(&name, "sqs", 4, 100)).await.unwrap();
    state.exported(step(&name, "sqs", 6, 500)).await.unwrap();
    let refused = Unexportable {
        letter: Letter(1),
        cause: Cause::new("http 413", "too large"),
    };
    let refused = Exported {
        unexportable: vec![refused],
        ..step(&name, "s3", 2, 200)
    };
    state.exported(refused).await.unwrap();
    state.exported(step(&name, "s3", 6, 900)).await.unwrap();
    assert_eq!(discard(200, 10).await, 0, "not at the second itself");
    assert_eq!(discard(201, 10).await, 1, "1 is refused and stays; 2 goes");
    assert_eq!(after(&state, &name, 0, TEN).await, [1, 3, 4, 5, 6]);
    assert_eq!(discard(901, 2).await, 2);
    assert_eq!(discard(901, 10).await, 2);
    assert_eq!(discard(901, 10).await, 0);
    assert_eq!(after(&state, &name, 0, TEN).await, [1]);
    let routes = state.routes().await.unwrap();
    assert_eq!((routes[0].dead, routes[0].counters.discarded), (1, 5));
    assert_eq!(imbalance(&state, &name).await, 0);
    assert_eq!(state.imbalance(&name).await.unwrap(), 0);
    let position = state.export_position(&name, &target("s3")).await;
    assert_eq!(position.unwrap(), Letter(6), "and nothing comes twice");
}

pub(crate) async fn what_a_running_redrive_is_to_bring_back_is_not_discarded<S: Store>() {
    let (_store, state, name) = with_route::<S>().await;
    let elsewhere = route("elsewhere");
    let registered = state.register_route(&elsewhere, Seq::ZERO, at(0)).await;
    registered.unwrap();
    buried(&state, &name, (1..=6).map(bury).collect()).await;
    buried(&state, &elsewhere, (1..=2).map(bury).collect()).await;
    let only = [target("sqs")];
    let discard = async |name: &RouteName, limit| {
        let gone = state.discard_exported(name, &only, at(1_000), limit);
        gone.await.unwrap()
    };
    let selection = Selection::Filter(of(&name));
    let job = state.begin_redrive(&selection, None, at(5));
    let job = job.await.unwrap().id;
    state.step_redrive(job, 2, at(6)).await.unwrap();
    // Two are back on the route, and one that died since is none of the job's.
    buried(&state, &name, vec![bury(7)]).await;
    state.exported(step(&name, "sqs", 9, 100)).await.unwrap();
    let step = step(&elsewhere, "sqs", 9, 100);
    state.exported(step).await.unwrap();
    assert_eq!(discard(&name, 10).await, 1);
    assert_eq!(after(&state, &name, 0, TEN).await, [3, 4, 5, 6]);
    assert_eq!(discard(&elsewhere, 10).await, 2, "the job is not of it");
    // What the job will not bring back any more is as exported as it was.
    state.cancel_redrive(job, at(7)).await.unwrap();
    assert_eq!(discard(&name, 3).await, 3);
    assert_eq!(discard(&name, 3).await, 1);
    assert_eq!(imbalance(&state, &name).await, 0);
}

pub(crate) async fn a_target_that_the_route_has_no_more_keeps_no_letter<S: Store>() {
    let (_store, state, name) = with_route::<S>().await;
    buried(&state, &name, (1..=2).map(bury).collect()).await;
    let refused = Exported {
        unexportable: vec![Unexportable {
            letter: Letter(1),
            cause: Cause::new("too-large", "over 262144 bytes"),
        }],
        ..step(&name, "sqs", 2, 10)
    };
    state.exported(refused).await.unwrap();
    state.exported(step(&name, "s3", 2, 10)).await.unwrap();
    let discard = async |targets: &[DestinationName]| {
        let gone = state.discard_exported(&name, targets, at(100), 10);
        gone.await.unwrap()
    };
    assert_eq!(discard(&[target("sqs"), target("s3")]).await, 1);
    assert_eq!(after(&state, &name, 0, TEN).await, [1]);
    assert_eq!(discard(&[target("s3")]).await, 1, "every target has it");
}

pub(crate) async fn a_clock_that_goes_back_makes_nothing_old<S: Store>() {
    let (_store, state, name) = with_route::<S>().await;
    buried(&state, &name, (1..=2).map(bury).collect()).await;
    state.exported(step(&name, "sqs", 1, 10_000)).await.unwrap();
    state.exported(step(&name, "sqs", 2, 10)).await.unwrap();
    let only = [target("sqs")];
    let gone = state.discard_exported(&name, &only, at(5_000), 10).await;
    assert_eq!(gone.unwrap(), 0);
}

pub(crate) async fn what_an_outage_buried_is_brought_back_by_one_ramped_job<S: Store>() {
    let (_store, state, name) = with_route::<S>().await;
    let outage = |seq| domain::ports::Bury {
        reason: domain::Reason::Outage,
        ..bury(seq)
    };
    assert_eq!(state.begin_recovery(&name, at(1)).await.unwrap(), None);
    buried(&state, &name, vec![outage(1), bury(2), outage(3)]).await;
    let job = state.begin_recovery(&name, at(5)).await.unwrap().unwrap();
    assert_eq!(
        (job.matched, job.ramped, job.rate_per_second),
        (2, true, None)
    );
    assert_eq!(
        state.begin_recovery(&name, at(6)).await.unwrap(),
        None,
        "it runs"
    );
    let step = state
        .step_redrive(job.id, 10, at(7))
        .await
        .unwrap()
        .unwrap();
    assert_eq!((step.moved, step.redrive.ramped), (2, true));
    assert_eq!(after(&state, &name, 0, TEN).await, [2]);
    assert_eq!(
        state.begin_recovery(&name, at(8)).await.unwrap(),
        None,
        "nothing is left"
    );
}
