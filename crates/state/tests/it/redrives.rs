//! The contract of redrives: bounded steps that go on over restarts and never meet their own failures.

use domain::ports::{
    Counters, DeadFilter, DeadLetters, DueOrder, Redrive, RedriveId, RedriveStatus, RedriveStep,
    Resolution, RetireFate, Selection, Settlement, State, StateError,
};
use domain::{RouteName, Seq};

use crate::contract::{Store, imbalance, with_route};
use crate::dead::{all, buried, of};
use crate::samples::{TEN, at, bury, park, route, stored};

async fn step(state: &impl DeadLetters, job: &Redrive, limit: usize) -> RedriveStep {
    let step = state.step_redrive(job.id, limit, at(50)).await;
    step.unwrap().unwrap()
}

async fn parked(state: &impl State, name: &RouteName) -> Vec<u64> {
    let due = state
        .due(name, at(50), &[], TEN, DueOrder::LongestFirst)
        .await
        .unwrap();
    due.iter().map(|row| row.park.stored.seq.0).collect()
}

async fn balanced(state: &impl State, name: &RouteName) {
    assert_eq!(imbalance(state, name).await, 0);
    assert_eq!(state.imbalance(name).await.unwrap(), 0);
}

pub(crate) async fn a_redrive_goes_on_where_it_was_after_reopening<S: Store>() {
    let (store, state, name) = with_route::<S>().await;
    buried(&state, &name, (1..=7).map(bury).collect()).await;
    let job = state.begin_redrive(&all(), Some(3), at(9)).await.unwrap();
    assert_eq!((job.matched, job.moved), (7, 0));
    assert_eq!(
        (job.status, job.rate_per_second),
        (RedriveStatus::Running, Some(3))
    );
    assert_eq!((job.created_at, job.finished_at), (at(9), None));
    assert_eq!(job.through, state.last_letter().await.unwrap());
    let none = step(&state, &job, 0).await;
    assert_eq!((none.moved, &none.redrive), (0, &job), "not even its end");
    let mut state = state;
    for (moved, total) in [(3, 3), (3, 6), (1, 7)] {
        drop(state);
        state = store.open().await;
        let running = state.running_redrives().await.unwrap();
        assert_eq!(running.len(), 1);
        let step = step(&state, &running[0], 3).await;
        assert_eq!((step.moved, step.redrive.moved), (moved, total));
        assert_eq!(step.routes, std::slice::from_ref(&name));
        assert_eq!(parked(&state, &name).await, (1..=total).collect::<Vec<_>>());
        balanced(&state, &name).await;
    }
    let done = state.redrive(job.id).await.unwrap().unwrap();
    assert_eq!(done.status, RedriveStatus::Done);
    assert_eq!(done.finished_at, Some(at(50)));
    assert_eq!(state.running_redrives().await.unwrap(), []);
    let after = step(&state, &job, 3).await;
    assert_eq!((after.moved, after.redrive), (0, done));
    let unknown = state.step_redrive(RedriveId(99), 3, at(50)).await.unwrap();
    assert_eq!(unknown, None);
}

pub(crate) async fn a_letter_that_is_buried_again_is_not_met_by_the_same_redrive<S: Store>() {
    let (_store, state, name) = with_route::<S>().await;
    buried(&state, &name, (1..=3).map(bury).collect()).await;
    let before = state.dead_letters(stored(1).id).await.unwrap();
    let job = state.begin_redrive(&all(), None, at(9)).await.unwrap();
    assert_eq!(step(&state, &job, 1).await.moved, 1);
    let again = Settlement {
        buries: vec![bury(1)],
        ..Settlement::at(name.clone(), Seq(3))
    };
    state.settle(vec![again]).await.unwrap();
    let after = state.dead_letters(stored(1).id).await.unwrap();
    assert!(after[0].letter > job.through && after[0].letter > before[0].letter);
    assert_eq!(after[0].redrives, 1, "how often it was redriven is kept");
    let last = step(&state, &job, 10).await;
    assert_eq!((last.moved, last.redrive.status), (2, RedriveStatus::Done));
    assert_eq!(parked(&state, &name).await, [2, 3]);
    assert_eq!(state.count_dead(&all()).await.unwrap(), 1);
    balanced(&state, &name).await;
    let next = state.begin_redrive(&all(), None, at(9)).await.unwrap();
    assert_eq!(step(&state, &next, 10).await.moved, 1);
    let due = state
        .due(&name, at(50), &[], TEN, DueOrder::LongestFirst)
        .await
        .unwrap();
    let counts: Vec<_> = due.iter().map(|row| row.redrives).collect();
    assert_eq!(counts, [2, 1, 1]);
}

