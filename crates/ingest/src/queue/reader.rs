//! One reader of one queue: takes a batch, has it stored, lets it go.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use domain::policy::ProbePolicy;
use domain::ports::{Inlet, Message};
use futures_util::FutureExt as _;
use futures_util::future::join_all;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::Ingest;
use crate::keeping::{self, KEEP};
use crate::message::{self, Way};
use crate::returning::{Made, NotMade, ReturnPorts};
use crate::service::NotTaken;
use crate::source::Source;
use crate::unwrap;

/// Messages of one batch at most, and how long an empty queue is waited at.
const BATCH: usize = 100;
const WAIT: Duration = Duration::from_secs(10);

/// A queue that is empty is not asked sooner than this, also when it does not wait: each question may cost money.
const REST: Duration = Duration::from_millis(200);

/// The task of one reader.
pub(super) struct Reader {
    pub(super) source: Arc<Source>,
    pub(super) inlet: Arc<dyn Inlet>,
    pub(super) ingest: Arc<Ingest>,
    pub(super) ports: ReturnPorts,
    pub(super) stop: CancellationToken,
}

impl Reader {
    pub(super) async fn run(self) {
        let mut failures = 0;
        while !self.stop.is_cancelled() {
            // What a panic had taken is not let go, and comes again.
            let read = AssertUnwindSafe(self.read()).catch_unwind().await;
            let defect = "a defect of Forebay: the log has it, please report it";
            match read.unwrap_or_else(|_| Err(defect.into())) {
                Ok(()) => {
                    failures = 0;
                    let trouble = self.inlet.trouble();
                    let is_read = trouble.is_none();
                    // Said once a source, however many read it. What it says of itself it logs itself.
                    if self.source.show_trouble(trouble) && is_read {
                        tracing::info!(source = %self.source.name, "the queue is read again");
                    }
                }
                Err(error) => {
                    failures += 1;
                    if !self.source.show_trouble(Some(error.clone())) {
                        tracing::warn!(source = %self.source.name, error, "the queue cannot be read; trying again");
                    }
                    self.rest(failures).await;
                }
            }
        }
    }

    /// Takes one batch and deals with it.
    ///
    /// # Errors
    /// Why nothing can be taken, or it could not be let go.
    async fn read(&self) -> Result<(), String> {
        let asked = Instant::now();
        let received = self.inlet.receive(BATCH, WAIT);
        match self.stop.run_until_cancelled(received).await {
            None => Ok(()),
            Some(Ok(messages)) if messages.is_empty() => {
                let rest = tokio::time::sleep_until(asked + REST);
                self.stop.run_until_cancelled(rest).await;
                Ok(())
            }
            Some(Ok(messages)) => self.batch(messages).await,
            Some(Err(unavailable)) => Err(unavailable.to_string()),
        }
    }

    async fn rest(&self, failures: u32) {
        let wait = ProbePolicy::default().wait(failures, rand::random());
        let rest = tokio::time::sleep(wait);
        self.stop.run_until_cancelled(rest).await;
    }

    /// Stores the messages and lets them go. Those that can never be stored stay.
    ///
    /// # Errors
    /// Why they could not be let go: they come again, and are known then.
    async fn batch(&self, messages: Vec<Message>) -> Result<(), String> {
        let mut waiting = messages;
        let (mut tries, mut not_let_go) = (0, None);
        loop {
            // In order: each is queued for the journal before the next is looked at.
            let stored = join_all(waiting.iter().map(|message| self.store(message)));
            let stored = keeping::while_kept(&*self.inlet, &waiting, stored).await;
            let mut done = Vec::with_capacity(waiting.len());
            let (mut rest, mut why) = (Vec::new(), None);
            for (message, stored) in waiting.into_iter().zip(stored) {
                match stored {
                    Ok(()) => done.push(message.handle),
                    Err(NotMade::Ever(error)) => self.leave(&message, &error).await,
                    Err(NotMade::Yet(error)) => {
                        why.get_or_insert(error);
                        rest.push(message);
                    }
                }
            }
            if !done.is_empty() {
                let let_go = self.inlet.let_go(done).await;
                not_let_go = not_let_go.or(let_go.err());
            }
            let Some(why) = why else {
                return not_let_go.map_or(Ok(()), |unavailable| Err(unavailable.to_string()));
            };
            tries += 1;
            if tries == 1 {
                tracing::warn!(source = %self.source.name, why, waiting = rest.len(),
                    "messages of a queue cannot be stored; they are kept, and nothing more is read until they are");
            }
            self.source.show_trouble(Some(why));
            self.keep_for_a_while(&rest, tries).await;
            if self.stop.is_cancelled() {
                let handles = rest.into_iter().map(|message| message.handle);
                let given_back = self.inlet.give_back(handles.collect()).await;
                return given_back.map_err(|unavailable| unavailable.to_string());
            }
            waiting = rest;
        }
    }

    /// Waits until storing is tried again, with the messages out of everybody's sight.
    async fn keep_for_a_while(&self, messages: &[Message], tries: u32) {
        let until = Instant::now() + ProbePolicy::default().wait(tries, rand::random());
        let handles: Vec<String> = messages.iter().map(|one| one.handle.clone()).collect();
        loop {
            keeping::keep(&*self.inlet, &handles).await;
            let next = until.min(Instant::now() + KEEP);
            let wait = tokio::time::sleep_until(next);
            let stopped = self.stop.run_until_cancelled(wait).await.is_none();
            if stopped || next >= until {
                return;
            }
        }
    }

    async fn store(&self, message: &Message) -> Result<(), NotMade> {
        let returned = self.ports.returns(message).await;
        match returned? {
            Some(Made::Known) => {
                self.source.note_duplicate();
                return Ok(());
            }
            Some(Made::Redriven | Made::Fresh) => return Ok(()),
            None => {}
        }
        let way = Way {
            method: self.inlet.way(),
            place: self.source.name.as_str(),
        };
        let event = message::event(
            message,
            &self.source.name,
            &way,
            None,
            self.ports.clock.now(),
        );
        let event = match self.source.unwrap {
            Some(envelope) => unwrap::out_of(envelope, event),
            None => event,
        };
        match self.ingest.take_in(&self.source.name, event).await {
            Ok(_) => Ok(()),
            Err(NotTaken::Refused {
                for_good: true,
                words,
                ..
            }) => Err(NotMade::Ever(words)),
            Err(refused) => Err(NotMade::Yet(refused.to_string())),
        }
    }

    /// Says of a message that it stays where it is.
    async fn leave(&self, message: &Message, why: &str) {
        tracing::warn!(source = %self.source.name, id = message.id, why, bytes = message.body.len(),
            "a message of a queue cannot be taken, now or ever; it stays in the queue");
        self.inlet.leave(&message.handle, why).await;
    }
}
