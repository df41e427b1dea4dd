//! Dead letters in hand, delivered until their target has dealt with every one of them.
//!
//! A letter is dealt with when the target confirmed it, or when it will not take it: it rejects it, or failed at it or
//! went away at it several times while it took others. As long as a target takes nothing, a failure says something of the
//! target and not of the letter: it is left alone, and asked again as a route asks its destination. A letter that makes it
//! go away each time is found by trying it in ever smaller company.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use domain::policy::{MAX_RETRY_AFTER, ProbePolicy};
use domain::ports::{BatchLimit, BreakerState, Delivery, DestinationLimits, Letter, Unexportable};
use domain::{BatchOutcome, Cause, Clock, Outcome, Unavailable};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Target;
use super::open::Open;
use crate::attempt;
use crate::breaker::Breaker;
use crate::worker::sort::later;

/// How often whoever runs it is back in control: to note how far the target has come, and to look for more.
const BACK: Duration = Duration::from_millis(200);

/// How many pages' bytes may be in hand: a few large letters that the target does not take must not keep it from being
/// offered the others, by which it is told whether it is the letters or the target.
const PAGES_IN_HAND: usize = 4;

/// What a task reports.
enum Done {
    Attempt(Vec<Open>, BatchOutcome),
    Probe(Result<(), Unavailable>),
}

/// What else was in the attempt that a letter was in.
#[derive(Clone, Copy)]
struct Among {
    /// How many they were, it included, and how many of them were taken.
    size: usize,
    count: u64,
    was_passing: bool,
}

/// The letters in hand, and what is known of their target.
pub(super) struct Round {
    target: Arc<Target>,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
    limits: DestinationLimits,
    breaker: Breaker,
    /// It answered since the breaker began to probe.
    answered: bool,
    /// Letters that the target took since the start.
    taken: u64,
    paused_until: Option<Instant>,
    throttles: u32,
    waiting: VecDeque<Open>,
    /// The letters in hand, and whether each is dealt with.
    letters: BTreeMap<Letter, bool>,
    /// How many are not, and what those take in memory.
    open: usize,
    bytes: usize,
    unexportable: Vec<Unexportable>,
    tasks: JoinSet<Done>,
}

impl Round {
    pub(super) fn new(target: Arc<Target>, clock: Arc<dyn Clock>, stop: CancellationToken) -> Self {
        Self {
            limits: target.destination.limits(),
            target,
            clock,
            stop,
            breaker: Breaker::new(ProbePolicy::default()),
            answered: false,
            taken: 0,
            paused_until: None,
            throttles: 0,
            waiting: VecDeque::new(),
            letters: BTreeMap::new(),
            open: 0,
            bytes: 0,
            unexportable: Vec::new(),
            tasks: JoinSet::new(),
        }
    }

    /// Takes more letters, later ones than those in hand.
    pub(super) fn take(&mut self, page: Vec<(Letter, Delivery)>) {
        let now = Instant::now();
        for (letter, delivery) in page {
            self.letters.insert(letter, false);
            self.open += 1;
            self.bytes += delivery.stored.event.weight();
            self.waiting.push_back(Open::new(letter, delivery, now));
        }
    }

    /// The last letter in hand.
    pub(super) fn last(&self) -> Option<Letter> {
        self.letters.last_key_value().map(|(letter, _)| *letter)
    }

    /// Whether there is nothing in hand.
    pub(super) fn is_empty(&self) -> bool {
        self.letters.is_empty()
    }

    /// How many more letters should be at hand, if any: few are left that were never tried. While the target takes nothing
    /// all were, and no more are taken than `most`, in events and in bytes. Where there are so many in hand because a few
    /// are not taken, one more at a time is: by it is told whether it is the letters or the target.
    pub(super) fn wants(&self, most: BatchLimit) -> Option<BatchLimit> {
        if self.open > most.events || self.bytes >= PAGES_IN_HAND * most.bytes {
            return None;
        }
        let untried = self.waiting.iter().filter(|open| open.is_untried()).count();
        if self.letters.len() <= most.events {
            let enough = self
                .limits
                .batch_events
                .saturating_mul(self.limits.concurrency);
            return (untried < enough.max(1)).then_some(most);
        }
        let stuck = |open: &Open| open.needs_others(self.taken);
        let one = BatchLimit { events: 1, ..most };
        (untried == 0 && self.tasks.is_empty() && self.waiting.iter().any(stuck)).then_some(one)
    }

