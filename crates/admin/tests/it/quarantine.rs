//! The quarantine by the API: looked at without its credentials, released and purged.

use std::sync::Arc;

use domain::ports::{Quarantine, Quarantined};
use serde_json::json;

use crate::ask::Asker;
use crate::fakes::{World, event, id};

/// Requests 1 to 4 of source `a`, of which those with an even body are verified now; and one each of the sources `gone`
/// and `full`.
pub(crate) async fn world() -> Arc<World> {
    let world = Arc::new(World::default());
    let bodies = ["no", "odd", "even", "\u{e9}t\u{e9}"];
    for (number, body) in (1..).zip(bodies) {
        put(&world, number, "a", body.as_bytes()).await;
    }
    put(&world, 5, "gone", b"x").await;
    put(&world, 6, "full", b"x").await;
    world
}

async fn put(world: &World, number: u64, source: &str, body: &[u8]) {
    let mut event = (*event(number, source, body).event).clone();
    event.path = format!("/in/{source}?n={number}&access_token=hidden");
    let headers = [
        ("content-type", &b"text/plain"[..]),
        ("authorization", b"Bearer hidden"),
        ("x-odd", b"hidden"),
        ("x-signature", b"caf\xe9"),
    ];
    event.headers = headers.into_iter().collect();
    let request = Quarantined {
        id: id(number),
        reason: "signature wrong".into(),
        event,
    };
    world.letters().put(request).await.unwrap();
}

#[tokio::test]
async fn the_list_has_pages_and_a_filter_that_is_read_strictly() {
    let world = world().await;
    let asker = Asker::new(world.ports());
    let first = asker
        .get("/api/v1/quarantine?source=a&limit=3")
        .await
        .json();
    let ids = |page: &serde_json::Value| -> Vec<String> {
        let requests = page["requests"].as_array().unwrap().iter();
        requests
            .map(|one| one["id"].as_str().unwrap().to_owned())
            .collect()
    };
    let status = asker.get("/api/v1/status").await.json();
    let held = status["quarantine"].as_array().unwrap().iter();
    let held: Vec<_> = held
        .map(|one| (one["source"].as_str(), one["requests"].as_u64()))
        .collect();
    assert!(held.contains(&(Some("full"), Some(1))), "{status}");
    assert_eq!(ids(&first), [4, 3, 2].map(|number| id(number).to_string()));
    let next = first["next_cursor"].as_str().unwrap();
    let rest = asker
        .get(&format!(
            "/api/v1/quarantine?source=a&limit=3&cursor={next}"
        ))
        .await
        .json();
    assert_eq!(
        (ids(&rest), &rest["next_cursor"]),
        (vec![id(1).to_string()], &json!(null))
    );
    assert_eq!(ids(&asker.get("/api/v1/quarantine").await.json()).len(), 6);
    for odd in [
        "source=b",
        "sources=a",
        "limit=0",
        "cursor=x",
        "limit=1&limit=1",
    ] {
        let refused = asker.get(&format!("/api/v1/quarantine?{odd}")).await;
        assert_eq!(refused.problem(400).0, "bad-parameter", "{odd}");
    }
}

#[tokio::test]
async fn a_request_is_shown_whole_but_for_what_may_be_a_credential() {
    let world = world().await;
    let asker = Asker::new(world.ports());
    let answer = asker.get(&format!("/api/v1/quarantine/{}", id(4))).await;
    assert!(!answer.text().contains("hidden"), "{}", answer.text());
    let shown = answer.json();
    assert_eq!(shown["path"], "/in/a?n=4&access_token=***");
    assert_eq!(shown["body"], "\u{e9}t\u{e9}");
    assert_eq!(
        shown["headers"][1],
        json!({ "name": "authorization", "value": "***" })
    );
    assert_eq!(shown["headers"][3]["value_encoding"], "base64");
    let gone = asker.get(&format!("/api/v1/quarantine/{}", id(9))).await;
    assert_eq!(gone.problem(404).0, "not-in-quarantine");
}

#[tokio::test]
async fn a_release_and_a_purge_say_which_and_never_everything_by_a_slip() {
    let world = world().await;
    let asker = Asker::new(world.ports());
    let (release, purge) = ("/api/v1/quarantine/release", "/api/v1/quarantine/purge");
    let ids = json!({ "ids": [id(1)] }).to_string();
    let both = json!({ "ids": [id(1)], "source": "a" }).to_string();
    let many = json!({ "ids": vec![id(1); 1001] }).to_string();
    for path in [release, purge] {
        for body in ["", "{}", r#"{"ids":[]}"#, r#"{"sourc":"a"}"#, &both, &many] {
            let refused = asker.ask("POST", path, body).await;
            assert_eq!(refused.problem(400).0, "bad-body", "{path} {body}");
        }
        let unknown = asker.ask("POST", path, r#"{"source":"b"}"#).await;
        assert_eq!(unknown.problem(404).0, "unknown-source");
    }
    let with_cursor = r#"{"source":"a","cursor":"AAAA"}"#;
    assert_eq!(
        asker.ask("POST", release, with_cursor).await.problem(400).0,
        "bad-body"
    );
    let gone = asker.ask("POST", release, r#"{"source":"gone"}"#).await;
    assert_eq!(gone.problem(409).0, "source-removed");
    let full = asker.ask("POST", release, r#"{"source":"full"}"#).await;
    let (code, detail) = full.problem(503);
    assert_eq!((&*code, full.header("retry-after")), ("route-full", "5"));
    assert!(detail.contains("1 was released"), "{detail}");

    let looked = asker
        .ask("POST", release, r#"{"source":"a","dry_run":true}"#)
        .await
        .json();
    assert_eq!(
        (&looked["verified"], &looked["still_invalid"]),
        (&json!(1), &json!(0))
    );
    let (mut released, mut still_invalid, mut cursor) = (0, 0, json!(null));
    for _ in 0..4 {
        let body = json!({ "source": "a", "cursor": cursor }).to_string();
        let answer = asker.ask("POST", release, &body).await.json();
        released += answer["released"].as_u64().unwrap();
        still_invalid += answer["still_invalid"].as_u64().unwrap();
        cursor = answer["next_cursor"].clone();
    }
    assert_eq!((released, still_invalid, cursor), (2, 2, json!(null)));
    let counted = json!({ "source": "a", "dry_run": true }).to_string();
    assert_eq!(
        asker.ask("POST", purge, &counted).await.json(),
        json!({ "matched": 2 })
    );
    assert_eq!(
        asker.ask("POST", purge, &ids).await.json(),
        json!({ "purged": 0 })
    );
    let all = r#"{"source":"gone"}"#;
    assert_eq!(
        asker.ask("POST", purge, all).await.json(),
        json!({ "purged": 1 })
    );
}
