//! The auditor: counts what the routes settled a second time, from the journal's own indexes, and
//! only then lets the journal have the space back.
//!
//! One task for all routes, and the only one that releases. So the counts that status takes from the
//! journal never miss a segment that went in between: it takes them too, at most each second, and
//! whenever somebody asks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::policy::Order;
use domain::ports::{
    ExportStatus, JournalError, LastError, RouteRecord, RouteStatus, SettledRange,
};
use domain::{Cause, DestinationName, RangeSet, Seq, SeqRange, Timestamp};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior};

use crate::backlog::Count;
use crate::metrics::Metrics;
use crate::roster::Change;
use crate::route::{Committed, Ports, Route};
use crate::trouble::Trouble;

/// How old what status shows may become.
const REFRESH: Duration = Duration::from_secs(1);

/// How often every row of state is counted.
const RECOUNT: Duration = Duration::from_secs(60);

/// How often what waits for dead-letter targets is counted.
const COUNT_EXPORTS: Duration = Duration::from_secs(2);

/// What was refreshed this short a while ago is not refreshed again for somebody who asks.
const FRESH: Duration = Duration::from_millis(50);

/// What the auditor is told.
pub(crate) enum Asked {
    /// Somebody waits for fresh statuses.
    Fresh(oneshot::Sender<()>),
    /// A route comes or goes.
    Change(Change),
}

/// What status shows, refreshed by the auditor.
pub(crate) type Statuses = Arc<Mutex<Vec<RouteStatus>>>;

/// One route's part.
struct Part {
    route: Arc<Route>,
    /// How far the counts were compared, and what the reader had counted there.
    audited: Seq,
    accepted: u64,
    /// What state had settled above the cursor at the start. Its events were counted then, and count as
    /// many whatever became of them in the journal.
    kept: Vec<SettledRange>,
    /// The reader's count minus the journal's; always 0.
    drift: i64,
    /// What keeps the journal from being counted.
    uncounted: Trouble,
    /// What did not add up in state's rows when they were counted last, and when that was; always 0.
    rows: i64,
    recounted: Option<Instant>,
    exports_counted: Option<Instant>,
    /// The oldest event that is not settled, by the cursor it was looked up for.
    oldest: Option<(Seq, Timestamp)>,
    /// It was released to its end: it needs nothing of the journal any more.
    ended: bool,
}

/// The auditor of all routes.
pub(crate) struct Auditor {
    parts: Vec<Part>,
    ports: Ports,
    settled: Arc<Notify>,
    asked: mpsc::Receiver<Asked>,
    statuses: Statuses,
    refreshed: Option<Instant>,
    /// What keeps statuses from being refreshed.
    trouble: Trouble,
    metrics: Metrics,
    /// Targets that the metrics show.
    shown: BTreeSet<DestinationName>,
}

impl Auditor {
    pub(crate) fn new(
        routes: &[Arc<Route>],
        ports: Ports,
        settled: Arc<Notify>,
        asked: mpsc::Receiver<Asked>,
        statuses: Statuses,
        metrics: Metrics,
    ) -> Self {
        Self {
            parts: routes.iter().map(Part::new).collect(),
            ports,
            settled,
            asked,
            statuses,
            refreshed: None,
            trouble: Trouble::default(),
            metrics,
            shown: BTreeSet::new(),
        }
    }

    /// Works until dropped.
    pub(crate) async fn run(mut self) {
        let mut tick = tokio::time::interval(REFRESH);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let settled = Arc::clone(&self.settled);
        loop {
            tokio::select! {
                () = settled.notified() => self.audit().await,
                _ = tick.tick() => self.refresh().await,
                asked = self.asked.recv() => match asked {
                    Some(Asked::Change(change)) => self.change(change).await,
                    Some(Asked::Fresh(asked)) => {
                        let fresh = self.refreshed.is_some_and(|at| at.elapsed() < FRESH);
                        if !fresh {
                            self.refresh().await;
                        }
                        // Whoever asked may have gone.
                        let _ = asked.send(());
                    }
                    None => return,
                },
            }
        }
    }

