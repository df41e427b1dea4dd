//! The settler: one task that commits what all routes have done, in one transaction.
//!
//! Progress is committed at least every `settle_interval`; rows (parks, dead letters, what left the
//! parked) at once, since somebody waits for them. It alone moves the routes' books, and only after a
//! commit. When state is full, rows wait and are tried again while progress goes on; while another
//! program holds its lock, everything waits. A commit that failed is final: it raises the alarm and
//! settles nothing more.

use std::sync::Arc;
use std::time::Duration;

use domain::ports::{SettledRange, Settlement, StateError};
use domain::{Cause, RouteName};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::alarm::Alarm;
use crate::book::Book;
use crate::completion::Completion;
use crate::outbox::Bell;
use crate::roster::Change;
use crate::route::{Ports, Route};
use crate::trouble::Trouble;

/// The wait before what state did not take is tried again.
const TAKE_AGAIN: Duration = Duration::from_secs(1);

/// One route's part.
struct Part {
    route: Arc<Route>,
    book: Book,
    /// The settled ranges that state has.
    kept: Vec<SettledRange>,
    progress: Completion,
    rows: Completion,
}

/// The settler of all routes.
pub(crate) struct Settler {
    parts: Vec<Part>,
    changes: mpsc::Receiver<Change>,
    /// Routes that go with the next commit, and who waits for it.
    leaving: Vec<(RouteName, oneshot::Sender<()>)>,
    ports: Ports,
    bell: Arc<Bell>,
    interval: Duration,
    alarm: Alarm,
    /// Rung after each commit.
    settled: Arc<Notify>,
    /// State did not take the rows; again from then on.
    rows_again: Option<Instant>,
    /// What keeps state from taking them.
    trouble: Trouble,
}

/// Which completions a commit takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Take {
    All,
    ProgressOnly,
}

impl Settler {
    pub(crate) fn new(
        routes: &[Arc<Route>],
        changes: mpsc::Receiver<Change>,
        ports: Ports,
        bell: Arc<Bell>,
        interval: Duration,
        alarm: Alarm,
        settled: Arc<Notify>,
    ) -> Self {
        Self {
            parts: routes.iter().map(Part::new).collect(),
            changes,
            leaving: Vec::new(),
            ports,
            bell,
            interval,
            alarm,
            settled,
            rows_again: None,
            trouble: Trouble::default(),
        }
    }

    /// Settles until told to stop, then once more. Ends early when a commit failed.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let bell = Arc::clone(&self.bell);
        let mut last: Option<Instant> = None;
        loop {
            tokio::select! {
                () = bell.work.notified() => {}
                () = sleep_until(self.rows_again) => {}
                Some(change) = self.changes.recv() => self.change(change),
                () = stop.cancelled() => break,
            }
            if self.leaving.is_empty() {
                tokio::select! {
                    () = sleep_until(Some(last.map_or_else(Instant::now, |last| last + self.interval))) => {}
                    () = bell.urgent.notified() => {}
                    () = stop.cancelled() => break,
                }
            }
            last = Some(Instant::now());
            if self.commit().await.is_err() {
                return;
            }
            self.let_go();
        }
        self.rows_again = None;
        let _ = self.commit().await;
        for part in &self.parts {
            part.route.tell_last_burials();
        }
    }

    fn change(&mut self, change: Change) {
        match change {
            Change::Come(route) => self.parts.push(Part::new(&route)),
            Change::Go(name, done) => self.leaving.push((name, done)),
        }
    }

    /// After a commit: what state did not take of a route that goes is as if the process had ended before it.
    fn let_go(&mut self) {
        for (name, done) in self.leaving.drain(..) {
            for gone in self.parts.extract_if(.., |part| part.route.name == name) {
                gone.route.tell_last_burials();
            }
            // Whoever asked may have gone.
            let _ = done.send(());
        }
    }

    /// Takes what is done and commits it.
    async fn commit(&mut self) -> Result<(), Failed> {
        for part in &mut self.parts {
            let taken = part.route.outbox.take();
            // Before the commit: then status never meets a lost stretch that it does not know.
            let mut committed = part.route.committed();
            for range in &taken.progress.lost {
                committed.lost.insert(*range);
            }
            drop(committed);
            part.progress.absorb(taken.progress);
            part.rows.absorb(taken.rows);
        }
        let is_due = self.rows_again.is_none_or(|again| again <= Instant::now());
        // What a route that goes has done is taken now or done again.
        if is_due || !self.leaving.is_empty() {
            match self.commit_only(Take::All).await {
                Ok(()) => {
                    self.rows_again = None;
                    if self.trouble.has_passed() {
                        tracing::info!("state takes everything again");
                    }
                    return Ok(());
                }
                // Progress needs no more room than state has by now, so it may still go.
                Err(error @ StateError::Full(_)) => self.refused(&error)?,
                Err(error) => return self.refused(&error),
            }
        }
        match self.commit_only(Take::ProgressOnly).await {
            Ok(()) => Ok(()),
            Err(error) => self.refused(&error),
        }
    }

    async fn commit_only(&mut self, take: Take) -> Result<(), StateError> {
        let mut steps = Vec::new();
        let mut books = Vec::new();
        for (at, part) in self.parts.iter_mut().enumerate() {
            let Some((step, book)) = part.step(take) else {
                continue;
            };
            if part.is_news(&step) {
                books.push((at, book, step.accepted, step.ranges.clone()));
                steps.push(step);
            } else {
                part.book = book;
                part.progress = Completion::default();
            }
        }
        if steps.is_empty() {
            return Ok(());
        }
        self.ports.state.settle(steps).await?;
        for (at, book, accepted, ranges) in books {
            self.parts[at].committed(book, accepted, take);
            self.parts[at].kept = ranges;
        }
        self.settled.notify_one();
        Ok(())
    }

    /// State took nothing. What was offered to it is kept and offered again, unless the error is final.
    fn refused(&mut self, error: &StateError) -> Result<(), Failed> {
        let (kind, why) = match error {
            StateError::Full(why) => ("state full", why),
            StateError::Busy(why) => ("state busy", why),
            error => return Err(self.fail(error)),
        };
        if self.trouble.is_worth_a_line(kind) {
            tracing::warn!(
                %error,
                "state does not take what was done; it waits and is tried again until state does"
            );
        }
        self.rows_again = Some(Instant::now() + TAKE_AGAIN);
        let now = self.ports.clock.now();
        for part in self.parts.iter().filter(|part| part.rows.rows() > 0) {
            part.route.board.show_error(Cause::new(kind, why), now);
        }
        Ok(())
    }

    fn fail(&self, error: &StateError) -> Failed {
        self.alarm.raise(format!(
            "settling failed, and nothing more is settled until a restart: {error}"
        ));
        Failed
    }
}

