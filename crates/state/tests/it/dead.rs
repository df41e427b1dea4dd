//! The contract of dead letters: pages, filters, groups, purging.

use domain::ports::{
    Bury, DeadFilter, DeadLetter, DeadLetters, DeadQuery, Letter, RetireFate, Selection,
    Settlement, State,
};
use domain::{Cause, Reason, RouteName, Seq};

use crate::contract::{Store, imbalance, with_route};
use crate::samples::{at, bury, park, route, stored};

/// Everything.
pub(crate) fn all() -> Selection {
    Selection::Filter(DeadFilter::default())
}

pub(crate) fn of(name: &RouteName) -> DeadFilter {
    DeadFilter {
        route: Some(name.clone()),
        ..DeadFilter::default()
    }
}

/// Buries events of a route that were accepted just now, in this order.
pub(crate) async fn buried(state: &impl State, name: &RouteName, buries: Vec<Bury>) {
    let cursor = buries.iter().map(|bury| bury.stored.seq).max().unwrap();
    let step = Settlement {
        accepted: buries.len() as u64,
        buries,
        ..Settlement::at(name.clone(), cursor)
    };
    state.settle(vec![step]).await.unwrap();
}

fn died(seq: u64, reason: Reason, cause: Cause, second: i64) -> Bury {
    Bury {
        reason,
        cause,
        last_failure_at: at(second),
        ..bury(seq)
    }
}

/// All letters that a filter lets through, page by page.
async fn pages(state: &impl DeadLetters, filter: &DeadFilter, limit: usize) -> Vec<Vec<u64>> {
    let mut query = DeadQuery {
        filter: filter.clone(),
        below: None,
        limit,
    };
    let mut pages = Vec::new();
    loop {
        let page = state.dead_page(&query).await.unwrap();
        let numbers = |letter: &DeadLetter| letter.stored.seq.0;
        pages.push(page.letters.iter().map(numbers).collect());
        match page.next {
            Some(next) => query.below = Some(next),
            None => return pages,
        }
    }
}

async fn balanced(state: &impl State, name: &RouteName) {
    assert_eq!(imbalance(state, name).await, 0);
    assert_eq!(state.imbalance(name).await.unwrap(), 0);
}

/// Two routes with thirty letters each, buried in turns; three causes, times that step back.
async fn two_routes<S: Store>() -> (S, S::State, [RouteName; 2]) {
    let (store, state, one) = with_route::<S>().await;
    let other = route("s");
    state
        .register_route(&other, Seq::ZERO, at(0))
        .await
        .unwrap();
    for seq in 1..=60 {
        let (reason, cause) = match seq % 3 {
            0 => (Reason::Rejected, Cause::new("sqlstate 23514", "violated")),
            1 => (Reason::RetriesExhausted, Cause::new("http 500", "oops")),
            _ => (
                Reason::Rejected,
                Cause::new("http 422", format!("no field {seq}")),
            ),
        };
        let second = i64::try_from(if seq == 40 { 5 } else { seq }).unwrap();
        let name = if seq <= 20 || seq > 50 { &one } else { &other };
        buried(&state, name, vec![died(seq, reason, cause, second)]).await;
    }
    (store, state, [one, other])
}

pub(crate) async fn pages_come_newest_first_and_follow_on_each_other<S: Store>() {
    let (_store, state, [one, other]) = two_routes::<S>().await;
    let everything: Vec<u64> = (1..=60).rev().collect();
    for limit in [1, 7, 30, 59, 60, 61, 1000] {
        let pages = pages(&state, &DeadFilter::default(), limit).await;
        assert_eq!(pages.concat(), everything, "limit {limit}");
        assert_eq!(pages.len(), 60_usize.div_ceil(limit), "limit {limit}");
    }
    let of_one: Vec<u64> = (51..=60).rev().chain((1..=20).rev()).collect();
    assert_eq!(pages(&state, &of(&one), 4).await.concat(), of_one);
    let of_other: Vec<u64> = (21..=50).rev().collect();
    assert_eq!(pages(&state, &of(&other), 100).await.concat(), of_other);
    let query = DeadQuery {
        limit: 1,
        ..DeadQuery::default()
    };
    let newest = &state.dead_page(&query).await.unwrap().letters[0];
    assert_eq!(newest.letter, state.last_letter().await.unwrap());
    assert_eq!(newest.stored, stored(60));
    assert_eq!((&newest.route, newest.retired), (&one, false));
    assert_eq!((newest.attempts, newest.redrives), (3, 0));
    assert_eq!(newest.cause.to_string(), "sqlstate 23514: violated");
    assert_eq!(newest.first_failure_at, at(0));
    assert_eq!(newest.last_failure_at, at(60));
}

