//! What every state store does, whatever it is made of. A new one is one [`Store`] and one line of
//! [`contract!`](crate::contract::contract).

use domain::ports::{
    BatchLimit, Counters, DeadLetters, DeliveredRange, DueOrder, Exports, Fate, Gaps, KnownSource,
    Park, Quarantine, Resolution, RetireFate, SettledRange, Settlement, State, StateError,
};
use domain::{InstallationId, Reason, RouteName, Seq, SourceName};

use crate::samples::{TEN, at, bury, park, range, route, stored};

/// A place that a state store is kept in. Opening it again finds what was committed.
pub(crate) trait Store: Sized {
    type State: State + DeadLetters + Exports + Quarantine + Gaps;

    /// A place that nothing was kept in yet.
    async fn fresh() -> Self;

    /// Opens it; the one opened before was dropped.
    async fn open(&self) -> Self::State;
}

/// A test for each part of the contract, over one kind of store.
macro_rules! contract {
    ($store:ty, $from:ident: $($part:ident),* $(,)?) => {
        $(
            #[tokio::test]
            async fn $part() {
                crate::$from::$part::<$store>().await;
            }
        )*
    };
    ($store:ty) => {
        crate::contract::contract!(
            $store, contract:
            a_step_is_applied_whole_and_survives_reopening,
            one_bad_step_of_several_undoes_them_all,
            parked_events_come_back_when_due_and_leave_once,
            what_a_clock_ahead_of_time_parked_is_due_at_once,
            what_became_due_last_can_come_first,
            an_event_that_is_not_parked_cannot_leave_the_parked,
            parked_events_come_back_within_bytes_and_at_least_one,
            delivered_stretches_merge_while_the_time_stays_known_to_ten_seconds,
            routes_are_renamed_retired_and_registered_again,
            state_is_bound_to_one_installation,
            a_source_is_remembered_with_its_paths_until_it_is_forgotten,
            a_route_that_left_the_configuration_is_known_by_the_sources_it_took,
            a_step_that_changes_the_sources_changes_the_ranges_with_them,
            delivered_stretches_merge_in_whatever_order_they_come,
            an_event_from_before_the_route_is_not_the_routes,
            an_event_that_moves_meanwhile_is_in_one_place_or_the_other,
        );
        crate::contract::contract!(
            $store, dead:
            pages_come_newest_first_and_follow_on_each_other,
            a_filter_leaves_out_what_does_not_fit,
            a_letter_is_found_by_its_event_on_every_route,
            causes_are_grouped_and_the_newest_letter_is_the_example,
            purged_letters_are_discarded_and_the_ledger_balances,
            what_is_buried_after_the_bound_is_not_purged,
            letters_of_a_retired_route_are_listed_and_purged,
            a_retired_route_that_is_discarded_leaves_no_letters,
        );
        crate::contract::contract!(
            $store, redrives:
            a_redrive_goes_on_where_it_was_after_reopening,
            a_letter_that_is_buried_again_is_not_met_by_the_same_redrive,
            a_redriven_event_is_due_at_once_and_keeps_its_past,
            a_step_is_bounded_by_bytes_as_well,
            letters_of_a_retired_route_are_not_redriven,
            a_redrive_of_ids_takes_those_events_only,
            a_redrive_can_be_cancelled_and_keeps_what_it_moved,
            a_redrive_follows_a_route_to_its_new_name,
            a_letter_that_is_parked_as_well_is_a_defect_and_nothing_moves,
            redrives_are_listed_newest_first_and_survive_reopening,
        );
        crate::contract::contract!(
            $store, exports:
            each_target_goes_on_where_it_was_after_reopening,
            a_page_is_bounded_and_has_one_letter_at_least,
            what_a_target_will_not_take_is_known_until_the_letter_goes,
            a_letter_goes_when_every_target_has_had_it_long_enough,
            what_a_running_redrive_is_to_bring_back_is_not_discarded,
            a_target_that_the_route_has_no_more_keeps_no_letter,
            a_clock_that_goes_back_makes_nothing_old,
            what_an_outage_buried_is_brought_back_by_one_ramped_job,
        );
        crate::contract::contract!(
            $store, gaps:
            until_when_a_source_missed_nothing_never_goes_back,
            a_gap_is_pending_until_it_is_over_and_told_of,
            a_gap_that_is_to_be_filled_has_its_backfill_in_the_same_step,
            a_backfill_goes_on_where_it_was_and_not_once_it_has_ended,
        );
        crate::contract::contract!(
            $store, quarantine:
            what_was_put_in_quarantine_is_there_whole_after_reopening,
            pages_of_the_quarantine_follow_on_each_other_in_both_orders,
            what_leaves_the_quarantine_is_counted_by_its_source_and_its_number_is_not_given_again,
        );
    };
}
pub(crate) use contract;

