//! One import at work: a batch is received, each message is dealt with, and what is durable is let go.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use domain::Timestamp;
use domain::policy::ProbePolicy;
use domain::ports::{Destination, ImportRequest, ImportStatus, Inlet, Message};
use futures_util::FutureExt as _;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Job, lock};
use crate::Ingest;
use crate::keeping;
use crate::message::{self, Way};
use crate::returning::{Made, NotMade, ReturnPorts};

/// Messages of one batch, and how long an empty queue is waited for: more may be on their way.
const BATCH: usize = 10;
const WAIT: Duration = Duration::from_secs(2);

/// So many empty answers in a row are an empty queue: one may be of a part of it only.
const EMPTY: u32 = 2;

/// So many failures in a row end it.
const FAILURES: u32 = 5;

/// Letters that failed after it began and are put back at its end. More of them come again when their time is over.
const HELD_BACK: usize = 1000;

/// So many batches of nothing but such letters in a row end it as well: a queue shows them again before it is empty.
const OF_LATER: u32 = 1000;

/// The task of one import.
pub(super) struct Worker {
    pub(super) id: u64,
    pub(super) began: Timestamp,
    pub(super) request: ImportRequest,
    pub(super) queue: Arc<dyn Destination>,
    pub(super) ingest: Arc<Ingest>,
    pub(super) ports: ReturnPorts,
    pub(super) jobs: Arc<Mutex<Vec<Job>>>,
    pub(super) stop: CancellationToken,
}

impl Worker {
    pub(super) async fn run(self) {
        tracing::info!(import = self.id, from = %self.request.from, "an operator began an import");
        // Whatever ends it, it is said: one that seems to run keeps every other from its queue.
        let ended = AssertUnwindSafe(self.work()).catch_unwind().await;
        let defect = "a defect of Forebay: the log has it, please report it";
        let ended = ended.unwrap_or_else(|_| Err(defect.into()));
        let (status, error) = match ended {
            Ok(status) => (status, None),
            Err(error) => (ImportStatus::Failed, Some(error)),
        };
        let mut jobs = lock(&self.jobs);
        if let Some(job) = jobs.iter_mut().find(|job| job.import.id == self.id) {
            let import = &mut job.import;
            (import.status, import.error) = (status, error);
            import.finished_at = Some(self.ports.clock.now());
            tracing::info!(import = self.id, from = %import.from, status = status.as_str(), redriven = import.redriven,
                known = import.known, fresh = import.fresh, error = import.error, "an import has ended");
        }
    }

    async fn work(&self) -> Result<ImportStatus, String> {
        let Some(inlet) = self.queue.inlet() else {
            return Err("it cannot be read".into());
        };
        let mut later = Vec::new();
        let ended = self.drain(inlet, &mut later).await;
        if !later.is_empty() {
            tracing::info!(
                import = self.id,
                count = later.len(),
                "letters that failed after the import began are left in the queue"
            );
            self.give_back(inlet, later).await;
        }
        ended
    }

    /// Until the queue is empty but for what failed `later` than it began, which is handed out.
    async fn drain(
        &self,
        inlet: &dyn Inlet,
        later: &mut Vec<String>,
    ) -> Result<ImportStatus, String> {
        let (mut empty, mut failures, mut of_later, mut was_read) = (0, 0, 0, false);
        while empty < EMPTY && of_later < OF_LATER {
            let begun = Instant::now();
            let received = self.stop.run_until_cancelled(inlet.receive(BATCH, WAIT));
            let dealt_with = match received.await {
                None => return Ok(ImportStatus::Cancelled),
                Some(Ok(messages)) if messages.is_empty() => {
                    was_read = true;
                    empty += 1;
                    continue;
                }
                // What could not be dealt with is out of sight for a while: the queue would seem to be empty.
                Some(Ok(messages)) => {
                    was_read = true;
                    let now = self.without_later(messages, later).await?;
                    if now.is_empty() {
                        // They are out of sight now, and what lies behind them is next.
                        of_later += 1;
                        continue;
                    }
                    of_later = 0;
                    self.batch(inlet, now).await?
                }
                // A name or a password that is wrong from the start stays so. What was right may be again.
                Some(Err(unavailable)) if !was_read && inlet.is_mistake(&unavailable) => {
                    return Err(unavailable.to_string());
                }
                Some(Err(unavailable)) => Err(unavailable.to_string()),
            };
            empty = 0;
            match dealt_with {
                Ok(count) => {
                    failures = 0;
                    self.note(|import| import.error = None);
                    self.pause(begun, count).await;
                }
                Err(error) => {
                    failures += 1;
                    if failures >= FAILURES {
                        return Err(error);
                    }
                    self.note(|import| import.error = Some(error));
                    let wait = ProbePolicy::default().wait(failures, 1.0);
                    self.stop
                        .run_until_cancelled(tokio::time::sleep(wait))
                        .await;
                }
            }
            if self.stop.is_cancelled() {
                return Ok(ImportStatus::Cancelled);
            }
        }
        Ok(ImportStatus::Done)
    }

