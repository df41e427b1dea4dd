//! Subscriptions over the API, in front of routes that are made up.

use std::sync::Arc;
use std::time::Duration;

use domain::ports::SubscriptionRequest;
use serde_json::{Value, json};

use crate::ask::{Answer, Asker};
use crate::fakes::{World, at, source, subscription_id, troubles};

pub(crate) const PATH: &str = "/api/v2/notifications/webhooks";

/// As the thread gives it, to the letter.
pub(crate) const OF_THE_THREAD: &str = r#"{
 "name": "my-webhook",
 "url": "https://your-flask-app/webhook",
 "deadLetterQueue": {
 "url": "https://your-flask-app/dlq-handler"
 },
 "retryPolicy": {
 "maxRetries": 3,
 "retryIntervalSeconds": 10
 }
}"#;

fn world() -> (Arc<World>, Asker) {
    let world = Arc::new(World::default());
    let asker = Asker::new(world.ports());
    (world, asker)
}

async fn post(asker: &Asker, body: &Value) -> Answer {
    asker.ask("POST", PATH, &body.to_string()).await
}

/// With one field more, or another value of it.
fn with(path: &str, value: Value) -> Value {
    let mut body: Value = serde_json::from_str(OF_THE_THREAD).unwrap();
    let mut at = &mut body;
    for name in path.split('.') {
        at = &mut at[name];
    }
    *at = value;
    body
}

#[tokio::test]
async fn the_json_of_the_thread_makes_a_subscription() {
    let (world, asker) = world();
    let created = asker.ask("POST", PATH, OF_THE_THREAD).await;
    assert_eq!(created.status, 201, "{created:?}");
    let id = subscription_id(1);
    let one = format!("{PATH}/{id}");
    assert_eq!(created.header("location"), one);
    let mut expected: Value = serde_json::from_str(OF_THE_THREAD).unwrap();
    let more = json!({
        "id": id, "route": format!("sub-{id}"), "status": "active",
        "dateCreated": at(1), "dateModified": at(1), "ledger": null,
    });
    let members = expected.as_object_mut().unwrap();
    members.extend(more.as_object().unwrap().clone());
    assert_eq!(created.json(), expected);
    assert_eq!(
        world.subscriptions.requests(),
        [SubscriptionRequest {
            name: "my-webhook".into(),
            url: "https://your-flask-app/webhook".into(),
            source: None,
            dead_letter_url: Some("https://your-flask-app/dlq-handler".into()),
            max_retries: 3,
            retry_interval: Duration::from_secs(10),
        }]
    );
    *world.subscriptions.waiting.lock().unwrap() = 7;
    let shown = asker.json(&one).await;
    assert_eq!(shown["ledger"]["pending"], 7);
    assert_eq!(shown["deadLetterQueue"], expected["deadLetterQueue"]);
}

#[tokio::test]
async fn a_name_and_an_address_are_enough_and_a_replacement_says_all_anew() {
    let (world, asker) = world();
    let least = json!({"name": "a", "url": "https://h/"});
    let created = post(&asker, &least).await.json();
    assert!(created.get("deadLetterQueue").is_none(), "{created}");
    assert!(created.get("source").is_none(), "{created}");
    let policy = json!({"maxRetries": 8, "retryIntervalSeconds": 10});
    assert_eq!(created["retryPolicy"], policy);

    let one = format!("{PATH}/{}", subscription_id(1));
    let whole = json!({
        "name": "b", "url": "https://h/2", "source": "a", "deadLetterQueue": null,
        "retryPolicy": {"maxRetries": 0, "retryIntervalSeconds": 1.5},
    });
    let replaced = asker.ask("PUT", &one, &whole.to_string()).await;
    assert_eq!(replaced.status, 200);
    let replaced = replaced.json();
    assert_eq!(replaced["retryPolicy"], whole["retryPolicy"]);
    assert_eq!(replaced["source"], "a");
    assert_eq!(replaced["dateModified"], json!(at(2)));
    let kept = &world.subscriptions.requests()[0];
    assert_eq!(kept.retry_interval, Duration::from_millis(1500));
    assert_eq!(kept.source, Some(source("a")));
    // What is left out is not kept from before.
    let replaced = asker.ask("PUT", &one, &least.to_string()).await.json();
    assert!(replaced.get("source").is_none(), "{replaced}");
}