    /// What is committed of a route that goes is released before it has gone, and nothing of it afterwards.
    async fn change(&mut self, change: Change) {
        // What was refreshed a moment ago does not have it.
        self.refreshed = None;
        match change {
            Change::Come(route) => self.parts.push(Part::new(&route)),
            Change::Go(name, done) => {
                self.audit().await;
                self.parts.retain(|part| part.route.name != name);
                self.lock().retain(|status| status.name != name);
                // Whoever asked may have gone.
                let _ = done.send(());
            }
        }
    }

    /// Compares the counts of what was settled since the last time, and releases it.
    pub(crate) async fn audit(&mut self) {
        for part in &mut self.parts {
            let committed = part.route.committed().clone();
            if committed.cursor > part.audited {
                part.audit(&committed, &self.ports).await;
                self.ports
                    .journal
                    .release(&part.route.name, committed.cursor);
                part.route.committed().lost.remove_through(committed.cursor);
            }
            part.release_if_ended(&committed, &self.ports);
        }
        let lowest = self.parts.iter().map(|part| part.audited).min();
        if let (Some(part), Some(lowest)) = (self.parts.first(), lowest) {
            part.route.damage.found().remove_through(lowest);
        }
    }

    async fn refresh(&mut self) {
        self.audit().await;
        for part in &self.parts {
            part.route.tell_burials();
        }
        // Before the records are read: what is settled meanwhile is in none of the counts.
        let counts: Vec<_> = self.parts.iter().map(Part::begin_count).collect();
        let end = self.ports.journal.end();
        let records = match self.ports.state.routes().await {
            Ok(records) => records,
            Err(error) => {
                let last = self.lock().clone();
                *self.lock() = self.grown_old(last, &error);
                return;
            }
        };
        let mut statuses = Vec::with_capacity(self.parts.len());
        let mut failed = None;
        for (part, counted) in self.parts.iter_mut().zip(counts) {
            let record = records.iter().find(|record| record.name == part.route.name);
            let Some(record) = record else { continue };
            match part.status(record, end, counted, &self.ports).await {
                Ok(status) => statuses.push(status),
                Err(error) => failed = Some(error),
            }
        }
        match failed {
            None => {
                if self.trouble.has_passed() {
                    tracing::info!("status is refreshed again");
                }
            }
            Some(error) => {
                let mut last = self.lock().clone();
                last.retain(|last| statuses.iter().all(|status| status.name != last.name));
                statuses.extend(self.grown_old(last, &error));
            }
        }
        statuses.sort_by(|a, b| a.name.cmp(&b.name));
        self.show_exports(&statuses);
        self.refreshed = Some(Instant::now());
        *self.lock() = statuses;
    }

    /// Adds up what waits for each target, of all routes. Of one whose last route has gone nothing is shown any more.
    fn show_exports(&mut self, statuses: &[RouteStatus]) {
        let mut pending = BTreeMap::new();
        for export in statuses.iter().flat_map(|status| &status.exports) {
            *pending.entry(&export.target).or_insert(0) += export.pending;
        }
        for gone in self
            .shown
            .extract_if(.., |target| !pending.contains_key(target))
        {
            self.metrics.forget_target(&gone);
        }
        self.shown
            .extend(pending.keys().map(|target| (*target).clone()));
        for (target, pending) in pending {
            self.metrics.export_pending(target).set(gauge(pending));
        }
    }

    /// What was last known, saying so.
    fn grown_old(
        &mut self,
        mut last: Vec<RouteStatus>,
        error: &dyn std::fmt::Display,
    ) -> Vec<RouteStatus> {
        if self.trouble.is_worth_a_line("status") {
            tracing::warn!(%error, "status cannot be refreshed; it shows what was last known");
        }
        let at = self.ports.clock.now();
        let detail = format!("this is what was last known; it cannot be refreshed: {error}");
        for status in &mut last {
            let cause = Cause::new("status is old", &detail);
            status.last_error = Some(LastError { at, cause });
        }
        last
    }

