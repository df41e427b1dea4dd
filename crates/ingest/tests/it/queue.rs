//! Sources that are queues: a message is let go only when what was made of it is durable, and kept until then.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use domain::ports::{
    Backlogs, Bury, Inlet, Message, RouteControlError, RouteFull, RouteStatus, Routes, Settlement,
    SourceStatus, Sources, State,
};
use domain::{
    Cause, Event, EventId, Headers, Reason, RouteName, Seq, SourceName, StoredEvent, SystemClock,
    Timestamp, Unavailable,
};
use ingest::{QueueReaders, QueueSource, ReturnPorts};
use journal::EmbeddedJournal;
use state::SqliteState;

use super::door::{Door, journal, sources, stored};

/// A queue in memory.
struct Queue {
    journal: Arc<EmbeddedJournal>,
    waiting: Mutex<VecDeque<Message>>,
    taken: Mutex<BTreeMap<String, Message>>,
    let_go: Mutex<BTreeSet<String>>,
    kept: Mutex<u32>,
    received: Mutex<u32>,
    away: AtomicBool,
}

impl Queue {
    fn put(&self, handle: &str, id: Option<&str>, body: &[u8], attributes: &[(&str, &str)]) {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        self.waiting.lock().unwrap().push_back(Message {
            handle: handle.into(),
            id: id.map(Into::into),
            body: body.to_vec().into(),
            attributes: attributes.iter().map(owned).collect(),
            exact: false,
            event_type: None,
        });
    }

