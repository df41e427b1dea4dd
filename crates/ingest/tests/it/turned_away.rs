//! What a source turns away is shown, and what it refuses for trouble of our own is shown only while it does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use domain::SourceName;
use domain::ports::{Backlogs, RouteFull, SourceStatus, Sources};

use crate::door::{Door, journal, sources};

const CONFIGURED: &str = r#"{
    "s": {
        "type": "http", "split": "", "max_body": "1KiB", "retry_window": "1h",
        "verify": {"scheme": "bearer", "secrets": ["a-token-of-many-letters"]}
    }
}"#;

const TOKEN: (&str, &str) = ("authorization", "Bearer a-token-of-many-letters");

#[derive(Default)]
struct Full(AtomicBool);

impl Backlogs for Full {
    fn admits(&self, _: &SourceName) -> Result<(), RouteFull> {
        match self.0.load(Ordering::SeqCst) {
            false => Ok(()),
            true => Err(RouteFull(domain::RouteName::new("r").unwrap())),
        }
    }

    fn accepted(&self, _: &SourceName) {}
}

fn status(door: &Door) -> SourceStatus {
    door.ingest.statuses().remove(0)
}

#[tokio::test]
async fn what_is_refused_for_the_senders_own_faults_is_shown_by_code_with_what_was_accepted() {
    let directory = tempfile::tempdir().unwrap();
    let door = Door::open(&sources(CONFIGURED), journal(directory.path()), |_| {}).await;
    assert_eq!(status(&door).turned_away, []);
    for _ in 0..3 {
        let wrong = [("authorization", "Bearer of-last-year")];
        assert_eq!(door.post("/in/s", &wrong, b"[1]").await.status, 401);
    }
    assert_eq!(door.post("/in/s", &[TOKEN], b"{}").await.status, 400);
    assert_eq!(door.post("/in/s", &[TOKEN], b"[1,2]").await.status, 200);
    assert_eq!(
        door.post("/in/s", &[TOKEN], &[b' '; 2000]).await.status,
        413
    );
    let shown = status(&door);
    let runs = shown.turned_away.iter();
    let runs: Vec<_> = runs
        .map(|run| (&*run.code, run.requests, run.accepted_meanwhile))
        .collect();
    let expected = [
        ("not-verified", 3, 2),
        ("not-a-batch", 1, 2),
        ("body-too-large", 1, 0),
    ];
    assert_eq!(runs, expected);
    assert_eq!(
        shown.turned_away[0].reason.as_deref(),
        Some("signature wrong")
    );
    assert!(shown.last_refusal_at.is_some());
    assert!(door.close().await);
}

#[tokio::test]
async fn the_window_is_a_metric_only_while_events_are_refused_for_trouble_of_our_own() {
    let directory = tempfile::tempdir().unwrap();
    let full = Arc::new(Full::default());
    let (sources, backlogs) = (sources(CONFIGURED), Arc::clone(&full) as _);
    let door = Door::open_before(&sources, journal(directory.path()), backlogs, |_| {}).await;
    let shown = || {
        status(&door);
        let metrics = door.metrics();
        metrics.contains("forebay_source_retry_window_left_seconds{source=\"s\"}")
    };
    assert!(!shown());
    full.0.store(true, Ordering::SeqCst);
    assert_eq!(door.post("/in/s", &[TOKEN], b"[1]").await.status, 503);
    assert!(shown());
    assert_eq!(
        status(&door).turned_away,
        [],
        "it is not the sender's fault"
    );
    full.0.store(false, Ordering::SeqCst);
    assert_eq!(door.post("/in/s", &[TOKEN], b"[1]").await.status, 200);
    assert!(!shown());
    assert!(door.close().await);
}
