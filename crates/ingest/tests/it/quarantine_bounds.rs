//! What bounds the quarantine: the source's rate, what is done to it at the same time, and age.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use domain::ports::{
    Quarantine, QuarantineCount, QuarantineEntry, QuarantineQuery, QuarantineSelection,
    Quarantined, Releases, StateError, Unlimited,
};
use domain::{Event, EventId, SourceName, Timestamp};
use jiff::SignedDuration;
use state::SqliteState;
use tokio::sync::Semaphore;

use crate::door::stored;
use crate::quarantine::{Rig, came_to, now, of, sums};

#[tokio::test]
async fn what_is_quarantined_counts_against_the_rate_of_its_source() {
    let limit = r#", "rate_limit": {"per_second": 1, "burst": 2}"#;
    let rig = Rig::new("github", limit).await;
    let mut kept = 0;
    let refused = loop {
        let answered = rig.post(&[], "{}").await;
        match answered.status {
            200 => kept += 1,
            _ => break answered,
        }
        assert!(kept < 500, "it is never over its rate");
    };
    assert_eq!((refused.status, &*refused.code()), (429, "rate-limited"));
    assert!(refused.head.contains("retry-after: "));
    assert!(kept >= 2);
    assert_eq!((rig.left().await, rig.held()), (kept, kept as u64));
}

/// Who cannot sign must not use up the rate for good: what has no place takes no token.
#[tokio::test]
async fn a_full_quarantine_takes_nothing_from_the_rate() {
    let limit = r#", "quarantine_max": 1, "rate_limit": {"per_second": 1, "burst": 100}"#;
    let rig = Rig::new("github", limit).await;
    rig.quarantined("1").await;
    for _ in 0..300 {
        let refused = rig.post(&[], "2").await;
        assert_eq!((refused.status, &*refused.code()), (401, "not-verified"));
    }
    rig.mend();
    assert_eq!(rig.post(&[], "3").await.status, 200);
}

/// A state that is told to take something out, and does so when it is let.
struct Gated {
    state: Arc<SqliteState>,
    first: AtomicBool,
    reached: Arc<Semaphore>,
    open: Arc<Semaphore>,
}

#[async_trait]
impl Quarantine for Gated {
    async fn put(&self, request: Quarantined) -> Result<(), StateError> {
        self.state.put(request).await
    }

    async fn page(&self, query: &QuarantineQuery) -> Result<Vec<QuarantineEntry>, StateError> {
        self.state.page(query).await
    }

    async fn get(&self, id: EventId) -> Result<Option<Quarantined>, StateError> {
        self.state.get(id).await
    }

    async fn remove(&self, ids: &[EventId]) -> Result<Vec<QuarantineCount>, StateError> {
        if !self.first.swap(true, Ordering::SeqCst) {
            self.reached.add_permits(1);
            self.open.acquire().await.unwrap().forget();
        }
        self.state.remove(ids).await
    }

    async fn counts(&self) -> Result<Vec<QuarantineCount>, StateError> {
        self.state.counts().await
    }

    async fn set_reasons(&self, reasons: Vec<(EventId, String)>) -> Result<(), StateError> {
        self.state.set_reasons(reasons).await
    }
}

#[tokio::test]
async fn what_is_being_released_is_not_purged_as_well() {
    let [reached, open] = [(); 2].map(|()| Arc::new(Semaphore::new(0)));
    let (at_gate, gate) = (Arc::clone(&reached), Arc::clone(&open));
    let between = |state| {
        Arc::new(Gated {
            state,
            first: AtomicBool::new(false),
            reached: at_gate,
            open: gate,
        }) as _
    };
    let rig = Rig::with("github", "", 64 << 20, Arc::new(Unlimited), between).await;
    let id = rig.quarantined("{}").await;
    rig.mend();
    let ids = QuarantineSelection::Ids(vec![id]);
    let (ingest, of) = (Arc::clone(&rig.door.ingest), ids.clone());
    let release = tokio::spawn(async move { ingest.release(of, None, false).await });
    reached.acquire().await.unwrap().forget();
    assert_eq!(stored(&rig.journal).await.len(), 1, "it is an event");
    let ingest = Arc::clone(&rig.door.ingest);
    let mut purge = tokio::spawn(async move { ingest.purge(ids, false).await });
    // It has all the time to do harm.
    let early = tokio::time::timeout(Duration::from_millis(200), &mut purge).await;
    open.add_permits(1);
    let released = release.await.unwrap().map(sums);
    assert_eq!(released.unwrap(), came_to(1, 0, 0));
    let purged = match early {
        Ok(purged) => purged,
        Err(_) => purge.await,
    };
    let purged = purged.unwrap().unwrap();
    assert_eq!(purged, 0, "nothing of it was discarded");
    assert_eq!((rig.left().await, rig.held()), (0, 0));
}

