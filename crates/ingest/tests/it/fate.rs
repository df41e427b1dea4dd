//! What a request hears when its append is slow, withdrawn, refused or repeated, over a journal that
//! decides when it is told to.

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use domain::ports::{
    Append, AppendError, Appending, Backlogs, Durability, Journal, JournalError, OnItsWay, Reader,
    RouteFull,
};
use domain::{Event, EventId, RouteName, Seq, SourceName, SourceSet};
use tokio::sync::oneshot;

use super::door::{Answered, Door, sources};

pub(crate) type Fate = Result<Vec<EventId>, AppendError>;

/// A journal whose appends wait until a test decides them.
#[derive(Default)]
pub(crate) struct Decided {
    waiting: Mutex<Vec<oneshot::Sender<Fate>>>,
    /// Appends so far.
    pub(crate) appends: AtomicUsize,
    withdrawn: Arc<AtomicUsize>,
    /// Whether appends are in a frame at once, too late to withdraw.
    in_a_frame: bool,
    room: Mutex<Option<AppendError>>,
}

struct Ticket {
    fate: oneshot::Receiver<Fate>,
    in_a_frame: bool,
    withdrawn: Arc<AtomicUsize>,
}

impl Future for Ticket {
    type Output = Fate;
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Fate> {
        Pin::new(&mut self.fate)
            .poll(context)
            .map(|fate| fate.unwrap_or(Err(AppendError::Closed)))
    }
}

impl Appending for Ticket {
    fn withdraw(self: Pin<&mut Self>) -> bool {
        if !self.in_a_frame {
            self.withdrawn.fetch_add(1, Ordering::SeqCst);
        }
        !self.in_a_frame
    }
}

impl Decided {
    pub(crate) async fn decide(&self, fate: Fate) {
        let sender = loop {
            if let Some(sender) = self.waiting.lock().unwrap().pop() {
                break sender;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        };
        let _ = sender.send(fate);
    }
}

#[async_trait]
impl Journal for Decided {
    fn append(&self, _: Vec<Event>) -> Append {
        self.appends.fetch_add(1, Ordering::SeqCst);
        let (sender, fate) = oneshot::channel();
        self.waiting.lock().unwrap().push(sender);
        Box::pin(Ticket {
            fate,
            in_a_frame: self.in_a_frame,
            withdrawn: Arc::clone(&self.withdrawn),
        })
    }
    async fn reader(
        &self,
        _: &RouteName,
        _: Seq,
        _: SourceSet,
    ) -> Result<Box<dyn Reader>, JournalError> {
        Err(JournalError("not here".into()))
    }
    fn release(&self, _: &RouteName, _: Seq) {}
    fn bytes_after(&self, _: Seq) -> u64 {
        0
    }

