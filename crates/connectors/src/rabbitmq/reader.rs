//! The channel that the queue is read over, on a connection of its own: in an alarm the broker reads nothing from a
//! connection that has published, acknowledgements neither.
//!
//! What was taken and not let go belongs to the channel, and the broker gives it to others once the channel is closed.
//! So a channel that nobody has used for a while is closed, and one whose caller went away in the middle as well.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use domain::Unavailable;
use lapin::message::BasicGetMessage;
use lapin::options::{BasicAckOptions, BasicGetOptions, BasicRejectOptions, QueueDeclareOptions};
use lapin::types::{FieldTable, ShortString};
use lapin::{Channel, Error};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::client::{Client, Session};
use super::error::{Fault, Read};
use super::options::Config;

/// How long what was taken is nobody else's, from the last that was asked of the channel.
const HOLD: Duration = Duration::from_secs(60);

/// An open channel. Dropping it closes it, and what was taken over it and not let go comes again.
#[derive(Debug)]
pub(super) struct Taking {
    session: Arc<Session>,
    channel: Channel,
    /// Which it is: the broker counts from one on each.
    number: u64,
    used: Mutex<Instant>,
    watcher: AbortHandle,
}

impl Drop for Taking {
    fn drop(&mut self) {
        self.watcher.abort();
    }
}

impl Taking {
    fn touch(&self) {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn until(&self) -> Instant {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner) + HOLD
    }

    /// What a message is known by until it is let go.
    pub(super) fn handle(&self, tag: u64) -> String {
        format!("{}:{tag}", self.number)
    }

    /// What the broker knows a message by, if it was taken over this channel.
    fn tag(&self, handle: &str) -> Option<u64> {
        let (number, tag) = handle.split_once(':')?;
        let number: u64 = number.parse().ok()?;
        (number == self.number).then(|| tag.parse().ok()).flatten()
    }
}

/// What becomes of messages that were taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    LetGo,
    GiveBack,
}

/// The queue, and the channel if one is open.
#[derive(Debug)]
pub(super) struct Reader {
    me: Weak<Self>,
    client: Client,
    queue: ShortString,
    read: Read,
    taking: Mutex<Option<Arc<Taking>>>,
    opened: AtomicU64,
}