    /// No faster than asked for.
    async fn pause(&self, begun: Instant, count: usize) {
        if let Some(rate) = self.request.rate_per_second {
            let share = Duration::from_secs_f64(count as f64 / f64::from(rate.max(1)));
            let pause = tokio::time::sleep_until(begun + share);
            self.stop.run_until_cancelled(pause).await;
        }
    }

    /// Sets aside the letters that failed here after the import began: put back on their routes they may fail again, be
    /// exported again and come in again, for ever.
    ///
    /// # Errors
    /// Why it cannot be told.
    async fn without_later(
        &self,
        messages: Vec<Message>,
        later: &mut Vec<String>,
    ) -> Result<Vec<Message>, String> {
        let mut now = Vec::with_capacity(messages.len());
        for message in messages {
            let failed_at = message.attribute("forebay-last-failure-at");
            let failed_at = failed_at.and_then(|text| text.parse::<Timestamp>().ok());
            let is_later =
                failed_at.is_some_and(|at| at >= self.began) && self.ports.knows(&message).await?;
            if !is_later {
                now.push(message);
            } else if later.len() < HELD_BACK {
                later.push(message.handle);
            }
        }
        Ok(now)
    }

    async fn give_back(&self, inlet: &dyn Inlet, handles: Vec<String>) {
        if let Err(unavailable) = inlet.give_back(handles).await {
            tracing::debug!(from = %self.request.from, %unavailable, "messages come again later");
        }
    }

    /// Deals with the messages, and lets go of those that are durable, also when one could not be dealt with.
    ///
    /// # Errors
    /// Why one could not. Inside: why they could not be let go, which may pass.
    async fn batch(
        &self,
        inlet: &dyn Inlet,
        messages: Vec<Message>,
    ) -> Result<Result<usize, String>, String> {
        let dealing = async {
            for (dealt_with, message) in messages.iter().enumerate() {
                match self.deal_with(message).await {
                    Ok(made) => self.count(made),
                    Err(error) => return (dealt_with, Some(of(message, &error))),
                }
            }
            (messages.len(), None)
        };
        let (dealt_with, failed) = keeping::while_kept(inlet, &messages, dealing).await;
        let mut done: Vec<String> = messages.into_iter().map(|one| one.handle).collect();
        let left = done.split_off(dealt_with);
        if !left.is_empty() {
            self.give_back(inlet, left).await;
        }
        let count = done.len();
        let let_go = match count {
            0 => Ok(()),
            _ => inlet.let_go(done).await,
        };
        match failed {
            Some(error) => Err(error),
            None => Ok(let_go
                .map(|()| count)
                .map_err(|unavailable| unavailable.to_string())),
        }
    }

    async fn deal_with(&self, message: &Message) -> Result<Made, String> {
        let returned = self.ports.returns(message).await;
        if let Some(made) = returned.map_err(NotMade::into_words)? {
            return Ok(made);
        }
        let named = message::source(message).filter(|name| self.ingest.has_source(name));
        let Some(source) = named.or_else(|| self.request.source.clone()) else {
            return Err("it says nothing of a source that is in the configuration: name one with --source, which it is to be an event of".into());
        };
        let way = Way {
            method: "IMPORT",
            place: self.request.from.as_str(),
        };
        let only = self.ports.only(message, &source);
        let event = message::event(message, &source, &way, only, self.ports.clock.now());
        match self.ingest.take_in(&source, event).await {
            Ok(true) => Ok(Made::Fresh),
            Ok(false) => Ok(Made::Known),
            Err(refused) => Err(refused.to_string()),
        }
    }

    fn count(&self, made: Made) {
        self.note(|import| match made {
            Made::Redriven => import.redriven += 1,
            Made::Known => import.known += 1,
            Made::Fresh => import.fresh += 1,
        });
    }

    fn note(&self, change: impl FnOnce(&mut domain::ports::Import)) {
        let mut jobs = lock(&self.jobs);
        if let Some(job) = jobs.iter_mut().find(|job| job.import.id == self.id) {
            change(&mut job.import);
        }
    }
}

/// Which message it is about: by what the queue, or else Forebay, knows it by.
fn of(message: &Message, error: &str) -> String {
    let id = message.id.as_deref();
    match id.or_else(|| message.attribute("forebay-event-id")) {
        Some(id) => format!("message {id}: {error}"),
        None => format!("a message of {} bytes: {error}", message.body.len()),
    }
}
