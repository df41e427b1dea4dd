//! Dead letters: lists, groups, single ones and purging, over a real state.

use std::sync::Arc;

use domain::ports::{
    BreakerState, Bury, DeadLetters, ExportStatus, Exported, Exports as _, Letter, RetireFate,
    Settlement, State,
};
use domain::{Cause, DestinationName, Reason, RouteName, Seq};
use serde_json::{Value, json};
use state::SqliteState;

use crate::ask::Asker;
use crate::fakes::{World, at, event, id, route};

fn died(seq: u64, reason: Reason, cause: Cause) -> Bury {
    let body = match seq {
        1 => vec![0xff, 0xfe],
        _ => format!("{{\"n\":{seq}}}").into(),
    };
    Bury {
        stored: event(seq, "a", body),
        attempts: 2,
        reason,
        cause,
        first_failure_at: at(1),
        last_failure_at: at(seq),
        key: None,
    }
}

/// Buries events 1 to `count` on a route, the odd ones for a constraint.
async fn bury(state: &SqliteState, name: &str, count: u64) {
    let name = RouteName::new(name).unwrap();
    let registered = state.register_route(&name, Seq::ZERO, at(0));
    registered.await.unwrap();
    let buries = (1..=count).map(|seq| match seq % 2 {
        0 => died(
            seq,
            Reason::RetriesExhausted,
            Cause::new("http 500", "oops"),
        ),
        _ => {
            let cause = Cause::new("sqlstate 23514", format!("check violated in {seq}"));
            died(seq, Reason::Rejected, cause)
        }
    });
    let step = Settlement {
        accepted: count,
        buries: buries.collect(),
        ..Settlement::at(name.clone(), Seq(count))
    };
    state.settle(vec![step]).await.unwrap();
}

/// Route `r` with dead letters 1 to 6, then `s` with 1 and 2, then `old`, which is retired, with 1.
pub(crate) async fn world() -> Arc<World> {
    let world = World::default();
    let running = [route("r", &["a"]), route("s", &["a"])];
    world.routes.lock().unwrap().extend(running);
    let state = world.letters();
    for (name, count) in [("r", 6), ("s", 2), ("old", 1)] {
        bury(&state, name, count).await;
    }
    let old = RouteName::new("old").unwrap();
    let retired = state.retire_route(&old, RetireFate::DeadLetter, at(9));
    retired.await.unwrap();
    Arc::new(world)
}

fn said(page: &Value) -> Vec<(String, u64)> {
    let letters = page["letters"].as_array().unwrap();
    let seq = |letter: &Value| (1..=6).find(|seq| letter["id"] == id(*seq).to_string());
    letters
        .iter()
        .map(|letter| {
            let route = letter["route"].as_str().unwrap().to_owned();
            (route, seq(letter).unwrap())
        })
        .collect()
}

fn letters(expected: &[(&str, u64)]) -> Vec<(String, u64)> {
    let letters = expected.iter();
    letters
        .map(|(route, seq)| ((*route).to_owned(), *seq))
        .collect()
}

#[tokio::test]
async fn dead_letters_come_newest_burial_first_and_without_bodies() {
    let asker = Asker::new(world().await.ports());
    let page = asker.json("/api/v1/dlq").await;
    let all = letters(&[
        ("old", 1),
        ("s", 2),
        ("s", 1),
        ("r", 6),
        ("r", 5),
        ("r", 4),
        ("r", 3),
        ("r", 2),
        ("r", 1),
    ]);
    assert_eq!(said(&page), all);
    assert_eq!(page["next_cursor"], Value::Null);
    let expected = json!({
        "id": id(5), "route": "r", "source": "a", "reason": "rejected",
        "error": "sqlstate 23514: check violated in 5", "code": "sqlstate 23514",
        "fingerprint": "sqlstate 23514: check violated in #", "attempts": 2, "received_at": at(5),
        "first_failure_at": at(1), "last_failure_at": at(5), "redrives": 0,
        "content_type": "application/json", "bytes": 7, "letter": 5,
    });
    assert_eq!(page["letters"][4], expected);
    assert_eq!(page["letters"][0]["retired"], true);
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = asker.json(&format!("/api/v1/dlq?limit=4{cursor}")).await;
        seen.push(said(&page));
        let Some(next) = page["next_cursor"].as_str() else {
            break;
        };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(seen.len(), 3);
    assert_eq!(seen.concat(), all);
}