pub(crate) async fn a_step_is_bounded_by_bytes_as_well<S: Store>() {
    let (_store, state, name) = with_route::<S>().await;
    let large = |seq| {
        let mut bury = bury(seq);
        let mut event = (*bury.stored.event).clone();
        event.body = vec![b'x'; 1 << 20].into();
        bury.stored.event = event.into();
        bury
    };
    buried(&state, &name, (1..=10).map(large).collect()).await;
    let job = state.begin_redrive(&all(), None, at(9)).await.unwrap();
    let mut moved = Vec::new();
    loop {
        let step = step(&state, &job, 500).await;
        if step.redrive.status == RedriveStatus::Done {
            break;
        }
        moved.push(step.moved);
        balanced(&state, &name).await;
    }
    assert_eq!(moved, [4, 4]);
    let job = state.redrive(job.id).await.unwrap().unwrap();
    assert_eq!(job.moved, 10);
}

pub(crate) async fn a_redriven_event_is_due_at_once_and_keeps_its_past<S: Store>() {
    let (_store, state, name) = with_route::<S>().await;
    buried(&state, &name, vec![bury(1)]).await;
    let job = state.begin_redrive(&all(), None, at(9)).await.unwrap();
    step(&state, &job, 10).await;
    let due = state
        .due(&name, at(50), &[], TEN, DueOrder::LongestFirst)
        .await
        .unwrap();
    let [row] = &*due else { panic!("{due:?}") };
    let dead = bury(1);
    assert_eq!(
        (row.park.attempts, row.redrives),
        (0, 1),
        "no attempt is spent"
    );
    // By any clock, also one that was behind: as of when it last failed.
    assert_eq!(row.park.due_at, dead.last_failure_at);
    assert_eq!(row.park.first_failure_at, dead.first_failure_at);
    assert_eq!(row.park.last_failure_at, dead.last_failure_at);
    assert_eq!(row.park.cause, dead.cause);
    assert_eq!((row.park.key, &row.park.stored), (None, &dead.stored));
    assert!(state.parked_keys(&name).await.unwrap().is_empty());
    let delivered = Settlement {
        resolved: vec![(Seq(1), Resolution::Delivered)],
        counters: Counters {
            delivered: 1,
            ..Counters::default()
        },
        ..Settlement::at(name.clone(), Seq(1))
    };
    state.settle(vec![delivered]).await.unwrap();
    balanced(&state, &name).await;
    let record = &state.routes().await.unwrap()[0];
    assert_eq!(
        (record.parked, record.dead, record.counters.delivered),
        (0, 0, 1)
    );
}

pub(crate) async fn letters_of_a_retired_route_are_not_redriven<S: Store>() {
    let (_store, state, name) = with_route::<S>().await;
    let old = route("old");
    state.register_route(&old, Seq::ZERO, at(0)).await.unwrap();
    buried(&state, &old, vec![bury(1), bury(2)]).await;
    buried(&state, &name, vec![bury(2), bury(3)]).await;
    let job = state.begin_redrive(&all(), None, at(9)).await.unwrap();
    assert_eq!(job.matched, 4);
    let retired = state.retire_route(&old, RetireFate::DeadLetter, at(2));
    retired.await.unwrap();
    let last = step(&state, &job, 10).await;
    assert_eq!((last.moved, last.redrive.status), (2, RedriveStatus::Done));
    assert_eq!(last.routes, std::slice::from_ref(&name));
    for selection in [
        all(),
        Selection::Filter(of(&old)),
        Selection::Ids(vec![stored(1).id, stored(2).id]),
    ] {
        let job = state.begin_redrive(&selection, None, at(9)).await.unwrap();
        assert_eq!(job.matched, 0, "{selection:?}");
        assert_eq!(step(&state, &job, 10).await.moved, 0, "{selection:?}");
    }
    assert_eq!(state.count_dead(&all()).await.unwrap(), 2);
    balanced(&state, &name).await;
}