    /// Delivers what is in hand, until all is dealt with, or more is wanted (at most `most`), or a moment has passed;
    /// after a stop, until what was under way has ended. `grows`: there may be more letters already, or else when
    /// `more` changes.
    pub(super) async fn run(
        &mut self,
        most: BatchLimit,
        mut grows: bool,
        more: &mut watch::Receiver<u64>,
    ) {
        let stop = self.stop.clone();
        let back_at = Instant::now() + BACK;
        while self.letters.values().any(|done| !done) {
            if !stop.is_cancelled() {
                self.start_what_may();
                if (grows && self.wants(most).is_some()) || Instant::now() >= back_at {
                    return;
                }
            } else if self.tasks.is_empty() {
                return;
            }
            let wake = self.next_wake().map_or(back_at, |wake| wake.min(back_at));
            tokio::select! {
                Some(done) = self.tasks.join_next() => self.report(done),
                _ = more.changed(), if !grows => grows = true,
                () = stop.cancelled(), if !stop.is_cancelled() => {}
                () = tokio::time::sleep_until(wake), if !stop.is_cancelled() => {}
            }
        }
    }

    /// Takes out what is dealt with, as far as nothing before it is open: the last letter of it, and those among it
    /// that the target will not take.
    pub(super) fn through(&mut self) -> Option<(Letter, Vec<Unexportable>)> {
        let mut through = None;
        while let Some((letter, true)) = self.letters.first_key_value().map(|(l, done)| (*l, *done))
        {
            self.letters.remove(&letter);
            through = Some(letter);
        }
        let through = through?;
        let unexportable = std::mem::take(&mut self.unexportable);
        let (known, open) = unexportable
            .into_iter()
            .partition(|one| one.letter <= through);
        self.unexportable = open;
        Some((through, known))
    }

    fn next_wake(&self) -> Option<Instant> {
        if self.paused_until.is_some() {
            return self.paused_until;
        }
        let due = self.waiting.iter().map(|open| open.due).min();
        match self.breaker.state() {
            BreakerState::Passing if self.tasks.len() < self.limits.concurrency.max(1) => due,
            BreakerState::Tripped => self.breaker.next_probe(),
            BreakerState::Probing if self.tasks.is_empty() => due,
            // What is under way reports.
            BreakerState::Passing | BreakerState::Probing => None,
        }
    }

    fn start_what_may(&mut self) {
        let now = Instant::now();
        if self.paused_until.is_some_and(|until| now < until) {
            return;
        }
        self.paused_until = None;
        if self.breaker.begin_probe(now) {
            self.answered = false;
            self.show_breaker();
        }
        match self.breaker.state() {
            BreakerState::Passing => {
                while self.tasks.len() < self.limits.concurrency.max(1) {
                    let Some(batch) = self.batch(self.limits.batch_events, now) else {
                        return;
                    };
                    self.start(batch);
                }
            }
            BreakerState::Probing if !self.tasks.is_empty() => {}
            BreakerState::Probing if !self.answered => {
                let destination = Arc::clone(&self.target.destination);
                self.tasks
                    .spawn(async move { Done::Probe(attempt::probe(destination).await) });
            }
            BreakerState::Probing => {
                if let Some(batch) = self.batch(1, now) {
                    self.start(batch);
                }
            }
            BreakerState::Tripped => {}
        }
    }

    /// The next letters that are due and may travel together.
    fn batch(&mut self, most: usize, now: Instant) -> Option<Vec<Open>> {
        let (mut batch, mut later) = (Vec::new(), VecDeque::new());
        let (mut most, mut bytes) = (most.max(1), 0);
        while let Some(open) = self.waiting.pop_front() {
            if open.due > now {
                later.push_back(open);
                continue;
            }
            let fits = most.min(open.company);
            bytes += open.delivery.stored.event.weight();
            if !batch.is_empty() && (batch.len() >= fits || bytes > self.limits.batch_bytes) {
                self.waiting.push_front(open);
                break;
            }
            most = fits;
            batch.push(open);
            if batch.len() >= most {
                break;
            }
        }
        while let Some(open) = later.pop_back() {
            self.waiting.push_front(open);
        }
        (!batch.is_empty()).then_some(batch)
    }

    fn start(&mut self, mut batch: Vec<Open>) {
        for open in &mut batch {
            open.delivery.attempt = open.next_try();
        }
        let (destination, slots) = (
            Arc::clone(&self.target.destination),
            Arc::clone(&self.target.slots),
        );
        self.tasks.spawn(async move {
            // The semaphore is never closed; without a slot the attempt would only be less polite.
            let _slot = slots.acquire_owned().await.ok();
            let deliveries: Vec<Delivery> =
                batch.iter().map(|open| open.delivery.clone()).collect();
            let outcome = attempt::deliver(&*destination, &deliveries).await;
            Done::Attempt(batch, outcome)
        });
    }

    fn report(&mut self, done: Result<Done, tokio::task::JoinError>) {
        match done {
            Ok(Done::Attempt(batch, outcome)) => self.attempted(batch, outcome),
            Ok(Done::Probe(Ok(()))) => self.answered = true,
            Ok(Done::Probe(Err(unavailable))) => self.away(unavailable),
            Err(error) => {
                if let Ok(panic) = error.try_into_panic() {
                    std::panic::resume_unwind(panic);
                }
            }
        }
        self.show_breaker();
    }

