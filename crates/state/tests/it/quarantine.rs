//! The quarantine: what was put in is there whole until it is taken out, and is no event of any route.

use domain::ports::{
    Quarantine, QuarantineCount, QuarantineEntry, QuarantineQuery, Quarantined, State,
};
use domain::{EventId, SourceName};

use crate::contract::Store;
use crate::samples::{at, stored};

fn request(number: u64, source: &str) -> Quarantined {
    let mut event = (*stored(number).event).clone();
    event.source = SourceName::new(source).unwrap();
    event.received_at = at(i64::try_from(number).unwrap());
    event.path = format!("/in/{source}?access_token=t{number}");
    event.headers = [
        ("authorization", &b"Bearer odd\xff"[..]),
        ("x-a", b"1"),
        ("x-a", b"2"),
    ]
    .into_iter()
    .collect();
    Quarantined {
        id: stored(number).id,
        reason: "signature wrong".into(),
        event,
    }
}

async fn numbers(state: &impl Quarantine, query: QuarantineQuery) -> Vec<u64> {
    let page = state.page(&query).await.unwrap();
    let id = |entry: &QuarantineEntry| u128::from_be_bytes(*entry.id.as_bytes());
    page.iter()
        .map(|entry| u64::try_from(id(entry)).unwrap())
        .collect()
}

fn all() -> QuarantineQuery {
    QuarantineQuery {
        limit: 10,
        ..QuarantineQuery::default()
    }
}

pub(crate) async fn what_was_put_in_quarantine_is_there_whole_after_reopening<S: Store>() {
    let store = S::fresh().await;
    let state = store.open().await;
    let one = request(7, "shop");
    state.put(one.clone()).await.unwrap();
    assert!(
        state.put(one.clone()).await.is_err(),
        "an id is one request's"
    );
    drop(state);
    let state = store.open().await;
    assert_eq!(state.get(one.id).await.unwrap(), Some(one.clone()));
    assert_eq!(state.get(stored(8).id).await.unwrap(), None);
    let page = state.page(&all()).await.unwrap();
    let [entry] = &*page else { panic!("{page:?}") };
    let bytes = domain::event::encoded_len(&one.event) as u64;
    assert_eq!((entry.id, &entry.source), (one.id, &one.event.source));
    assert_eq!(
        (&*entry.reason, entry.received_at),
        ("signature wrong", at(7))
    );
    assert_eq!(entry.bytes, bytes);
    let count = QuarantineCount {
        source: one.event.source,
        requests: 1,
        bytes,
    };
    assert_eq!(state.counts().await.unwrap(), [count]);
    assert_eq!(state.routes().await.unwrap(), []);
}

pub(crate) async fn pages_of_the_quarantine_follow_on_each_other_in_both_orders<S: Store>() {
    let store = S::fresh().await;
    let state = store.open().await;
    for number in 1..=6 {
        let source = if number % 2 == 0 { "even" } else { "odd" };
        state.put(request(number, source)).await.unwrap();
    }
    assert_eq!(numbers(&state, all()).await, [6, 5, 4, 3, 2, 1]);
    let even = QuarantineQuery {
        source: Some(SourceName::new("even").unwrap()),
        ..all()
    };
    assert_eq!(numbers(&state, even.clone()).await, [6, 4, 2]);
    let first = QuarantineQuery {
        limit: 2,
        ..even.clone()
    };
    let page = state.page(&first).await.unwrap();
    let rest = QuarantineQuery {
        below: Some(page[1].number),
        ..even.clone()
    };
    assert_eq!(numbers(&state, rest).await, [2]);
    let oldest = QuarantineQuery {
        oldest_first: true,
        ..even
    };
    assert_eq!(numbers(&state, oldest.clone()).await, [2, 4, 6]);
    let between = QuarantineQuery {
        above: Some(page[1].number - 1),
        below: Some(page[0].number),
        ..oldest
    };
    assert_eq!(numbers(&state, between).await, [4]);
}

pub(crate) async fn what_leaves_the_quarantine_is_counted_by_its_source_and_its_number_is_not_given_again<
    S: Store,
>() {
    let store = S::fresh().await;
    let state = store.open().await;
    for (number, source) in [(1, "a"), (2, "b"), (3, "a")] {
        state.put(request(number, source)).await.unwrap();
    }
    let last = state.page(&all()).await.unwrap()[0].number;
    let ids: Vec<EventId> = [1, 3, 9].map(|number| stored(number).id).to_vec();
    let removed = state.remove(&ids).await.unwrap();
    let [count] = &*removed else {
        panic!("{removed:?}")
    };
    let bytes = [1, 3].map(|number| domain::event::encoded_len(&request(number, "a").event) as u64);
    assert_eq!((count.source.as_str(), count.requests), ("a", 2));
    assert_eq!(count.bytes, bytes.iter().sum::<u64>());
    assert_eq!(state.remove(&ids).await.unwrap(), []);
    assert_eq!(numbers(&state, all()).await, [2]);
    state.put(request(4, "a")).await.unwrap();
    assert!(state.page(&all()).await.unwrap()[0].number > last);
}
