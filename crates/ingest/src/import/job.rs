//! One import at work: a batch is received, each message is dealt with, and what is durable is let go.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use domain::policy::ProbePolicy;
use domain::ports::{Destination, ImportRequest, ImportStatus, Inlet, Message};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Job, lock};
use crate::Ingest;
use crate::message::{self, Way};
use crate::returning::{Made, NotMade, ReturnPorts};

/// Messages of one batch, and how long an empty queue is waited for: more may be on their way.
const BATCH: usize = 10;
const WAIT: Duration = Duration::from_secs(2);

/// So many empty answers in a row are an empty queue: one may be of a part of it only.
const EMPTY: u32 = 2;

/// So many failures in a row end it.
const FAILURES: u32 = 5;

/// The task of one import.
pub(super) struct Worker {
    pub(super) id: u64,
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
        let ended = self.work().await;
        let (status, error) = match ended {
            Ok(status) => (status, None),
            Err(error) => (ImportStatus::Failed, Some(error)),
        };
        let mut jobs = lock(&self.jobs);
        if let Some(job) = jobs.iter_mut().find(|job| job.import.id == self.id) {
            let import = &mut job.import;
            (import.status, import.error) = (status, error);
            import.finished_at = Some(self.ports.clock.now());
            tracing::info!(import = self.id, from = %import.from, status = ?status, redriven = import.redriven,
                known = import.known, fresh = import.fresh, error = import.error, "an import has ended");
        }
    }

    async fn work(&self) -> Result<ImportStatus, String> {
        let Some(inlet) = self.queue.inlet() else {
            return Err("it cannot be read".into());
        };
        let (mut empty, mut failures) = (0, 0);
        while empty < EMPTY {
            let begun = Instant::now();
            let received = self.stop.run_until_cancelled(inlet.receive(BATCH, WAIT));
            let dealt_with = match received.await {
                None => return Ok(ImportStatus::Cancelled),
                Some(Ok(messages)) if messages.is_empty() => {
                    empty += 1;
                    continue;
                }
                // What could not be dealt with is out of sight for a while: the queue would seem to be empty.
                Some(Ok(messages)) => self.batch(inlet, messages).await?,
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

    /// Deals with the messages, and lets go of those that are durable, also when one could not be dealt with.
    ///
    /// # Errors
    /// Why one could not. Inside: why they could not be let go, which may pass.
    async fn batch(
        &self,
        inlet: &dyn Inlet,
        messages: Vec<Message>,
    ) -> Result<Result<usize, String>, String> {
        let mut done = Vec::with_capacity(messages.len());
        let (mut failed, mut left) = (None, Vec::new());
        for message in messages {
            if failed.is_some() {
                left.push(message.handle);
                continue;
            }
            match self.deal_with(&message).await {
                Ok(made) => {
                    done.push(message.handle);
                    self.count(made);
                }
                Err(error) => {
                    failed = Some(error);
                    left.push(message.handle);
                }
            }
        }
        if !left.is_empty()
            && let Err(unavailable) = inlet.give_back(left).await
        {
            tracing::debug!(from = %self.request.from, %unavailable, "messages come again later");
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
            return Err("a message says nothing of a source that is in the configuration: name one with --source, which it is to be an event of".into());
        };
        let way = Way {
            method: "IMPORT",
            place: self.request.from.as_str(),
        };
        let event = message::event(message, &source, &way, self.ports.clock.now());
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
