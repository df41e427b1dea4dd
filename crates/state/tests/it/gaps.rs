//! Gaps and backfills: what a source may have missed is known until it is told of and filled.

use domain::SourceName;
use domain::ports::{Backfill, BackfillStatus, Gap, GapQuery, Gaps, NewBackfill, NewGap};

use crate::contract::Store;
use crate::samples::at;

fn name(name: &str) -> SourceName {
    SourceName::new(name).unwrap()
}

fn gap(source: &str, from: i64) -> NewGap {
    NewGap {
        source: name(source),
        from: at(from),
        to: None,
        topics: vec!["v2.users.1.presence".into(), "v2.users.2.presence".into()],
        why: "the socket was closed".into(),
    }
}

fn query(source: Option<&str>, pending: bool) -> GapQuery {
    GapQuery {
        source: source.map(name),
        pending,
        below: None,
        limit: 10,
    }
}

fn ids(gaps: &[Gap]) -> Vec<u64> {
    gaps.iter().map(|gap| gap.id).collect()
}

pub(crate) async fn until_when_a_source_missed_nothing_never_goes_back<S: Store>() {
    let store = S::fresh().await;
    let state = store.open().await;
    let source = name("gc");
    assert_eq!(state.last_attended(&source).await.unwrap(), None);
    state.attended(&source, at(5)).await.unwrap();
    state.attended(&source, at(3)).await.unwrap();
    state.attended(&name("other"), at(9)).await.unwrap();
    drop(state);
    let state = store.open().await;
    assert_eq!(state.last_attended(&source).await.unwrap(), Some(at(5)));
}

pub(crate) async fn a_gap_is_pending_until_it_is_over_and_told_of<S: Store>() {
    let store = S::fresh().await;
    let state = store.open().await;
    let first = state.open_gap(gap("gc", 1)).await.unwrap();
    let other = state.open_gap(gap("other", 1)).await.unwrap();
    let second = state.open_gap(gap("gc", 7)).await.unwrap();
    assert_eq!((first.to, first.announced), (None, false));
    // A clock that went back makes no gap that ends before it begins.
    let closed = state.close_gap(second.id, at(2), false).await.unwrap();
    assert_eq!(closed.unwrap().to, Some(at(7)));
    assert_eq!(
        state.close_gap(second.id, at(9), false).await.unwrap(),
        None
    );
    state.announced(&[second.id]).await.unwrap();
    drop(state);
    let state = store.open().await;
    let of = async |query: GapQuery| ids(&state.gaps(&query).await.unwrap());
    assert_eq!(of(query(Some("gc"), true)).await, [first.id]);
    assert_eq!(of(query(Some("gc"), false)).await, [second.id, first.id]);
    assert_eq!(of(query(None, true)).await, [other.id, first.id]);
    let older = GapQuery {
        below: Some(other.id),
        ..query(None, true)
    };
    assert_eq!(state.gaps(&older).await.unwrap(), [first]);
    assert_eq!(state.backfills(&query(None, false)).await.unwrap(), []);
}

pub(crate) async fn a_gap_that_is_to_be_filled_has_its_backfill_in_the_same_step<S: Store>() {
    let store = S::fresh().await;
    let state = store.open().await;
    let opened = state.open_gap(gap("gc", 1)).await.unwrap();
    state
        .close_gap(opened.id, at(8), true)
        .await
        .unwrap()
        .unwrap();
    // A second close ends nothing, and asks for nothing.
    assert_eq!(state.close_gap(opened.id, at(9), true).await.unwrap(), None);
    let found = state.backfills(&query(Some("gc"), true)).await.unwrap();
    let [backfill] = &*found else {
        panic!("{found:?}")
    };
    assert_eq!(
        (backfill.gap, backfill.from, backfill.to, backfill.status),
        (Some(opened.id), at(1), at(8), BackfillStatus::Running)
    );
}

pub(crate) async fn a_backfill_goes_on_where_it_was_and_not_once_it_has_ended<S: Store>() {
    let store = S::fresh().await;
    let state = store.open().await;
    let asked = NewBackfill {
        source: name("gc"),
        from: at(1),
        to: at(60),
        gap: None,
        created_at: at(70),
    };
    let begun = state.begin_backfill(asked.clone()).await.unwrap();
    let later = Backfill {
        job: Some("job-1".into()),
        cursor: Some("odd / cursor\u{1}==".into()),
        events: 3,
        error: Some("it waits".into()),
        ..begun.clone()
    };
    assert!(state.note_backfill(&later).await.unwrap());
    drop(state);
    let state = store.open().await;
    assert_eq!(
        state.backfills(&query(None, true)).await.unwrap(),
        std::slice::from_ref(&later)
    );
    let ended = state
        .cancel_backfill(begun.id, at(80))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (ended.status, ended.finished_at, &ended.cursor),
        (BackfillStatus::Cancelled, Some(at(80)), &later.cursor)
    );
    // Whoever was at it learns that it is over, and changes nothing.
    assert!(!state.note_backfill(&later).await.unwrap());
    let again = state
        .cancel_backfill(begun.id, at(90))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(again.finished_at, Some(at(80)));
    assert_eq!(
        state.cancel_backfill(begun.id + 1, at(90)).await.unwrap(),
        None
    );
    assert_eq!(state.backfills(&query(None, true)).await.unwrap(), []);
    let next = state.begin_backfill(asked).await.unwrap();
    assert!(next.id > begun.id);
}
