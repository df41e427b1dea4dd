//! Lists of events and single ones, over ports in memory.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use domain::ports::Fate;
use domain::{Cause, Reason};
use serde_json::{Value, json};

use crate::ask::Asker;
use crate::fakes::{World, at, event, id, route};

/// Events 1 to `count`: of source `a`, every third of `b`. Route `r` takes `a`, route `s` both.
fn world(count: u64) -> Arc<World> {
    let world = World::default();
    world
        .routes
        .lock()
        .unwrap()
        .extend([route("r", &["a"]), route("s", &["a", "b"])]);
    let source = |seq: u64| if seq.is_multiple_of(3) { "b" } else { "a" };
    let events = (1..=count).map(|seq| event(seq, source(seq), format!("{{\"n\":{seq}}}")));
    world.events.lock().unwrap().extend(events);
    Arc::new(world)
}

fn numbers(page: &Value) -> Vec<u64> {
    let events = page["events"].as_array().unwrap();
    events
        .iter()
        .map(|event| event["seq"].as_u64().unwrap())
        .collect()
}

/// All pages of a list, one after the other.
async fn pages(asker: &Asker, query: &str) -> Vec<Vec<u64>> {
    let (mut pages, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = asker.json(&format!("/api/v1/events?{query}{cursor}")).await;
        pages.push(numbers(&page));
        let Some(next) = page["next_cursor"].as_str() else {
            return pages;
        };
        cursor = format!("&cursor={next}");
    }
}

fn dead() -> Fate {
    Fate::Dead {
        attempts: 9,
        reason: Reason::RetriesExhausted,
        cause: Cause::new("http 500", "oops"),
    }
}

#[tokio::test]
async fn events_come_newest_first_with_what_became_of_them() {
    let world = world(4);
    world.set_fate("r", 4, Fate::Delivered { at: Some(at(9)) });
    world.set_fate("s", 4, dead());
    let page = Asker::new(world.ports()).json("/api/v1/events").await;
    assert_eq!(numbers(&page), [4, 3, 2, 1]);
    assert_eq!(page["next_cursor"], Value::Null);
    let expected = json!({
        "id": id(4), "seq": 4, "source": "a", "received_at": at(4), "method": "POST", "path": "/in/a?n=4",
        "event_type": "message", "content_type": "application/json", "size": 7,
        "routes": [
            {"route": "r", "state": "delivered", "at": at(9)},
            {"route": "s", "state": "dead", "attempts": 9, "reason": "retries-exhausted",
             "cause": {"code": "http 500", "detail": "oops", "fingerprint": "http 500: oops"}},
        ],
    });
    assert_eq!(page["events"][0], expected);
    world.set_fate("r", 2, Fate::Before);
    let path = format!("/api/v1/events/{}", id(2));
    let shown = Asker::new(world.ports()).json(&path).await;
    assert_eq!(
        shown["routes"],
        json!([{"route": "s", "state": "pending"}]),
        "the event came before route r"
    );
    let of_b = &page["events"][1]["routes"];
    assert_eq!(
        *of_b,
        json!([{"route": "s", "state": "pending"}]),
        "r does not take b"
    );
}

#[tokio::test]
async fn pages_follow_on_each_other_without_gap_or_repeat() {
    let asker = Asker::new(world(250).ports());
    let all: Vec<u64> = (1..=250).rev().collect();
    assert_eq!(pages(&asker, "").await.concat(), all);
    assert_eq!(pages(&asker, "").await.len(), 3);
    for limit in [1, 7, 100, 125, 249, 250, 251, 1000] {
        let pages = pages(&asker, &format!("limit={limit}")).await;
        assert_eq!(pages.concat(), all, "limit {limit}");
        assert!(pages.iter().all(|page| page.len() <= limit));
        assert_eq!(pages.len(), 250_usize.div_ceil(limit), "limit {limit}");
    }
}

