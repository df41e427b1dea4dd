//! Exports: a route's dead letters on their way to its targets.
//!
//! A task for each target of a route. It takes the letters in the order of their numbers, a page at a time, delivers
//! them until the target has dealt with them ([`round`]), and notes in state how far it has come. A target is a
//! destination like any other: one that is away trips a breaker of its own and keeps nobody else waiting, and what it
//! will not take stays in state, marked so. After a crash what was not noted yet is delivered again.

mod open;
mod round;
mod target;

use std::sync::Arc;
use std::time::Duration;

use domain::ports::{BatchLimit, DeadLetter, Exported, Letter, StateError, Unexportable};
use domain::{Envelope, Timestamp};
use jiff::SignedDuration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub(crate) use target::Target;
pub use target::TargetSpec;

use crate::route::{Ports, Route};
use crate::trouble::Trouble;
use round::Round;

/// The longest that a letter of an open run is kept back.
const OPEN_RUN: SignedDuration = SignedDuration::from_secs(60);

/// The wait before letters that may not go yet are looked at again, and before state is asked again after a failure.
const AGAIN: Duration = Duration::from_secs(1);

/// What a page holds at most, and how many batches of its target it is made of.
const PAGE: BatchLimit = BatchLimit {
    events: 2000,
    bytes: 8 << 20,
};
const BATCHES_A_PAGE: usize = 4;

/// The exports of one route to one target.
pub(crate) struct Exporter {
    route: Arc<Route>,
    target: Arc<Target>,
    ports: Ports,
    /// Changes when letters were buried.
    buried: watch::Receiver<u64>,
    stop: CancellationToken,
    /// Letters were there that may not go yet.
    kept_back: bool,
    trouble: Trouble,
}

impl Exporter {
    pub(crate) fn new(
        route: Arc<Route>,
        target: Arc<Target>,
        ports: Ports,
        stop: CancellationToken,
    ) -> Self {
        Self {
            buried: route.buried.subscribe(),
            route,
            target,
            ports,
            stop,
            kept_back: false,
            trouble: Trouble::default(),
        }
    }

    /// Works until it is told to stop, and then until the attempts under way have ended. Dropping it abandons those:
    /// their letters are delivered again after the next start.
    pub(crate) async fn run(mut self) {
        let stop = self.stop.clone();
        let Some(mut after) = stop.run_until_cancelled(self.position()).await else {
            return;
        };
        let mut round = Round::new(
            Arc::clone(&self.target),
            Arc::clone(&self.ports.clock),
            stop.clone(),
        );
        let page = self.page_limit();
        let mut grows = true;
        while !stop.is_cancelled() {
            if grows && let Some(limit) = round.wants(page) {
                self.buried.borrow_and_update();
                let next = self.letters(round.last().unwrap_or(after), limit);
                let Some(letters) = stop.run_until_cancelled(next).await else {
                    break;
                };
                grows = !letters.is_empty();
                let deliveries = letters.into_iter().map(|letter| self.delivery(letter));
                round.take(deliveries.collect());
            }
            if round.is_empty() {
                self.wait().await;
            } else {
                round.run(page, grows, &mut self.buried).await;
            }
            // Whoever waited or worked may have been told of more, or kept from what may go by now.
            grows = true;
            if let Some((through, unexportable)) = round.through() {
                after = through;
                self.note(through, unexportable).await;
            }
        }
        round.run(page, false, &mut self.buried).await;
        if let Some((through, unexportable)) = round.through() {
            self.note(through, unexportable).await;
        }
    }

    /// How many letters are read at once.
    fn page_limit(&self) -> BatchLimit {
        let limits = self.target.destination.limits();
        let batches = limits.concurrency.max(1).saturating_mul(BATCHES_A_PAGE);
        let events = limits.batch_events.max(1).saturating_mul(batches);
        BatchLimit {
            events: events.min(PAGE.events),
            ..PAGE
        }
    }

    /// Where the target goes on.
    async fn position(&mut self) -> Letter {
        loop {
            let exports = &self.ports.exports;
            let position = exports.export_position(&self.route.name, &self.target.name);
            match position.await {
                Ok(letter) => return letter,
                Err(error) => self.state_failed(&error).await,
            }
        }
    }

    /// The next letters that may go.
    async fn letters(&mut self, after: Letter, limit: BatchLimit) -> Vec<DeadLetter> {
        loop {
            let letters = self
                .ports
                .exports
                .letters_after(&self.route.name, after, limit);
            match letters.await {
                Ok(mut letters) => {
                    self.trouble.has_passed();
                    let now = self.ports.clock.now();
                    let kept_back = letters.iter().position(|letter| self.waits(letter, now));
                    self.kept_back = kept_back.is_some();
                    letters.truncate(kept_back.unwrap_or(letters.len()));
                    return letters;
                }
                Err(error) => self.state_failed(&error).await,
            }
        }
    }

    /// Whether the letter may be one of a run that is not over, and may be taken back.
    fn waits(&self, letter: &DeadLetter, now: Timestamp) -> bool {
        let Some(since) = self.route.open_run() else {
            return false;
        };
        let age = now.duration_since(letter.last_failure_at);
        letter.last_failure_at >= since && age < OPEN_RUN && age > -OPEN_RUN
    }

    fn delivery(&self, letter: DeadLetter) -> (Letter, domain::ports::Delivery) {
        let destination = Some(self.route.destination_name.clone());
        let envelope = Envelope::of(&letter, destination);
        let delivery = domain::ports::Delivery {
            stored: letter.stored,
            attempt: 1,
            letter: Some(Arc::new(envelope)),
        };
        (letter.letter, delivery)
    }

    /// Waits until there may be something to export.
    async fn wait(&mut self) {
        tokio::select! {
            changed = self.buried.changed() => if changed.is_err() { self.stop.cancelled().await },
            // Letters that may not go yet tell nobody when they may.
            () = tokio::time::sleep(AGAIN), if self.kept_back => {}
            () = self.stop.cancelled() => {}
        }
    }

    /// Notes how far the target has come.
    async fn note(&self, through: Letter, unexportable: Vec<Unexportable>) {
        let step = Exported {
            route: self.route.name.clone(),
            target: self.target.name.clone(),
            through,
            unexportable,
            at: self.ports.clock.now(),
        };
        let mut failed = false;
        while let Err(error) = self.ports.exports.exported(step.clone()).await {
            if !failed {
                tracing::error!(route = %self.route.name, target = %self.target.name, %error, "it cannot be noted how far a dead-letter target has come; trying again");
            }
            failed = true;
            let again = tokio::time::sleep(AGAIN);
            if self.stop.run_until_cancelled(again).await.is_none() {
                return;
            }
        }
    }

    async fn state_failed(&mut self, error: &StateError) {
        if self.trouble.is_worth_a_line("state") {
            tracing::error!(route = %self.route.name, target = %self.target.name, %error, "dead letters cannot be read for export; trying again");
        }
        tokio::time::sleep(AGAIN).await;
    }
}