    fn attempted(&mut self, batch: Vec<Open>, outcome: BatchOutcome) {
        let delivered = |outcome: &&Outcome| matches!(outcome, Outcome::Delivered);
        let count = outcome.outcomes.iter().filter(delivered).count() as u64;
        let was_passing = self.breaker.state() == BreakerState::Passing;
        if count > 0 {
            self.taken += count;
            self.throttles = 0;
            self.breaker.delivered();
        }
        let size = batch.len();
        let mut unavailable = outcome.unavailable;
        let went_away = unavailable.is_some();
        for (open, told) in batch.into_iter().zip(outcome.outcomes) {
            match told {
                Outcome::Delivered => self.done(&open),
                Outcome::NotDone if went_away => {
                    let among = Among {
                        size,
                        count,
                        was_passing,
                    };
                    self.left(open, among, &unavailable);
                }
                Outcome::NotDone => self.waiting.push_front(open),
                Outcome::Throttled { after } => {
                    self.throttle(after);
                    self.waiting.push_back(open);
                }
                Outcome::Reject { cause } => {
                    let why = self.failed(open, count, cause, None);
                    unavailable = unavailable.or(why);
                }
                Outcome::Retry { cause, after } => {
                    let after = after.unwrap_or_default().min(MAX_RETRY_AFTER);
                    let why = self.failed(open, count, cause, Some(after));
                    unavailable = unavailable.or(why);
                }
            }
        }
        match unavailable {
            Some(unavailable) => self.away(unavailable),
            None if count == 0 => self.breaker.answered(Instant::now(), rand::random()),
            None => {}
        }
    }

    /// The target answered that it does not take this letter, among others of which it took `count`. `after`: it may
    /// later. Gives why it is taken for away, if it is.
    fn failed(
        &mut self,
        mut open: Open,
        count: u64,
        cause: Cause,
        after: Option<Duration>,
    ) -> Option<Unavailable> {
        let takes_others = open.was_tried(count, self.taken);
        if cause.blanket && !takes_others {
            open.due = Instant::now();
            self.waiting.push_back(open);
            return Some(Unavailable { cause });
        }
        self.show_error(cause.clone());
        let gives_up = match after {
            None => true,
            Some(_) if cause.aside => false,
            Some(_) => open.others_are_taken() && open.counts(),
        };
        if gives_up {
            self.give_up(&open, cause);
            return None;
        }
        open.aside = cause.aside;
        open.wait(after.unwrap_or_default());
        self.waiting.push_back(open);
        None
    }

    /// The target went away and had not dealt with this letter.
    fn left(&mut self, mut open: Open, among: Among, why: &Option<Unavailable>) {
        let takes_others = open.was_tried(among.count, self.taken);
        if among.was_passing && among.size > 1 {
            open.company = among.size.div_ceil(2);
        }
        if among.size == 1 && takes_others {
            if open.counts()
                && let Some(why) = why
            {
                return self.give_up(&open, why.cause.clone());
            }
            // It may be the target after all, that comes and goes for a moment.
            open.wait(Duration::ZERO);
        }
        // The others are tried first: one of them may be what it takes.
        self.waiting.push_back(open);
    }

    fn done(&mut self, open: &Open) {
        self.letters.insert(open.letter, true);
        self.open = self.open.saturating_sub(1);
        let weight = open.delivery.stored.event.weight();
        self.bytes = self.bytes.saturating_sub(weight);
    }

    fn give_up(&mut self, open: &Open, cause: Cause) {
        tracing::warn!(target = %self.target.name, event = %open.delivery.stored.id, %cause,
            "a dead-letter target does not take this letter; it stays in the dead-letter queue, marked so");
        self.done(open);
        self.unexportable.push(Unexportable {
            letter: open.letter,
            cause,
        });
    }

    fn away(&mut self, unavailable: Unavailable) {
        if self.breaker.state() == BreakerState::Passing {
            tracing::warn!(target = %self.target.name, cause = %unavailable.cause,
                "a dead-letter target is not there; dead letters stay in state and are tried again");
        }
        self.breaker.unavailable(Instant::now(), rand::random());
        self.show_error(unavailable.cause);
    }

    fn throttle(&mut self, after: Option<Duration>) {
        self.throttles = self.throttles.saturating_add(1);
        let backoff = ProbePolicy::default().wait(self.throttles, rand::random());
        let wait = after.map_or(backoff, |after| after.min(MAX_RETRY_AFTER));
        self.paused_until = self.paused_until.max(Some(Instant::now() + wait));
    }

    fn show_error(&self, cause: Cause) {
        self.target.board.show_error(cause, self.clock.now());
    }

    fn show_breaker(&self) {
        let now = self.clock.now();
        let next = self
            .breaker
            .next_probe()
            .map(|until| later(now, until.saturating_duration_since(Instant::now())));
        let state = self.breaker.state();
        let changed = self.target.board.show_breaker(state, next, now);
        if changed && state == BreakerState::Passing {
            tracing::info!(target = %self.target.name, "the dead-letter target is back");
        }
    }
}