/// Puts a request in quarantine that came so long before now.
async fn put(rig: &Rig, number: u8, source: &str, age: Duration) {
    let event = Event {
        source: SourceName::new(source).unwrap(),
        received_at: now().saturating_sub(age).unwrap(),
        method: "POST".into(),
        path: "/in/s".into(),
        headers: domain::Headers::default(),
        body: bytes::Bytes::from_static(b"{}"),
        event_type: None,
        remote: None,
        dedup: None,
        only: None,
    };
    let request = Quarantined {
        id: EventId::from_bytes([number; 16]),
        reason: "signature wrong".into(),
        event,
    };
    rig.state.put(request).await.unwrap();
}

#[tokio::test]
async fn what_was_in_quarantine_for_as_long_as_its_source_keeps_it_goes_and_is_counted() {
    let (day, hour) = (Duration::from_hours(24), Duration::from_hours(1));
    let rig = Rig::new("github", r#", "quarantine_keep": "2d""#).await;
    // Younger ones between, by a clock that was set; and of a source that is no more.
    for (number, age) in [
        (1, 3 * day),
        (2, hour),
        (3, 2 * day + hour),
        (4, 2 * day - hour),
    ] {
        put(&rig, number, "s", age).await;
    }
    for (number, age) in [(5, 31 * day), (6, 29 * day)] {
        put(&rig, number, "gone", age).await;
    }
    rig.door.ingest.count_quarantined().await.unwrap();
    assert_eq!(rig.held(), 4);
    let ingest = &rig.door.ingest;
    ingest.expire_quarantined(now()).await.unwrap();
    ingest.expire_quarantined(now()).await.unwrap();
    let left = [2, 4, 6].map(|number| EventId::from_bytes([number; 16]));
    let mut query = QuarantineQuery {
        limit: 10,
        oldest_first: true,
        ..QuarantineQuery::default()
    };
    let page = rig.state.page(&query).await.unwrap();
    let ids: Vec<_> = page.iter().map(|entry| entry.id).collect();
    assert_eq!((&ids[..], rig.held()), (&left[..], 2));
    let metrics = rig.door.metrics();
    for line in [
        r#"forebay_quarantine_expired_total{source="s"} 2"#,
        r#"forebay_quarantine_expired_total{source="unknown"} 1"#,
        r#"forebay_quarantine_requests{source="s"} 2"#,
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    let later = now() + SignedDuration::from_hours(24 * 40);
    ingest.expire_quarantined(later).await.unwrap();
    query.source = None;
    assert!(rig.state.page(&query).await.unwrap().is_empty());
    assert_eq!(rig.held(), 0);
}

/// However many there are, and whatever the first page of them holds.
#[tokio::test]
async fn expiry_goes_through_more_than_a_page() {
    let rig = Rig::new("github", "").await;
    for number in 0..=250 {
        put(&rig, number, "s", Duration::from_hours(24 * 31)).await;
    }
    rig.door.ingest.count_quarantined().await.unwrap();
    rig.door.ingest.expire_quarantined(now()).await.unwrap();
    assert_eq!((rig.left().await, rig.held()), (0, 0));
    assert_eq!(rig.door.ingest.purge(of("s"), true).await.unwrap(), 0);
    let never = Timestamp::MIN;
    rig.door.ingest.expire_quarantined(never).await.unwrap();
}