#[tokio::test]
async fn a_letter_says_which_targets_have_it_and_until_when_it_is_kept() {
    let world = world().await;
    let target = |name: &str| DestinationName::new(name).unwrap();
    let status = |name: &str| ExportStatus {
        target: target(name),
        target_type: "sqs".into(),
        breaker: BreakerState::Passing,
        pending: 0,
        refused: 0,
        last_error: None,
    };
    world.routes.lock().unwrap()[0].exports = vec![status("ops"), status("lake")];
    let asker = Asker::new(world.ports());
    let exported = async |name: &str, through, second| {
        let step = Exported {
            route: RouteName::new("r").unwrap(),
            target: target(name),
            through: Letter(through),
            unexportable: Vec::new(),
            at: at(second),
        };
        world.letters().exported(step).await.unwrap();
    };
    let path = format!("/api/v1/dlq/{}?route=r", id(5));
    assert_eq!(asker.json(&path).await["exported"], json!([]));
    exported("ops", 6, 100).await;
    let shown = asker.json(&path).await;
    assert_eq!(shown["exported"], json!([{"target": "ops", "at": at(100)}]));
    assert_eq!(shown.get("kept_until"), None, "another has it not");
    exported("lake", 5, 200).await;
    let shown = asker.json(&path).await;
    assert_eq!(shown["exported"][0]["target"], "lake");
    assert_eq!(shown["kept_until"], json!(at(200 + 3600)));
}

#[tokio::test]
async fn filters_narrow_lists_and_groups_alike() {
    let asker = Asker::new(world().await.ports());
    let cases: &[(&str, &[(&str, u64)])] = &[
        ("route=s", &[("s", 2), ("s", 1)]),
        ("route=old", &[("old", 1)]),
        ("route=r&reason=rejected", &[("r", 5), ("r", 3), ("r", 1)]),
        ("reason=outage", &[]),
        (
            "fingerprint=http%20500:%20oops",
            &[("s", 2), ("r", 6), ("r", 4), ("r", 2)],
        ),
        (
            "route=r&after=2026-09-21T14:13:24Z",
            &[("r", 6), ("r", 5), ("r", 4)],
        ),
        ("before=2026-09-21T14:13:22Z&route=r", &[("r", 1)]),
    ];
    for (query, expected) in cases {
        let page = asker.json(&format!("/api/v1/dlq?{query}")).await;
        assert_eq!(said(&page), letters(expected), "{query}");
        let groups = asker.json(&format!("/api/v1/dlq/groups?{query}")).await;
        let counts = groups["groups"].as_array().unwrap().iter();
        let sum: u64 = counts.map(|group| group["count"].as_u64().unwrap()).sum();
        assert_eq!(sum, expected.len() as u64, "{query}");
    }
    let groups = asker.json("/api/v1/dlq/groups?route=r&limit=1").await;
    let expected = json!({"groups": [{
        "route": "r", "reason": "retries-exhausted", "fingerprint": "http 500: oops", "code": "http 500",
        "example": "http 500: oops", "example_id": id(6), "count": 3, "first_at": at(2), "last_at": at(6),
    }]});
    assert_eq!(groups, expected);
}

#[tokio::test]
async fn a_dead_letter_is_shown_whole_and_names_the_other_routes() {
    let asker = Asker::new(world().await.ports());
    let shown = asker.json(&format!("/api/v1/dlq/{}", id(1))).await;
    assert_eq!(
        (&shown["route"], &shown["retired"]),
        (&json!("old"), &json!(true))
    );
    assert_eq!(shown["also_on"], json!(["s", "r"]));
    assert_eq!(
        (&shown["body"], &shown["body_encoding"]),
        (&json!("//4="), &json!("base64"))
    );
    assert_eq!(shown["headers"][1]["value_encoding"], "base64");
    assert_eq!(
        (&shown["method"], &shown["path"]),
        (&json!("POST"), &json!("/in/a?n=1"))
    );
    let of_r = asker.json(&format!("/api/v1/dlq/{}?route=r", id(1))).await;
    assert_eq!(
        (&of_r["route"], &of_r["also_on"]),
        (&json!("r"), &json!(["old", "s"]))
    );
    let alone = asker.json(&format!("/api/v1/dlq/{}", id(5))).await;
    assert_eq!(
        (&alone["body"], &alone["also_on"]),
        (&json!("{\"n\":5}"), &json!([]))
    );

    let other = asker.get(&format!("/api/v1/dlq/{}?route=s", id(5))).await;
    let (code, detail) = other.problem(404);
    assert_eq!(code, "no-such-dead-letter");
    assert!(detail.ends_with("but of r"), "{detail}");
    let gone = asker.get(&format!("/api/v1/dlq/{}", id(7))).await;
    assert!(
        gone.problem(404)
            .1
            .contains(&format!("GET /api/v1/events/{}", id(7)))
    );
    assert_eq!(asker.get("/api/v1/dlq/7").await.problem(400).0, "bad-id");
}

#[tokio::test]
async fn a_page_that_is_to_include_bodies_has_them() {
    let asker = Asker::new(world().await.ports());
    let page = asker.json("/api/v1/dlq?include=body&route=s").await;
    assert_eq!(page["letters"][0]["body"], "{\"n\":2}");
    assert_eq!(page["letters"][1]["body_encoding"], "base64");
    let header = json!({"name": "content-type", "value": "application/json"});
    assert_eq!(page["letters"][0]["headers"][0], header);
}