    async fn count(&self, _: &SourceSet, _: Seq, _: Seq) -> Result<u64, JournalError> {
        Ok(0)
    }
    fn end(&self) -> Seq {
        Seq(0)
    }
    fn durability(&self) -> Durability {
        Durability::Disk
    }
    fn can_append(&self) -> Result<(), AppendError> {
        self.room.lock().unwrap().clone().map_or(Ok(()), Err)
    }
    async fn close(&self, _: Duration) -> Result<(), AppendError> {
        Ok(())
    }
}

const SOURCES: &str = r#"{"s": {"type": "http", "dedup": {"header": "x-id"}}}"#;

async fn door(journal: &Arc<Decided>, ack_timeout: Duration) -> Door {
    Door::open(
        &sources(SOURCES),
        Arc::clone(journal) as Arc<dyn Journal>,
        |settings| {
            settings.ack_timeout = ack_timeout;
        },
    )
    .await
}

fn id(number: u8) -> EventId {
    EventId::from_bytes([number; 16])
}

const LONG: Duration = Duration::from_secs(60);

/// Posts until it is confirmed: with a limit as short as [`SHORT`] that is what a sender must be ready for.
async fn until_confirmed(door: &Door) -> Answered {
    let repeated = async {
        loop {
            let answered = door.post("/in/s", &[("x-id", "1")], b"{}").await;
            if answered.status != 503 {
                break answered;
            }
        }
    };
    tokio::time::timeout(LONG, repeated).await.unwrap()
}

/// For the one that is never confirmed.
const SHORT: Duration = Duration::from_millis(200);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_confirmed_in_time_is_withdrawn_and_the_repeat_is_the_first() {
    let journal = Arc::new(Decided::default());
    let door = door(&journal, SHORT).await;
    let late = door.post("/in/s", &[("x-id", "1")], b"{}").await;
    assert_eq!((late.status, late.code().as_str()), (503, "ack-timeout"));
    assert!(late.head.contains("retry-after: "));
    assert_eq!(journal.withdrawn.load(Ordering::SeqCst), 1);
    let again = tokio::select! {
        again = until_confirmed(&door) => again,
        () = async { loop { journal.decide(Ok(vec![id(1)])).await } } => unreachable!(),
    };
    assert_eq!(again.json()["status"], "accepted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_became_durable_after_its_answer_is_known_to_the_repeat() {
    let journal = Arc::new(Decided {
        in_a_frame: true,
        ..Decided::default()
    });
    let door = door(&journal, SHORT).await;
    assert_eq!(
        door.post("/in/s", &[("x-id", "1")], b"{}").await.status,
        503
    );
    journal.decide(Ok(vec![id(7)])).await;
    let repeat = until_confirmed(&door).await;
    assert_eq!(repeat.json()["status"], "duplicate");
    assert_eq!(repeat.json()["id"], id(7).to_string());
    assert_eq!(journal.appends.load(Ordering::SeqCst), 1);
    // Its sender has what it waited for: nothing is lost if it never sends another.
    let status = domain::ports::Sources::statuses(&*door.ingest).remove(0);
    assert_eq!(status.refusing, None);
}

/// Knows whether an event is on its way.
#[derive(Default)]
struct Entering(OnItsWay);

impl Backlogs for Entering {
    fn admits(&self, _: &SourceName) -> Result<(), RouteFull> {
        Ok(())
    }

    fn entering(&self, _: &SourceName) -> OnItsWay {
        Arc::clone(&self.0)
    }

    fn accepted(&self, _: &SourceName) {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_is_on_its_way_until_its_fate_is_known_also_when_its_sender_was_answered() {
    let journal = Arc::new(Decided {
        in_a_frame: true,
        ..Decided::default()
    });
    let entering = Arc::new(Entering::default());
    let on_its_way = || Arc::strong_count(&entering.0) > 1;
    let door = Door::open_before(
        &sources(SOURCES),
        Arc::clone(&journal) as _,
        Arc::clone(&entering) as _,
        |settings| settings.ack_timeout = SHORT,
    )
    .await;
    let late = door.post("/in/s", &[("x-id", "1")], b"{}").await;
    assert_eq!(late.status, 503);
    assert!(on_its_way(), "it may become durable still");
    journal.decide(Ok(vec![id(7)])).await;
    let decided = async {
        while on_its_way() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(LONG, decided).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_concurrent_repeat_waits_for_the_first_ones_fate() {
    for durable in [true, false] {
        let journal = Arc::new(Decided::default());
        let door = door(&journal, LONG).await;
        let headers = [("x-id", "1")];
        let first = door.post("/in/s", &headers, b"{}");
        let second = async {
            while journal.appends.load(Ordering::SeqCst) == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            door.post("/in/s", &headers, b"{}").await
        };
        let fates = async {
            let first_fate = if durable {
                Ok(vec![id(1)])
            } else {
                Err(AppendError::NoRoom("full".into()))
            };
            journal.decide(first_fate).await;
            if !durable {
                journal.decide(Ok(vec![id(2)])).await;
            }
        };
        let (first, second, ()) = tokio::join!(first, second, fates);
        if durable {
            assert_eq!((first.status, second.status), (200, 200));
            assert_eq!(second.json()["status"], "duplicate");
            assert_eq!(journal.appends.load(Ordering::SeqCst), 1);
        } else {
            assert_eq!((first.status, first.code().as_str()), (503, "no-room"));
            assert_eq!(second.json()["status"], "accepted");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sender_that_hangs_up_withdraws_its_event() {
    let journal = Arc::new(Decided::default());
    let door = door(&journal, LONG).await;
    let stream = hyper_util::rt::TokioIo::new(door.connect().await);
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut client, connection) = hyper::client::conn::http2::handshake(executor, stream)
        .await
        .unwrap();
    let driven = tokio::spawn(connection);
    let request = http::Request::post(format!("http://{}/in/s", door.address))
        .header("x-id", "1")
        .body(http_body_util::Full::new(bytes::Bytes::from_static(b"{}")))
        .unwrap();
    let answer = tokio::spawn(client.send_request(request));
    while journal.appends.load(Ordering::SeqCst) == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // Dropping the call resets its stream.
    answer.abort();
    let withdrawn = async {
        while journal.withdrawn.load(Ordering::SeqCst) == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(LONG / 2, withdrawn).await.unwrap();
    driven.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn own_trouble_is_503_with_retry_after_and_its_code_before_the_body_is_read() {
    let journal = Arc::new(Decided::default());
    let door = door(&journal, LONG).await;
    for (error, code) in [
        (AppendError::NoRoom("full".into()), "no-room"),
        (AppendError::Failed("EIO".into()), "journal-failed"),
        (AppendError::Closed, "shutting-down"),
        (AppendError::Busy, "busy"),
    ] {
        *journal.room.lock().unwrap() = Some(error);
        // The body never comes.
        let answered = door
            .say(b"POST /in/s HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n")
            .await;
        assert_eq!((answered.status, answered.code().as_str()), (503, code));
        assert!(answered.head.contains("retry-after: "), "{answered:?}");
        assert!(!String::from_utf8_lossy(&answered.body).contains("EIO"));
    }
    assert_eq!(journal.appends.load(Ordering::SeqCst), 0);
}
