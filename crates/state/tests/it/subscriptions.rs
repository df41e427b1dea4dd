//! Subscriptions in state: what the API said holds, and a subscription is one with its route.

use std::time::Duration;

use domain::ports::{
    Fate, RetireFate, Settlement, State, StateError, SubscriptionRecord, SubscriptionRecords,
    SubscriptionRequest,
};
use domain::{Reason, RouteName, Seq, SourceName, SubscriptionId};

use crate::contract::Store;
use crate::samples::{at, bury, park, route};
use crate::sqlite::SqliteFile;

fn record(number: u8, name: &str) -> SubscriptionRecord {
    SubscriptionRecord {
        id: SubscriptionId::from_bytes([number; 16]),
        request: SubscriptionRequest {
            name: name.into(),
            url: "https://hooks.example/in?token=x".into(),
            source: Some(SourceName::new("genesys").unwrap()),
            dead_letter_url: Some("https://hooks.example/dead".into()),
            max_retries: 3,
            retry_interval: Duration::from_millis(1500),
        },
        route: RouteName::new(&format!("sub-{number}")).unwrap(),
        until: None,
        created_at: at(1),
        updated_at: at(1),
    }
}

fn all() -> Vec<SourceName> {
    vec![SourceName::new("genesys").unwrap()]
}

#[tokio::test]
async fn a_subscription_is_there_after_a_restart_with_its_route_and_goes_with_it() {
    let file = SqliteFile::fresh().await;
    let state = file.open().await;
    let (first, second) = (record(2, "b"), record(1, "a"));
    for record in [&first, &second] {
        state
            .add_subscription(record.clone(), Seq(9), all())
            .await
            .unwrap();
    }
    drop(state);
    let state = file.open().await;
    let stored = state.subscriptions().await.unwrap();
    assert_eq!(stored, [second.clone(), first.clone()], "by id");
    let routes = state.routes().await.unwrap();
    assert_eq!((&routes[1].name, routes[1].cursor), (&first.route, Seq(9)));
    let sources = state.route_sources(&first.route).await.unwrap();
    assert_eq!(sources, all());
    state
        .retire_route(&first.route, RetireFate::Discard, at(5))
        .await
        .unwrap();
    assert_eq!(state.subscriptions().await.unwrap(), [second]);
    let rest = state.routes().await.unwrap();
    assert_eq!(rest.len(), 1);
}

#[tokio::test]
async fn a_name_is_one_subscription_s_and_a_change_holds() {
    let file = SqliteFile::fresh().await;
    let state = file.open().await;
    let mut first = record(1, "a");
    let second = record(2, "b");
    for record in [&first, &second] {
        state
            .add_subscription(record.clone(), Seq(0), all())
            .await
            .unwrap();
    }
    let taken = state.add_subscription(record(3, "a"), Seq(0), all()).await;
    assert!(matches!(taken, Err(StateError::Conflict(_))), "{taken:?}");
    assert_eq!(
        state.routes().await.unwrap().len(),
        2,
        "nothing of it is there"
    );
    first.request.name = "b".into();
    let taken = state.change_subscription(first.clone()).await;
    assert!(matches!(taken, Err(StateError::Conflict(_))), "{taken:?}");
    first.request = SubscriptionRequest {
        name: "a".into(),
        url: "https://other.example/".into(),
        source: None,
        dead_letter_url: None,
        max_retries: 0,
        retry_interval: Duration::from_secs(86_400),
    };
    (first.until, first.updated_at) = (Some(Seq(7)), at(8));
    state.change_subscription(first.clone()).await.unwrap();
    assert_eq!(state.subscriptions().await.unwrap(), [first, second]);
    let nobody = state.change_subscription(record(9, "z")).await;
    assert!(
        matches!(nobody, Err(StateError::UnknownRoute(_))),
        "{nobody:?}"
    );
}

#[tokio::test]
async fn a_subscription_s_route_is_not_renamed() {
    let file = SqliteFile::fresh().await;
    let state = file.open().await;
    let one = record(1, "a");
    state
        .add_subscription(one.clone(), Seq(0), all())
        .await
        .unwrap();
    let renamed = state.rename_route(&one.route, &route("other")).await;
    assert!(
        matches!(renamed, Err(StateError::Conflict(_))),
        "{renamed:?}"
    );
}

#[tokio::test]
async fn parked_events_are_buried_in_order_and_the_ledger_balances() {
    let file = SqliteFile::fresh().await;
    let state = file.open().await;
    let one = record(1, "a");
    state
        .add_subscription(one.clone(), Seq(0), all())
        .await
        .unwrap();
    let step = Settlement {
        accepted: 3,
        parks: vec![park(3, 1, 60), park(2, 2, 50)],
        buries: vec![bury(1)],
        ..Settlement::at(one.route.clone(), Seq(3))
    };
    state.settle(vec![step]).await.unwrap();
    for moved in [1, 1, 0] {
        assert_eq!(state.bury_parked(&one.route, 1).await.unwrap(), moved);
        assert_eq!(state.imbalance(&one.route).await.unwrap(), 0);
    }
    let routes = state.routes().await.unwrap();
    assert_eq!((routes[0].parked, routes[0].dead), (0, 3));
    assert_eq!(routes[0].ledger(0).imbalance(), 0);
    assert_eq!(state.imbalance(&one.route).await.unwrap(), 0);
    let fate = state.fate(&one.route, Seq(2)).await.unwrap();
    let retired = Reason::Retired;
    assert!(
        matches!(fate, Fate::Dead { reason, attempts: 2, .. } if reason == retired),
        "{fate:?}"
    );
}