/// `accepted + Σ ranges − (delivered + parked + dead + discarded + damaged)`, by what state says.
pub(crate) async fn imbalance(state: &impl State, name: &RouteName) -> i64 {
    let routes = state.routes().await.unwrap();
    let route = routes.iter().find(|route| route.name == *name).unwrap();
    route.ledger(0).imbalance()
}

pub(crate) async fn with_route<S: Store>() -> (S, S::State, RouteName) {
    let store = S::fresh().await;
    let state = store.open().await;
    let name = route("r");
    state.register_route(&name, Seq::ZERO, at(0)).await.unwrap();
    (store, state, name)
}

pub(crate) async fn a_step_is_applied_whole_and_survives_reopening<S: Store>() {
    let (store, state, name) = with_route::<S>().await;
    let step = Settlement {
        cursor: Seq(10),
        accepted: 10,
        ranges: vec![SettledRange {
            range: range(12, 14),
            events: 3,
        }],
        delivered: vec![DeliveredRange {
            range: range(1, 9),
            at: at(5),
        }],
        parks: vec![park(10, 1, 60)],
        buries: vec![bury(12)],
        counters: Counters {
            delivered: 9,
            discarded: 2,
            damaged: 0,
        },
        ..Settlement::at(name.clone(), Seq(10))
    };
    state.settle(vec![step]).await.unwrap();
    assert_eq!(imbalance(&state, &name).await, 0);
    drop(state);

    let state = store.open().await;
    let records = state.routes().await.unwrap();
    assert_eq!(records.len(), 1);
    let record = &records[0];
    assert_eq!(
        (record.cursor, record.accepted, record.parked, record.dead),
        (Seq(10), 10, 1, 1)
    );
    assert_eq!(
        record.ranges,
        [SettledRange {
            range: range(12, 14),
            events: 3
        }]
    );
    assert_eq!(record.unsettled(Seq(18)), [range(11, 11), range(15, 18)]);
    assert_eq!(record.unsettled(Seq(13)), [range(11, 11)]);
    let ledger = record.ledger(5);
    assert_eq!((ledger.accepted, ledger.pending), (18, 5));
    assert_eq!(ledger.imbalance(), 0);
    assert_eq!(
        state.fate(&name, Seq(3)).await.unwrap(),
        Fate::Delivered { at: Some(at(5)) }
    );
    assert!(matches!(
        state.fate(&name, Seq(10)).await.unwrap(),
        Fate::Parked { attempts: 1, .. }
    ));
    assert!(matches!(
        state.fate(&name, Seq(12)).await.unwrap(),
        Fate::Dead {
            reason: Reason::Rejected,
            ..
        }
    ));
    assert_eq!(state.fate(&name, Seq(11)).await.unwrap(), Fate::Pending);
    assert_eq!(state.fate(&name, Seq(15)).await.unwrap(), Fate::Pending);
    assert_eq!(state.find(stored(12).id).await.unwrap(), Some(stored(12)));
}

pub(crate) async fn parked_events_come_back_within_bytes_and_at_least_one<S: Store>() {
    let (_store, state, name) = with_route::<S>().await;
    let step = Settlement {
        accepted: 4,
        parks: (1..=4).map(|seq| park(seq, 1, 0)).collect(),
        ..Settlement::at(name.clone(), Seq(4))
    };
    state.settle(vec![step]).await.unwrap();
    let one = stored(1).event.weight();
    for (events, bytes, expected) in [
        (10, 3 * one, 3),
        (10, 3 * one - 1, 2),
        (2, 3 * one, 2),
        (10, 1, 1),
        (10, usize::MAX, 4),
    ] {
        let limit = BatchLimit { events, bytes };
        let due = state
            .due(&name, at(9), &[], limit, DueOrder::LongestFirst)
            .await
            .unwrap();
        assert_eq!(due.len(), expected, "{limit:?}");
    }
}

