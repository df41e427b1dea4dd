//! What each path answers, asked in process.

use std::sync::Arc;
use std::time::Duration;

use admin::Limits;
use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use serde_json::json;

use crate::ask::Asker;
use crate::fakes::{World, at, event, id, route};

fn world() -> Arc<World> {
    let world = World::default();
    world
        .routes
        .lock()
        .unwrap()
        .extend([route("r", &["a"]), route("s", &["a", "b"])]);
    Arc::new(world)
}

#[tokio::test]
async fn the_status_has_the_names_that_scripts_rely_on() {
    let world = world();
    let asker = Asker::new(world.ports());
    let status = asker.json("/api/v1/status").await;
    assert_eq!(status["accepted"], 42);
    assert_eq!(status["durability"], "disk");
    assert_eq!(status["version"], "1.2.3");
    assert_eq!(
        (&status["ready"], &status["not_ready"]),
        (&json!(true), &json!(null))
    );
    assert_eq!(
        status["journal"],
        json!({"bytes": 1000, "damaged_events": 2, "disk_free_bytes": 5000})
    );
    assert_eq!(status["state"], json!({"bytes": 77}));
    assert_eq!(
        status["certificate"],
        json!({"expires_at": at(500), "warning": "expires soon"})
    );
    assert_eq!(
        status["findings"][1],
        json!({"route": "s", "finding": "synchronous_commit is off"})
    );
    let route = &status["routes"][0];
    let expected = json!({
        "name": "r", "breaker": "tripped", "paused": false, "accepted": 10, "delivered": 4, "pending": 3,
        "parked": 1, "dead": 1, "discarded": 1, "damaged": 0, "oldest_pending_seconds": 1.5,
    });
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(route[name], *value, "{name}");
    }
    assert_eq!(route["last_error"]["code"], "sqlstate 57P03");

    *world.not_ready.lock().unwrap() = Some("the journal failed".into());
    *world.broken.lock().unwrap() = true;
    let status = asker.json("/api/v1/status").await;
    assert_eq!(status["ready"], false);
    assert_eq!(status["not_ready"], "the journal failed");
    assert_eq!(
        status["state"],
        json!({"bytes": null}),
        "the rest is still shown"
    );
}

#[tokio::test]
async fn the_status_has_the_queues_the_imports_that_run_and_the_names_of_subscriptions() {
    let world = world();
    let asker = Asker::new(world.ports());
    let begun = asker
        .ask("POST", "/api/v1/imports", r#"{"from":"ops"}"#)
        .await;
    assert_eq!(begun.status, 202);
    let of_one = r#"{"name":"crm","url":"https://h/","source":"a"}"#;
    let subscribed = asker.ask("POST", crate::subscriptions::PATH, of_one).await;
    assert_eq!(subscribed.status, 201);
    let answer = subscribed.json();
    let named = answer["route"].as_str().unwrap();
    world.routes.lock().unwrap().push(route(named, &["a"]));
    let status = asker.json("/api/v1/status").await;
    assert_eq!(status["imports"][0]["from"], "ops");
    let queue = json!({"source": "q", "type": "sqs", "reads": "queue q", "last_error": "queue: there is no such queue"});
    let channels = json!({"source": "n", "type": "genesys-notifications", "reads": "1 topic of mypurecloud.de", "last_error": null});
    assert_eq!(status["queues"], json!([queue, channels]));
    assert_eq!(status["routes"][0].get("subscription"), None);
    assert_eq!(status["routes"][2]["subscription"], "crm");
    let routes = asker.json("/api/v1/routes").await;
    assert_eq!(routes["routes"][2]["subscription"], "crm");
}

#[tokio::test]
async fn probes_say_alive_and_ready_with_the_reason() {
    let world = world();
    let asker = Asker::new(world.ports());
    assert_eq!(asker.get("/healthz").await.text(), "ok\n");
    assert_eq!(asker.get("/readyz").await.text(), "ok\n");
    *world.not_ready.lock().unwrap() = Some("shutting down".into());
    let answer = asker.get("/readyz").await;
    assert_eq!(
        (answer.status.as_u16(), answer.text()),
        (503, "shutting down\n")
    );
    assert_eq!(asker.get("/healthz").await.status, 200);
    let from_elsewhere = Request::get("/readyz").header("host", "10.1.1.1:8081");
    let answer = asker
        .request(from_elsewhere.body(Full::default()).unwrap())
        .await;
    assert_eq!(answer.status, 503, "a probe asks by any name");
}

#[tokio::test]
async fn metrics_are_open_metrics_text() {
    let answer = Asker::new(world().ports()).get("/metrics").await;
    assert!(
        answer
            .header("content-type")
            .starts_with("application/openmetrics-text")
    );
    assert!(answer.text().contains("forebay_events_accepted_total 3\n"));
    assert!(answer.text().ends_with("# EOF\n"));
}

#[tokio::test]
async fn a_route_is_paused_and_resumed() {
    let world = world();
    let asker = Asker::new(world.ports());
    let paused = asker.ask("POST", "/api/v1/routes/r/pause", "").await;
    assert_eq!(paused.json(), json!({"name": "r", "paused": true}));
    let resumed = asker.ask("POST", "/api/v1/routes/r/resume", "{}").await;
    assert_eq!(resumed.json(), json!({"name": "r", "paused": false}));
    let expected = [("r".to_owned(), true), ("r".to_owned(), false)];
    assert_eq!(*world.paused.lock().unwrap(), expected);

    let unknown = asker.ask("POST", "/api/v1/routes/nope/pause", "").await;
    let (code, detail) = unknown.problem(404);
    assert_eq!(code, "unknown-route");
    assert!(detail.contains("\"nope\""), "{detail}");
    let (code, _) = asker
        .ask("POST", "/api/v1/routes/r/pause", r#"{"for":"5m"}"#)
        .await
        .problem(400);
    assert_eq!(code, "bad-body");
    let large = format!("{{}}{}", " ".repeat(1 << 20));
    let large = asker.ask("POST", "/api/v1/routes/r/pause", &large).await;
    assert_eq!(large.problem(413).0, "body-too-large");
    *world.broken.lock().unwrap() = true;
    let failed = asker.ask("POST", "/api/v1/routes/r/pause", "").await;
    assert_eq!(failed.problem(500).0, "state-failed");
    assert_eq!(
        *world.paused.lock().unwrap(),
        expected,
        "nothing else was done"
    );
}

#[tokio::test]
async fn a_page_from_elsewhere_cannot_pause_a_route() {
    let world = world();
    let asker = Asker::new(world.ports());
    let post = |headers: &[(&str, &str)], body: &'static str| {
        let mut request = Request::post("/api/v1/routes/r/pause");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::from(body))).unwrap();
        let asker = asker.clone();
        async move { asker.request(request).await }
    };
    let own = ("host", "localhost:8081");
    let form = post(
        &[
            own,
            ("content-type", "text/plain"),
            ("origin", "http://evil.example"),
        ],
        "{}",
    );
    assert_eq!(form.await.problem(403).0, "origin-not-allowed");
    let rebound = post(
        &[
            ("host", "evil.example:8081"),
            ("origin", "http://evil.example:8081"),
        ],
        "",
    );
    assert_eq!(rebound.await.problem(403).0, "host-not-allowed");
    let quiet = post(&[own, ("content-type", "text/plain")], "{}");
    assert_eq!(quiet.await.problem(415).0, "not-json");
    assert_eq!(post(&[own], "{}").await.problem(415).0, "not-json");
    assert!(world.paused.lock().unwrap().is_empty());
}

