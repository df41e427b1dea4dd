//! Analytics: what queries find, and how jobs fare.

use serde_json::{Value, json};
use tokio::time::{Duration, sleep};

use super::super::Fate;
use super::Caller;

const JOBS: &str = "/api/v2/analytics/conversations/details/jobs";
const QUERY: &str = "/api/v2/analytics/conversations/details/query";
const DAY: &str = "2026-03-01T00:00:00.000Z/2026-03-02T00:00:00.000Z";

/// One with conversations `c0` to `c(n-1)`, an hour apart from 2026-03-01T00:30Z on, in divisions a and b in turn.
async fn with_conversations(count: u8) -> Caller {
    let caller = Caller::new().await;
    for number in 0..count {
        let conversation = json!({
            "conversationId": format!("c{number}"),
            "conversationStart": format!("2026-03-01T{number:02}:30:00.000Z"),
            "conversationEnd": format!("2026-03-01T{number:02}:40:00.000Z"),
            "divisionIds": [if number % 2 == 0 { "a" } else { "b" }],
            "participants": [{ "sessions": [{
                "mediaType": "voice",
                "segments": [{ "queueId": format!("q{number}") }],
            }] }],
        });
        caller.cloud.conversation(conversation).unwrap();
    }
    caller
}

async fn job(caller: &Caller, query: Value) -> String {
    let made = caller.post(JOBS, query).await;
    assert_eq!(made.status, 202, "{made:?}");
    sleep(Duration::from_secs(6)).await;
    made.text("jobId").to_owned()
}

async fn page(caller: &Caller, job: &str, size: usize, cursor: &str) -> super::Reply {
    let cursor: String = form_urlencoded::byte_serialize(cursor.as_bytes()).collect();
    let path = format!("{JOBS}/{job}/results?pageSize={size}&cursor={cursor}");
    caller.get(&path).await
}

fn ids(reply: &super::Reply) -> Vec<&str> {
    let conversations = reply.body["conversations"].as_array();
    let conversations = conversations.into_iter().flatten();
    conversations
        .map(|it| it["conversationId"].as_str().unwrap())
        .collect()
}

async fn found(caller: &Caller, query: Value) -> Vec<String> {
    let id = job(caller, query).await;
    let reply = page(caller, &id, 1000, "").await;
    ids(&reply).into_iter().map(str::to_owned).collect()
}

#[tokio::test(start_paused = true)]
async fn a_job_is_queued_then_pending_then_fulfilled() {
    let caller = with_conversations(3).await;
    let made = caller.post(JOBS, json!({ "interval": DAY })).await;
    let path = format!("{JOBS}/{}", made.text("jobId"));
    for (after, state) in [
        (0, "QUEUED"),
        (1, "PENDING"),
        (4, "PENDING"),
        (1, "FULFILLED"),
    ] {
        sleep(Duration::from_secs(after)).await;
        assert_eq!(caller.get(&path).await.text("state"), state);
        let results = caller.get(&format!("{path}/results")).await;
        assert_eq!(results.status, if state == "FULFILLED" { 200 } else { 400 });
    }
    assert_eq!(caller.get(&format!("{JOBS}/other")).await.status, 404);
}

#[tokio::test(start_paused = true)]
async fn jobs_meet_the_fate_that_is_set() {
    let caller = with_conversations(3).await;
    for (fate, state) in [
        (Fate::Failed, "FAILED"),
        (Fate::Cancelled, "CANCELLED"),
        (Fate::Expired, "EXPIRED"),
        (Fate::Pending, "PENDING"),
        (Fate::Fulfilled, "FULFILLED"),
    ] {
        caller.cloud.next_job(fate);
        let id = job(&caller, json!({ "interval": DAY })).await;
        let path = format!("{JOBS}/{id}");
        assert_eq!(caller.get(&path).await.text("state"), state);
    }
    let pending = &caller.cloud.jobs()[3].id.clone();
    sleep(Duration::from_secs(86_000)).await;
    assert_eq!(caller.cloud.jobs()[3].state, "PENDING");
    caller
        .call("DELETE", &format!("{JOBS}/{pending}"), Value::Null)
        .await;
    assert_eq!(caller.cloud.jobs()[3].state, "CANCELLED");
}

