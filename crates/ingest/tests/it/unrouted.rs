//! A source whose events nobody takes: nothing is acknowledged that would go nowhere.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use domain::ports::{Backlogs, RouteFull};
use domain::{Event, Headers, SourceName, Timestamp};
use tokio::io::AsyncWriteExt;

use super::door::{Answered, Door, journal, sources, stored};

/// Routes that come and go.
#[derive(Default)]
struct Routes {
    any: AtomicBool,
    asked: AtomicUsize,
}

impl Backlogs for Routes {
    fn admits(&self, _: &SourceName) -> Result<(), RouteFull> {
        Ok(())
    }

    fn taken(&self, source: &SourceName) -> bool {
        assert_eq!(source.as_str(), "s");
        let taken = self.any.load(Ordering::SeqCst);
        self.asked.fetch_add(1, Ordering::SeqCst);
        taken
    }

    fn accepted(&self, _: &SourceName) {}
}

const SOURCES: &str = r#"{"s": {"type": "http"}}"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_no_route_takes_answers_503_and_stores_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let journal = journal(directory.path());
    let routes = Arc::new(Routes::default());
    let door = Door::open_before(
        &sources(SOURCES),
        Arc::clone(&journal) as _,
        Arc::clone(&routes) as _,
        |_| (),
    )
    .await;
    let refused = door.post("/in/s", &[], b"{}").await;
    assert_eq!((refused.status, refused.code().as_str()), (503, "no-route"));
    assert!(
        refused.head.contains("retry-after: 5\r\n"),
        "{}",
        refused.head
    );
    let counted = r#"forebay_events_refused_total{source="s",code="no-route"} 1"#;
    assert!(door.metrics().contains(counted), "{}", door.metrics());
    // What comes from a queue of ours is refused as well, in words.
    let source = SourceName::new("s").unwrap();
    let event = Event {
        source: source.clone(),
        received_at: Timestamp::UNIX_EPOCH,
        method: "POST".into(),
        path: "/in/s".into(),
        headers: Headers::default(),
        body: bytes::Bytes::from_static(b"{}"),
        event_type: None,
        remote: None,
        dedup: None,
        only: None,
    };
    let refused = door.ingest.take_in(&source, event.clone()).await;
    let words = "no route and no subscription takes the events of this source";
    assert_eq!(refused.unwrap_err().to_string(), words);
    assert_eq!(stored(&journal).await.len(), 0);

    routes.any.store(true, Ordering::SeqCst);
    assert_eq!(door.post("/in/s", &[], b"{}").await.status, 200);
    assert_eq!(door.ingest.take_in(&source, event).await, Ok(true));
    assert_eq!(stored(&journal).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_route_that_goes_while_the_body_comes_leaves_no_acknowledged_event_behind() {
    let directory = tempfile::tempdir().unwrap();
    let journal = journal(directory.path());
    let routes = Arc::new(Routes::default());
    routes.any.store(true, Ordering::SeqCst);
    let door = Door::open_before(
        &sources(SOURCES),
        Arc::clone(&journal) as _,
        Arc::clone(&routes) as _,
        |_| (),
    )
    .await;
    let mut client = door.connect().await;
    let head = b"POST /in/s HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{";
    client.write_all(head).await.unwrap();
    let asked = async {
        while routes.asked.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
    };
    let limit = std::time::Duration::from_secs(60);
    tokio::time::timeout(limit, asked).await.unwrap();
    routes.any.store(false, Ordering::SeqCst);
    client.write_all(b"}").await.unwrap();
    let refused = Answered::read(&mut client).await;
    assert_eq!((refused.status, refused.code().as_str()), (503, "no-route"));
    assert_eq!(stored(&journal).await.len(), 0);
}
