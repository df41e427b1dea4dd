//! Open Messaging: integrations, and how messages are posted.

use std::sync::{Arc, Mutex};

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};

use super::super::{Attempt, GenesysCloud};
use super::{Caller, Reply};

const OPEN: &str = "/api/v2/conversations/messaging/integrations/open";
const SECRET: &str = "a-secret-of-many-characters";

fn body(url: &str, secret: &str) -> Value {
    json!({
        "name": "forebay",
        "outboundNotificationWebhookUrl": url,
        "outboundNotificationWebhookSignatureSecretToken": secret,
        "webhookHeaders": { "x-static": "yes" },
    })
}

async fn create(caller: &Caller) -> String {
    let made = caller
        .post(OPEN, body("https://in.example/genesys", SECRET))
        .await;
    assert_eq!(made.status, 202, "{made:?}");
    made.text("id").to_owned()
}

type Requests = Arc<Mutex<Vec<(String, String)>>>;

/// Lets the cloud post to a receiver that answers with these statuses in turn, and the last one ever after; 0 is no
/// answer. Gives what it received: signature and static header.
fn receiver(cloud: &GenesysCloud, statuses: &'static [u16]) -> Requests {
    let received = Requests::default();
    let kept = Arc::clone(&received);
    cloud.post_messages_through(move || {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let kept = Arc::clone(&kept);
        let service = service_fn(move |request: Request<hyper::body::Incoming>| {
            let header = |name: &str| request.headers()[name].to_str().unwrap().to_owned();
            let mut all = kept.lock().unwrap();
            let at = all.len().min(statuses.len() - 1);
            all.push((header("x-hub-signature-256"), header("x-static")));
            let status = statuses[at];
            async move {
                if status == 0 {
                    std::future::pending::<()>().await;
                }
                let mut response = Response::new(Full::new(Bytes::new()));
                *response.status_mut() = status.try_into().unwrap();
                Ok::<_, std::convert::Infallible>(response)
            }
        });
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(ours), service));
        theirs
    });
    received
}

#[tokio::test(start_paused = true)]
async fn integrations_are_made_listed_changed_and_deleted_and_keep_their_secret() {
    let caller = Caller::new().await;
    let id = create(&caller).await;
    let one = format!("{OPEN}/{id}");
    let listed = caller
        .get(&format!("{OPEN}?pageSize=10&pageNumber=1"))
        .await;
    assert_eq!(listed.body["total"], 1);
    let changed = json!({ "outboundNotificationWebhookUrl": "https://in.example:443/new" });
    let changed = caller.call("PATCH", &one, changed).await;
    let got = caller.get(&one).await;
    assert_eq!(got.body, changed.body);
    assert_eq!(
        got.text("outboundNotificationWebhookUrl"),
        "https://in.example:443/new"
    );
    assert_eq!(got.body["webhookHeaders"], json!({ "x-static": "yes" }));
    let all: Vec<&Reply> = vec![&listed, &changed, &got];
    assert!(all.iter().all(|it| !it.body.to_string().contains("ecret")));
    assert_eq!(caller.call("DELETE", &one, Value::Null).await.status, 204);
    assert_eq!(caller.get(&one).await.status, 404);
    assert_eq!(caller.get(&format!("{OPEN}?pageSize=0")).await.status, 400);
}

#[tokio::test(start_paused = true)]
async fn what_the_real_one_refuses_of_an_integration_is_refused() {
    let caller = Caller::new().await;
    let url = "https://in.example/genesys";
    let short = "fifteen-letters";
    for (url, secret) in [
        ("http://in.example/", SECRET),
        ("https://in.example:8443/", SECRET),
        ("http://127.0.0.1:80/", SECRET),
        ("nonsense", SECRET),
        (url, short),
    ] {
        assert_eq!(
            caller.post(OPEN, body(url, secret)).await.status,
            400,
            "{url}"
        );
    }
    assert_eq!(caller.post(OPEN, json!({ "name": "x" })).await.status, 400);
    caller.cloud.allow_loopback_webhooks();
    let loopback = body("http://127.0.0.1:8080/", SECRET);
    assert_eq!(caller.post(OPEN, loopback).await.status, 202);
    assert_eq!(
        caller
            .post(OPEN, body("http://in.example/", SECRET))
            .await
            .status,
        400
    );
    let id = create(&caller).await;
    let patch = json!({ "outboundNotificationWebhookSignatureSecretToken": short });
    let refused = caller.call("PATCH", &format!("{OPEN}/{id}"), patch).await;
    assert_eq!(refused.status, 400);
}