#[tokio::test]
async fn filters_leave_out_what_does_not_fit() {
    let world = world(12);
    world.set_fate("r", 5, dead());
    world.set_fate("s", 6, dead());
    world.set_fate("s", 10, dead());
    let asker = Asker::new(world.ports());
    let cases: &[(&str, &[u64])] = &[
        ("source=b", &[12, 9, 6, 3]),
        ("source=gone", &[]),
        ("route=r&limit=3", &[11, 10, 8, 7, 5, 4, 2, 1]),
        ("route=s&source=b", &[12, 9, 6, 3]),
        ("route=r&source=b", &[]),
        ("state=dead", &[10, 6, 5]),
        ("state=dead&route=r", &[5]),
        ("state=dead&route=s&limit=1", &[10, 6]),
        ("state=dead&source=b", &[6]),
        ("state=pending&route=r&source=a", &[11, 10, 8, 7, 4, 2, 1]),
        ("state=parked", &[]),
    ];
    for (query, expected) in cases {
        assert_eq!(pages(&asker, query).await.concat(), *expected, "{query}");
    }
    let between = format!("after={}&before={}", at(4), at(7));
    assert_eq!(pages(&asker, &between).await.concat(), [6, 5, 4]);
    let only = asker.json("/api/v1/events?route=s&source=a&limit=1").await;
    assert_eq!(only["events"][0]["routes"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_query_that_cannot_be_read_is_refused_and_the_parameter_named() {
    let asker = Asker::new(world(1).ports());
    for (query, name) in [
        ("limit=0", "`limit`"),
        ("state=lost", "`state`"),
        ("after=noon", "`after`"),
        ("cursor=AA", "`cursor`"),
        ("colour=red", "`colour`"),
        (
            "route=nope",
            "`route` must be a running route; there is r, s",
        ),
        (
            "source=nope",
            "`source` must be a source; there is a, b, gone",
        ),
        ("limit=1&limit=1", "`limit`"),
    ] {
        let answer = asker.get(&format!("/api/v1/events?{query}")).await;
        let (code, detail) = answer.problem(400);
        assert_eq!(code, "bad-parameter", "{query}");
        assert!(detail.contains(name), "{query}: {detail}");
    }
}

#[tokio::test]
async fn a_filter_that_fits_little_does_bounded_work_and_goes_on_by_cursor() {
    let world = world(25_000);
    world.set_fate("s", 1, dead());
    let asker = Asker::new(world.ports());
    let before = world.handed_out.load(Ordering::Relaxed);
    let first = asker.json("/api/v1/events?state=dead&route=s").await;
    assert!(numbers(&first).is_empty());
    assert!(first["next_cursor"].is_string(), "short, but not the end");
    let work = world.handed_out.load(Ordering::Relaxed) - before;
    assert!(work < 11_000, "{work} events read for one page");
    let asked = world.fates_asked.load(Ordering::Relaxed);
    assert!(asked <= 10_000, "{asked} questions to state for one page");
    let pages = pages(&asker, "state=dead&route=s").await;
    assert_eq!(pages.concat(), [1]);
    assert_eq!(pages.len(), 3);
}

#[tokio::test]
async fn large_events_are_read_a_few_at_a_time() {
    let world = World::default();
    let body = vec![b'x'; 4 << 20];
    let events = (1..=20).map(|seq| event(seq, "a", body.clone()));
    world.events.lock().unwrap().extend(events);
    let world = Arc::new(world);
    let asker = Asker::new(world.ports());
    assert_eq!(numbers(&asker.json("/api/v1/events").await).len(), 20);
    let bites = world.bites.lock().unwrap().clone();
    assert!(bites.iter().all(|bite| *bite <= 8), "{bites:?}");
    assert!(bites[1..].iter().all(|bite| *bite <= 2), "{bites:?}");
}

#[tokio::test]
async fn one_event_is_shown_whole_and_without_loss() {
    let world = world(1);
    let binary = event(2, "a", [0xff, 0x00, 0x01]);
    let nul = event(3, "a", "{\"a\":\"\\u0000\"}\0");
    world.events.lock().unwrap().extend([binary, nul]);
    let asker = Asker::new(world.ports());
    let shown = asker.json(&format!("/api/v1/events/{}", id(1))).await;
    assert_eq!(shown["body"], "{\"n\":1}");
    assert_eq!(shown["body_encoding"], "utf-8");
    assert_eq!(shown["remote"], "192.0.2.7:4711");
    assert_eq!(
        shown["headers"],
        json!([
            {"name": "content-type", "value": "application/json"},
            {"name": "x-odd", "value": "Y2Fm6Q==", "value_encoding": "base64"},
        ])
    );
    assert_eq!(shown["has_dedup_key"], true);
    let text = shown.to_string();
    assert!(
        !text.contains("abab") && !text.contains("q6ur"),
        "the key itself is not shown"
    );
    let shown = asker.json(&format!("/api/v1/events/{}", id(2))).await;
    assert_eq!(shown["body"], "/wAB");
    assert_eq!(shown["body_encoding"], "base64");
    let shown = asker.json(&format!("/api/v1/events/{}", id(3))).await;
    assert_eq!(shown["body"], "{\"a\":\"\\u0000\"}\0");
}

#[tokio::test]
async fn an_event_that_only_state_still_holds_is_shown() {
    let world = world(1);
    world.buried.lock().unwrap().push(event(9, "a", "kept"));
    world.set_fate("r", 9, dead());
    let asker = Asker::new(world.ports());
    let shown = asker.json(&format!("/api/v1/events/{}", id(9))).await;
    assert_eq!(shown["body"], "kept");
    assert_eq!(shown["routes"][0]["state"], "dead");
}

#[tokio::test]
async fn an_event_that_is_not_there_is_said_to_have_passed_perhaps() {
    let asker = Asker::new(world(1).ports());
    let (code, detail) = asker
        .get(&format!("/api/v1/events/{}", id(77)))
        .await
        .problem(404);
    assert_eq!(code, "no-such-event");
    assert!(detail.contains("journal.retain"), "{detail}");
    let (code, detail) = asker.get("/api/v1/events/77").await.problem(400);
    assert_eq!(code, "bad-id");
    assert!(detail.contains("UUID"), "{detail}");
}

#[tokio::test]
async fn a_journal_or_state_that_cannot_be_read_is_our_own_trouble() {
    let world = world(1);
    let asker = Asker::new(world.ports());
    *world.broken.lock().unwrap() = true;
    let answer = asker.get(&format!("/api/v1/events/{}", id(1))).await;
    assert_eq!(answer.problem(500).0, "journal-unreadable");
    let answer = asker.get("/api/v1/events").await;
    assert_eq!(answer.problem(500).0, "state-failed");
}
