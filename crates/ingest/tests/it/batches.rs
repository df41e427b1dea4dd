//! Bodies that hold several events: each is stored on its own, all of them or none.

use std::collections::BTreeSet;
use std::sync::Arc;

use domain::ports::{Asking, Backlogs, RouteFull};
use domain::{Event, SourceName};

use crate::door::{Door, journal, sources, stored};

fn configured() -> String {
    serde_json::json!({
        "entries": { "type": "http", "split": "/entries", "dedup": { "pointer": "/id" } },
        "lines": { "type": "http", "split": "lines", "dedup": { "header": "x-batch" } },
        "whole": { "type": "http", "split": "" },
        "hubspot": {
            "type": "http", "split": "scheme", "public_url": "https://h",
            "verify": { "scheme": "hubspot", "secrets": ["a-secret-of-many-letters"] },
        },
        "ce": {
            "type": "http", "split": "scheme",
            "verify": { "scheme": "cloudevents", "secrets": ["a-token-of-many-letters"] },
        },
    })
    .to_string()
}

/// What is said of each item.
fn words(answer: &serde_json::Value) -> Vec<String> {
    let events = answer["events"].as_array().unwrap().iter();
    events
        .map(|one| one["status"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn each_item_is_an_event_with_an_id_and_the_headers_of_the_request() {
    let directory = tempfile::tempdir().unwrap();
    let journal = journal(directory.path());
    let door = Door::open(&sources(&configured()), journal.clone(), |_| {}).await;
    let body = br#"{"entries":[{"id":"a","n" : 1.50},{"id":"b"},{"id":"a"}],"other":true}"#;
    let headers = [("x-kept", "yes"), ("content-type", "application/vnd.batch")];
    let answer = door.post("/in/entries", &headers, body).await.json();
    assert_eq!(words(&answer), ["accepted", "accepted", "duplicate"]);
    assert_eq!(answer["events"][0]["id"], answer["events"][2]["id"]);
    let events = stored(&journal).await;
    let bodies: Vec<&[u8]> = events.iter().map(|stored| &stored.event.body[..]).collect();
    assert_eq!(bodies, [&br#"{"id":"a","n" : 1.50}"#[..], br#"{"id":"b"}"#]);
    for (stored, item) in events.iter().zip(answer["events"].as_array().unwrap()) {
        assert_eq!(stored.id.to_string(), item["id"].as_str().unwrap());
        assert_eq!(stored.event.header("x-kept"), Some(&b"yes"[..]));
        assert_eq!(stored.event.content_type(), Some("application/json"));
        assert_eq!(stored.event.header("content-length"), None);
    }

    // The repeat of a batch in part, with something new in it.
    let body = br#"{"entries":[{"id":"b"},{"id":"c"}]}"#;
    let again = door.post("/in/entries", &[], body).await.json();
    assert_eq!(words(&again), ["duplicate", "accepted"]);
    assert_eq!(again["events"][0]["id"], answer["events"][1]["id"]);
    let empty = door.post("/in/entries", &[], br#"{"entries":[]}"#).await;
    assert_eq!((empty.status, words(&empty.json()).len()), (200, 0));
    assert_eq!(stored(&journal).await.len(), 3);

    // A header names the batch; its items are known by their places.
    let batch = [("x-batch", "b1")];
    let lines = door
        .post("/in/lines", &batch, b"{\"n\":1}\n{\"n\":1}\n")
        .await;
    assert_eq!(words(&lines.json()), ["accepted", "accepted"]);
    let lines = door
        .post("/in/lines", &batch, b"{\"n\":1}\n{\"n\":1}\n[3]")
        .await;
    assert_eq!(words(&lines.json()), ["duplicate", "duplicate", "accepted"]);
    assert!(door.close().await);
}

#[tokio::test]
async fn one_bad_item_refuses_the_request_whole_and_says_which() {
    let directory = tempfile::tempdir().unwrap();
    let journal = journal(directory.path());
    let door = Door::open(&sources(&configured()), journal.clone(), |_| {}).await;
    for (source, body, status, code, detail) in [
        (
            "entries",
            r#"{"entries":[{"id":"a"},null]}"#,
            400,
            "bad-item",
            "item 2, counted from 1, is null",
        ),
        ("lines", "{}\n\n{,}", 400, "bad-item", "line 3"),
        (
            "entries",
            r#"{"entries":{}}"#,
            400,
            "not-a-batch",
            "no array at \"/entries\"",
        ),
        ("whole", "not json", 400, "not-a-batch", "not JSON"),
        ("hubspot", "[]", 401, "not-verified", "does not prove"),
    ] {
        let answer = door
            .post(&format!("/in/{source}"), &[], body.as_bytes())
            .await;
        assert_eq!((answer.status, &*answer.code()), (status, code), "{body}");
        let said = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(said.contains(detail), "{said}");
    }
    let many = format!("[{}0]", "0,".repeat(10_000));
    let answer = door.post("/in/whole", &[], many.as_bytes()).await;
    assert_eq!((answer.status, &*answer.code()), (413, "too-many-items"));
    // It is not read to its end to know that.
    let many = format!("{}oops", "0\n".repeat(10_001));
    let answer = door.post("/in/lines", &[], many.as_bytes()).await;
    assert_eq!((answer.status, &*answer.code()), (413, "too-many-items"));
    let many = format!("[{}null]", "0,".repeat(10_001));
    let answer = door.post("/in/whole", &[], many.as_bytes()).await;
    assert_eq!((answer.status, &*answer.code()), (413, "too-many-items"));
    assert!(stored(&journal).await.is_empty());
    assert!(door.close().await);
}

/// A 400 is never repeated: only what says that it is a batch may be refused for not being one.
#[tokio::test]
async fn of_cloudevents_only_batches_are_taken_apart() {
    let directory = tempfile::tempdir().unwrap();
    let journal = journal(directory.path());
    let door = Door::open(&sources(&configured()), journal.clone(), |_| {}).await;
    let event =
        |id: &str| format!(r#"{{"specversion":"1.0","source":"/s","id":"{id}","type":"t"}}"#);
    let batch = format!("[{},{}]", event("3"), event("1"));
    let token = ("authorization", "Bearer a-token-of-many-letters");
    let post = async |headers: &[(&str, &str)], body: &str| {
        let headers = [&[token], headers].concat();
        let answer = door.post("/in/ce", &headers, body.as_bytes()).await;
        assert_eq!(answer.status, 200, "{}", answer.json());
        words(&answer.json())
    };
    let structured = "application/cloudevents+json; charset=utf-8";
    let structured = post(&[("content-type", structured)], &event("1")).await;
    assert_eq!(structured, ["accepted"]);
    let binary = [
        ("ce-source", "/s"),
        ("ce-id", "2"),
        ("content-type", "application/json"),
    ];
    assert_eq!(post(&binary, "[1,null]").await, ["accepted"]);
    let typed = "Application/CloudEvents-Batch+JSON; charset=utf-8";
    let batched = post(&[("content-type", typed)], &batch).await;
    assert_eq!(batched, ["accepted", "duplicate"]);
    let events = stored(&journal).await;
    let kept = |at: usize| {
        (
            events[at].event.body.to_vec(),
            events[at].event.content_type().map(str::to_owned),
        )
    };
    assert_eq!(
        kept(0).1.unwrap(),
        "application/cloudevents+json; charset=utf-8"
    );
    assert_eq!(
        kept(1),
        (b"[1,null]".to_vec(), Some("application/json".into()))
    );
    assert_eq!(kept(2).0, event("3").into_bytes());
    assert!(door.close().await);
}

/// Each item has the request's headers and path. What they take is not made before there is room for it, and what never
/// has any is not to be tried again for ever.
#[tokio::test]
async fn items_that_never_fit_into_the_memory_with_their_headers_are_refused_for_good() {
    let directory = tempfile::tempdir().unwrap();
    let journal = journal(directory.path());
    let door = Door::open(&sources(&configured()), journal.clone(), |settings| {
        settings.limits.in_flight_bytes = 1 << 20;
    })
    .await;
    let large = "x".repeat(8 << 10);
    let headers = [("x-large", &*large)];
    let body = format!("[{}0]", "0,".repeat(2_000));
    let answer = door.post("/in/whole", &headers, body.as_bytes()).await;
    assert_eq!((answer.status, &*answer.code()), (413, "body-too-large"));
    let few = format!("[{}0]", "0,".repeat(20));
    assert_eq!(
        door.post("/in/whole", &headers, few.as_bytes())
            .await
            .status,
        200
    );
    assert!(door.close().await);
}

/// Two requests that name the same keys in opposite orders must not wait for each other for ever.
#[tokio::test(flavor = "multi_thread")]
async fn batches_that_have_keys_in_common_store_each_once_whatever_their_order() {
    let directory = tempfile::tempdir().unwrap();
    let journal = journal(directory.path());
    let door = Door::open(&sources(&configured()), journal.clone(), |_| {}).await;
    let door = Arc::new(door);
    for round in 0..20 {
        let posts = (0..8).map(|turn| {
            let item = |n| format!("{{\"id\":\"{round}-{n}\"}}");
            let mut items: Vec<String> = (0..30).map(item).collect();
            items.rotate_left(turn * 3);
            if turn % 2 == 1 {
                items.reverse();
            }
            let body = format!("{{\"entries\":[{}]}}", items.join(","));
            let door = Arc::clone(&door);
            tokio::spawn(async move { door.post("/in/entries", &[], body.as_bytes()).await })
        });
        let posts: Vec<_> = posts.collect();
        for post in posts {
            assert_eq!(post.await.unwrap().status, 200);
        }
    }
    let events = stored(&journal).await;
    let bodies: BTreeSet<_> = events.iter().map(|stored| &stored.event.body).collect();
    assert_eq!((bodies.len(), events.len()), (600, 600));
    assert!(Arc::into_inner(door).unwrap().close().await);
}

/// Wants what has "keep" in it, and takes its time over what is long.
#[derive(Default)]
struct Picky {
    may_answer: Option<std::sync::Mutex<std::sync::mpsc::Receiver<()>>>,
}

impl Backlogs for Picky {
    fn asking(&self, _: &SourceName, bytes: usize) -> Asking {
        match bytes {
            0..1000 => Asking::Quick,
            _ => Asking::Long,
        }
    }

    fn admits(&self, _: &SourceName) -> Result<(), RouteFull> {
        Ok(())
    }

    fn wants(&self, event: &Event) -> bool {
        if event.body.len() > 500
            && let Some(may_answer) = &self.may_answer
        {
            may_answer.lock().unwrap().recv().unwrap();
        }
        event.body.windows(4).any(|part| part == b"keep")
    }

    fn accepted(&self, _: &SourceName) {}
}

#[tokio::test]
async fn what_no_route_wants_is_stored_and_counted_as_discarded() {
    let directory = tempfile::tempdir().unwrap();
    let journal = journal(directory.path());
    let (sources, picky) = (sources(&configured()), Arc::new(Picky::default()));
    let door = Door::open_before(&sources, journal.clone(), picky, |_| {}).await;
    let body = br#"["keep","drop","drop"]"#;
    assert_eq!(door.post("/in/whole", &[], body).await.status, 200);
    let status = domain::ports::Sources::statuses(&*door.ingest);
    let whole = status.iter().find(|one| one.name.as_str() == "whole");
    let whole = whole.unwrap();
    assert_eq!((whole.accepted, whole.discarded), (3, 2));
    let metrics = door.metrics();
    let counted = "forebay_events_discarded_total{source=\"whole\"} 2";
    assert!(metrics.contains(counted), "{metrics}");
    assert_eq!(stored(&journal).await.len(), 3);
    assert!(door.close().await);
}

#[tokio::test]
async fn an_answer_does_not_wait_for_what_takes_long_to_know_and_it_is_counted_all_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let journal = journal(directory.path());
    let (answers, may_answer) = std::sync::mpsc::sync_channel(2);
    let picky = Arc::new(Picky {
        may_answer: Some(std::sync::Mutex::new(may_answer)),
    });
    let door = Door::open_before(&sources(&configured()), journal.clone(), picky, |_| {}).await;
    let long = |word: &str| format!("[\"{word}{}\"]", "x".repeat(2_000));
    for word in ["drop", "keep"] {
        let answer = door.post("/in/whole", &[], long(word).as_bytes()).await;
        assert_eq!(answer.status, 200);
    }
    let counts = || {
        let statuses = domain::ports::Sources::statuses(&*door.ingest);
        let whole = statuses.iter().find(|one| one.name.as_str() == "whole");
        whole.map(|one| (one.accepted, one.discarded)).unwrap()
    };
    assert_eq!(counts(), (2, 0));
    answers.send(()).unwrap();
    answers.send(()).unwrap();
    let counted = async {
        while counts() != (2, 1) {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    let long = std::time::Duration::from_secs(60);
    tokio::time::timeout(long, counted).await.unwrap();
    assert!(door.close().await);
}

#[tokio::test]
async fn a_repeat_within_a_request_that_is_refused_is_not_counted_as_answered() {
    let directory = tempfile::tempdir().unwrap();
    let journal = journal(directory.path());
    let door = Door::open(&sources(&configured()), journal.clone(), |_| {}).await;
    let item = |n: usize| format!("{{\"id\":\"{}\"}}", n / 2);
    let items: Vec<String> = (0..10_000).map(item).collect();
    let body = format!("{{\"entries\":[{}]}}", items.join(","));
    let large = "x".repeat(4 << 10);
    let headers = [("x-large", &*large)];
    // A segment of the journal is 16 MiB.
    let answer = door.post("/in/entries", &headers, body.as_bytes()).await;
    let refused = (answer.status, &*answer.code());
    assert_eq!(refused, (503, "event-too-large"));
    let counts = || {
        let statuses = domain::ports::Sources::statuses(&*door.ingest);
        let entries = statuses.iter().find(|one| one.name.as_str() == "entries");
        entries.map(|one| (one.accepted, one.duplicates)).unwrap()
    };
    assert_eq!(counts(), (0, 0));
    let answer = door.post("/in/entries", &[], body.as_bytes()).await;
    assert_eq!(answer.status, 200);
    assert_eq!(counts(), (5_000, 5_000));
    assert!(door.close().await);
}