/// A commit failed for good.
struct Failed;

impl Part {
    fn new(route: &Arc<Route>) -> Self {
        Self {
            book: Book::new(route.record.cursor, &route.record.ranges),
            kept: route.record.ranges.clone(),
            route: Arc::clone(route),
            progress: Completion::default(),
            rows: Completion::default(),
        }
    }

    /// The step that takes the route's completions, and the book as it will be then.
    fn step(&self, take: Take) -> Option<(Settlement, Book)> {
        let rows = (take == Take::All).then_some(&self.rows);
        let parts = || [Some(&self.progress), rows].into_iter().flatten();
        if parts().all(Completion::is_empty) {
            return None;
        }
        let mut book = self.book.clone();
        for settled in parts().flat_map(|part| &part.settled) {
            book.settle(*settled);
        }
        let accepted = book.advance();
        let mut step = Settlement {
            accepted,
            ranges: book.ranges(),
            ..Settlement::at(self.route.name.clone(), book.cursor())
        };
        for part in parts() {
            step.delivered.extend(part.delivered_in_order());
            step.parks.extend_from_slice(&part.parks);
            step.buries.extend_from_slice(&part.buries);
            step.resolved.extend_from_slice(&part.resolved);
            step.taken_back.extend_from_slice(&part.taken_back);
            step.counters.delivered += part.counters.delivered;
            step.counters.discarded += part.counters.discarded;
            step.counters.damaged += part.counters.damaged;
        }
        Some((step, book))
    }

    /// Whether the step changes anything in state. Reading past other sources' numbers while an event
    /// below them waits does not.
    fn is_news(&self, step: &Settlement) -> bool {
        let unchanged = Settlement {
            ranges: self.kept.clone(),
            ..Settlement::at(self.route.name.clone(), self.book.cursor())
        };
        *step != unchanged
    }

    /// The step was committed.
    fn committed(&mut self, book: Book, accepted: u64, take: Take) {
        self.book = book;
        let progress = std::mem::take(&mut self.progress);
        let events = progress.counters.delivered + progress.counters.discarded;
        self.route.outbox.progress_committed(events);
        if let Some(backlog) = &self.route.backlog {
            let rows = (take == Take::All).then_some(&self.rows);
            let parts = [Some(&progress), rows].into_iter().flatten();
            let events = parts.map(|part| {
                let all: u64 = part.settled.iter().map(|settled| settled.events).sum();
                all.saturating_sub(part.counters.damaged)
            });
            backlog.committed(events.sum());
        }
        {
            let mut committed = self.route.committed();
            committed.cursor = self.book.cursor();
            committed.accepted += accepted;
        }
        if take == Take::All {
            let rows = std::mem::take(&mut self.rows);
            self.route.count_dead(&rows.buries);
            self.route.outbox.rows_committed(rows.rows());
        }
    }
}

async fn sleep_until(wake: Option<Instant>) {
    match wake {
        Some(wake) => tokio::time::sleep_until(wake).await,
        None => std::future::pending().await,
    }
}
