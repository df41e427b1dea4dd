//! A journal that takes its time: what was taken from a queue stays out of others' sight for as long.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use domain::ports::{
    Backlogs, Delivery, Destination, DestinationLimits, Finding, ImportRequest, ImportStatus,
    Imports, Inlet, Journal, Message, RouteControlError, RouteStatus, Routes, Unlimited,
};
use domain::{
    BatchOutcome, DestinationName, EventId, RouteName, SourceName, SystemClock, Unavailable,
};
use ingest::{Importer, QueueReaders, QueueSource, ReturnPorts};
use state::SqliteState;

use super::door::{Door, journal, sources};
use super::fate::Decided;

/// A queue that gives its messages once, and notes what is done with them.
#[derive(Default)]
pub(crate) struct Noting {
    pub(crate) waiting: Mutex<Vec<Message>>,
    kept: Mutex<BTreeMap<String, u32>>,
    pub(crate) let_go: Mutex<Vec<String>>,
    /// Why it cannot be read, if it cannot; `queue` is a mistake.
    pub(crate) away: Mutex<Option<Unavailable>>,
}

#[async_trait]
impl Inlet for Noting {
    async fn receive(&self, _: usize, wait: Duration) -> Result<Vec<Message>, Unavailable> {
        if let Some(why) = self.away.lock().unwrap().clone() {
            return Err(why);
        }
        let messages = std::mem::take(&mut *self.waiting.lock().unwrap());
        if messages.is_empty() {
            tokio::time::sleep(wait).await;
        }
        Ok(messages)
    }

    async fn look(&self) -> Result<(), Unavailable> {
        Ok(())
    }

    fn is_mistake(&self, why: &Unavailable) -> bool {
        why.cause.code == "queue"
    }

    async fn keep(&self, handles: &[String]) -> Result<(), Unavailable> {
        let mut kept = self.kept.lock().unwrap();
        for handle in handles {
            *kept.entry(handle.clone()).or_default() += 1;
        }
        Ok(())
    }

    async fn give_back(&self, _: Vec<String>) -> Result<(), Unavailable> {
        Ok(())
    }

    async fn let_go(&self, handles: Vec<String>) -> Result<(), Unavailable> {
        self.let_go.lock().unwrap().extend(handles);
        Ok(())
    }
}

#[async_trait]
impl Destination for Noting {
    async fn deliver(&self, _: &[Delivery]) -> BatchOutcome {
        unreachable!("it is only read")
    }

    async fn probe(&self) -> Result<(), Unavailable> {
        Ok(())
    }

    async fn inspect(&self) -> Result<Vec<Finding>, Unavailable> {
        Ok(Vec::new())
    }

    fn limits(&self) -> DestinationLimits {
        unreachable!("it is only read")
    }

    fn recognises_repeats(&self) -> bool {
        false
    }

    fn inlet(&self) -> Option<&dyn Inlet> {
        Some(self)
    }

    fn kind(&self) -> &'static str {
        "sqs"
    }
}

/// No route runs.
struct None_;

#[async_trait]
impl Routes for None_ {
    async fn statuses(&self) -> Vec<RouteStatus> {
        Vec::new()
    }

    async fn set_paused(&self, name: &str, _: bool) -> Result<(), RouteControlError> {
        Err(RouteControlError::Unknown(name.into()))
    }

    fn brought(&self, _: &RouteName) {}
}

/// A source `q` before a journal that decides when it is told to.
pub(crate) struct Rig {
    pub(crate) door: Door,
    pub(crate) journal: Arc<Decided>,
    pub(crate) ports: ReturnPorts,
    pub(crate) state: Arc<SqliteState>,
    _directory: tempfile::TempDir,
}