#[tokio::test(start_paused = true)]
async fn results_are_paged_by_cursors_that_are_taken_only_as_they_came() {
    let caller = with_conversations(5).await;
    let id = job(&caller, json!({ "interval": DAY })).await;
    let mut cursor = String::new();
    let mut all = Vec::new();
    for size in [2, 2, 1] {
        let reply = page(&caller, &id, 2, &cursor).await;
        assert_eq!(ids(&reply).len(), size);
        all.extend(ids(&reply).into_iter().map(str::to_owned));
        reply.text("cursor").clone_into(&mut cursor);
    }
    assert_eq!(all, ["c0", "c1", "c2", "c3", "c4"]);
    assert!(cursor.is_empty());

    let first = page(&caller, &id, 2, "").await;
    let cursor = first.text("cursor");
    assert_eq!(
        page(&caller, &id, 2, &cursor.to_uppercase()).await.status,
        400
    );
    // Not encoded, its plus signs are spaces.
    let raw = caller
        .get(&format!("{JOBS}/{id}/results?cursor={cursor}"))
        .await;
    assert_eq!(raw.status, 400);
    let other = job(&caller, json!({ "interval": DAY })).await;
    assert_eq!(page(&caller, &other, 2, cursor).await.status, 400);
    assert_eq!(page(&caller, &id, 0, "").await.status, 400);
    assert_eq!(page(&caller, &id, 10_001, "").await.status, 400);
}

#[tokio::test(start_paused = true)]
async fn a_cursor_can_come_twice_and_leads_to_the_same_page_then() {
    let caller = with_conversations(6).await;
    caller.cloud.repeat_cursor(1);
    let id = job(&caller, json!({ "interval": DAY })).await;
    let first = page(&caller, &id, 2, "").await;
    let second = page(&caller, &id, 2, first.text("cursor")).await;
    assert_eq!(second.text("cursor"), first.text("cursor"));
    let again = page(&caller, &id, 2, second.text("cursor")).await;
    assert_eq!(ids(&again), ids(&second));
    assert_ne!(again.text("cursor"), first.text("cursor"));
    assert_eq!(
        ids(&page(&caller, &id, 2, again.text("cursor")).await),
        ["c4", "c5"]
    );
}

#[tokio::test(start_paused = true)]
async fn jobs_can_expire_between_pages() {
    for status in [404, 410] {
        let caller = with_conversations(4).await;
        caller.cloud.expire_jobs_after(1, status);
        let id = job(&caller, json!({ "interval": DAY })).await;
        let first = page(&caller, &id, 2, "").await;
        assert_eq!(ids(&first), ["c0", "c1"]);
        let second = page(&caller, &id, 2, first.text("cursor")).await;
        assert_eq!(second.status, status);
        let state = caller.get(&format!("{JOBS}/{id}")).await;
        assert_eq!(state.text("state"), "EXPIRED");
        caller.cloud.jobs_last();
        let id = job(&caller, json!({ "interval": DAY })).await;
        assert_eq!(page(&caller, &id, 2, "").await.status, 200);
    }
}

#[tokio::test(start_paused = true)]
async fn a_query_finds_what_its_interval_order_and_filters_say() {
    let caller = with_conversations(6).await;
    let some = "2026-03-01T02:35:00.000Z/2026-03-01T04:30:00.000Z";
    assert_eq!(
        found(&caller, json!({ "interval": some })).await,
        ["c2", "c3"]
    );
    let query = json!({ "interval": some, "order": "desc", "orderBy": "conversationStart" });
    assert_eq!(found(&caller, query).await, ["c3", "c2"]);
    let of = |dimension: &str, value: &str| json!({ "dimension": dimension, "value": value });
    let filters = json!([{ "type": "or", "predicates": [of("divisionId", "b")] }]);
    let query = json!({ "interval": DAY, "conversationFilters": filters });
    assert_eq!(found(&caller, query).await, ["c1", "c3", "c5"]);
    let filters = json!([{ "type": "or", "clauses": [
        { "type": "and", "predicates": [of("queueId", "q1"), of("mediaType", "voice")] },
        { "type": "and", "predicates": [of("queueId", "q4")] },
    ] }]);
    let query = json!({ "interval": DAY, "segmentFilters": filters });
    assert_eq!(found(&caller, query).await, ["c1", "c4"]);
}