#[tokio::test]
async fn what_cannot_be_asked_is_named_with_what_would_be_right() {
    let asker = Asker::new(world().await.ports());
    for (query, name) in [
        ("?limit=1001", "`limit` must be a number from 1 to 1000"),
        (
            "?reason=bored",
            "`reason` must be one of rejected, retries-exhausted, ",
        ),
        ("?after=noon", "`after` must be a time"),
        ("?cursor=AQAAAAAAAAAJ", "`cursor` must be the `next_cursor`"),
        ("?colour=red", "`colour` must be one of route, reason"),
        ("?include=headers", "`include` must be `body`"),
        ("?route=r&route=s", "`route` must be given once"),
        ("/groups?include=body", "`include` must be one of route"),
        ("/groups?cursor=x", "`cursor` must be one of route"),
    ] {
        let answer = asker.get(&format!("/api/v1/dlq{query}")).await;
        let (code, detail) = answer.problem(400);
        assert_eq!(code, "bad-parameter", "{query}");
        assert!(detail.contains(name), "{query}: {detail}");
    }
    let shown = asker.get(&format!("/api/v1/dlq/{}?limit=1", id(1))).await;
    assert!(shown.problem(400).1.contains("`limit` must be `route`"));
    for path in ["/api/v1/dlq?route=nope", "/api/v1/dlq/groups?route=nope"] {
        let (code, detail) = asker.get(path).await.problem(400);
        assert_eq!(code, "unknown-route", "{path}");
        assert!(detail.ends_with("there is r, s"), "{detail}");
    }
}

#[tokio::test]
async fn a_purge_counts_first_and_then_discards_no_more_than_was_counted() {
    let world = world().await;
    let asker = Asker::new(world.ports());
    let purge = async |body: &str| asker.ask("POST", "/api/v1/dlq/purge", body).await;
    let counted = purge(r#"{"filter":{"route":"r"},"dry_run":true}"#).await;
    assert_eq!(counted.json(), json!({"matched": 6, "through": 9}));
    assert_eq!(world.letters().last_letter().await.unwrap().0, 9);
    bury(&world.letters(), "late", 1).await;
    let purged = purge(r#"{"filter":{},"through":9}"#).await;
    assert_eq!(
        purged.json(),
        json!({"purged": 9, "through": 9, "more": false})
    );
    let left = asker.json("/api/v1/dlq").await;
    assert_eq!(said(&left), letters(&[("late", 1)]));
    let ids = format!("{{\"ids\":[\"{}\",\"{}\"]}}", id(1), id(2));
    let purged = purge(&ids).await.json();
    assert_eq!(
        (&purged["purged"], &purged["more"]),
        (&json!(1), &json!(false))
    );
    let r = RouteName::new("r").unwrap();
    assert_eq!(world.letters().imbalance(&r).await.unwrap(), 0);
}

#[tokio::test]
async fn a_body_that_does_not_say_which_letters_changes_nothing() {
    let world = world().await;
    let asker = Asker::new(world.ports());
    let many = vec![id(1).to_string(); 1001];
    let cases = [
        (String::new(), "say which dead letters"),
        ("{}".into(), "say which dead letters"),
        (r#"{"dry_run":true}"#.into(), "say which dead letters"),
        (r#"{"filter":null}"#.into(), "say which dead letters"),
        (
            format!(r#"{{"filter":{{}},"ids":["{}"]}}"#, id(1)),
            "not by both",
        ),
        (r#"{"ids":[]}"#.into(), "1 to 1000 event ids"),
        (json!({"ids": many}).to_string(), "1 to 1000 event ids"),
        (
            r#"{"filter":{"colour":"red"}}"#.into(),
            "unknown field `colour`",
        ),
        (
            r#"{"filter":{},"colour":"red"}"#.into(),
            "unknown field `colour`",
        ),
        (
            r#"{"filter":{"reason":"bored"}}"#.into(),
            "unknown variant `bored`",
        ),
        (
            r#"{"filter":{"after":"noon"}}"#.into(),
            "the body cannot be read",
        ),
        (r#"{"ids":["7"]}"#.into(), "the body cannot be read"),
        ("[]".into(), "the body cannot be read"),
    ];
    for path in ["/api/v1/dlq/purge", "/api/v1/redrives"] {
        for (body, wanted) in &cases {
            let (code, detail) = asker.ask("POST", path, body).await.problem(400);
            assert_eq!(code, "bad-body", "{path} {body}");
            assert!(detail.contains(wanted), "{path} {body}: {detail}");
        }
        let nobody = r#"{"filter":{"route":"nobody"}}"#;
        let (code, _) = asker.ask("POST", path, nobody).await.problem(400);
        assert_eq!(code, "unknown-route", "{path}");
    }
    let state = world.letters();
    assert!(state.redrives(None, 1).await.unwrap().is_empty());
    let all = domain::ports::Selection::Filter(domain::ports::DeadFilter::default());
    assert_eq!(state.count_dead(&all).await.unwrap(), 9);
}
