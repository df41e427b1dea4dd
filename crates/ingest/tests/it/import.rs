//! Imports: what is remembered of them, and that one comes to its end.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use domain::ports::{
    Archive, Bury, Counters, Delivery, Destination, DestinationLimits, EventPage, EventQuery,
    Finding, Import, ImportError, ImportRequest, ImportStatus, Imports, Inlet, JournalError,
    Message, Resolution, Settlement, State,
};
use domain::{
    BatchOutcome, Cause, Clock as _, DedupKey, DestinationName, Event, EventId, Headers, Reason,
    RouteName, Seq, SourceName, SourceSet, StoredEvent, SystemClock, Timestamp, Unavailable,
};
use ingest::Importer;
use state::SqliteState;

use super::stalled::{Noting, Rig};

fn name(text: &str) -> DestinationName {
    DestinationName::new(text).unwrap()
}

fn from(text: &str) -> ImportRequest {
    ImportRequest {
        from: name(text),
        source: Some(SourceName::new("q").unwrap()),
        rate_per_second: None,
    }
}

async fn ended(importer: &Importer, id: u64) -> Import {
    let found = async {
        loop {
            let imports = importer.list();
            let import = imports.into_iter().find(|one| one.id == id).unwrap();
            if import.status != ImportStatus::Running {
                return import;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), found)
        .await
        .expect("it comes to an end")
}

#[tokio::test(start_paused = true)]
async fn an_import_that_runs_is_remembered_however_many_begin_after_it() {
    let rig = Rig::start().await;
    let (slow, quick) = (Arc::new(Noting::default()), Arc::new(Noting::default()));
    *slow.waiting.lock().unwrap() = super::stalled::messages(1);
    let queues = [
        (name("slow"), slow as Arc<dyn Destination>),
        (name("quick"), quick as Arc<dyn Destination>),
    ];
    let ingest = Arc::clone(&rig.door.ingest);
    let importer = Importer::new(ingest, rig.ports.clone(), queues.into());
    let first = importer.begin(from("slow")).await.unwrap();
    for _ in 0..120 {
        let next = importer.begin(from("quick")).await.unwrap();
        assert_eq!(ended(&importer, next.id).await.status, ImportStatus::Done);
    }
    let imports = importer.list();
    assert!(imports.len() <= 100);
    assert_eq!(imports.last().unwrap().id, first.id);
    let again = importer.begin(from("slow")).await;
    assert_eq!(again.unwrap_err(), ImportError::Running(first.id));
    assert!(importer.cancel(first.id).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_wrong_name_ends_an_import_at_once_and_an_absence_is_waited_out() {
    for (code, waits) in [("queue", false), ("refused", true)] {
        let rig = Rig::start().await;
        let queue = Arc::new(Noting::default());
        *queue.away.lock().unwrap() = Some(Unavailable::new(code, "why"));
        let queues = [(name("ops"), queue as Arc<dyn Destination>)];
        let ingest = Arc::clone(&rig.door.ingest);
        let importer = Importer::new(ingest, rig.ports.clone(), queues.into());
        let begun = tokio::time::Instant::now();
        let import = importer.begin(from("ops")).await.unwrap();
        let ended = ended(&importer, import.id).await;
        assert_eq!(ended.status, ImportStatus::Failed);
        assert_eq!(ended.error.unwrap(), format!("{code}: why"));
        assert_eq!(
            begun.elapsed() > Duration::from_secs(1),
            waits,
            "{code}: {:?}",
            begun.elapsed()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_that_ends_an_import_is_named() {
    for (id, named) in [(Some("m-1"), "message m-1: "), (None, "a message of ")] {
        let rig = Rig::start().await;
        let queue = Arc::new(Noting::default());
        let mut messages = super::stalled::messages(1);
        messages[0].id = id.map(Into::into);
        messages[0].attributes.clear();
        *queue.waiting.lock().unwrap() = messages;
        let queues = [(name("ops"), queue as Arc<dyn Destination>)];
        let ingest = Arc::clone(&rig.door.ingest);
        let importer = Importer::new(ingest, rig.ports.clone(), queues.into());
        let without_source = ImportRequest {
            source: None,
            ..from("ops")
        };
        let import = importer.begin(without_source).await.unwrap();
        let error = ended(&importer, import.id).await.error.unwrap();
        assert!(
            error.starts_with(named) && error.contains("--source"),
            "{error}"
        );
    }
}

/// A queue, and a route behind it whose destination refuses what is put back at once, so that it is dead again and its
/// letter in the queue again.
struct Circle {
    state: Arc<SqliteState>,
    waiting: Mutex<Vec<Message>>,
    taken: Mutex<Vec<Message>>,
    rounds: Mutex<u32>,
}

fn stored() -> StoredEvent {
    let event = Event {
        source: SourceName::new("q").unwrap(),
        received_at: Timestamp::UNIX_EPOCH,
        method: "POST".into(),
        path: "/".into(),
        headers: Headers::default(),
        body: "poison".into(),
        event_type: None,
        remote: None,
        dedup: None,
        only: None,
    };
    StoredEvent {
        seq: Seq(1),
        id: EventId::from_bytes([7; 16]),
        event: Arc::new(event),
    }
}

impl Circle {
    /// One that has gone round so often.
    fn new(rig: &Rig, rounds: u32) -> Arc<Self> {
        Arc::new(Self {
            state: Arc::clone(&rig.state),
            waiting: Mutex::default(),
            taken: Mutex::default(),
            rounds: Mutex::new(rounds),
        })
    }

    /// What an import of it comes to.
    async fn imported(self: &Arc<Self>, rig: &Rig) -> Import {
        let queues = [(name("dlq"), Arc::clone(self) as Arc<dyn Destination>)];
        let ingest = Arc::clone(&rig.door.ingest);
        let importer = Importer::new(ingest, rig.ports.clone(), queues.into());
        let begun = importer.begin(from("dlq")).await.unwrap();
        ended(&importer, begun.id).await
    }

    /// It fails, is a dead letter and is exported.
    async fn fails(&self, at: Timestamp, first: bool) {
        let route = RouteName::new("orders").unwrap();
        let bury = Bury {
            stored: stored(),
            attempts: 1,
            reason: Reason::Rejected,
            cause: Cause::new("http 422", "no"),
            first_failure_at: at,
            last_failure_at: at,
            key: None,
        };
        let step = Settlement {
            accepted: u64::from(first),
            buries: vec![bury],
            ..Settlement::at(route, Seq(1))
        };
        self.state.settle(vec![step]).await.unwrap();
        let attributes = [
            ("forebay-event-id", stored().id.to_string()),
            ("forebay-route", "orders".to_owned()),
            ("forebay-last-failure-at", at.to_string()),
        ];
        let mut waiting = self.waiting.lock().unwrap();
        let handle = format!("h{}", self.rounds.lock().unwrap());
        waiting.push(Message {
            handle: handle.clone(),
            id: Some(handle),
            body: "poison".into(),
            attributes: attributes.map(|(name, value)| (name.into(), value)).into(),
            exact: false,
            event_type: None,
        });
    }
}

#[async_trait]
impl Inlet for Circle {
    async fn receive(&self, _: usize, wait: Duration) -> Result<Vec<Message>, Unavailable> {
        let messages: Vec<Message> = {
            let mut waiting = self.waiting.lock().unwrap();
            let one = 1.min(waiting.len());
            waiting.drain(..one).collect()
        };
        if messages.is_empty() {
            tokio::time::sleep(wait).await;
        }
        self.taken.lock().unwrap().extend(messages.iter().cloned());
        Ok(messages)
    }

    async fn look(&self) -> Result<(), Unavailable> {
        Ok(())
    }

    async fn give_back(&self, handles: Vec<String>) -> Result<(), Unavailable> {
        let mut taken = self.taken.lock().unwrap();
        let back = taken.extract_if(.., |one| handles.contains(&one.handle));
        self.waiting.lock().unwrap().extend(back);
        Ok(())
    }

    async fn let_go(&self, handles: Vec<String>) -> Result<(), Unavailable> {
        let mut gone = 0;
        self.taken.lock().unwrap().retain(|one| {
            let goes = handles.contains(&one.handle);
            gone += u32::from(goes);
            !goes
        });
        let rounds = {
            let mut rounds = self.rounds.lock().unwrap();
            *rounds += gone;
            *rounds
        };
        if rounds < 50 {
            self.fails(SystemClock.now(), false).await;
        }
        Ok(())
    }
}

#[async_trait]
impl Destination for Circle {
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

#[tokio::test]
async fn an_import_never_meets_what_failed_after_it_began() {
    let rig = Rig::start().await;
    let circle = Circle::new(&rig, 0);
    let route = RouteName::new("orders").unwrap();
    let long_ago = Timestamp::from_second(1_790_000_000).unwrap();
    let registered = rig.state.register_route(&route, Seq(0), long_ago);
    registered.await.unwrap();
    circle.fails(long_ago, true).await;
    let import = circle.imported(&rig).await;
    assert_eq!(import.status, ImportStatus::Done, "{:?}", import.error);
    assert_eq!((import.redriven, import.known, import.fresh), (1, 0, 0));
    assert_eq!(*circle.rounds.lock().unwrap(), 1);
    let left = circle.waiting.lock().unwrap().len();
    assert_eq!(left, 1, "its new letter is in the queue, for the next one");
    assert_eq!(circle.imported(&rig).await.redriven, 1);
}

#[tokio::test]
async fn what_failed_after_an_import_began_does_not_hide_what_lies_behind_it() {
    let rig = Rig::start().await;
    let circle = Circle::new(&rig, 50);
    let route = RouteName::new("orders").unwrap();
    let long_ago = Timestamp::from_second(1_790_000_000).unwrap();
    let registered = rig.state.register_route(&route, Seq(0), long_ago);
    registered.await.unwrap();
    circle.fails(long_ago, true).await;
    {
        let mut waiting = circle.waiting.lock().unwrap();
        for n in 0..20 {
            let mut later = waiting.last().unwrap().clone();
            later.handle = format!("later {n}");
            for (name, value) in &mut later.attributes {
                if name == "forebay-last-failure-at" {
                    *value = "2126-01-01T00:00:00Z".into();
                }
            }
            waiting.insert(0, later);
        }
    }
    let import = circle.imported(&rig).await;
    assert_eq!(import.status, ImportStatus::Done, "{:?}", import.error);
    assert_eq!((import.redriven, import.known, import.fresh), (1, 0, 0));
    assert_eq!(circle.waiting.lock().unwrap().len(), 20);
}

/// An archive whose journal has nothing any more.
struct Emptied {
    /// A letter that fails for the last time just when its event is asked for.
    just_then: Option<Arc<Circle>>,
}

#[async_trait]
impl Archive for Emptied {
    async fn find(&self, _: EventId) -> Result<Option<StoredEvent>, JournalError> {
        let Some(circle) = &self.just_then else {
            return Ok(None);
        };
        if *circle.rounds.lock().unwrap() == 0 {
            *circle.rounds.lock().unwrap() = 50;
            let at = Timestamp::from_second(1_790_000_001).unwrap();
            circle.fails(at, false).await;
        }
        Ok(None)
    }

    async fn at(&self, _: Vec<Seq>) -> Result<Vec<Option<StoredEvent>>, JournalError> {
        Ok(Vec::new())
    }

    async fn page(&self, _: &EventQuery) -> Result<EventPage, JournalError> {
        Ok(EventPage::default())
    }

    async fn first_after(
        &self,
        _: &SourceSet,
        _: Seq,
    ) -> Result<Option<StoredEvent>, JournalError> {
        Ok(None)
    }

    async fn recent_keys(&self, _: usize) -> Result<Vec<(DedupKey, EventId)>, JournalError> {
        Ok(Vec::new())
    }
}

#[tokio::test]
async fn a_letter_that_dies_while_it_is_looked_for_is_no_fresh_event() {
    let mut rig = Rig::start().await;
    let circle = Circle::new(&rig, 0);
    let route = RouteName::new("orders").unwrap();
    let long_ago = Timestamp::from_second(1_790_000_000).unwrap();
    let registered = rig.state.register_route(&route, Seq(0), long_ago);
    registered.await.unwrap();
    circle.fails(long_ago, true).await;
    let redriven = rig
        .ports
        .dead_letters
        .redrive_one(stored().id, &route, long_ago);
    assert!(redriven.await.unwrap());
    rig.ports.archive = Arc::new(Emptied {
        just_then: Some(Arc::clone(&circle)),
    });
    let import = circle.imported(&rig).await;
    assert_eq!(import.status, ImportStatus::Done, "{:?}", import.error);
    assert_eq!((import.redriven, import.known, import.fresh), (1, 1, 0));
}

#[tokio::test]
async fn a_copy_of_what_returned_and_was_delivered_is_known_when_the_journal_has_gone_on() {
    let mut rig = Rig::start().await;
    rig.ports.archive = Arc::new(Emptied { just_then: None });
    let circle = Circle::new(&rig, 50);
    let route = RouteName::new("orders").unwrap();
    let long_ago = Timestamp::from_second(1_790_000_000).unwrap();
    let registered = rig.state.register_route(&route, Seq(0), long_ago);
    registered.await.unwrap();
    circle.fails(long_ago, true).await;
    let letters = &rig.ports.dead_letters;
    let redriven = letters.redrive_one(stored().id, &route, long_ago);
    assert!(redriven.await.unwrap());
    let delivered = Settlement {
        resolved: vec![(Seq(1), Resolution::Delivered)],
        counters: Counters {
            delivered: 1,
            ..Counters::default()
        },
        ..Settlement::at(route, Seq(1))
    };
    rig.state.settle(vec![delivered]).await.unwrap();
    let import = circle.imported(&rig).await;
    assert_eq!(import.status, ImportStatus::Done, "{:?}", import.error);
    assert_eq!((import.redriven, import.known, import.fresh), (0, 1, 0));
    assert_eq!(rig.journal.appends.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_copy_that_left_under_a_name_which_its_route_has_no_more_finds_its_letter() {
    let rig = Rig::start().await;
    let circle = Circle::new(&rig, 50);
    let [before, now] = ["orders", "sales"].map(|name| RouteName::new(name).unwrap());
    let long_ago = Timestamp::from_second(1_790_000_000).unwrap();
    let registered = rig.state.register_route(&before, Seq(0), long_ago);
    registered.await.unwrap();
    circle.fails(long_ago, true).await;
    rig.state.rename_route(&before, &now).await.unwrap();
    let import = circle.imported(&rig).await;
    assert_eq!((import.redriven, import.known, import.fresh), (1, 0, 0));
    assert_eq!(rig.journal.appends.load(Ordering::SeqCst), 0);
}