pub(crate) async fn one_bad_step_of_several_undoes_them_all<S: Store>() {
    let (_store, state, name) = with_route::<S>().await;
    let good = Settlement {
        accepted: 5,
        ..Settlement::at(name.clone(), Seq(5))
    };
    let unknown = Settlement::at(route("nobody"), Seq(1));
    let error = state.settle(vec![good, unknown]).await.unwrap_err();
    assert!(matches!(error, StateError::UnknownRoute(_)), "{error}");
    assert_eq!(state.routes().await.unwrap()[0].cursor, Seq::ZERO);
    state
        .settle(vec![Settlement::at(name.clone(), Seq(5))])
        .await
        .unwrap();
    let back = state
        .settle(vec![Settlement::at(name, Seq(4))])
        .await
        .unwrap_err();
    assert!(matches!(back, StateError::Conflict(_)), "{back}");
    assert_eq!(
        state.routes().await.unwrap()[0].cursor,
        Seq(5),
        "a refused step is not a failed store"
    );
}

pub(crate) async fn parked_events_come_back_when_due_and_leave_once<S: Store>() {
    let (_store, state, name) = with_route::<S>().await;
    let parks = vec![park(1, 1, 30), park(2, 1, 10), park(3, 1, 20)];
    let step = Settlement {
        accepted: 3,
        parks,
        ..Settlement::at(name.clone(), Seq(3))
    };
    state.settle(vec![step]).await.unwrap();
    assert_eq!(imbalance(&state, &name).await, 0);
    let due = |now, busy: &'static [Seq]| {
        let (state, name) = (&state, &name);
        async move {
            let due = state
                .due(name, at(now), busy, TEN, DueOrder::LongestFirst)
                .await
                .unwrap();
            due.iter()
                .map(|parked| parked.park.stored.seq.0)
                .collect::<Vec<_>>()
        }
    };
    assert_eq!(due(9, &[]).await, [0_u64; 0]);
    assert_eq!(due(25, &[]).await, [2, 3]);
    assert_eq!(due(25, &[Seq(2)]).await, [3]);
    assert_eq!(
        state
            .next_due(&name, at(25), &[Seq(2), Seq(3)])
            .await
            .unwrap(),
        Some(at(30))
    );

    let step = Settlement {
        resolved: vec![(Seq(2), Resolution::Delivered)],
        parks: vec![park(3, 2, 99)],
        buries: vec![bury(1)],
        counters: Counters {
            delivered: 1,
            ..Counters::default()
        },
        ..Settlement::at(name.clone(), Seq(3))
    };
    state.settle(vec![step]).await.unwrap();
    assert_eq!(imbalance(&state, &name).await, 0);
    assert_eq!(due(99, &[]).await, [3]);
    assert_eq!(
        state
            .due(&name, at(99), &[], TEN, DueOrder::LongestFirst)
            .await
            .unwrap()[0]
            .park
            .attempts,
        2
    );
}

pub(crate) async fn what_became_due_last_can_come_first<S: Store>() {
    let (_store, state, name) = with_route::<S>().await;
    let step = Settlement {
        accepted: 3,
        parks: vec![park(1, 1, 30), park(2, 1, 10), park(3, 1, 70)],
        ..Settlement::at(name.clone(), Seq(3))
    };
    state.settle(vec![step]).await.unwrap();
    for (order, expected) in [
        (DueOrder::LongestFirst, [2, 1]),
        (DueOrder::LatestFirst, [1, 2]),
    ] {
        let due = state.due(&name, at(60), &[], TEN, order).await.unwrap();
        let due: Vec<_> = due.iter().map(|row| row.park.stored.seq.0).collect();
        assert_eq!(due, expected, "{order:?}");
    }
}