#[tokio::test]
async fn what_is_wrong_is_told_by_its_path_and_with_what_would_be_right() {
    let (world, asker) = world();
    let long = "x".repeat(101);
    let far = format!("https://h/{}", "x".repeat(2048));
    let cases = [
        ("name", json!(1), "\"name\" must be a text of 1 to 100"),
        ("name", json!(""), "\"name\" must be a text of 1 to 100"),
        ("name", json!(long), "\"name\" must be a text of 1 to 100"),
        ("name", json!("a\nb"), "without line breaks"),
        ("name", json!(" a"), "no blank at either end"),
        ("name", Value::Null, "\"name\" must be"),
        ("url", Value::Null, "\"url\" must be a URL"),
        ("url", json!(["https://h/"]), "\"url\" must be a URL"),
        ("url", json!(far), "at most 2048 bytes"),
        ("url", json!("http://h/"), "\"url\" must start with https"),
        ("source", json!("A b"), "\"source\" must be the name"),
        ("source", json!(1), "leave it out for the events of all"),
        (
            "deadLetterQueue",
            json!("https://h/"),
            "\"deadLetterQueue\" must be an object as {\"url\":",
        ),
        (
            "deadLetterQueue.url",
            json!(7),
            "\"deadLetterQueue.url\" must be a URL",
        ),
        (
            "deadLetterQueue.url",
            json!("http://h/"),
            "\"deadLetterQueue.url\" must start with https",
        ),
        (
            "retryPolicy",
            json!(3),
            "\"retryPolicy\" must be an object as {\"maxRetries\":",
        ),
        (
            "retryPolicy.maxRetries",
            json!("3"),
            "\"retryPolicy.maxRetries\" must be a whole number from 0 to 100",
        ),
        ("retryPolicy.maxRetries", json!(-1), "from 0 to 100"),
        ("retryPolicy.maxRetries", json!(101), "from 0 to 100"),
        ("retryPolicy.maxRetries", json!(2.5), "a whole number"),
        (
            "retryPolicy.retryIntervalSeconds",
            json!("10"),
            "\"retryPolicy.retryIntervalSeconds\" must be a number of seconds from 1 to 86400",
        ),
        ("retryPolicy.retryIntervalSeconds", json!(0), "from 1 to"),
        ("retryPolicy.retryIntervalSeconds", json!(0.5), "from 1 to"),
        (
            "retryPolicy.retryIntervalSeconds",
            json!(86_401),
            "from 1 to",
        ),
    ];
    for (path, value, words) in cases {
        let (code, detail) = post(&asker, &with(path, value.clone())).await.problem(400);
        assert_eq!(code, "bad-field", "{path} {value}: {detail}");
        assert!(detail.contains(words), "{path} {value}: {detail}");
    }
    for (path, value) in [
        ("name", json!("x".repeat(100))),
        ("retryPolicy.maxRetries", json!(100)),
        ("retryPolicy.retryIntervalSeconds", json!(86_400.0)),
    ] {
        let (_, asker) = self::world();
        let taken = post(&asker, &with(path, value)).await;
        assert_eq!(taken.status, 201, "{path}");
    }
    assert!(world.subscriptions.requests().is_empty());
    for body in ["[]", "\"x\"", "{"] {
        let (code, _) = asker.ask("POST", PATH, body).await.problem(400);
        assert_eq!(code, "bad-body", "{body}");
    }
}

