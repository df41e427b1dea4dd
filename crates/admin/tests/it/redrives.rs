//! Redrives: begun, listed and cancelled by the API; stepped by the test in dispatch's place.

use domain::ports::{DeadLetters, RedriveId};
use http::Request;
use http_body_util::Full;
use serde_json::{Value, json};

use crate::ask::Asker;
use crate::dlq::world;
use crate::fakes::{at, event, id};

const PATH: &str = "/api/v1/redrives";

#[tokio::test]
async fn a_redrive_is_begun_and_whoever_steps_it_is_told() {
    let world = world().await;
    let asker = Asker::new(world.ports());
    let rejected = r#"{"filter":{"reason":"rejected"},"rate_per_second":5,"dry_run":true}"#;
    let counted = asker.ask("POST", PATH, rejected).await;
    assert_eq!(
        (counted.status.as_u16(), counted.json()),
        (200, json!({"matched": 4}))
    );
    assert!(world.letters().redrives(None, 1).await.unwrap().is_empty());

    let begun = asker
        .ask("POST", PATH, &rejected.replace(",\"dry_run\":true", ""))
        .await;
    assert_eq!(begun.status, 202);
    let expected = json!({
        "id": 1, "filter": {"reason": "rejected"}, "through": 9, "rate_per_second": 5, "status": "running",
        "matched": 4, "moved": 0, "created_at": at(100), "finished_at": null,
    });
    assert_eq!(begun.json(), expected);
    // A permit is left for whoever was not waiting just then.
    world.redrive_begun.notified().await;
    let state = world.letters();
    state.step_redrive(RedriveId(1), 3, at(101)).await.unwrap();
    let shown = asker.json("/api/v1/redrives/1").await;
    assert_eq!(
        (&shown["moved"], &shown["status"]),
        (&json!(3), &json!("running"))
    );
    state.step_redrive(RedriveId(1), 3, at(102)).await.unwrap();
    let shown = asker.json("/api/v1/redrives/1").await;
    assert_eq!(
        (&shown["moved"], &shown["status"]),
        (&json!(4), &json!("done"))
    );
    assert_eq!(shown["finished_at"], json!(at(102)));

    let ids = format!("{{\"ids\":[\"{}\"]}}", id(2));
    let of_ids = asker.ask("POST", PATH, &ids).await.json();
    assert_eq!(
        (&of_ids["ids"], &of_ids["matched"]),
        (&json!([id(2)]), &json!(2))
    );
}