pub(crate) async fn what_a_clock_ahead_of_time_parked_is_due_at_once<S: Store>() {
    let (_store, state, name) = with_route::<S>().await;
    let failed = |seq, failed, due| Park {
        last_failure_at: at(failed),
        ..park(seq, 1, due)
    };
    let step = Settlement {
        accepted: 4,
        parks: vec![
            failed(1, 100, 110),
            failed(2, 40, 50),
            failed(3, 200, 210),
            failed(4, 45, 48),
        ],
        ..Settlement::at(name.clone(), Seq(4))
    };
    state.settle(vec![step]).await.unwrap();
    let cases: [(i64, &[u64]); 5] = [
        (0, &[2, 4, 1, 3]),
        (44, &[1, 3]),
        (60, &[4, 2, 1, 3]),
        (99, &[4, 2, 3]),
        (250, &[4, 2, 1, 3]),
    ];
    for (now, expected) in cases {
        let due = state
            .due(&name, at(now), &[], TEN, DueOrder::LongestFirst)
            .await
            .unwrap();
        let due: Vec<_> = due.iter().map(|row| row.park.stored.seq.0).collect();
        assert_eq!(due, expected, "at {now}");
        let next = state.next_due(&name, at(now), &[]).await.unwrap();
        assert!(next.is_some_and(|next| next <= at(now)), "at {now}");
    }
    let few = BatchLimit { events: 3, ..TEN };
    let due = state
        .due(&name, at(60), &[Seq(4)], few, DueOrder::LongestFirst)
        .await
        .unwrap();
    let due: Vec<_> = due.iter().map(|row| row.park.stored.seq.0).collect();
    assert_eq!(due, [2, 1, 3]);
    let busy = [Seq(1), Seq(3)];
    let next = state.next_due(&name, at(44), &busy).await.unwrap();
    assert_eq!(next, Some(at(48)), "those ahead of time are under way");
}

pub(crate) async fn an_event_that_is_not_parked_cannot_leave_the_parked<S: Store>() {
    let (_store, state, name) = with_route::<S>().await;
    let step = Settlement {
        accepted: 1,
        parks: vec![park(1, 1, 0)],
        ..Settlement::at(name.clone(), Seq(1))
    };
    state.settle(vec![step]).await.unwrap();
    let leaves = |seq| Settlement {
        resolved: vec![(Seq(seq), Resolution::Delivered)],
        counters: Counters {
            delivered: 1,
            ..Counters::default()
        },
        ..Settlement::at(name.clone(), Seq(1))
    };
    state.settle(vec![leaves(1)]).await.unwrap();
    for seq in [1, 2] {
        let twice = state.settle(vec![leaves(seq)]).await.unwrap_err();
        assert!(matches!(twice, StateError::Conflict(_)), "{twice}");
    }
    assert_eq!(imbalance(&state, &name).await, 0);
    assert_eq!(state.routes().await.unwrap()[0].counters.delivered, 1);
}

pub(crate) async fn delivered_stretches_merge_while_the_time_stays_known_to_ten_seconds<
    S: Store,
>() {
    let (_store, state, name) = with_route::<S>().await;
    for n in 0..30 {
        let delivered = vec![DeliveredRange {
            range: range(n * 10 + 1, n * 10 + 10),
            at: at(i64::try_from(n).unwrap()),
        }];
        let counters = Counters {
            delivered: 10,
            ..Counters::default()
        };
        let step = Settlement {
            accepted: 10,
            delivered,
            counters,
            ..Settlement::at(name.clone(), Seq(n * 10 + 10))
        };
        state.settle(vec![step]).await.unwrap();
    }
    for seq in [1, 155, 300] {
        let Fate::Delivered { at: Some(time) } = state.fate(&name, Seq(seq)).await.unwrap() else {
            panic!()
        };
        let exact = (i64::try_from(seq).unwrap() - 1) / 10;
        let late = time.as_second() - at(exact).as_second();
        assert!((0..=10).contains(&late), "event {seq}: {late} s late");
    }
    state.expire_delivered(at(25)).await.unwrap();
    assert_eq!(
        state.fate(&name, Seq(1)).await.unwrap(),
        Fate::Delivered { at: None }
    );
    assert!(matches!(
        state.fate(&name, Seq(300)).await.unwrap(),
        Fate::Delivered { at: Some(_) }
    ));
}