#[tokio::test]
async fn a_field_that_is_not_known_is_named_with_what_to_write_instead() {
    let (world, asker) = world();
    let cases = [
        ("outboundNotificationWebhookUrl", "into \"url\""),
        (
            "outboundNotificationWebhookSignatureSecretToken",
            "`verify`",
        ),
        ("webhookHeaders", "`headers`"),
        ("eventFilter", "\"source\""),
        ("topics", "no notification channels"),
        ("channelId", "no notification channels"),
        ("awsAccountId", "\"sqs\""),
        ("id", "leave it out"),
        ("dateCreated", "leave it out"),
        ("max_retries", "\"retryPolicy\""),
        ("dead_letter_queue", "write \"deadLetterQueue\""),
        ("URL", "write \"url\""),
        ("deadLetterQueue.queueUrl", "dead_letter = { to"),
        ("deadLetterQueue.Url", "write \"deadLetterQueue.url\""),
        ("retryPolicy.maxAttempts", "attempts after the first"),
        (
            "retryPolicy.retry_interval_seconds",
            "write \"retryPolicy.retryIntervalSeconds\"",
        ),
        ("retryPolicy.backoff", "stays the same"),
        (
            "surprise",
            "the fields here are \"name\", \"url\", \"source\", \"deadLetterQueue\", \"retryPolicy\"",
        ),
        (
            "retryPolicy.surprise",
            "are \"retryPolicy.maxRetries\", \"retryPolicy.retryIntervalSeconds\"",
        ),
    ];
    for (path, words) in cases {
        let (code, detail) = post(&asker, &with(path, json!("hunter2")))
            .await
            .problem(400);
        assert_eq!(code, "bad-field", "{path}: {detail}");
        let named = format!("there is no field \"{path}\"");
        assert!(detail.starts_with(&named), "{path}: {detail}");
        assert!(detail.contains(words), "{path}: {detail}");
        assert!(!detail.contains("hunter2"), "{detail}");
    }
    let long = "\u{1b}é".repeat(5000);
    let (_, detail) = post(&asker, &with(&long, json!(1))).await.problem(400);
    assert!(
        detail.len() < 1000 && !detail.contains('\u{1b}'),
        "{detail}"
    );
    assert!(world.subscriptions.requests().is_empty());
}

#[tokio::test]
async fn what_contradicts_what_is_there_is_refused() {
    let (_, asker) = world();
    let named = |name: &str| json!({"name": name, "url": "https://h/"});
    for name in ["a", "b"] {
        assert_eq!(post(&asker, &named(name)).await.status, 201);
    }
    let (code, detail) = post(&asker, &named("a")).await.problem(409);
    assert_eq!(code, "name-taken");
    assert!(
        detail.contains("\"a\"") && detail.contains("PUT"),
        "{detail}"
    );
    let one = format!("{PATH}/{}", subscription_id(1));
    let taken = asker.ask("PUT", &one, &named("b").to_string()).await;
    assert_eq!(taken.problem(409).0, "name-taken");
    let same = asker.ask("PUT", &one, &named("a").to_string()).await;
    assert_eq!(same.status, 200, "its own name");
    assert_eq!(post(&asker, &named("c")).await.status, 201);
    let (code, detail) = post(&asker, &named("d")).await.problem(409);
    assert_eq!(code, "too-many-subscriptions");
    assert!(detail.contains("subscriptions.max"), "{detail}");

    let mut elsewhere = named("e");
    elsewhere["source"] = json!("nowhere");
    let (code, detail) = post(&asker, &elsewhere).await.problem(400);
    assert_eq!(code, "unknown-source");
    assert!(detail.contains("nowhere") && detail.contains("/api/v1/sources"));
}