#[tokio::test]
async fn a_redrive_is_cancelled_and_stays_so() {
    let world = world().await;
    let asker = Asker::new(world.ports());
    asker.ask("POST", PATH, r#"{"filter":{}}"#).await;
    let state = world.letters();
    state.step_redrive(RedriveId(1), 2, at(101)).await.unwrap();
    let ended = asker.ask("DELETE", "/api/v1/redrives/1", "").await.json();
    assert_eq!(
        (&ended["status"], &ended["moved"]),
        (&json!("cancelled"), &json!(2))
    );
    let again = asker.ask("DELETE", "/api/v1/redrives/1", "{}").await.json();
    assert_eq!(again, ended);
    for (method, path, status, code) in [
        ("DELETE", "/api/v1/redrives/2", 404, "no-such-redrive"),
        ("GET", "/api/v1/redrives/2", 404, "no-such-redrive"),
        ("GET", "/api/v1/redrives/one", 400, "bad-id"),
        ("DELETE", "/api/v1/redrives/-1", 400, "bad-id"),
    ] {
        let answer = asker.ask(method, path, "").await;
        assert_eq!(answer.problem(status).0, code, "{method} {path}");
    }
    let slow = asker
        .ask("POST", PATH, r#"{"filter":{},"rate_per_second":0}"#)
        .await;
    assert!(
        slow.problem(400)
            .1
            .contains("`rate_per_second` must be at least 1")
    );
    let more = asker
        .ask("DELETE", "/api/v1/redrives/1", r#"{"x":1}"#)
        .await;
    assert_eq!(more.problem(400).0, "bad-body");
}

#[tokio::test]
async fn redrives_are_listed_newest_first_by_page() {
    let asker = Asker::new(world().await.ports());
    for _ in 0..5 {
        asker.ask("POST", PATH, r#"{"filter":{}}"#).await;
    }
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = asker.json(&format!("{PATH}?limit=2{cursor}")).await;
        let redrives = page["redrives"].as_array().unwrap();
        seen.push(
            redrives
                .iter()
                .map(|job| job["id"].clone())
                .collect::<Vec<Value>>(),
        );
        let Some(next) = page["next_cursor"].as_str() else {
            break;
        };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(
        seen,
        [
            vec![json!(5), json!(4)],
            vec![json!(3), json!(2)],
            vec![json!(1)]
        ]
    );
    let (_, detail) = asker.get(&format!("{PATH}?colour=red")).await.problem(400);
    assert!(
        detail.contains("`colour` must be limit or cursor"),
        "{detail}"
    );
}

#[tokio::test]
async fn a_page_from_elsewhere_can_neither_purge_nor_redrive_nor_cancel() {
    let world = world().await;
    let asker = Asker::new(world.ports());
    asker.ask("POST", PATH, r#"{"filter":{}}"#).await;
    for (method, path) in [
        ("POST", "/api/v1/dlq/purge"),
        ("POST", PATH),
        ("DELETE", "/api/v1/redrives/1"),
    ] {
        for (headers, status, code) in [
            (&[("content-type", "text/plain")][..], 415, "not-json"),
            (
                &[("origin", "http://evil.example")],
                403,
                "origin-not-allowed",
            ),
            (&[("host", "evil.example")], 403, "host-not-allowed"),
        ] {
            let mut request = Request::builder().method(method).uri(path);
            let named = headers.iter().any(|(name, _)| *name == "host");
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            if !named {
                request = request.header("host", "localhost:8081");
            }
            let body = Full::from(r#"{"filter":{}}"#);
            let answer = asker.request(request.body(body).unwrap()).await;
            assert_eq!(
                answer.problem(status).0,
                code,
                "{method} {path} {headers:?}"
            );
        }
    }
    let jobs = world.letters().redrives(None, 10).await.unwrap();
    assert_eq!(jobs.len(), 1);
    assert!(jobs[0].finished_at.is_none());
    assert_eq!(world.letters().last_letter().await.unwrap().0, 9);
}

#[tokio::test]
async fn an_edited_letter_is_put_back_with_its_new_body_and_the_old_one_is_kept() {
    let world = world().await;
    let asker = Asker::new(world.ports());
    let before = asker.json(&format!("/api/v1/dlq/{}?route=s", id(1))).await;
    let path = format!("/api/v1/dlq/{}/redrive", id(1));
    let edit =
        r#"{"route":"s","body":"{\"n\": 2}","by":"ops@night","note":"the amount was missing"}"#;
    let done = asker.ask("POST", &path, edit).await;
    assert_eq!(done.status, 200);
    assert_eq!(done.json(), json!({"id": id(1), "route": before["route"]}));
    let told = world.brought.lock().unwrap().clone();
    assert_eq!(told[0].as_str(), before["route"].as_str().unwrap());
    let history = asker.json(&format!("/api/v1/dlq/{}/history", id(1))).await;
    let entry = &history["history"][0];
    assert_eq!(
        (&entry["by"], &entry["note"], &entry["action"]),
        (
            &json!("ops@night"),
            &json!("the amount was missing"),
            &json!("edited")
        )
    );
    assert_eq!(
        (&entry["body_before"], &entry["body_before_encoding"]),
        (&before["body"], &before["body_encoding"])
    );
    assert_eq!(entry["bytes_after"], 8);
    world
        .events
        .lock()
        .unwrap()
        .push(event(1, "a", "as it came"));
    let shown = asker.json(&format!("/api/v1/events/{}", id(1))).await;
    assert_eq!(
        (&shown["body"], &shown["edited_on"]),
        (&json!("as it came"), &json!(["s"]))
    );
    let again = asker.ask("POST", &path, edit).await;
    assert_eq!(
        (again.status.as_u16(), &again.json()["code"]),
        (404, &json!("not-dead"))
    );
    for (body, code) in [
        (r#"{"note":"no body"}"#, "bad-body"),
        (r#"{"body":"?","body_encoding":"base64"}"#, "bad-body"),
        (r#"{"body":"","route":"nowhere"}"#, "not-dead"),
    ] {
        let answer = asker
            .ask("POST", &format!("/api/v1/dlq/{}/redrive", id(2)), body)
            .await;
        assert_eq!(answer.json()["code"], code, "{body}");
    }
}