pub(crate) async fn a_redrive_of_ids_takes_those_events_only<S: Store>() {
    let (_store, state, name) = with_route::<S>().await;
    let other = route("s");
    let start = state.register_route(&other, Seq::ZERO, at(0));
    start.await.unwrap();
    buried(&state, &name, (1..=5).map(bury).collect()).await;
    buried(&state, &other, (4..=6).map(bury).collect()).await;
    let ids = Selection::Ids([2, 4, 2, 77].map(|seq| stored(seq).id).to_vec());
    let job = state.begin_redrive(&ids, None, at(9)).await.unwrap();
    assert_eq!(job.matched, 3);
    let mut moved = Vec::new();
    loop {
        let step = step(&state, &job, 1).await;
        moved.push(step.moved);
        if step.redrive.status == RedriveStatus::Done {
            break;
        }
    }
    assert_eq!(moved, [1, 1, 1]);
    assert_eq!(parked(&state, &name).await, [2, 4]);
    assert_eq!(parked(&state, &other).await, [4]);
    balanced(&state, &name).await;
    balanced(&state, &other).await;
}

pub(crate) async fn a_redrive_can_be_cancelled_and_keeps_what_it_moved<S: Store>() {
    let (_store, state, name) = with_route::<S>().await;
    buried(&state, &name, (1..=5).map(bury).collect()).await;
    let job = state.begin_redrive(&all(), None, at(9)).await.unwrap();
    step(&state, &job, 2).await;
    let ended = state.cancel_redrive(job.id, at(60)).await.unwrap().unwrap();
    assert_eq!((ended.status, ended.moved), (RedriveStatus::Cancelled, 2));
    assert_eq!(ended.finished_at, Some(at(60)));
    let again = state.cancel_redrive(job.id, at(70)).await.unwrap();
    assert_eq!(again.as_ref(), Some(&ended), "one that has ended stays so");
    let step = step(&state, &job, 2).await;
    assert_eq!((step.moved, step.redrive), (0, ended));
    assert_eq!(parked(&state, &name).await, [1, 2]);
    assert_eq!(state.running_redrives().await.unwrap(), []);
    assert_eq!(
        state.cancel_redrive(RedriveId(9), at(0)).await.unwrap(),
        None
    );
    balanced(&state, &name).await;
}

pub(crate) async fn a_redrive_follows_a_route_to_its_new_name<S: Store>() {
    let (_store, state, name) = with_route::<S>().await;
    buried(&state, &name, (1..=3).map(bury).collect()).await;
    let named = Selection::Filter(of(&name));
    let job = state.begin_redrive(&named, None, at(9)).await.unwrap();
    step(&state, &job, 1).await;
    let new = route("new");
    state.rename_route(&name, &new).await.unwrap();
    let last = step(&state, &job, 10).await;
    assert_eq!((last.moved, last.redrive.status), (2, RedriveStatus::Done));
    assert_eq!(last.redrive.selection, Selection::Filter(of(&new)));
    balanced(&state, &new).await;
}

pub(crate) async fn a_letter_that_is_parked_as_well_is_a_defect_and_nothing_moves<S: Store>() {
    let (_store, state, name) = with_route::<S>().await;
    buried(&state, &name, vec![bury(1), bury(2)]).await;
    let both = Settlement {
        parks: vec![park(2, 1, 5)],
        ..Settlement::at(name.clone(), Seq(2))
    };
    state.settle(vec![both]).await.unwrap();
    let job = state.begin_redrive(&all(), None, at(9)).await.unwrap();
    let refused = state.step_redrive(job.id, 10, at(50)).await.unwrap_err();
    assert!(matches!(refused, StateError::Conflict(_)), "{refused}");
    assert_eq!(state.count_dead(&all()).await.unwrap(), 2);
    assert_eq!(state.redrive(job.id).await.unwrap(), Some(job));
}

pub(crate) async fn redrives_are_listed_newest_first_and_survive_reopening<S: Store>() {
    let (store, state, name) = with_route::<S>().await;
    buried(&state, &name, vec![bury(1)]).await;
    let filter = DeadFilter {
        fingerprint: Some("sqlstate #: check violated".into()),
        after: Some(at(1)),
        ..of(&name)
    };
    let mut jobs = Vec::new();
    for selection in [
        all(),
        Selection::Filter(filter),
        Selection::Ids(vec![stored(1).id]),
    ] {
        jobs.insert(
            0,
            state.begin_redrive(&selection, None, at(9)).await.unwrap(),
        );
    }
    drop(state);
    let state = store.open().await;
    assert_eq!(state.redrives(None, 10).await.unwrap(), jobs);
    assert_eq!(state.redrives(None, 2).await.unwrap(), jobs[..2]);
    assert_eq!(
        state.redrives(Some(jobs[1].id), 10).await.unwrap(),
        jobs[2..]
    );
    let running = state.running_redrives().await.unwrap();
    let oldest_first: Vec<_> = jobs.iter().rev().cloned().collect();
    assert_eq!(running, oldest_first);
}