    async fn until_let_go(&self, wanted: usize) {
        let mut let_go = 0;
        for _ in 0..6000 {
            let_go = self.let_go.lock().unwrap().len();
            if let_go == wanted {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{let_go} of {wanted} were let go within a minute");
    }
}

#[async_trait]
impl Inlet for Queue {
    async fn receive(&self, limit: usize, wait: Duration) -> Result<Vec<Message>, Unavailable> {
        *self.received.lock().unwrap() += 1;
        if self.away.load(Ordering::SeqCst) {
            return Err(Unavailable::new("refused", "nothing listens there"));
        }
        let messages: Vec<Message> = {
            let mut waiting = self.waiting.lock().unwrap();
            let count = limit.min(waiting.len());
            waiting.drain(..count).collect()
        };
        if messages.is_empty() {
            tokio::time::sleep(wait.min(Duration::from_millis(5))).await;
        }
        let mut taken = self.taken.lock().unwrap();
        taken.extend(messages.iter().map(|one| (one.handle.clone(), one.clone())));
        Ok(messages)
    }

    async fn look(&self) -> Result<(), Unavailable> {
        Ok(())
    }

    async fn keep(&self, handles: &[String]) -> Result<(), Unavailable> {
        let taken = self.taken.lock().unwrap();
        assert!(handles.iter().all(|handle| taken.contains_key(handle)));
        *self.kept.lock().unwrap() += 1;
        Ok(())
    }

    async fn give_back(&self, handles: Vec<String>) -> Result<(), Unavailable> {
        let mut taken = self.taken.lock().unwrap();
        let back = handles.iter().filter_map(|handle| taken.remove(handle));
        self.waiting.lock().unwrap().extend(back);
        Ok(())
    }

    async fn let_go(&self, handles: Vec<String>) -> Result<(), Unavailable> {
        let durable = stored(&self.journal).await;
        let mut taken = self.taken.lock().unwrap();
        for handle in handles {
            let message = taken.remove(&handle).expect("it was taken");
            let ours = message.attribute("forebay-event-id").is_some();
            let is_durable = durable.iter().any(|one| one.event.body == message.body);
            assert!(
                ours || is_durable,
                "{handle} was let go before it was durable"
            );
            self.let_go.lock().unwrap().insert(handle);
        }
        Ok(())
    }
}

/// Routes that have room or not, and that hear of what was put back on them.
#[derive(Default)]
struct Behind {
    full: AtomicBool,
    brought: Mutex<Vec<RouteName>>,
}

impl Backlogs for Behind {
    fn admits(&self, _: &SourceName) -> Result<(), RouteFull> {
        match self.full.load(Ordering::SeqCst) {
            true => Err(RouteFull(RouteName::new("orders").unwrap())),
            false => Ok(()),
        }
    }

    fn accepted(&self, _: &SourceName) {}
}

#[async_trait]
impl Routes for Behind {
    async fn statuses(&self) -> Vec<RouteStatus> {
        Vec::new()
    }

    async fn set_paused(&self, name: &str, _: bool) -> Result<(), RouteControlError> {
        Err(RouteControlError::Unknown(name.into()))
    }

    fn brought(&self, route: &RouteName) {
        self.brought.lock().unwrap().push(route.clone());
    }
}

/// A queue `q`, read into a journal.
struct Rig {
    door: Door,
    queue: Arc<Queue>,
    behind: Arc<Behind>,
    state: Arc<SqliteState>,
    journal: Arc<EmbeddedJournal>,
    readers: QueueReaders,
    _directory: tempfile::TempDir,
}

impl Rig {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let journal = journal(&directory.path().join("."));
        let metrics =
            state::Metrics::register(&mut prometheus_client::registry::Registry::default());
        let path = directory.path().join("state.db");
        let state = SqliteState::open(&path, state::Options::default(), metrics).unwrap();
        let state = Arc::new(state);
        let behind = Arc::new(Behind::default());
        let source = QueueSource {
            kind: "sqs",
            reads: "queue q".into(),
            max_body: 1000,
            unwrap: None,
        };
        let queues = [(SourceName::new("q").unwrap(), source)].into();
        let (sources, backlogs) = (sources("{}"), Arc::clone(&behind) as Arc<dyn Backlogs>);
        let there = Arc::clone(&journal);
        let door = Door::open_beside(&sources, &queues, there, backlogs, |_| ()).await;
        let queue = Arc::new(Queue {
            journal: Arc::clone(&journal),
            waiting: Mutex::default(),
            taken: Mutex::default(),
            let_go: Mutex::default(),
            kept: Mutex::default(),
            received: Mutex::default(),
            away: AtomicBool::new(false),
        });
        let ports = ReturnPorts {
            dead_letters: Arc::clone(&state) as _,
            state: Arc::clone(&state) as _,
            archive: Arc::clone(&journal) as _,
            routes: Arc::clone(&behind) as _,
            clock: Arc::new(SystemClock),
        };
        let name = SourceName::new("q").unwrap();
        let inlets = [(name, Arc::clone(&queue) as Arc<dyn Inlet>)].into();
        let readers = QueueReaders::start(&door.ingest, &ports, inlets);
        Self {
            door,
            queue,
            behind,
            state,
            journal,
            readers,
            _directory: directory,
        }
    }

    fn status(&self) -> SourceStatus {
        self.door.ingest.statuses().remove(0)
    }

    async fn until(&self, wanted: impl Fn(&SourceStatus) -> bool) -> SourceStatus {
        for _ in 0..6000 {
            let status = self.status();
            if wanted(&status) {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!(
            "the source did not come to it within a minute: {:?}",
            self.status()
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_is_an_event_once_however_often_it_comes_and_is_let_go_when_it_is_durable() {
    let rig = Rig::start().await;
    let attributes = [("Content-Type", "application/json"), ("x", "1")];
    for n in 0..250 {
        let (handle, id, body) = (format!("h{n}"), n.to_string(), format!("{{\"n\":{n}}}"));
        rig.queue
            .put(&handle, Some(&id), body.as_bytes(), &attributes);
    }
    rig.queue.until_let_go(250).await;
    rig.queue.put("again", Some("7"), b"{\"n\":7}", &attributes);
    rig.queue.until_let_go(251).await;
    let events = stored(&rig.journal).await;
    let bodies: Vec<_> = events.iter().map(|one| one.event.body.clone()).collect();
    let expected: Vec<_> = (0..250).map(|n| format!("{{\"n\":{n}}}")).collect();
    assert_eq!(bodies, expected, "each once, in the queue's order");
    let event = &events[0].event;
    assert_eq!((&*event.method, &*event.path), ("QUEUE", "/queue/q"));
    assert_eq!(event.content_type(), Some("application/json"));
    let status = rig.status();
    assert_eq!(
        (status.accepted, status.duplicates, status.refused),
        (250, 1, 0)
    );
    assert_eq!(
        (&*status.kind, status.reads.as_deref()),
        ("sqs", Some("queue q"))
    );
    assert!(status.paths.is_empty(), "nobody can post to it");
    assert_eq!(rig.door.post("/in/q", &[], b"{}").await.status, 404);
    rig.readers.stop(Duration::from_secs(60)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_stored_yet_is_kept_and_nothing_more_is_read_until_it_is() {
    let rig = Rig::start().await;
    rig.behind.full.store(true, Ordering::SeqCst);
    for n in 0..5 {
        rig.queue.put(&n.to_string(), None, &[n], &[]);
    }
    let status = rig.until(|status| status.refused >= 10).await;
    assert_eq!(status.last_refusal.as_deref(), Some("route-full"));
    let why = status.last_error.unwrap();
    assert!(
        why.contains("orders") && why.contains("max_backlog"),
        "{why}"
    );
    assert!(*rig.queue.kept.lock().unwrap() > 0);
    let received = *rig.queue.received.lock().unwrap();
    rig.until(|status| status.refused >= 15).await;
    assert_eq!(*rig.queue.received.lock().unwrap(), received);
    rig.behind.full.store(false, Ordering::SeqCst);
    rig.queue.until_let_go(5).await;
    let status = rig.until(|status| status.last_error.is_none()).await;
    assert_eq!(status.accepted, 5);
    rig.readers.stop(Duration::from_secs(60)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_never_can_be_taken_stays_and_holds_up_nobody() {
    let rig = Rig::start().await;
    rig.queue.put("small", None, b"1", &[]);
    rig.queue.put("large", None, &[b'x'; 1001], &[]);
    rig.queue.put("another", None, b"2", &[]);
    rig.queue.until_let_go(2).await;
    let left: Vec<_> = rig.queue.taken.lock().unwrap().keys().cloned().collect();
    assert_eq!(left, ["large"]);
    let status = rig.status();
    assert_eq!(status.last_refusal.as_deref(), Some("body-too-large"));
    assert_eq!((status.accepted, status.refused), (2, 1));
    rig.readers.stop(Duration::from_secs(60)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_that_is_away_says_why_and_is_read_again_when_it_is_back() {
    let rig = Rig::start().await;
    rig.queue.away.store(true, Ordering::SeqCst);
    let status = rig.until(|status| status.last_error.is_some()).await;
    let why = status.last_error.unwrap();
    assert!(why.contains("nothing listens there"), "{why}");
    rig.queue.put("h", None, b"1", &[]);
    rig.queue.away.store(false, Ordering::SeqCst);
    rig.queue.until_let_go(1).await;
    rig.until(|status| status.last_error.is_none()).await;
    rig.readers.stop(Duration::from_secs(60)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_letter_of_ours_goes_back_on_its_route_and_one_that_is_unknown_is_a_fresh_event() {
    let rig = Rig::start().await;
    let route = RouteName::new("orders").unwrap();
    let now = Timestamp::from_second(1_790_000_000).unwrap();
    let event = Event {
        source: SourceName::new("shop").unwrap(),
        received_at: now,
        method: "POST".into(),
        path: "/".into(),
        headers: Headers::default(),
        body: "dead".into(),
        event_type: None,
        remote: None,
        dedup: None,
        only: None,
    };
    let id = EventId::from_bytes([7; 16]);
    let stored_event = StoredEvent {
        seq: Seq(1),
        id,
        event: Arc::new(event),
    };
    let bury = Bury {
        stored: stored_event,
        attempts: 3,
        reason: Reason::Rejected,
        cause: Cause::new("http 422", "no"),
        first_failure_at: now,
        last_failure_at: now,
        key: None,
    };
    rig.state.register_route(&route, Seq(0), now).await.unwrap();
    let step = Settlement {
        accepted: 1,
        buries: vec![bury],
        ..Settlement::at(route.clone(), Seq(1))
    };
    rig.state.settle(vec![step]).await.unwrap();
    let id = id.to_string();
    let ours = [("forebay-event-id", &*id), ("forebay-route", "orders")];
    rig.queue.put("dead", Some("m1"), b"dead", &ours);
    rig.queue.until_let_go(1).await;
    let routes = rig.state.routes().await.unwrap();
    assert_eq!((routes[0].parked, routes[0].dead), (1, 0));
    assert_eq!(*rig.behind.brought.lock().unwrap(), [route]);
    assert_eq!(rig.status().accepted, 0);
    // Again: it is parked, and needs nothing.
    rig.queue.put("repeat", Some("m2"), b"dead", &ours);
    rig.queue.until_let_go(2).await;
    assert_eq!(rig.status().duplicates, 1);
    let strange = [
        ("forebay-event-id", "01a21284-a1d9-7517-a88d-9a9e67b71269"),
        ("forebay-route", "orders"),
    ];
    rig.queue
        .put("strange", Some("m3"), b"of another", &strange);
    rig.queue.until_let_go(3).await;
    assert_eq!(rig.status().accepted, 1);
    let events = stored(&rig.journal).await;
    assert_eq!(events[0].event.source.as_str(), "q");
    rig.readers.stop(Duration::from_secs(60)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_reads_nothing_more_and_waits_for_nothing_that_cannot_be_stored() {
    let rig = Rig::start().await;
    rig.behind.full.store(true, Ordering::SeqCst);
    rig.queue.put("h", None, b"1", &[]);
    rig.until(|status| status.refused > 0).await;
    let stopped = rig.readers.stop(Duration::from_secs(3600));
    tokio::time::timeout(Duration::from_secs(60), stopped)
        .await
        .expect("it stops by itself");
    let received = *rig.queue.received.lock().unwrap();
    rig.queue.put("later", None, b"2", &[]);
    assert_eq!(*rig.queue.received.lock().unwrap(), received);
    let waiting = rig.queue.waiting.lock().unwrap().len();
    assert_eq!(waiting, 2, "what it had taken is back");
}
