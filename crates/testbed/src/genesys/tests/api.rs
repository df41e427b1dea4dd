//! Login, tokens, the request limit, and faults.

use serde_json::{Value, json};
use tokio::time::{Duration, Instant, sleep};

use super::super::{Fault, GenesysCloud, Wait};
use super::{Caller, login, send};

const CHANNELS: &str = "/api/v2/notifications/channels";

#[tokio::test(start_paused = true)]
async fn login_says_what_is_wrong_as_the_real_one_does() {
    let cloud = GenesysCloud::in_memory();
    let _client = cloud.client("id", "secret");
    let granted = login(&cloud, "id", "secret").await;
    assert_eq!(
        (granted.status, &granted.body["expires_in"]),
        (200, &json!(86_400))
    );
    assert_eq!(granted.text("token_type"), "bearer");

    let unknown = login(&cloud, "other", "secret").await;
    let what = "client not found: invalid clientId";
    let body = json!({
        "error": "invalid_client", "description": what, "error_description": what,
    });
    assert_eq!((unknown.status, unknown.body), (400, body));

    let wrong = login(&cloud, "id", "guess").await;
    let body = json!({
        "error": "invalid_client", "error_description": "authentication failed",
    });
    assert_eq!((wrong.status, wrong.body), (401, body));
}

