//! What a worker does with what its tasks report.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use domain::policy::MAX_RETRY_AFTER;
use domain::ports::{BreakerState, JournalError, StateError};
use domain::{BatchOutcome, Cause, StoredEvent, Unavailable};
use tokio::task::JoinError;
use tokio::time::Instant;

use super::parked::Fetched;
use super::reading::Read;
use super::sort::{RowUnderWay, Rules, Sorted, later, sort};
use super::{Done, Worker};
use crate::attempt::{Attempted, Marks};
use crate::completion::Completion;

/// The wait before a failed fetch from state is tried again.
const FETCH_AGAIN: Duration = Duration::from_secs(1);

impl Worker {
    pub(super) fn report(&mut self, done: Result<Done, JoinError>) {
        match done {
            Ok(Done::Attempt(attempted)) => self.attempted(attempted),
            Ok(Done::Probe(answer)) => self.probed(answer),
            Ok(Done::Due(fetched)) => self.fetched(fetched),
            Ok(Done::Keys(unsure, there)) => self.sure(unsure, there),
            Ok(Done::Held(key, read)) => self.held_came(key, read),
            // An attempt catches what destinations do, so this is a defect of our own; the batch is
            // gone from the window, and only a new start reads it again.
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => cancelled(&self.route.name),
            },
        }
    }

    pub(super) fn take_in(&mut self, read: Result<Read, JournalError>) {
        match read {
            Ok(read) => {
                let batch = &read.batch;
                if self.unreadable.has_passed() {
                    tracing::info!(route = %self.route.name, "the route reads its events again");
                }
                if !batch.damaged.is_empty() || !batch.recounted.is_empty() {
                    let found = batch.damaged.iter().chain(&batch.recounted);
                    self.route.damage.found().extend(found.copied());
                }
                let waiting = self.window.waiting();
                let done = self.take_in_wanted(read);
                self.route.outbox.add_progress(done);
                self.place(waiting);
            }
            Err(error) => {
                if self.unreadable.is_worth_a_line("journal") {
                    tracing::error!(route = %self.route.name, %error, "the route cannot read its events and tries again");
                }
                self.show_error(Cause::new("journal", error.to_string()));
            }
        }
    }

    /// Takes in what the route wants; the rest is settled.
    fn take_in_wanted(&mut self, Read { batch, answers }: Read) -> Completion {
        let route = Arc::clone(&self.route);
        let (mut failed, mut failures) = (None, 0);
        let done = self
            .window
            .take_in(batch, self.ports.clock.now(), |stored| {
                match answers.wants(&route.wanted, stored) {
                    Ok(wanted) => wanted,
                    Err(error) => {
                        failed = Some(error);
                        failures += 1;
                        false
                    }
                }
            });
        route.metrics.skipped.inc_by(done.counters.discarded);
        route.metrics.unfiltered.inc_by(failures);
        if let Some(error) = failed {
            if self.unfiltered.is_worth_a_line("filter") {
                tracing::warn!(route = %route.name, %error, "the route's `when` failed on events, which are not delivered on it");
            }
            self.show_error(Cause::new("filter", error.to_string()));
        }
        done
    }

    fn attempted(&mut self, mut attempted: Attempted) {
        self.attempts -= 1;
        let withheld = attempted.withheld;
        let stuck = !withheld
            && attempted.outcome.unavailable.is_none()
            && nothing_done(&attempted.outcome);
        if attempted.outcome.unavailable.is_some() {
            self.route.metrics.attempts_unavailable.inc();
        }
        self.weigh(&mut attempted);
        let unavailable = attempted.outcome.unavailable.clone();
        let in_vain = unavailable.is_some() && self.breaker.state() == BreakerState::Probing;
        if in_vain && matches!(attempted.batch.marks, Marks::Live(_)) {
            self.rotation = self.rotation.wrapping_add(1);
        }
        let rules = Rules {
            retry: &self.route.policies.retry,
            metrics: &self.route.metrics,
            now: self.ports.clock.now(),
        };
        let mut sorted = sort(attempted, &rules);
        self.judge(&mut sorted, unavailable, stuck);
        self.settle(sorted, in_vain);
    }

    /// Tells the breaker, and keeps the pause that a throttling destination asked for.
    fn judge(&mut self, sorted: &mut Sorted, unavailable: Option<Unavailable>, stuck: bool) {
        let now = Instant::now();
        if sorted.delivered > 0 {
            self.throttles = 0;
            self.rotation = 0;
            self.due.others_pass();
            if self.breaker.state() != BreakerState::Passing {
                self.suspects.others_pass();
            }
            self.breaker.delivered();
            self.route.proved.store(true, Ordering::Relaxed);
            self.burying.is_back();
            self.run.end();
            self.holding.end();
        } else if sorted.answered > 0 {
            self.breaker.answered(now, rand::random());
        }
        if let Some(cause) = &sorted.cause {
            self.show_error(cause.clone());
        }
        if let Some(unavailable) = unavailable {
            self.outage(unavailable);
        } else if std::mem::take(&mut self.answered_without_room) && sorted.delivered == 0 {
            self.breaker.answered(now, rand::random());
        } else if stuck {
            // Neither done nor an outage: leave it alone for a moment rather than turn in circles.
            self.throttle(None);
        }
        let failed_at = self.ports.clock.now();
        for (seq, member) in sorted.blanket.drain(..) {
            self.run.add(seq, member, failed_at);
        }
        // Before their rows are handed over: nothing of an open run is exported.
        self.show_run();
        if let Some(after) = sorted.throttled {
            self.throttle(after);
        }
        self.show_breaker();
    }

    fn outage(&mut self, unavailable: Unavailable) {
        let passing = self.breaker.state() == BreakerState::Passing;
        self.route.proved.store(false, Ordering::Relaxed);
        self.breaker.unavailable(Instant::now(), rand::random());
        let now = self.ports.clock.now();
        self.burying.is_away(&unavailable.cause, now);
        if passing {
            tracing::warn!(route = %self.route.name, destination = %self.route.destination_name, cause = %unavailable.cause,
                "the destination is not there; events wait in the journal, and no attempt is spent");
        }
        self.show_error(unavailable.cause);
    }

    /// Says since when a run is open. One that was taken back is, until its events are back where they were.
    pub(super) fn show_run(&self) {
        let shown = self.route.open_run();
        let since = match (self.run.since(), shown) {
            (Some(since), shown) => Some(shown.map_or(since, |shown| shown.min(since))),
            (None, None) => return,
            (None, shown) => shown.filter(|_| self.under_way.iter().any(|row| row.taken_back)),
        };
        self.route.set_open_run(since);
    }

    /// A run that is long enough is an outage: what it parked and buried goes back to where it was. To be
    /// called when the rows of its last event are in the outbox.
    fn take_run_back(&mut self) {
        if !self.run.is_an_outage() {
            return;
        }
        let now = self.ports.clock.now();
        // What is in an attempt has its fate before it: its outcome is its own.
        let rows: BTreeSet<_> = self.under_way.iter().map(|row| row.seq).collect();
        let mut taken_back = self.run.take_back(now);
        taken_back.retain(|back| !self.due.is_busy(back.seq) || rows.contains(&back.seq));
        let count = taken_back.len();
        tracing::warn!(route = %self.route.name, destination = %self.route.destination_name, count,
            "so many different events in a row were answered as by a broken destination: it is an outage, and they go back to where they were");
        // Its burial is undone in the same breath: for its lane it is parked all along.
        for row in &mut self.under_way {
            if row.was_parked && taken_back.iter().any(|back| back.seq == row.seq) {
                row.due_at.get_or_insert(now);
            }
        }
        for back in &taken_back {
            let Some(key) = back.key else { continue };
            self.stop_lane(key, back.seq, false);
            self.set_behind(key);
        }
        // They are looked for once they are there.
        let rows = taken_back.iter().map(RowUnderWay::taken_back);
        self.under_way.extend(rows);
        self.route.outbox.add_rows(Completion {
            taken_back,
            ..Completion::default()
        });
        let cause = self.route.board.shown().last_error.map(|last| last.cause);
        let detail = cause.map_or_else(String::new, |cause| cause.to_string());
        let detail = format!("{count} different events in a row were refused: {detail}");
        self.holding.is_run();
        self.outage(Unavailable::new("run", detail));
        self.show_breaker();
    }

    fn throttle(&mut self, after: Option<Duration>) {
        self.throttles = self.throttles.saturating_add(1);
        let backoff = self
            .route
            .policies
            .probe
            .wait(self.throttles, rand::random());
        let wait = after.map_or(backoff, |after| after.min(MAX_RETRY_AFTER));
        let until = Instant::now() + wait;
        self.throttled_until = self.throttled_until.max(Some(until));
    }

    /// `in_vain`: it was a probe, and the destination is still not there.
    fn settle(&mut self, sorted: Sorted, in_vain: bool) {
        let Sorted {
            progress,
            rows,
            under_way,
            put_back,
            still_parked,
            released,
            passed,
            stopped,
            ..
        } = sorted;
        self.window.release(released.0, released.1);
        if let Some(backlog) = &self.route.backlog {
            let rows = under_way.iter().filter(|row| !row.was_parked).count();
            backlog.settled(progress.counters.delivered + rows as u64);
        }
        self.parked += under_way.iter().filter(|row| row.is_new_parked()).count() as u64;
        for (key, seq) in stopped {
            self.stop_lane(key, seq, true);
        }
        for key in passed {
            self.lane_passes(key);
        }
        self.put_back(put_back);
        for (seq, mark) in still_parked {
            self.window.release(1, mark.weight);
            if in_vain {
                self.due.tried_in_vain(seq);
            } else {
                self.due.let_go(seq);
            }
            self.due.note(mark.due_at);
            if let Some(key) = mark.key {
                self.lane_waits(key, seq);
            }
        }
        self.under_way.extend(under_way);
        self.route.outbox.add_progress(progress);
        self.route.outbox.add_rows(rows);
        self.take_run_back();
    }

    /// Somebody switched the route, or brought events back to it.
    pub(super) fn look_at_board(&mut self) {
        if self.route.board.take_brought() {
            self.due.note(self.ports.clock.now());
        }
    }

    /// Counts out what is committed by now.
    pub(super) fn rows_committed(&mut self, count: u64) {
        let (mut unsure, mut went_back) = (Vec::new(), false);
        while self.committed < count {
            self.committed += 1;
            let Some(row) = self.under_way.pop_front() else {
                continue;
            };
            if !row.taken_back {
                self.window.release(1, row.weight);
            }
            if row.was_parked {
                self.due.let_go(row.seq);
            }
            match row.due_at {
                Some(due_at) => self.due.note(due_at),
                None if row.was_parked => self.parked = self.parked.saturating_sub(1),
                None => {}
            }
            self.lane_after(&row);
            went_back |= row.taken_back;
            if let (true, Some(key)) = (row.taken_back, row.key) {
                unsure.push((key, row.seq));
            }
            if row.by_rule {
                let counts = self
                    .route
                    .backlog
                    .as_ref()
                    .map_or(0, |backlog| backlog.begun());
                self.burying.committed(counts, Instant::now());
            }
        }
        if went_back {
            self.show_run();
        }
        if !unsure.is_empty() {
            self.make_sure(unsure);
        }
    }

    fn probed(&mut self, answer: Result<(), Unavailable>) {
        self.asking = false;
        match answer {
            Ok(()) => {
                self.destination_answered = true;
                let nothing_waits = self.window.waiting() == 0 && self.parked == 0;
                if nothing_waits && self.attempts == 0 && self.aside.is_empty() {
                    self.breaker.idle();
                    self.burying.is_back();
                    self.show_breaker();
                }
            }
            Err(unavailable) => {
                self.route.metrics.attempts_unavailable.inc();
                if self.breaker.state() == BreakerState::Probing {
                    self.outage(unavailable);
                }
                self.show_breaker();
            }
        }
    }

    fn fetched(&mut self, fetched: Result<Fetched, StateError>) {
        match fetched {
            Ok(fetched) => {
                self.unfetched.has_passed();
                let lanes = &mut self.lanes;
                let may_try = |stored: &StoredEvent| lanes.may_try(stored);
                let (events, bytes) = self.due.end(fetched, may_try);
                self.window.charge(events, bytes);
            }
            Err(error) => {
                if self.unfetched.is_worth_a_line("state") {
                    tracing::error!(route = %self.route.name, %error, "parked events cannot be fetched; the route tries again");
                }
                self.show_error(Cause::new("state", error.to_string()));
                self.due.failed(later(self.ports.clock.now(), FETCH_AGAIN));
            }
        }
    }

    pub(super) fn show_breaker(&self) {
        let now = self.ports.clock.now();
        let next_probe_at = self
            .breaker
            .next_probe()
            .map(|until| later(now, until.saturating_duration_since(Instant::now())));
        let state = self.breaker.state();
        if self.route.board.show_breaker(state, next_probe_at, now) {
            self.route.metrics.breaker.set(state.as_metric());
            if state == BreakerState::Passing {
                tracing::info!(route = %self.route.name, destination = %self.route.destination_name, "the destination is back");
            }
        }
    }

    pub(super) fn show_error(&self, cause: Cause) {
        self.route.board.show_error(cause, self.ports.clock.now());
    }
}

fn nothing_done(outcome: &BatchOutcome) -> bool {
    let mut outcomes = outcome.outcomes.iter();
    outcomes.all(|outcome| matches!(outcome, domain::Outcome::NotDone))
}

/// Tasks are only cancelled when the worker is dropped, and then nobody listens.
fn cancelled(route: &domain::RouteName) {
    tracing::error!(%route, "an attempt was cancelled; its events are delivered after the next start");
}