#[tokio::test]
async fn a_deletion_with_events_waiting_asks_what_shall_become_of_them() {
    let (world, asker) = world();
    for name in ["a", "b"] {
        let body = json!({"name": name, "url": "https://h/"});
        assert_eq!(post(&asker, &body).await.status, 201);
    }
    let one = format!("{PATH}/{}", subscription_id(1));
    *world.subscriptions.waiting.lock().unwrap() = 12;
    let (code, detail) = asker.ask("DELETE", &one, "").await.problem(409);
    assert_eq!(code, "events-pending");
    for words in ["12", "?pending=deliver", "?pending=dead-letter"] {
        assert!(detail.contains(words), "{detail}");
    }
    for query in [
        "pending=drop",
        "pending=",
        "force=1",
        "pending=deliver&pending=deliver",
    ] {
        let answer = asker.ask("DELETE", &format!("{one}?{query}"), "").await;
        assert_eq!(answer.problem(400).0, "bad-parameter", "{query}");
    }
    let draining = asker
        .ask("DELETE", &format!("{one}?pending=deliver"), "")
        .await;
    assert_eq!(draining.status, 202);
    let expected = json!({"id": subscription_id(1), "status": "draining", "waiting": 12, "events": 12, "letters": 0});
    assert_eq!(draining.json(), expected);
    assert_eq!(asker.json(&one).await["status"], "draining");
    let body = json!({"name": "c", "url": "https://h/"}).to_string();
    let (code, detail) = asker.ask("PUT", &one, &body).await.problem(409);
    assert_eq!(code, "subscription-draining");
    assert!(detail.contains("?pending=dead-letter"), "{detail}");
    let gone = asker
        .ask("DELETE", &format!("{one}?pending=dead-letter"), "")
        .await;
    assert_eq!((gone.status.as_u16(), gone.text()), (204, ""));

    *world.subscriptions.waiting.lock().unwrap() = 0;
    let other = format!("{PATH}/{}", subscription_id(2));
    assert_eq!(asker.ask("DELETE", &other, "").await.status, 204);
    for method in ["GET", "DELETE"] {
        let (code, detail) = asker.ask(method, &other, "").await.problem(404);
        assert_eq!(code, "no-such-subscription");
        assert!(detail.contains(PATH), "{detail}");
    }
    let (code, _) = asker.get(&format!("{PATH}/1")).await.problem(400);
    assert_eq!(code, "bad-id");
}

#[tokio::test]
async fn a_list_is_paged_newest_first() {
    let (_, asker) = world();
    for name in ["a", "b", "c"] {
        let body = json!({"name": name, "url": "https://h/"});
        assert_eq!(post(&asker, &body).await.status, 201);
    }
    let names = |page: &Value| -> Vec<String> {
        let all = page["subscriptions"].as_array().unwrap();
        let names = all.iter().map(|one| one["name"].as_str().unwrap());
        names.map(str::to_owned).collect()
    };
    let all = asker.json(PATH).await;
    assert_eq!(names(&all), ["c", "b", "a"]);
    assert_eq!(all["next_cursor"], Value::Null);
    let first = asker.json(&format!("{PATH}?limit=2")).await;
    assert_eq!(names(&first), ["c", "b"]);
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = asker.json(&format!("{PATH}?limit=2&cursor={cursor}")).await;
    assert_eq!(names(&second), ["a"]);
    assert_eq!(second["next_cursor"], Value::Null);
    for query in [
        "limit=0",
        "limit=1001",
        "cursor=x",
        "name=a",
        "limit=1&limit=2",
    ] {
        let answer = asker.get(&format!("{PATH}?{query}")).await;
        assert_eq!(answer.problem(400).0, "bad-parameter", "{query}");
    }
}

#[tokio::test]
async fn every_call_says_what_stands_in_its_way() {
    let (world, asker) = world();
    let one = format!("{PATH}/{}", subscription_id(1));
    for (trouble, status, expected) in troubles() {
        *world.subscriptions.fails.lock().unwrap() = Some(trouble);
        for (method, path, body) in [
            ("GET", PATH, ""),
            ("POST", PATH, OF_THE_THREAD),
            ("GET", &*one, ""),
            ("PUT", &*one, OF_THE_THREAD),
            ("DELETE", &*one, ""),
        ] {
            let (code, detail) = asker.ask(method, path, body).await.problem(status);
            assert_eq!(code, expected, "{method} {path}");
            if status == 403 {
                assert!(detail.contains("subscriptions.enabled = true"), "{detail}");
            }
        }
    }
}
