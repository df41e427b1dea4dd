//! The subscription API on a running Forebay: routes that are made, changed and ended while it runs, and that are there
//! after it was killed.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testbed::endpoint::{Answer, Endpoint};
use testbed::process::Forebay;
use testbed::{DEADLINE, Result, http};

use crate::rig;

/// Two sources that no route takes, and subscriptions to loopback.
const ALLOWED: &str = "[sources.in]\ntype = \"http\"\n\n[sources.other]\ntype = \"http\"\n\n[subscriptions]\nenabled = true\nallow_http = true\nallow_private = true\n";

const PATH: &str = "/api/v2/notifications/webhooks";

async fn ask(forebay: &Forebay, method: &str, path: &str, body: &Value) -> Result<(u16, Value)> {
    let url = forebay.admin(&format!("{PATH}{path}"));
    let body = match body {
        Value::Null => String::new(),
        body => body.to_string(),
    };
    let json = &[("content-type", "application/json")];
    let method = method.parse().unwrap();
    let answer = http::request(method, &url, json, body.into()).await?;
    let value = serde_json::from_slice(&answer.body).unwrap_or(Value::Null);
    Ok((answer.status.into(), value))
}

/// Subscribes with the JSON of the thread, but for the addresses and the pace. Returns what was answered.
async fn subscribe(forebay: &Forebay, url: &str, dead: Option<&str>) -> Result<Value> {
    let mut request = json!({
        "name": format!("my-webhook to {url}"),
        "url": url,
        "retryPolicy": { "maxRetries": 3, "retryIntervalSeconds": 1 }
    });
    if let Some(dead) = dead {
        request["deadLetterQueue"] = json!({ "url": dead });
    }
    let (status, made) = ask(forebay, "POST", "", &request).await?;
    assert_eq!(status, 201, "{made}");
    Ok(made)
}

async fn post(forebay: &Forebay, source: &str, body: &str) -> Result<u16> {
    let url = forebay.ingest(&format!("/in/{source}"));
    let answer = http::post(&url, &[], body.to_owned().into()).await?;
    Ok(answer.status.into())
}

async fn received(endpoint: &Endpoint, wanted: usize) -> Result<Vec<String>> {
    testbed::until("the endpoint has it", DEADLINE, async || {
        match endpoint.received().len() {
            count if count >= wanted => Ok(()),
            count => Err(format!("{count} of {wanted}")),
        }
    })
    .await?;
    Ok(bodies(endpoint))
}

fn bodies(endpoint: &Endpoint) -> Vec<String> {
    let received = endpoint.received().into_iter();
    received
        .map(|one| String::from_utf8(one.body.to_vec()).unwrap())
        .collect()
}

/// Waits until the endpoint has received all of these; after a kill some come again.
async fn has(endpoint: &Endpoint, wanted: &[&str]) -> Result<()> {
    let what = format!("the endpoint has {wanted:?}");
    testbed::until(&what, DEADLINE, async || {
        let there = bodies(endpoint);
        match wanted
            .iter()
            .all(|body| there.iter().any(|one| one == body))
        {
            true => Ok(()),
            false => Err(format!("{there:?}")),
        }
    })
    .await
}

/// Waits until the API no longer knows it.
async fn gone(forebay: &Forebay, id: &str) -> Result<()> {
    testbed::until("the subscription is gone", DEADLINE, async || {
        let (status, shown) = ask(forebay, "GET", &format!("/{id}"), &Value::Null)
            .await
            .map_err(|error| error.to_string())?;
        match status {
            404 => Ok(()),
            _ => Err(shown.to_string()),
        }
    })
    .await
}