pub(crate) async fn a_filter_leaves_out_what_does_not_fit<S: Store>() {
    let (_store, state, [one, other]) = two_routes::<S>().await;
    let fits = |seq: u64, filter: &DeadFilter| {
        let name = if seq <= 20 || seq > 50 { &one } else { &other };
        let reason = match seq % 3 {
            1 => Reason::RetriesExhausted,
            _ => Reason::Rejected,
        };
        let fingerprint = [
            "sqlstate 23514: violated",
            "http 500: oops",
            "http 422: no field #",
        ];
        let fingerprint = fingerprint[usize::try_from(seq % 3).unwrap()];
        let time = at(i64::try_from(if seq == 40 { 5 } else { seq }).unwrap());
        filter.route.as_ref().is_none_or(|of| of == name)
            && filter.reason.is_none_or(|of| of == reason)
            && filter
                .fingerprint
                .as_ref()
                .is_none_or(|of| of == fingerprint)
            && filter.after.is_none_or(|after| time >= after)
            && filter.before.is_none_or(|before| time < before)
    };
    let routes = [None, Some(one.clone()), Some(route("nobody"))];
    let reasons = [None, Some(Reason::Rejected), Some(Reason::Outage)];
    let prints = [None, Some("http 500: oops"), Some("http 422: no field #")];
    let times = [
        (None, None),
        (Some(at(5)), None),
        (Some(at(30)), Some(at(55))),
    ];
    for route in &routes {
        for reason in reasons {
            for print in prints {
                for (after, before) in times {
                    let filter = DeadFilter {
                        route: route.clone(),
                        reason,
                        fingerprint: print.map(Into::into),
                        after,
                        before,
                    };
                    let known = route.as_ref().is_none_or(|name| *name == one);
                    let expected = (1..=60).rev().filter(|seq| known && fits(*seq, &filter));
                    let expected: Vec<u64> = expected.collect();
                    let found = pages(&state, &filter, 4).await.concat();
                    assert_eq!(found, expected, "{filter:?}");
                    let grouped = state.dead_groups(&filter, 100).await.unwrap();
                    let grouped: u64 = grouped.iter().map(|group| group.count).sum();
                    assert_eq!(grouped, expected.len() as u64, "{filter:?}");
                    let selection = Selection::Filter(filter);
                    let counted = state.count_dead(&selection).await.unwrap();
                    assert_eq!(counted, expected.len() as u64, "{selection:?}");
                }
            }
        }
    }
}

pub(crate) async fn a_letter_is_found_by_its_event_on_every_route<S: Store>() {
    let (_store, state, one) = with_route::<S>().await;
    let other = route("s");
    let start = state.register_route(&other, Seq::ZERO, at(0));
    start.await.unwrap();
    buried(&state, &other, vec![bury(1), bury(2)]).await;
    buried(&state, &one, vec![bury(2), bury(3)]).await;
    let found = state.dead_letters(stored(2).id).await.unwrap();
    let routes: Vec<_> = found.iter().map(|letter| letter.route.as_str()).collect();
    assert_eq!(routes, ["r", "s"], "newest burial first");
    assert!(found.iter().all(|letter| letter.stored == stored(2)));
    assert_eq!(state.dead_letters(stored(9).id).await.unwrap(), []);
    let ids = Selection::Ids([2, 2, 1, 9].map(|seq| stored(seq).id).to_vec());
    assert_eq!(state.count_dead(&ids).await.unwrap(), 3);
    assert!(state.last_letter().await.unwrap() > found[0].letter);
}

pub(crate) async fn causes_are_grouped_and_the_newest_letter_is_the_example<S: Store>() {
    let (_store, state, [one, _]) = two_routes::<S>().await;
    let groups = state
        .dead_groups(&DeadFilter::default(), 100)
        .await
        .unwrap();
    assert_eq!(groups.len(), 6);
    assert!(groups.is_sorted_by(|a, b| a.count >= b.count));
    let of_fields = groups
        .iter()
        .find(|group| group.route == one && group.code == "http 422")
        .unwrap();
    assert_eq!(of_fields.fingerprint, "http 422: no field #");
    assert_eq!(of_fields.example, "http 422: no field 59");
    assert_eq!(of_fields.example_id, stored(59).id);
    assert_eq!(of_fields.reason, Reason::Rejected);
    assert_eq!((of_fields.first_at, of_fields.last_at), (at(2), at(59)));
    assert_eq!(of_fields.count, 10);
    let few = state.dead_groups(&DeadFilter::default(), 2).await.unwrap();
    assert_eq!(few, groups[..2]);
}