impl Reader {
    pub(super) fn new(config: Arc<Config>, queue: ShortString) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            me: Weak::clone(me),
            read: Read {
                queue: queue.to_string(),
                only: config.only_read,
            },
            client: Client::new(config),
            queue,
            taking: Mutex::new(None),
            opened: AtomicU64::new(0),
        })
    }

    /// Whether the queue is there. Takes nothing.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub(super) async fn look(&self) -> Result<Arc<Session>, Unavailable> {
        let session = self.client.session().await?;
        let looking = async {
            let channel = session.plain_channel().await?;
            self.ask_for_queue(&channel).await
        };
        self.answer(&session, looking).await?;
        Ok(session)
    }

    /// Asks for the queue by its name. Nothing is made.
    async fn ask_for_queue(&self, channel: &Channel) -> Result<(), Error> {
        let options = QueueDeclareOptions {
            passive: true,
            ..QueueDeclareOptions::default()
        };
        let queue = self.queue.clone();
        let asked = channel.queue_declare(queue, options, FieldTable::default());
        asked.await.map(drop)
    }

    /// The channel in use, or a new one.
    ///
    /// # Errors
    /// The broker is not there.
    pub(super) async fn taking(&self) -> Result<Arc<Taking>, Unavailable> {
        if let Some(taking) = self.open() {
            taking.touch();
            return Ok(taking);
        }
        let session = self.client.session().await?;
        let opening = session.plain_channel();
        let channel = self.answer(&session, opening).await?;
        let taking = Arc::new_cyclic(|taking| Taking {
            session,
            channel,
            number: self.opened.fetch_add(1, Ordering::Relaxed),
            used: Mutex::new(Instant::now()),
            watcher: tokio::spawn(close_idle(Weak::clone(&self.me), Weak::clone(taking)))
                .abort_handle(),
        });
        // Of two that were opened at once the later one stays, and the other is closed with its last message.
        *self.held() = Some(Arc::clone(&taking));
        Ok(taking)
    }

    /// Takes one message. `None`: there is none now.
    ///
    /// # Errors
    /// Why the queue cannot be read.
    pub(super) async fn take(
        &self,
        taking: &Taking,
    ) -> Result<Option<BasicGetMessage>, Unavailable> {
        taking.touch();
        let options = BasicGetOptions::default();
        let got = taking.channel.basic_get(self.queue.clone(), options);
        self.answer(&taking.session, got).await
    }

    /// Lets messages go or gives them back, and comes back once the broker has heard it.
    ///
    /// # Errors
    /// The broker is not there, or some were taken over a channel that is closed; they come again.
    pub(super) async fn answered(
        &self,
        handles: &[String],
        answer: Answer,
    ) -> Result<(), Unavailable> {
        let Some(taking) = self.open() else {
            return Err(self.closed());
        };
        taking.touch();
        let mut gone = false;
        let letting = async {
            for handle in handles {
                let Some(tag) = taking.tag(handle) else {
                    gone = true;
                    continue;
                };
                match answer {
                    Answer::LetGo => {
                        let ack = BasicAckOptions::default();
                        taking.channel.basic_ack(tag, ack).await?;
                    }
                    Answer::GiveBack => {
                        let reject = BasicRejectOptions { requeue: true };
                        taking.channel.basic_reject(tag, reject).await?;
                    }
                }
            }
            // An acknowledgement has no answer. A question behind it has.
            self.ask_for_queue(&taking.channel).await
        };
        self.answer(&taking.session, letting).await?;
        if gone { Err(self.closed()) } else { Ok(()) }
    }

    /// Keeps what was taken for as long again. All of a channel is kept, or none of it.
    ///
    /// # Errors
    /// Some were taken over a channel that is closed; they come again.
    pub(super) fn keep(&self, handles: &[String]) -> Result<(), Unavailable> {
        let open = self.open();
        let of_it = |handle: &String| open.as_ref().is_some_and(|one| one.tag(handle).is_some());
        if !handles.iter().all(of_it) {
            return Err(self.closed());
        }
        if let Some(taking) = &open {
            taking.touch();
        }
        Ok(())
    }

    /// Closes the channel, if it still is the one in use. What was not let go comes again.
    pub(super) fn close(&self, taking: &Taking) {
        let mut held = self.held();
        if held.as_ref().is_some_and(|one| one.number == taking.number) {
            *held = None;
        }
    }

    async fn answer<T>(
        &self,
        session: &Arc<Session>,
        asked: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Unavailable> {
        let told = |error: &Error| session.here.reading(&self.read, error);
        let answered = self.client.answer(session, asked, told).await;
        answered.map_err(Fault::unavailable)
    }

    fn closed(&self) -> Unavailable {
        Unavailable::new(
            "reset",
            format!(
                "the connection over which messages of queue {} were taken has ended: they come again",
                self.queue
            ),
        )
    }

    fn open(&self) -> Option<Arc<Taking>> {
        let mut held = self.held();
        if held
            .as_ref()
            .is_some_and(|taking| !taking.channel.status().connected())
        {
            *held = None;
        }
        held.clone()
    }

    fn held(&self) -> MutexGuard<'_, Option<Arc<Taking>>> {
        self.taking.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Closes the channel and its connection once nobody has used it for [`HOLD`].
async fn close_idle(reader: Weak<Reader>, taking: Weak<Taking>) {
    let mut until = Instant::now() + HOLD;
    loop {
        tokio::time::sleep_until(until).await;
        let (Some(reader), Some(taking)) = (reader.upgrade(), taking.upgrade()) else {
            return;
        };
        until = taking.until();
        if until <= Instant::now() {
            reader.close(&taking);
            reader.client.forget(&taking.session);
            return;
        }
    }
}