fn id(made: &Value) -> &str {
    made["id"].as_str().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_endpoint_gets_what_the_first_answered_500_to_so_often_and_the_sender_sees_200_only()
-> Result<()> {
    let (first, second) = (Endpoint::start().await?, Endpoint::start().await?);
    let attempts = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&attempts);
    first.answer_with(move |_| {
        noted.lock().unwrap().push(Instant::now());
        Answer::status(500)
    });
    let forebay = rig::forebay(ALLOWED).start().await?;
    let refused = post(&forebay, "in", "{\"n\":0}").await?;
    assert_eq!(refused, 503, "nobody takes it yet");
    let made = subscribe(&forebay, &first.url(), Some(&second.url())).await?;
    assert_eq!(post(&forebay, "in", "{\"n\": 1}").await?, 200);
    assert_eq!(received(&second, 1).await?, ["{\"n\": 1}"]);
    let letter = &second.received()[0];
    let route = made["route"].as_str().unwrap();
    for (name, value) in [
        ("forebay-route", route),
        ("forebay-source", "in"),
        ("forebay-reason", "retries-exhausted"),
        ("forebay-attempts", "4"),
    ] {
        assert_eq!(letter.header(name), Some(value), "{name}");
    }
    let attempts = attempts.lock().unwrap().clone();
    assert_eq!(attempts.len(), 4, "1 + maxRetries");
    let least = Duration::from_millis(950);
    assert!(attempts.windows(2).all(|two| two[1] - two[0] >= least));
    assert_eq!(second.received().len(), 1);
    rig::assert_balanced(&forebay).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_outlives_a_kill_takes_what_it_is_to_and_is_replaced_in_place() -> Result<()>
{
    let (one, all, new) = (
        Endpoint::start().await?,
        Endpoint::start().await?,
        Endpoint::start().await?,
    );
    let mut forebay = rig::forebay(ALLOWED).start().await?;
    let only = json!({
        "name": "only in", "url": one.url(), "source": "in",
        "retryPolicy": { "maxRetries": 3, "retryIntervalSeconds": 1 }
    });
    let (status, made) = ask(&forebay, "POST", "", &only).await?;
    assert_eq!(status, 201, "{made}");
    subscribe(&forebay, &all.url(), None).await?;
    let (_, shown) = ask(&forebay, "GET", &format!("/{}", id(&made)), &Value::Null).await?;
    assert_eq!(shown, made, "as it was answered");
    let (status, taken) = ask(&forebay, "POST", "", &only).await?;
    assert_eq!((status, &taken["code"]), (409, &json!("name-taken")));
    post(&forebay, "in", "1").await?;
    post(&forebay, "other", "2").await?;
    has(&all, &["1", "2"]).await?;
    has(&one, &["1"]).await?;
    forebay.kill9().await?;
    forebay.start().await?;
    let (_, listed) = ask(&forebay, "GET", "", &Value::Null).await?;
    assert_eq!(
        listed["subscriptions"].as_array().unwrap().len(),
        2,
        "{listed}"
    );
    post(&forebay, "in", "3").await?;
    has(&all, &["3"]).await?;
    has(&one, &["3"]).await?;
    // What waits goes by the new request.
    one.answer_with(|_| Answer::hang());
    post(&forebay, "in", "4").await?;
    has(&one, &["4"]).await?;
    let mut replaced = only.clone();
    replaced["url"] = json!(new.url());
    let (status, shown) = ask(&forebay, "PUT", &format!("/{}", id(&made)), &replaced).await?;
    assert_eq!((status, &shown["id"]), (200, &made["id"]), "{shown}");
    has(&new, &["4"]).await?;
    post(&forebay, "in", "5").await?;
    has(&new, &["5"]).await?;
    has(&all, &["4", "5"]).await?;
    let others = ["2", "5"].map(|body| bodies(&one).contains(&body.to_owned()));
    assert_eq!(others, [false, false]);
    rig::assert_balanced(&forebay).await
}

#[tokio::test(flavor = "multi_thread")]
async fn deleting_one_with_events_waiting_asks_and_delivers_them_first_if_told_so() -> Result<()> {
    let endpoint = Endpoint::start().await?;
    endpoint.answer_with(|_| Answer::status(500));
    let mut forebay = rig::forebay(ALLOWED).start().await?;
    let request = json!({
        "name": "slow", "url": endpoint.url(),
        "retryPolicy": { "maxRetries": 100, "retryIntervalSeconds": 1 }
    });
    let (_, made) = ask(&forebay, "POST", "", &request).await?;
    let path = format!("/{}", id(&made));
    for n in 0..5 {
        assert_eq!(post(&forebay, "in", &n.to_string()).await?, 200);
    }
    received(&endpoint, 5).await?;
    let (status, asked) = ask(&forebay, "DELETE", &path, &Value::Null).await?;
    assert_eq!((status, &asked["code"]), (409, &json!("events-pending")));
    let detail = asked["detail"].as_str().unwrap();
    assert!(detail.contains("pending=deliver"), "{detail}");
    let deliver = format!("{path}?pending=deliver");
    let (status, said) = ask(&forebay, "DELETE", &deliver, &Value::Null).await?;
    assert_eq!(status, 202, "{said}");
    let late = post(&forebay, "in", "too late").await?;
    assert_eq!(late, 503, "it takes nothing new, and nobody else does");
    let (_, shown) = ask(&forebay, "GET", &path, &Value::Null).await?;
    assert_eq!(shown["status"], "draining", "{shown}");
    forebay.kill9().await?;
    forebay.start().await?;
    endpoint.answer_with(|_| Answer::status(200));
    gone(&forebay, id(&made)).await?;
    let bodies = received(&endpoint, 10).await?;
    assert!(!bodies.iter().any(|body| body == "too late"));
    let status = forebay.status().await?;
    assert_eq!(status["routes"], json!([]), "{status}");
    assert_eq!(forebay.cli(&["dlq", "list", "--json"]).await?.stdout, "");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn deleting_one_makes_dead_letters_of_what_waits_if_told_so_and_they_reach_its_dead_letter_endpoint()
-> Result<()> {
    let (first, second) = (Endpoint::start().await?, Endpoint::start().await?);
    first.answer_with(|request| match request.number {
        0 => Answer::status(500),
        _ => Answer::hang(),
    });
    let forebay = rig::forebay(ALLOWED).start().await?;
    let made = subscribe(&forebay, &first.url(), Some(&second.url())).await?;
    for n in 0..20 {
        assert_eq!(post(&forebay, "in", &n.to_string()).await?, 200);
    }
    received(&first, 3).await?;
    let path = format!("/{}?pending=dead-letter", id(&made));
    let (status, said) = ask(&forebay, "DELETE", &path, &Value::Null).await?;
    assert_eq!(status, 202, "{said}");
    let mut bodies: Vec<u32> = received(&second, 20)
        .await?
        .iter()
        .map(|body| body.parse().unwrap())
        .collect();
    bodies.sort_unstable();
    assert_eq!(bodies, (0..20).collect::<Vec<_>>());
    gone(&forebay, id(&made)).await?;
    assert_eq!(
        second.received()[0].header("forebay-reason"),
        Some("retired")
    );
    let letters = forebay.cli(&["dlq", "list", "--json"]).await?.stdout;
    assert_eq!(letters.lines().count(), 20, "they stay listed");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn private_addresses_and_plain_http_are_refused_unless_allowed() -> Result<()> {
    let strict = ALLOWED.replace("allow_http = true\nallow_private = true\n", "");
    let forebay = rig::forebay(strict).start().await?;
    for (url, word) in [
        ("http://hooks.example.org/", "allow_http"),
        ("https://127.0.0.1:9/", "allow_private"),
        ("https://[::ffff:10.0.0.1]/", "allow_private"),
        ("https://169.254.169.254/latest/", "allow_private"),
        ("https://user:pass@hooks.example.org/", "password"),
    ] {
        let request = json!({ "name": "x", "url": url });
        let (status, said) = ask(&forebay, "POST", "", &request).await?;
        let detail = said["detail"].as_str().unwrap_or_default();
        assert_eq!(status, 400, "{url}: {said}");
        assert!(detail.contains(word), "{url}: {said}");
        let request = json!({ "name": "x", "url": "https://hooks.example.org/", "deadLetterQueue": { "url": url } });
        let (status, said) = ask(&forebay, "POST", "", &request).await?;
        let detail = said["detail"].as_str().unwrap_or_default();
        assert!(
            status == 400 && detail.contains("deadLetterQueue"),
            "{url}: {said}"
        );
    }
    let (_, listed) = ask(&forebay, "GET", "", &Value::Null).await?;
    assert_eq!(listed["subscriptions"], json!([]), "{listed}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn subscriptions_that_are_there_are_not_forgotten_because_they_are_disabled() -> Result<()> {
    let endpoint = Endpoint::start().await?;
    let mut forebay = rig::forebay(ALLOWED).start().await?;
    let made = subscribe(&forebay, &endpoint.url(), None).await?;
    forebay.terminate()?;
    forebay.wait().await?;
    let route = "[sources.in]\ntype = \"http\"\n\n[destinations.f]\ntype = \"file\"\npath = \"out\"\n\n[routes.r]\nfrom = [\"in\"]\nto = \"f\"\n";
    forebay.launch().set_config(route);
    forebay.spawn()?;
    let exit = forebay.wait().await?;
    assert_eq!(exit.code, Some(2), "{exit:?}");
    let said = forebay.stderr();
    let name = made["route"].as_str().unwrap();
    assert!(
        said.contains("subscriptions.enabled") && said.contains(name),
        "{said}"
    );
    let retire = ["routes", "retire", name, "--pending", "dead-letter"];
    let dir = forebay.data_dir().to_str().unwrap().to_owned();
    let retired = forebay
        .cli(&[&retire[..], &["--data-dir", &dir]].concat())
        .await?;
    assert_eq!(retired.code, Some(0), "{retired:?}");
    forebay.start().await
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_only_subscription_is_replaced_its_events_are_taken_and_reach_the_new_endpoint()
-> Result<()> {
    let (hangs, new) = (Endpoint::start().await?, Endpoint::start().await?);
    hangs.answer_with(|_| Answer::hang());
    let forebay = rig::forebay(ALLOWED).start().await?;
    let made = subscribe(&forebay, &hangs.url(), None).await?;
    assert_eq!(post(&forebay, "in", "1").await?, 200);
    received(&hangs, 1).await?;
    let path = format!("/{}", id(&made));
    let request = json!({ "name": "new", "url": new.url(), "retryPolicy": { "maxRetries": 3, "retryIntervalSeconds": 1 } });
    let replacing = ask(&forebay, "PUT", &path, &request);
    let posting = async {
        let mut taken = 0;
        for n in 2..10 {
            taken += u32::from(post(&forebay, "in", &n.to_string()).await? == 200);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(taken)
    };
    let (replaced, taken) = tokio::try_join!(replacing, posting)?;
    assert_eq!((replaced.0, taken), (200, 8));
    let all: Vec<String> = (1..10).map(|n| n.to_string()).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    has(&new, &all).await?;
    rig::assert_balanced(&forebay).await
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_drains_for_long_does_not_fill_the_journal_with_what_others_deliver() -> Result<()>
{
    let (failing, good) = (Endpoint::start().await?, Endpoint::start().await?);
    failing.answer_with(|_| Answer::status(500));
    let small = "[journal]\nsegment_bytes = \"1MiB\"\nmax_bytes = \"6MiB\"\nmin_free = \"0B\"\nretain = \"1s\"\n\n";
    let sources = ALLOWED.replace("\"http\"\n", "\"http\"\nmax_body = \"512KiB\"\n");
    let mut forebay = rig::forebay([small, &sources].concat()).start().await?;
    let policy = json!({ "maxRetries": 100, "retryIntervalSeconds": 1 });
    let request =
        json!({ "name": "a", "url": failing.url(), "source": "in", "retryPolicy": policy });
    let (_, made) = ask(&forebay, "POST", "", &request).await?;
    assert_eq!(post(&forebay, "in", "waits").await?, 200);
    received(&failing, 1).await?;
    let path = format!("/{}?pending=deliver", id(&made));
    assert_eq!(ask(&forebay, "DELETE", &path, &Value::Null).await?.0, 202);
    let request = json!({ "name": "b", "url": good.url(), "source": "other" });
    assert_eq!(ask(&forebay, "POST", "", &request).await?.0, 201);
    let body = "x".repeat(200 << 10);
    for n in 0..60 {
        testbed::until("an event is taken", DEADLINE, async || {
            match post(&forebay, "other", &body).await {
                Ok(200) => Ok(()),
                answer => Err(format!("event {n}: {answer:?}")),
            }
        })
        .await?;
    }
    received(&good, 60).await?;
    forebay.kill9().await?;
    forebay.start().await?;
    failing.answer_with(|_| Answer::status(200));
    gone(&forebay, id(&made)).await?;
    has(&failing, &["waits"]).await?;
    rig::assert_balanced(&forebay).await
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_on_their_way_arrive_also_if_all_that_waits_is_to_be_one() -> Result<()> {
    let (failing, dead) = (Endpoint::start().await?, Endpoint::start().await?);
    failing.answer_with(|_| Answer::status(400));
    dead.answer_with(|_| Answer::status(503));
    let forebay = rig::forebay(ALLOWED).start().await?;
    let made = subscribe(&forebay, &failing.url(), Some(&dead.url())).await?;
    assert_eq!(post(&forebay, "in", "1").await?, 200);
    received(&dead, 1).await?;
    let path = format!("/{}?pending=dead-letter", id(&made));
    let (status, said) = ask(&forebay, "DELETE", &path, &Value::Null).await?;
    assert_eq!((status, &said["waiting"]), (202, &json!(1)), "{said}");
    dead.answer_with(|_| Answer::status(200));
    gone(&forebay, id(&made)).await?;
    has(&dead, &["1"]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_replaced_by_what_cannot_be_put_to_work_goes_on_as_it_was() -> Result<()> {
    let endpoint = Endpoint::start().await?;
    let empty = tempfile::tempdir().unwrap();
    let roots = empty.path().to_str().unwrap();
    // Without certificates no https can be spoken.
    let launch = rig::forebay(ALLOWED).env("SSL_CERT_DIR", roots);
    let forebay = launch.env("SSL_CERT_FILE", "/dev/null").start().await?;
    let made = subscribe(&forebay, &endpoint.url(), None).await?;
    let request = json!({ "name": "secure", "url": "https://127.0.0.1:9/" });
    let path = format!("/{}", id(&made));
    let (status, said) = ask(&forebay, "PUT", &path, &request).await?;
    assert_eq!(
        (status, &said["code"]),
        (500, &json!("subscription-failed"))
    );
    let (_, shown) = ask(&forebay, "GET", &path, &Value::Null).await?;
    assert_eq!(shown["url"], made["url"], "{shown}");
    assert_eq!(post(&forebay, "in", "1").await?, 200);
    has(&endpoint, &["1"]).await?;
    assert_eq!(ask(&forebay, "POST", "", &request).await?.0, 500);
    let (_, listed) = ask(&forebay, "GET", "", &Value::Null).await?;
    assert_eq!(listed["subscriptions"].as_array().unwrap().len(), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_could_not_be_put_to_work_again_is_as_soon_as_it_can_be() -> Result<()> {
    let endpoint = Endpoint::start_tls().await?;
    endpoint.answer_with(|_| Answer::status(500));
    let dir = tempfile::tempdir().unwrap();
    let (file, none) = (dir.path().join("roots.pem"), dir.path().join("none"));
    let (file, none) = (file.to_str().unwrap(), none.to_str().unwrap());
    let roots = std::fs::read(endpoint.ca().unwrap()).unwrap();
    std::fs::write(file, &roots).unwrap();
    let launch = rig::forebay(ALLOWED).env("SSL_CERT_DIR", none);
    let forebay = launch.env("SSL_CERT_FILE", file).start().await?;
    let policy = json!({ "maxRetries": 100, "retryIntervalSeconds": 1 });
    let request = json!({ "name": "tls", "url": endpoint.url(), "retryPolicy": policy });
    let (_, made) = ask(&forebay, "POST", "", &request).await?;
    assert_eq!(post(&forebay, "in", "1").await?, 200);
    received(&endpoint, 1).await?;
    std::fs::write(file, "").unwrap();
    let path = format!("/{}?pending=deliver", id(&made));
    let (status, said) = ask(&forebay, "DELETE", &path, &Value::Null).await?;
    assert_eq!(
        (status, &said["code"]),
        (500, &json!("subscription-failed"))
    );
    endpoint.answer_with(|_| Answer::status(200));
    std::fs::write(file, &roots).unwrap();
    gone(&forebay, id(&made)).await?;
    assert_eq!(forebay.cli(&["dlq", "list", "--json"]).await?.stdout, "");
    Ok(())
}