#[tokio::test]
async fn what_is_not_there_is_a_problem_too() {
    let asker = Asker::new(world().ports());
    let (code, detail) = asker.get("/api/v1/nothing").await.problem(404);
    assert_eq!(code, "no-such-path");
    assert!(detail.contains("GET /"));
    let answer = asker.ask("POST", "/api/v1/status", "{}").await;
    assert_eq!(answer.problem(405).0, "method-not-allowed");
    assert!(answer.header("allow").contains("GET"), "{answer:?}");
    let answer = asker.get("/api/v1/routes/r/pause").await;
    assert_eq!(answer.problem(405).0, "method-not-allowed");
    assert_eq!(answer.header("allow"), "POST");
    assert_eq!(asker.get("/api/v1/routes/%ff/pause").await.status, 405);
    let answer = asker.ask("POST", "/api/v1/routes/%ff/pause", "").await;
    assert_eq!(answer.problem(400).0, "bad-path");
    let head = asker.ask("HEAD", "/api/v1/status", "").await;
    assert_eq!((head.status.as_u16(), head.body.len()), (200, 0));
}

#[tokio::test]
async fn every_answer_forbids_caching_and_sniffing() {
    let asker = Asker::new(world().ports());
    for path in ["/", "/healthz", "/api/v1/status", "/nothing"] {
        let answer = asker.get(path).await;
        assert_eq!(answer.header("cache-control"), "no-store", "{path}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
    }
    let home = asker.get("/").await;
    assert!(home.header("content-type").starts_with("text/html"));
    assert!(
        home.header("content-security-policy")
            .contains("default-src 'none'")
    );
}

#[tokio::test(start_paused = true)]
async fn a_request_that_hangs_is_answered_at_the_timeout() {
    let world = world();
    world.events.lock().unwrap().push(event(1, "a", "x"));
    *world.stuck.lock().unwrap() = true;
    let limits = Limits {
        looking_back: 1,
        ..Limits::default()
    };
    let asker = Asker::with_limits(world.ports(), limits);
    let path = format!("/api/v1/events/{}", id(1));
    let start = tokio::time::Instant::now();
    let (first, second) = tokio::join!(asker.get(&path), asker.get("/api/v1/events"));
    assert_eq!(start.elapsed(), Duration::from_secs(30));
    for answer in [first, second] {
        assert_eq!(answer.problem(503).0, "timeout");
        assert_eq!(answer.header("retry-after"), "5");
    }
    *world.stuck.lock().unwrap() = false;
    // What is asked of state is a thread's to answer, which no clock of the test waits for.
    tokio::time::resume();
    assert_eq!(
        asker.get(&path).await.status,
        200,
        "the turn was given back"
    );
}