#[tokio::test(start_paused = true)]
async fn login_wants_a_form_with_the_one_grant() {
    let cloud = GenesysCloud::in_memory();
    let _client = cloud.client("id", "secret");
    let form = "application/x-www-form-urlencoded";
    for (content_type, body, error) in [
        (form, "grant_type=password", "unsupported_grant_type"),
        (form, "", "invalid_request"),
        (
            "application/json",
            "grant_type=client_credentials",
            "invalid_request",
        ),
    ] {
        let request = hyper::Request::builder()
            .method("POST")
            .uri("/oauth/token")
            .header("host", "localhost")
            .header("authorization", "Basic aWQ6c2VjcmV0")
            .header("content-type", content_type);
        let reply = send(&cloud, request, body.to_owned()).await.unwrap();
        assert_eq!((reply.status, reply.text("error")), (400, error), "{body}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_expires_and_can_be_revoked() {
    let cloud = GenesysCloud::in_memory();
    let _client = cloud
        .client("id", "secret")
        .token_life(Duration::from_secs(600));
    let mut caller = Caller::of(&cloud, "id").await;
    sleep(Duration::from_secs(599)).await;
    assert_eq!(caller.get(CHANNELS).await.status, 200);
    sleep(Duration::from_secs(1)).await;
    let expired = caller.get(CHANNELS).await;
    assert_eq!(
        (expired.status, expired.text("code")),
        (401, "credentials.expired")
    );

    caller = Caller::of(&cloud, "id").await;
    assert_eq!(cloud.revoke_tokens("id"), 2);
    let revoked = caller.get(CHANNELS).await;
    assert_eq!(
        (revoked.status, revoked.text("code")),
        (401, "bad.credentials")
    );
    caller.token.clear();
    assert_eq!(caller.get(CHANNELS).await.status, 401);
}

#[tokio::test(start_paused = true)]
async fn the_301st_request_of_a_minute_is_one_too_many() {
    let caller = Caller::new().await;
    for count in 1..=300 {
        let reply = caller.get(CHANNELS).await;
        assert_eq!(reply.status, 200);
        let count = count.to_string();
        assert_eq!(reply.header("inin-ratelimit-count"), Some(count.as_str()));
        assert_eq!(reply.header("inin-ratelimit-allowed"), Some("300"));
        assert_eq!(reply.header("inin-ratelimit-reset"), Some("60"));
        assert!(reply.header("inin-correlation-id").is_some());
    }
    sleep(Duration::from_millis(17_500)).await;
    let over = caller.get(CHANNELS).await;
    assert_eq!((over.status, over.text("code")), (429, "too.many.requests"));
    assert_eq!(over.header("retry-after"), Some("43"));
    assert_eq!(over.header("inin-ratelimit-reset"), Some("43"));
    assert_eq!(
        over.header("inin-correlation-id"),
        Some(over.text("contextId"))
    );

    caller.cloud.too_many_requests_say(Wait::Reset(0));
    let over = caller.get(CHANNELS).await;
    assert_eq!((over.status, over.header("retry-after")), (429, None));
    assert_eq!(over.header("inin-ratelimit-reset"), Some("43"));
    caller.cloud.too_many_requests_say(Wait::Unsaid);
    let over = caller.get(CHANNELS).await;
    assert_eq!((over.status, over.header("retry-after")), (429, None));
    assert_eq!(over.header("inin-ratelimit-reset"), None);

    // Another token has a window of its own, and this one a new one after the minute.
    let other = Caller::of(&caller.cloud, "id").await;
    assert_eq!(other.get(CHANNELS).await.status, 200);
    sleep(Duration::from_secs(43)).await;
    assert_eq!(caller.get(CHANNELS).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn refusals_have_the_real_ones_shape() {
    let caller = Caller::new().await;
    let reply = caller.get("/api/v2/notifications/webhooks").await;
    let context = reply.text("contextId").to_owned();
    let body = json!({
        "message": "The requested resource was not found.",
        "code": "not.found",
        "status": 404,
        "messageParams": {},
        "contextId": context,
        "details": [],
        "errors": [],
    });
    assert_eq!((reply.status, reply.body), (404, body));
}

#[tokio::test(start_paused = true)]
async fn a_missing_permission_is_named() {
    let caller = Caller::new().await;
    let client = caller.cloud.client("poor", "secret");
    let client = client.without_permission("notifications:channel:add");
    let poor = Caller::of(&caller.cloud, "poor").await;
    let refused = poor.post(CHANNELS, Value::Null).await;
    assert_eq!(
        (refused.status, refused.text("code")),
        (403, "missing.permissions")
    );
    assert!(
        refused
            .text("message")
            .contains("notifications:channel:add"),
        "{refused:?}"
    );
    let _client = client.with_permission("notifications:channel:add");
    assert_eq!(poor.post(CHANNELS, Value::Null).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn a_body_over_512_000_bytes_is_413() {
    let caller = Caller::new().await;
    let channel = caller.channel().await;
    // A JSON text of n bytes has n - 2 between its quotes.
    for (length, status) in [(512_000, 400), (512_001, 413)] {
        let body = Value::from("x".repeat(length - 2));
        let reply = caller.post(&super::subscriptions(&channel), body).await;
        assert_eq!(reply.status, status, "{length}");
    }
}

#[tokio::test(start_paused = true)]
async fn faults_come_in_order_to_the_paths_they_are_for() {
    let caller = Caller::new().await;
    let cloud = &caller.cloud;
    cloud.fault("GET /api/v2/notifications", 1, Fault::Status(503));
    cloud.fault(
        "/api/v2/notifications",
        2,
        Fault::TooManyRequests(Wait::RetryAfter(7)),
    );
    cloud.fault("/oauth", 1, Fault::Status(500));
    assert_eq!(
        caller
            .post(CHANNELS, Value::Null)
            .await
            .header("retry-after"),
        Some("7")
    );
    let down = caller.get(CHANNELS).await;
    assert_eq!(
        (down.status, down.text("code")),
        (503, "service.unavailable")
    );
    assert_eq!(caller.get(CHANNELS).await.status, 429);
    let fine = caller.get(CHANNELS).await;
    assert_eq!((fine.status, &fine.body["entities"]), (200, &json!([])));
    assert_eq!(login(cloud, "id", "secret").await.status, 500);
    assert_eq!(login(cloud, "id", "secret").await.status, 200);
    assert_eq!(cloud.requests()[1], format!("POST {CHANNELS}"));
}

#[tokio::test(start_paused = true)]
async fn answers_can_break_off_come_late_or_never() {
    let caller = Caller::new().await;
    let made = || caller.cloud.channels().len();
    caller.cloud.fault(CHANNELS, 1, Fault::Cut);
    assert!(
        caller
            .try_call("POST", CHANNELS, Value::Null)
            .await
            .is_none()
    );
    assert_eq!(made(), 0);
    caller.cloud.fault(CHANNELS, 1, Fault::CutAfterwards);
    assert!(
        caller
            .try_call("POST", CHANNELS, Value::Null)
            .await
            .is_none()
    );
    assert_eq!(made(), 1);

    caller
        .cloud
        .fault(CHANNELS, 1, Fault::Late(Duration::from_secs(20)));
    let before = Instant::now();
    assert_eq!(caller.post(CHANNELS, Value::Null).await.status, 200);
    assert_eq!(before.elapsed(), Duration::from_secs(20));

    caller.cloud.fault(CHANNELS, 1, Fault::Garbage);
    let garbage = caller.post(CHANNELS, Value::Null).await;
    assert_eq!((garbage.status, garbage.body), (200, Value::Null));

    caller.cloud.fault(CHANNELS, 1, Fault::Silent);
    let never = caller.try_call("POST", CHANNELS, Value::Null);
    let waited = tokio::time::timeout(Duration::from_secs(3_600), never).await;
    assert!(waited.is_err());
    assert_eq!(made(), 2);
}

#[tokio::test]
async fn one_that_listens_is_at_its_url() {
    let cloud = GenesysCloud::start().await.unwrap();
    let reply = crate::http::get(&format!("{}/api/v2/notifications/channels", cloud.url()))
        .await
        .unwrap();
    assert_eq!(reply.status, 401);
    let _client = cloud.client("id", "secret");
    let caller = Caller::of(&cloud, "id").await;
    let made = caller.post(CHANNELS, Value::Null).await;
    let uri = made.text("connectUri");
    let wanted = cloud.url().replace("http://", "ws://") + "/channels/" + made.text("id");
    assert_eq!(uri, wanted);
}

#[tokio::test(start_paused = true)]
async fn the_clock_is_the_tests() {
    let cloud = GenesysCloud::in_memory();
    assert_eq!(cloud.now().to_string(), "2026-03-02T08:00:00Z");
    sleep(Duration::from_secs(3600)).await;
    assert_eq!(cloud.now().to_string(), "2026-03-02T09:00:00Z");
    cloud.set_now("2026-03-02T12:00:00Z".parse().unwrap());
    sleep(Duration::from_secs(1)).await;
    assert_eq!(cloud.now().to_string(), "2026-03-02T12:00:01Z");
    let _client = cloud.client("id", "secret");
    let caller = Caller::of(&cloud, "id").await;
    let made = caller.post(CHANNELS, Value::Null).await;
    assert_eq!(made.text("expires"), "2026-03-03T12:00:01.000Z");
    assert_eq!(made.header("date"), Some("Mon, 02 Mar 2026 12:00:01 GMT"));
}