pub(crate) async fn routes_are_renamed_retired_and_registered_again<S: Store>() {
    let (_store, state, name) = with_route::<S>().await;
    let step = Settlement {
        accepted: 2,
        parks: vec![park(1, 1, 5)],
        buries: vec![bury(2)],
        ..Settlement::at(name.clone(), Seq(2))
    };
    state.settle(vec![step]).await.unwrap();
    state
        .register_route(&route("other"), Seq(7), at(1))
        .await
        .unwrap();
    assert!(matches!(
        state.rename_route(&name, &route("other")).await,
        Err(StateError::Conflict(_))
    ));
    assert!(matches!(
        state.rename_route(&route("nobody"), &name).await,
        Err(StateError::UnknownRoute(_))
    ));
    state.rename_route(&name, &route("new")).await.unwrap();
    state.set_paused(&route("new"), true).await.unwrap();
    let records = state.routes().await.unwrap();
    let names: Vec<_> = records
        .iter()
        .map(|record| (record.name.as_str(), record.paused, record.parked))
        .collect();
    assert_eq!(names, [("new", true, 1), ("other", false, 0)]);

    state
        .retire_route(&route("new"), RetireFate::DeadLetter, at(2))
        .await
        .unwrap();
    assert_eq!(state.routes().await.unwrap().len(), 1);
    assert!(
        state.find(stored(1).id).await.unwrap().is_some(),
        "what was parked is a dead letter now"
    );
    state
        .register_route(&route("new"), Seq(9), at(3))
        .await
        .unwrap();
    let records = state.routes().await.unwrap();
    assert_eq!(
        (records[0].cursor, records[0].dead),
        (Seq(9), 0),
        "a new incarnation starts empty"
    );
    state
        .retire_route(&route("other"), RetireFate::Discard, at(4))
        .await
        .unwrap();
}

pub(crate) async fn state_is_bound_to_one_installation<S: Store>() {
    let (store, state, _) = with_route::<S>().await;
    assert_eq!(state.installation().await.unwrap(), None);
    let id = InstallationId::random();
    state.bind_installation(id).await.unwrap();
    state.bind_installation(id).await.unwrap();
    assert!(matches!(
        state.bind_installation(InstallationId::random()).await,
        Err(StateError::Conflict(_))
    ));
    drop(state);
    assert_eq!(store.open().await.installation().await.unwrap(), Some(id));
}

pub(crate) async fn a_source_is_remembered_with_its_paths_until_it_is_forgotten<S: Store>() {
    let store = S::fresh().await;
    let state = store.open().await;
    let source = |name: &str, path: &str| KnownSource {
        name: SourceName::new(name).unwrap(),
        paths: vec![path.into()],
    };
    state
        .remember_sources(vec![source("a", "/old"), source("b", "/b")])
        .await
        .unwrap();
    state
        .remember_sources(vec![source("a", "/new")])
        .await
        .unwrap();
    assert_eq!(
        state.sources().await.unwrap(),
        [source("a", "/new"), source("b", "/b")]
    );
    assert!(state.forget_source(&source("b", "").name).await.unwrap());
    assert!(!state.forget_source(&source("b", "").name).await.unwrap());
    assert_eq!(state.sources().await.unwrap(), [source("a", "/new")]);
}

pub(crate) async fn a_route_that_left_the_configuration_is_known_by_the_sources_it_took<
    S: Store,
>() {
    let store = S::fresh().await;
    let state = store.open().await;
    let route = route("r");
    let taken = vec![SourceName::new("a").unwrap(), SourceName::new("b").unwrap()];
    state.register_route(&route, Seq(0), at(0)).await.unwrap();
    assert_eq!(state.route_sources(&route).await.unwrap(), []);
    state
        .set_route_sources(&route, taken.clone())
        .await
        .unwrap();
    assert_eq!(state.route_sources(&route).await.unwrap(), taken);
}

pub(crate) async fn a_step_that_changes_the_sources_changes_the_ranges_with_them<S: Store>() {
    let (store, state, name) = with_route::<S>().await;
    let settled = |first, last, events| SettledRange {
        range: range(first, last),
        events,
    };
    let step = Settlement {
        ranges: vec![settled(2, 9, 8)],
        delivered: vec![DeliveredRange {
            range: range(2, 9),
            at: at(5),
        }],
        counters: Counters {
            delivered: 8,
            ..Counters::default()
        },
        ..Settlement::at(name.clone(), Seq::ZERO)
    };
    state.settle(vec![step]).await.unwrap();
    // 4 is of a source that joined, 7 of one that left.
    let taken = vec![SourceName::new("b").unwrap()];
    let ranges = vec![settled(2, 3, 2), settled(5, 9, 5)];
    let step = Settlement {
        accepted: 1,
        ranges: ranges.clone(),
        sources: Some(taken.clone()),
        ..Settlement::at(name.clone(), Seq::ZERO)
    };
    state.settle(vec![step]).await.unwrap();
    let state = store.open().await;
    assert_eq!(state.route_sources(&name).await.unwrap(), taken);
    assert_eq!(state.routes().await.unwrap()[0].ranges, ranges);
    assert_eq!(imbalance(&state, &name).await, 0);
    assert_eq!(state.fate(&name, Seq(4)).await.unwrap(), Fate::Pending);
    let delivered = Fate::Delivered { at: Some(at(5)) };
    assert_eq!(state.fate(&name, Seq(5)).await.unwrap(), delivered);
}

