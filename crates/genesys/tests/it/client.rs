//! The client: tokens, budgets, waits, and errors that say what to mend.

use std::time::Duration;

use genesys::open_messaging;
use testbed::GenesysCloud;
use testbed::genesys::{Fault, Wait};
use tokio::time::Instant;

use crate::world::{SECRET, client};

fn cloud() -> GenesysCloud {
    let cloud = GenesysCloud::in_memory();
    let _client = cloud.client("id", SECRET);
    cloud
}

fn count(cloud: &GenesysCloud, what: &str) -> usize {
    let requests = cloud.requests();
    requests
        .iter()
        .filter(|request| request.starts_with(what))
        .count()
}

#[tokio::test(start_paused = true)]
async fn a_token_is_asked_for_once_by_all_who_want_one_and_renewed_ahead_of_its_end() {
    let cloud = cloud();
    let client = client(&cloud);
    let all = (0..20).map(|_| genesys::available_topics(&client));
    for topics in futures_util::future::join_all(all).await {
        assert!(!topics.unwrap().is_empty());
    }
    assert_eq!(count(&cloud, "POST /oauth/token"), 1);
    tokio::time::sleep(Duration::from_secs(86_400 - 301)).await;
    genesys::available_topics(&client).await.unwrap();
    assert_eq!(count(&cloud, "POST /oauth/token"), 1);
    tokio::time::sleep(Duration::from_secs(2)).await;
    genesys::available_topics(&client).await.unwrap();
    assert_eq!(count(&cloud, "POST /oauth/token"), 2);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_was_revoked_is_replaced_and_the_call_succeeds() {
    let cloud = cloud();
    let client = client(&cloud);
    client.authorise().await.unwrap();
    assert_eq!(cloud.revoke_tokens("id"), 1);
    genesys::available_topics(&client).await.unwrap();
    assert_eq!(count(&cloud, "POST /oauth/token"), 2);
}

#[tokio::test(start_paused = true)]
async fn what_is_wrong_is_said_plainly_and_without_the_secret() {
    let cloud = GenesysCloud::in_memory();
    let client = client(&cloud);
    let told = client.authorise().await.unwrap_err().to_string();
    assert!(told.contains("knows no OAuth client of this id"), "{told}");
    let _client = cloud.client("id", "another secret");
    let told = client.authorise().await.unwrap_err().to_string();
    assert!(told.contains("secret is not the right one"), "{told}");
    assert!(!told.contains(SECRET) && !format!("{client:?}").contains(SECRET));
    let _client = cloud
        .client("id", SECRET)
        .without_permission("messaging:integration:view");
    let told = open_messaging::list(&client).await.unwrap_err();
    let words = told.to_string();
    assert!(
        words.contains("lack the permission messaging:integration:view"),
        "{words}"
    );
    assert!(
        told.correlation_id.is_some() && words.contains("correlation id"),
        "{words}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_429_is_waited_for_as_it_says_and_else_longer_each_time() {
    for (wait, least, most) in [
        (Wait::RetryAfter(17), 17, 18),
        (Wait::Reset(23), 23, 24),
        (Wait::Unsaid, 2, 4),
    ] {
        let cloud = cloud();
        let client = client(&cloud);
        client.authorise().await.unwrap();
        cloud.fault("GET /api/v2/notifications", 1, Fault::TooManyRequests(wait));
        let began = Instant::now();
        genesys::available_topics(&client).await.unwrap();
        let took = began.elapsed();
        let (least, most) = (Duration::from_secs(least), Duration::from_secs(most));
        assert!((least..=most).contains(&took), "{wait:?}: {took:?}");
    }
    let cloud = cloud();
    let client = client(&cloud);
    client.authorise().await.unwrap();
    cloud.fault(
        "GET /api",
        1,
        Fault::TooManyRequests(Wait::RetryAfter(100_000)),
    );
    let told = genesys::available_topics(&client)
        .await
        .unwrap_err()
        .to_string();
    assert!(told.contains("again in 100000 s"), "not waited for: {told}");
}

#[tokio::test(start_paused = true)]
async fn the_request_after_the_last_of_the_budget_waits_and_is_not_refused() {
    let cloud = cloud();
    let client = client(&cloud);
    let began = Instant::now();
    for _ in 0..301 {
        genesys::available_topics(&client).await.unwrap();
    }
    assert!(
        began.elapsed() >= Duration::from_secs(55),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(count(&cloud, "GET /api/v2/notifications"), 301);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_never_comes_is_not_waited_for_for_ever() {
    let cloud = cloud();
    let client = client(&cloud);
    client.authorise().await.unwrap();
    for (fault, words) in [
        (Fault::Silent, "nothing within 30 s"),
        (Fault::Cut, "no answer"),
        (Fault::Status(503), "answered 503"),
        (Fault::Garbage, "not the JSON"),
    ] {
        cloud.fault("GET /api", 1, fault);
        let told = genesys::available_topics(&client)
            .await
            .unwrap_err()
            .to_string();
        assert!(told.contains(words), "{fault:?}: {told}");
    }
}