#[tokio::test(start_paused = true)]
async fn a_query_that_makes_no_sense_is_refused() {
    let caller = with_conversations(1).await;
    let filter = |predicate: Value| json!({ "interval": DAY, "conversationFilters": [{ "type": "or", "predicates": [predicate] }] });
    for query in [
        json!({}),
        json!({ "interval": "yesterday" }),
        json!({ "interval": "2026-03-01T00:00:00Z" }),
        json!({ "interval": "2026-03-02T00:00:00Z/2026-03-01T00:00:00Z" }),
        json!({ "interval": "2026-03-02T00:00:00Z/2026-03-02T00:00:00Z" }),
        json!({ "interval": DAY, "order": "up" }),
        json!({ "interval": DAY, "conversationFilters": {} }),
        filter(json!({ "dimension": "queueId", "value": "q" })),
        filter(json!({ "dimension": "divisionId" })),
        filter(json!({ "dimension": "divisionId", "operator": "like", "value": "a" })),
    ] {
        assert_eq!(
            caller.post(JOBS, query.clone()).await.status,
            400,
            "{query}"
        );
        assert_eq!(
            caller.post(QUERY, query.clone()).await.status,
            400,
            "{query}"
        );
    }
    assert!(
        caller
            .cloud
            .conversation(json!({ "conversationId": "c" }))
            .is_err()
    );
}

#[tokio::test(start_paused = true)]
async fn analytics_reach_as_far_as_data_is_available() {
    let caller = with_conversations(6).await;
    let until = "2026-03-01T03:30:00Z".parse().unwrap();
    caller.cloud.data_available_until(until);
    let told = caller.get(&format!("{JOBS}/availability")).await;
    assert_eq!(
        told.text("dataAvailabilityDate"),
        "2026-03-01T03:30:00.000Z"
    );
    let id = job(&caller, json!({ "interval": DAY })).await;
    let reply = page(&caller, &id, 100, "").await;
    assert_eq!(ids(&reply), ["c0", "c1", "c2", "c3"]);
    assert_eq!(
        reply.text("dataAvailabilityDate"),
        "2026-03-01T03:30:00.000Z"
    );
}

#[tokio::test(start_paused = true)]
async fn the_permission_is_needed_and_jobs_are_their_clients_own() {
    let caller = with_conversations(1).await;
    let id = job(&caller, json!({ "interval": DAY })).await;
    let _client = caller.cloud.client("other", "secret");
    let other = Caller::of(&caller.cloud, "other").await;
    assert_eq!(other.get(&format!("{JOBS}/{id}")).await.status, 404);
    let permission = "analytics:conversationDetail:view";
    let _client = caller
        .cloud
        .client("other", "secret")
        .without_permission(permission);
    let refused = other.post(JOBS, json!({ "interval": DAY })).await;
    assert_eq!(
        (refused.status, refused.text("code")),
        (403, "missing.permissions")
    );
    assert!(refused.text("message").contains(permission));
}

#[tokio::test(start_paused = true)]
async fn the_synchronous_query_is_paged_by_number() {
    let caller = with_conversations(5).await;
    let query = |number: u64, size: u64| json!({ "interval": DAY, "paging": { "pageSize": size, "pageNumber": number } });
    let last = caller.post(QUERY, query(3, 2)).await;
    assert_eq!(
        (ids(&last), &last.body["totalHits"]),
        (vec!["c4"], &json!(5))
    );
    // Past the end there is no list at all.
    assert_eq!(
        caller.post(QUERY, query(4, 2)).await.body,
        json!({ "totalHits": 5 })
    );
    for (number, size) in [(0, 2), (1, 0), (1, 101), (1001, 100)] {
        assert_eq!(caller.post(QUERY, query(number, size)).await.status, 400);
    }
}