#[tokio::test(start_paused = true)]
async fn each_verb_needs_its_permission() {
    let caller = Caller::new().await;
    let id = create(&caller).await;
    let one = format!("{OPEN}/{id}");
    for (method, path, verb) in [
        ("POST", OPEN, "add"),
        ("GET", OPEN, "view"),
        ("GET", one.as_str(), "view"),
        ("PATCH", one.as_str(), "edit"),
        ("DELETE", one.as_str(), "delete"),
    ] {
        let permission = format!("messaging:integration:{verb}");
        let client = caller.cloud.client("id", "secret");
        let _client = client.without_permission(&permission);
        let refused = caller.call(method, path, json!({})).await;
        assert_eq!(refused.status, 403);
        assert!(refused.text("message").contains(&permission));
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_is_signed_in_base64_and_carries_the_static_headers() {
    let caller = Caller::new().await;
    let id = create(&caller).await;
    let received = receiver(&caller.cloud, &[200]);
    let sent = caller
        .cloud
        .send_message(&id, r#"{"id":"1"}"#)
        .await
        .unwrap();
    assert!(sent.is_delivered());
    let received = received.lock().unwrap().clone();
    // By `printf '{"id":"1"}' | openssl dgst -sha256 -hmac a-secret-of-many-characters -binary | base64`.
    let signature = "sha256=xJa+9xjIh04jps27zrKgMOeX9PnKP4WRNTYJUKvn2l4=";
    assert_eq!(received, [(signature.to_owned(), "yes".to_owned())]);
    assert!(caller.cloud.send_message("other", "{}").await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_message_is_tried_again_5_times_5_seconds_apart() {
    let caller = Caller::new().await;
    let id = create(&caller).await;
    receiver(&caller.cloud, &[503, 429, 200]);
    let sent = caller.cloud.send_message(&id, "{}").await.unwrap();
    let seconds = |sent: &super::super::Sent| -> Vec<i64> {
        let first = sent.attempts[0].0;
        let since = |at: &jiff::Timestamp| at.duration_since(first).as_secs();
        sent.attempts.iter().map(|(at, _)| since(at)).collect()
    };
    assert_eq!(
        (seconds(&sent), sent.is_delivered()),
        (vec![0, 5, 10], true)
    );

    receiver(&caller.cloud, &[500]);
    let sent = caller.cloud.send_message(&id, "{}").await.unwrap();
    assert_eq!(seconds(&sent), [0, 5, 10, 15, 20, 25]);
    assert!(!sent.is_delivered());

    receiver(&caller.cloud, &[404]);
    let sent = caller.cloud.send_message(&id, "{}").await.unwrap();
    assert_eq!((sent.attempts.len(), sent.is_delivered()), (1, false));
    assert_eq!(caller.cloud.sent_messages().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_never_answers_has_85_seconds() {
    let caller = Caller::new().await;
    let id = create(&caller).await;
    receiver(&caller.cloud, &[0]);
    let before = caller.cloud.now();
    let sent = caller.cloud.send_message(&id, "{}").await.unwrap();
    let took = caller.cloud.now().duration_since(before);
    assert_eq!(took.as_secs(), 85);
    assert!(sent.attempts.iter().all(|(_, it)| *it == Attempt::TimedOut));
}

#[tokio::test]
async fn a_message_goes_to_a_loopback_url() {
    let cloud = GenesysCloud::in_memory();
    let _client = cloud.client("id", "secret");
    cloud.allow_loopback_webhooks();
    let caller = Caller::of(&cloud, "id").await;
    let endpoint = crate::endpoint::Endpoint::start().await.unwrap();
    let made = caller.post(OPEN, body(&endpoint.url(), SECRET)).await;
    let sent = cloud
        .send_message(made.text("id"), json!({ "id": "1" }))
        .await
        .unwrap();
    assert_eq!(sent.attempts[0].1, Attempt::Answered(200));
    assert_eq!(endpoint.received()[0].body, r#"{"id":"1"}"#);
}