pub(crate) async fn delivered_stretches_merge_in_whatever_order_they_come<S: Store>() {
    let (store, state, name) = with_route::<S>().await;
    let deliver = |first, last, second| {
        let delivered = vec![DeliveredRange {
            range: range(first, last),
            at: at(second),
        }];
        let counters = Counters {
            delivered: last - first + 1,
            ..Counters::default()
        };
        Settlement {
            accepted: last - first + 1,
            delivered,
            counters,
            ..Settlement::at(name.clone(), Seq::ZERO)
        }
    };
    // 5 was parked and comes an hour later, in the middle of what was delivered around it.
    for (first, last, second) in [(6, 9, 2), (1, 4, 1), (10, 20, 3), (5, 5, 3600)] {
        state
            .settle(vec![deliver(first, last, second)])
            .await
            .unwrap();
    }
    // Delivered once more after a crash of the destination: the later time holds, around it nothing moves.
    state.settle(vec![deliver(15, 16, 7200)]).await.unwrap();
    // A stretch over a shorter one.
    for (first, last, second) in [(54, 55, 4), (50, 60, 5)] {
        state
            .settle(vec![deliver(first, last, second)])
            .await
            .unwrap();
    }
    let above = [(1, 20), (50, 60)].map(|(first, last)| SettledRange {
        range: range(first, last),
        events: last - first + 1,
    });
    let settled = Settlement {
        ranges: above.to_vec(),
        ..Settlement::at(name.clone(), Seq::ZERO)
    };
    state.settle(vec![settled]).await.unwrap();
    drop(state);
    let state = store.open().await;
    let expected = [
        (1, 1),
        (4, 1),
        (5, 3600),
        (6, 3),
        (9, 3),
        (10, 3),
        (14, 3),
        (15, 7200),
        (16, 7200),
        (17, 3),
        (20, 3),
        (50, 5),
        (55, 5),
        (58, 5),
    ];
    for (seq, second) in expected {
        let fate = state.fate(&name, Seq(seq)).await.unwrap();
        assert_eq!(
            fate,
            Fate::Delivered {
                at: Some(at(second))
            },
            "event {seq}"
        );
    }
    assert_eq!(state.fate(&name, Seq(21)).await.unwrap(), Fate::Pending);
}

pub(crate) async fn an_event_from_before_the_route_is_not_the_routes<S: Store>() {
    let store = S::fresh().await;
    let state = store.open().await;
    let name = route("late");
    state.register_route(&name, Seq(100), at(0)).await.unwrap();
    assert_eq!(state.fate(&name, Seq(100)).await.unwrap(), Fate::Before);
    assert_eq!(state.fate(&name, Seq(101)).await.unwrap(), Fate::Pending);
    let step = Settlement {
        accepted: 1,
        counters: Counters {
            delivered: 1,
            ..Counters::default()
        },
        ..Settlement::at(name.clone(), Seq(101))
    };
    state.settle(vec![step]).await.unwrap();
    state.register_route(&name, Seq(500), at(9)).await.unwrap();
    assert_eq!(state.fate(&name, Seq(100)).await.unwrap(), Fate::Before);
    assert_eq!(
        state.fate(&name, Seq(101)).await.unwrap(),
        Fate::Delivered { at: None },
        "registering again changes nothing"
    );
}

pub(crate) async fn an_event_that_moves_meanwhile_is_in_one_place_or_the_other<S: Store>() {
    let (_store, state, name) = with_route::<S>().await;
    let is_over = std::cell::Cell::new(false);
    let bury_it = async || {
        let step = Settlement {
            buries: vec![bury(1)],
            ..Settlement::at(name.clone(), Seq(1))
        };
        state.settle(vec![step]).await.unwrap();
    };
    bury_it().await;
    let moves = async {
        for _ in 0..300 {
            let moved = state.redrive_one(stored(1).id, &name, at(1)).await;
            assert!(moved.unwrap());
            bury_it().await;
        }
        is_over.set(true);
    };
    let looks = async {
        while !is_over.get() {
            let fate = state.fate(&name, Seq(1)).await.unwrap();
            let is_there = matches!(fate, Fate::Dead { .. } | Fate::Parked { .. });
            assert!(is_there, "{fate:?}");
        }
    };
    tokio::join!(moves, looks);
}