impl Rig {
    pub(crate) async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let metrics =
            state::Metrics::register(&mut prometheus_client::registry::Registry::default());
        let path = directory.path().join("state.db");
        let state = SqliteState::open(&path, state::Options::default(), metrics).unwrap();
        let state = Arc::new(state);
        let ports = ReturnPorts {
            dead_letters: Arc::clone(&state) as _,
            state: Arc::clone(&state) as _,
            archive: journal(&directory.path().join(".")) as _,
            routes: Arc::new(None_),
            clock: Arc::new(SystemClock),
        };
        let source = QueueSource {
            kind: "sqs",
            reads: "queue q".into(),
            max_body: 10 << 20,
            unwrap: None,
        };
        let queues = [(SourceName::new("q").unwrap(), source)].into();
        let decided = Arc::new(Decided::default());
        let (there, backlogs) = (
            Arc::clone(&decided) as Arc<dyn Journal>,
            Arc::new(Unlimited),
        );
        let backlogs = backlogs as Arc<dyn Backlogs>;
        let door = Door::open_beside(&sources("{}"), &queues, there, backlogs, |_| ()).await;
        Self {
            door,
            journal: decided,
            ports,
            state,
            _directory: directory,
        }
    }

    async fn under_way(&self, appends: usize) {
        while self.journal.appends.load(Ordering::SeqCst) < appends {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

pub(crate) fn messages(count: u8) -> Vec<Message> {
    let message = |n: u8| Message {
        handle: n.to_string(),
        id: None,
        body: vec![n].into(),
        attributes: Vec::new(),
        exact: false,
        event_type: None,
    };
    (0..count).map(message).collect()
}

/// Each of the messages, at least twice.
fn all_kept(queue: &Noting, count: usize) {
    let kept = queue.kept.lock().unwrap().clone();
    assert!(
        kept.len() == count && kept.values().all(|times| *times >= 2),
        "{kept:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn what_a_source_has_taken_is_kept_for_as_long_as_the_journal_does_not_answer() {
    let rig = Rig::start().await;
    let queue = Arc::new(Noting::default());
    *queue.waiting.lock().unwrap() = messages(3);
    let inlets = [(
        SourceName::new("q").unwrap(),
        Arc::clone(&queue) as Arc<dyn Inlet>,
    )];
    let readers = QueueReaders::start(&rig.door.ingest, &rig.ports, inlets.into());
    rig.under_way(3).await;
    // Half of the shortest time that a queue hides messages for is 15 s; here go more than two of them.
    tokio::time::sleep(Duration::from_secs(29)).await;
    all_kept(&queue, 3);
    assert!(queue.let_go.lock().unwrap().is_empty());
    for n in 0..3 {
        let id = EventId::from_bytes([n; 16]);
        rig.journal.decide(Ok(vec![id])).await;
    }
    while queue.let_go.lock().unwrap().len() < 3 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    readers.stop(Duration::from_secs(60)).await;
}

#[tokio::test(start_paused = true)]
async fn what_an_import_has_taken_is_kept_for_as_long_as_the_journal_does_not_answer() {
    let rig = Rig::start().await;
    let queue = Arc::new(Noting::default());
    *queue.waiting.lock().unwrap() = messages(3);
    let name = DestinationName::new("dlq").unwrap();
    let queues = [(name.clone(), Arc::clone(&queue) as Arc<dyn Destination>)].into();
    let importer = Importer::new(Arc::clone(&rig.door.ingest), rig.ports.clone(), queues);
    let request = ImportRequest {
        from: name,
        source: Some(SourceName::new("q").unwrap()),
        rate_per_second: None,
    };
    importer.begin(request).await.unwrap();
    rig.under_way(1).await;
    tokio::time::sleep(Duration::from_secs(29)).await;
    all_kept(&queue, 3);
    for n in 0..3 {
        let id = EventId::from_bytes([n; 16]);
        rig.journal.decide(Ok(vec![id])).await;
    }
    while importer.list()[0].status == ImportStatus::Running {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(queue.let_go.lock().unwrap().len(), 3);
    assert_eq!(importer.list()[0].status, ImportStatus::Done);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_never_fits_into_the_memory_for_requests_holds_up_nobody() {
    let rig = Rig::start().await;
    let queue = Arc::new(Noting::default());
    let mut all = messages(2);
    // A small body, and beside it more than there is room for.
    let huge = "x".repeat(60 << 20);
    all[0].attributes = vec![("h".into(), huge)];
    *queue.waiting.lock().unwrap() = all;
    let inlets = [(
        SourceName::new("q").unwrap(),
        Arc::clone(&queue) as Arc<dyn Inlet>,
    )];
    let readers = QueueReaders::start(&rig.door.ingest, &rig.ports, inlets.into());
    rig.under_way(1).await;
    rig.journal
        .decide(Ok(vec![EventId::from_bytes([1; 16])]))
        .await;
    while queue.let_go.lock().unwrap().is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    *queue.waiting.lock().unwrap() = messages(1);
    let next = rig.under_way(2);
    tokio::time::timeout(Duration::from_secs(600), next)
        .await
        .expect("the next message is read");
    drop(readers);
}

/// A queue that is empty and says so at once, however long it was to wait, and whose first answers are a panic.
struct Hasty {
    asked: Mutex<u32>,
    panics: u32,
}

#[async_trait]
impl Inlet for Hasty {
    async fn receive(&self, _: usize, _: Duration) -> Result<Vec<Message>, Unavailable> {
        let asked = {
            let mut asked = self.asked.lock().unwrap();
            *asked += 1;
            *asked
        };
        assert!(asked > self.panics, "a defect of the client library");
        tokio::task::yield_now().await;
        Ok(Vec::new())
    }

    async fn look(&self) -> Result<(), Unavailable> {
        Ok(())
    }

    async fn give_back(&self, _: Vec<String>) -> Result<(), Unavailable> {
        Ok(())
    }

    async fn let_go(&self, _: Vec<String>) -> Result<(), Unavailable> {
        Ok(())
    }
}

async fn asked_in_a_minute(panics: u32) -> (u32, Rig) {
    let rig = Rig::start().await;
    let queue = Arc::new(Hasty {
        asked: Mutex::default(),
        panics,
    });
    let inlets = [(
        SourceName::new("q").unwrap(),
        Arc::clone(&queue) as Arc<dyn Inlet>,
    )];
    let readers = QueueReaders::start(&rig.door.ingest, &rig.ports, inlets.into());
    let since = tokio::time::Instant::now();
    while since.elapsed() < Duration::from_secs(60) && *queue.asked.lock().unwrap() < 10_000 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    readers.stop(Duration::from_secs(60)).await;
    let asked = *queue.asked.lock().unwrap();
    (asked, rig)
}

#[tokio::test(start_paused = true)]
async fn an_empty_queue_that_does_not_wait_is_not_asked_all_the_time() {
    let (asked, _) = asked_in_a_minute(0).await;
    assert!((30..=600).contains(&asked), "{asked} times in a minute");
}

#[tokio::test(start_paused = true)]
async fn a_panic_of_ours_is_shown_and_the_queue_is_read_again() {
    let (asked, rig) = asked_in_a_minute(2).await;
    assert!(asked > 10, "{asked} times in a minute");
    let status = domain::ports::Sources::statuses(&*rig.door.ingest).remove(0);
    assert_eq!(status.last_error, None, "it is read again");
    let (asked, rig) = asked_in_a_minute(1_000_000).await;
    assert!((3..100).contains(&asked), "{asked} times in a minute");
    let status = domain::ports::Sources::statuses(&*rig.door.ingest).remove(0);
    assert!(status.last_error.unwrap().contains("defect"));
}