    fn lock(&self) -> MutexGuard<'_, Vec<RouteStatus>> {
        self.statuses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Part {
    fn new(route: &Arc<Route>) -> Self {
        Self {
            route: Arc::clone(route),
            audited: route.record.cursor,
            accepted: 0,
            kept: route.record.ranges.clone(),
            drift: 0,
            rows: 0,
            recounted: None,
            exports_counted: None,
            uncounted: Trouble::default(),
            oldest: None,
            ended: false,
        }
    }

    /// A route that is to end, and has come to its last event, may have much to do with what it parked and buried, and
    /// for long. It must not keep what others' events take of the journal meanwhile.
    fn release_if_ended(&mut self, committed: &Committed, ports: &Ports) {
        if !self.ended && committed.cursor >= self.route.until {
            self.ended = true;
            ports.journal.release(&self.route.name, Seq(u64::MAX));
        }
    }

    async fn audit(&mut self, committed: &Committed, ports: &Ports) {
        let (seen, before) = (committed.accepted - self.accepted, self.drift);
        let stretch = SeqRange {
            first: self.audited.next(),
            last: committed.cursor,
        };
        let mut known = lost_in(stretch, &committed.lost);
        known.extend(
            self.kept
                .extract_if(.., |kept| kept.range.last <= stretch.last),
        );
        known.sort_unstable_by_key(|known| known.range.first);
        match self.count(stretch, &known, ports).await {
            Ok(counted) => {
                self.uncounted.has_passed();
                // Asked after the count, which may be what another route's finding changed.
                if !self.another_lost(stretch, &known) {
                    self.drift += difference(seen, counted);
                }
            }
            Err(error) if self.uncounted.is_worth_a_line("journal") => {
                tracing::warn!(route = %self.route.name, %error, "a settled stretch cannot be counted a second time");
            }
            Err(_) => {}
        }
        if self.drift != before {
            tracing::error!(route = %self.route.name, drift = self.drift, cursor = committed.cursor.0,
                "the route saw another number of events than the journal counts: this is a defect");
        }
        self.audited = committed.cursor;
        self.accepted = committed.accepted;
    }

    /// The count in a stretch: the journal's, and within it what is `known` without the journal, in order.
    async fn count(
        &self,
        stretch: SeqRange,
        known: &[SettledRange],
        ports: &Ports,
    ) -> Result<u64, JournalError> {
        let (journal, sources) = (&ports.journal, &self.route.sources);
        let (mut total, mut after) = (0, stretch.first.previous());
        for SettledRange { range, events } in known {
            let before = range.first.previous();
            total += journal.count(sources, after, before).await? + events;
            after = range.last;
        }
        Ok(total + journal.count(sources, after, stretch.last).await?)
    }

    /// Whether a route found something damaged in there, or in a segment that reaches in there, that this one
    /// had read in time: the journal counts it no more. Nobody can count that a second time, so the reader is
    /// taken at its word.
    fn another_lost(&self, stretch: SeqRange, known: &[SettledRange]) -> bool {
        let known: RangeSet = known.iter().map(|known| known.range).collect();
        let found = self.route.damage.found();
        let mut within = found.iter().filter_map(|found| found.overlap(stretch));
        within.any(|found| !known.covers(found))
    }

    fn begin_count(&self) -> Option<Count> {
        let backlog = self.route.backlog.as_ref();
        backlog.map(|backlog| backlog.begin_count())
    }

    async fn status(
        &mut self,
        record: &RouteRecord,
        end: Seq,
        counted: Option<Count>,
        ports: &Ports,
    ) -> Result<RouteStatus, JournalError> {
        // What was read as lost and is not committed yet waits like the rest.
        let lost = self.route.committed().lost.clone();
        let stretches = record.unsettled(end.min(self.route.until));
        let mut pending = 0;
        if lost.is_empty() {
            let sources = &self.route.sources;
            pending = ports.journal.count_in(sources, stretches).await?;
        } else {
            for stretch in stretches {
                let lost = lost_in(stretch, &lost);
                pending += self.count(stretch, &lost, ports).await?;
            }
        }
        if let (Some(backlog), Some(counted)) = (&self.route.backlog, counted) {
            let bytes = ports.journal.bytes_after(record.cursor);
            backlog.end_count(counted, pending, bytes);
            // A worker that is to bury what is too much looks again.
            self.route.board.look_again();
        }
        let ledger = record.ledger(pending);
        self.route.board.show_parked(ledger.parked);
        let oldest = match ledger.pending {
            0 => None,
            _ => self.oldest(record.cursor, ports).await?,
        };
        // In strict order everything is behind the one that is parked, read or not.
        let held = match self.route.policies.order {
            Order::Strict if ledger.parked > 0 => ledger.pending,
            _ => self.route.board.held(),
        };
        let now = ports.clock.now();
        let age = oldest.map_or(0.0, |at| now.duration_since(at).as_secs_f64().max(0.0));
        self.recount(ports).await;
        let imbalance = self.drift + ledger.imbalance() + self.rows;
        let exports = self.exports(ports).await;
        let shown = self.route.board.shown();
        let metrics = &self.route.metrics;
        metrics.pending.set(gauge(ledger.pending));
        metrics.parked.set(gauge(ledger.parked));
        metrics.dead_now.set(gauge(ledger.dead));
        metrics.oldest_pending.set(age);
        metrics.breaker.set(shown.breaker.as_metric());
        metrics.imbalance.set(imbalance);
        Ok(RouteStatus {
            name: self.route.name.clone(),
            sources: self.route.source_names.clone(),
            destination: self.route.destination_name.clone(),
            destination_type: self.route.destination.kind().to_owned(),
            breaker: shown.breaker,
            breaker_since: shown.breaker_since,
            next_probe_at: shown.next_probe_at,
            paused: self.route.board.paused(),
            ledger,
            imbalance,
            held,
            full: self
                .route
                .backlog
                .as_ref()
                .is_some_and(|backlog| backlog.refuses()),
            at_parked_max: self.route.board.at_parked_max(),
            cursor: record.cursor,
            oldest_pending_seconds: age,
            last_error: shown.last_error,
            findings: self.route.findings.borrow().clone(),
            exports,
        })
    }

    /// The targets, with what waits for them counted now and then.
    async fn exports(&mut self, ports: &Ports) -> Vec<ExportStatus> {
        let targets = &self.route.targets;
        if self
            .exports_counted
            .is_none_or(|at| at.elapsed() >= COUNT_EXPORTS)
        {
            self.exports_counted = Some(Instant::now());
            for target in targets {
                let counts = ports.exports.export_counts(&self.route.name, &target.name);
                match counts.await {
                    Ok(counts) => target.show_counts(counts),
                    Err(error) => {
                        tracing::debug!(route = %self.route.name, %error, "exports cannot be counted");
                    }
                }
            }
        }
        targets.iter().map(|target| target.status()).collect()
    }

    /// Counts state's rows one by one, now and then.
    async fn recount(&mut self, ports: &Ports) {
        if self.recounted.is_some_and(|at| at.elapsed() < RECOUNT) {
            return;
        }
        self.recounted = Some(Instant::now());
        match ports.state.imbalance(&self.route.name).await {
            Ok(rows) => {
                if rows != 0 && self.rows != rows {
                    tracing::error!(route = %self.route.name, rows, "the rows of the route do not add up: this is a defect");
                }
                self.rows = rows;
            }
            Err(error) => {
                tracing::debug!(route = %self.route.name, %error, "rows cannot be counted");
            }
        }
    }

    /// When the oldest event above the cursor came in. It is looked up once a cursor.
    async fn oldest(
        &mut self,
        cursor: Seq,
        ports: &Ports,
    ) -> Result<Option<Timestamp>, JournalError> {
        if let Some((at, time)) = self.oldest
            && at == cursor
        {
            return Ok(Some(time));
        }
        let first = ports
            .archive
            .first_after(&self.route.sources, cursor)
            .await?;
        self.oldest = first.map(|stored| (cursor, stored.event.received_at));
        Ok(self.oldest.map(|(_, time)| time))
    }
}

/// What damage took of the stretch. Every number counts as an event, as it does for the reader.
fn lost_in(stretch: SeqRange, lost: &RangeSet) -> Vec<SettledRange> {
    let within = lost.iter().filter_map(|lost| lost.overlap(stretch));
    let all = |range: SeqRange| SettledRange {
        range,
        events: range.count(),
    };
    within.map(all).collect()
}

fn difference(seen: u64, counted: u64) -> i64 {
    let magnitude = i64::try_from(seen.abs_diff(counted)).unwrap_or(i64::MAX);
    if seen >= counted {
        magnitude
    } else {
        -magnitude
    }
}

fn gauge(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