pub(crate) async fn purged_letters_are_discarded_and_the_ledger_balances<S: Store>() {
    let (store, state, [one, other]) = two_routes::<S>().await;
    let rejected = Selection::Filter(DeadFilter {
        reason: Some(Reason::Rejected),
        ..DeadFilter::default()
    });
    let through = state.last_letter().await.unwrap();
    assert_eq!(state.purge(&rejected, through, 15).await.unwrap(), 15);
    let state = {
        drop(state);
        store.open().await
    };
    assert_eq!(state.purge(&rejected, through, 1000).await.unwrap(), 25);
    assert_eq!(state.purge(&rejected, through, 1000).await.unwrap(), 0);
    assert_eq!(state.count_dead(&all()).await.unwrap(), 20);
    for name in [&one, &other] {
        balanced(&state, name).await;
    }
    let records = state.routes().await.unwrap();
    let counts = records
        .iter()
        .map(|record| (record.dead, record.counters.discarded));
    assert_eq!(counts.collect::<Vec<_>>(), [(10, 20), (10, 20)]);
    let ids = Selection::Ids(vec![stored(1).id, stored(22).id, stored(3).id]);
    assert_eq!(state.purge(&ids, through, 1000).await.unwrap(), 2);
    assert_eq!(state.count_dead(&all()).await.unwrap(), 18);
    balanced(&state, &one).await;
}

pub(crate) async fn what_is_buried_after_the_bound_is_not_purged<S: Store>() {
    let (_store, state, name) = with_route::<S>().await;
    assert_eq!(state.last_letter().await.unwrap(), Letter(0));
    buried(&state, &name, vec![bury(1), bury(2)]).await;
    let through = state.last_letter().await.unwrap();
    buried(&state, &name, vec![bury(3)]).await;
    assert_eq!(state.purge(&all(), through, 1000).await.unwrap(), 2);
    assert_eq!(state.purge(&all(), through, 1000).await.unwrap(), 0);
    assert_eq!(state.count_dead(&all()).await.unwrap(), 1);
    let through = state.last_letter().await.unwrap();
    assert_eq!(state.purge(&all(), through, 1000).await.unwrap(), 1);
    buried(&state, &name, vec![bury(4)]).await;
    let last = state.last_letter().await.unwrap();
    assert!(
        last > through,
        "the number of a purged letter is not given again"
    );
    balanced(&state, &name).await;
}

pub(crate) async fn letters_of_a_retired_route_are_listed_and_purged<S: Store>() {
    let (_store, state, name) = with_route::<S>().await;
    let step = Settlement {
        accepted: 2,
        parks: vec![park(1, 1, 5)],
        buries: vec![bury(2)],
        ..Settlement::at(name.clone(), Seq(2))
    };
    state.settle(vec![step]).await.unwrap();
    let retired = state.retire_route(&name, RetireFate::DeadLetter, at(2));
    retired.await.unwrap();
    let start = state.register_route(&name, Seq(2), at(3));
    start.await.unwrap();
    buried(&state, &name, vec![bury(3)]).await;
    let query = DeadQuery {
        filter: of(&name),
        below: None,
        limit: 10,
    };
    let page = state.dead_page(&query).await.unwrap();
    let said: Vec<_> = page
        .letters
        .iter()
        .map(|letter| (letter.stored.seq.0, letter.retired, letter.reason))
        .collect();
    let expected = [
        (3, false, Reason::Rejected),
        (1, true, Reason::Retired),
        (2, true, Reason::Rejected),
    ];
    assert_eq!(said, expected);
    let groups = state.dead_groups(&of(&name), 10).await.unwrap();
    let counts: Vec<_> = groups.iter().map(|group| group.count).collect();
    assert_eq!(counts, [2, 1], "both incarnations have one name");
    let named = Selection::Filter(of(&name));
    assert_eq!(state.count_dead(&named).await.unwrap(), 3);
    assert_eq!(state.count_redrivable(&named).await.unwrap(), 1);
    let through = state.last_letter().await.unwrap();
    assert_eq!(state.purge(&named, through, 10).await.unwrap(), 3);
    assert_eq!(state.routes().await.unwrap()[0].counters.discarded, 1);
    balanced(&state, &name).await;
}

pub(crate) async fn a_retired_route_that_is_discarded_leaves_no_letters<S: Store>() {
    let (_store, state, name) = with_route::<S>().await;
    buried(&state, &name, vec![bury(1), bury(2)]).await;
    let retired = state.retire_route(&name, RetireFate::Discard, at(2));
    retired.await.unwrap();
    assert_eq!(state.count_dead(&all()).await.unwrap(), 0);
    assert_eq!(
        state
            .count_dead(&Selection::Filter(of(&name)))
            .await
            .unwrap(),
        0
    );
    let start = state.register_route(&name, Seq(2), at(3));
    start.await.unwrap();
    assert_eq!(state.routes().await.unwrap()[0].dead, 0);
    balanced(&state, &name).await;
}
