//! Redrives: jobs that put dead letters back on their routes, a step at a time.
//!
//! State has the jobs, so they survive a restart; one task works through all of them. A step moves letters in
//! one transaction, and the routes' workers are told that they have parked events. Letters are brought back no
//! faster than their routes deal with them, or than the job's rate.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use domain::RouteName;
use domain::ports::{
    DeadFilter, DeadLetters, Redrive, RedriveId, RouteStatus, Selection, StateError,
};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::audit::Statuses;
use crate::recovery::{Ramp, Recoveries};
use crate::roster::Roster;
use crate::route::Ports;
use crate::trouble::Trouble;

/// Letters that one step moves at most.
const STEP: u32 = 500;

/// Parked events at which a route is given no more of its dead letters: it has enough to do.
const ENOUGH: u64 = 5_000;

/// The wait before a failed step is repeated, and the longest before a route that has enough is looked at again.
const AGAIN: Duration = Duration::from_millis(500);

/// The first such wait: one that keeps up has room in a moment. It doubles while there is none.
const SOON: Duration = Duration::from_millis(10);

/// How often state is asked for jobs that nobody told of.
const LOOK: Duration = Duration::from_secs(30);

/// The task of all redrives.
pub(crate) struct Redriver {
    roster: Arc<Roster>,
    ports: Ports,
    letters: Arc<dyn DeadLetters>,
    /// Rung when a redrive was begun.
    begun: Arc<Notify>,
    /// When the next step of a job with a rate is due.
    paced: HashMap<RedriveId, Instant>,
    /// How long those wait that found no room the last time.
    waits: HashMap<RedriveId, Duration>,
    /// The paces of those that grow.
    ramps: HashMap<RedriveId, Ramp>,
    recoveries: Recoveries,
    /// What the auditor knows of the routes.
    statuses: Statuses,
    trouble: Trouble,
}

impl Redriver {
    pub(crate) fn new(
        roster: Arc<Roster>,
        ports: Ports,
        begun: Arc<Notify>,
        statuses: Statuses,
    ) -> Self {
        Self {
            recoveries: Recoveries::new(&roster.all()),
            roster,
            letters: Arc::clone(&ports.dead_letters),
            ports,
            begun,
            paced: HashMap::new(),
            waits: HashMap::new(),
            ramps: HashMap::new(),
            statuses,
            trouble: Trouble::default(),
        }
    }

    /// Works until dropped; a step under way is then done whole or not at all.
    pub(crate) async fn run(mut self) {
        let begun = Arc::clone(&self.begun);
        loop {
            let next = match self.round().await {
                Ok(next) => next,
                Err(error) => {
                    if self.trouble.is_worth_a_line("redrive") {
                        tracing::error!(%error, "dead letters cannot be brought back; trying again");
                    }
                    Instant::now() + AGAIN
                }
            };
            tokio::select! {
                () = begun.notified() => {}
                () = tokio::time::sleep_until(next) => {}
            }
        }
    }

    /// One step of every running job that may take one. Returns when to come again.
    async fn round(&mut self) -> Result<Instant, StateError> {
        if !self.recoveries.is_empty() {
            let statuses = self.statuses();
            self.recoveries.begin(&self.ports, &statuses).await?;
        }
        let jobs = self.letters.running_redrives().await?;
        self.paced
            .retain(|id, _| jobs.iter().any(|job| job.id == *id));
        self.waits
            .retain(|id, _| jobs.iter().any(|job| job.id == *id));
        let mut next = Instant::now() + LOOK;
        if !self.recoveries.is_empty() {
            next = Instant::now() + AGAIN;
        }
        self.ramps
            .retain(|id, _| jobs.iter().any(|job| job.id == *id));
        for job in &jobs {
            // One that cannot go on must not keep the others from it.
            let due = match self.step(job).await {
                Ok(due) => due,
                Err(error) => {
                    if self.trouble.is_worth_a_line("redrive") {
                        tracing::error!(job = job.id.0, %error, "a redrive cannot go on; trying again");
                    }
                    Instant::now() + AGAIN
                }
            };
            next = next.min(due);
        }
        Ok(next)
    }

    async fn step(&mut self, job: &Redrive) -> Result<Instant, StateError> {
        let now = Instant::now();
        if let Some(due) = self.paced.get(&job.id)
            && now < *due
        {
            return Ok(*due);
        }
        let room = self.room(&job.selection).await?;
        if room == 0 {
            let wait = self.waits.entry(job.id).or_insert(SOON);
            let due = now + *wait;
            *wait = (*wait * 2).min(AGAIN);
            return Ok(due);
        }
        self.waits.remove(&job.id);
        let rate = if job.ramped {
            match self.ramp(job).await? {
                Some(rate) => Some(rate),
                None => return Ok(now + AGAIN),
            }
        } else {
            job.rate_per_second
        };
        let limit = rate
            .map_or(STEP, |rate| rate.clamp(1, 10 * STEP).div_ceil(10))
            .min(STEP)
            .min(u32::try_from(room).unwrap_or(u32::MAX));
        let step = self
            .letters
            .step_redrive(job.id, limit as usize, self.ports.clock.now())
            .await?;
        let Some(step) = step else { return Ok(now) };
        for route in &*self.roster.all() {
            if step.routes.contains(&route.name) {
                route.board.bring();
            }
        }
        let wait = match rate {
            Some(rate) => Duration::from_secs_f64(step.moved as f64 / f64::from(rate.max(1))),
            None => Duration::ZERO,
        };
        let due = now + wait;
        self.paced.insert(job.id, due);
        Ok(due)
    }

    /// How many letters a second a job that grows may bring back now; `None`: none at the moment.
    async fn ramp(&mut self, job: &Redrive) -> Result<Option<u32>, StateError> {
        let Selection::Filter(DeadFilter {
            route: Some(name), ..
        }) = &job.selection
        else {
            return Ok(None);
        };
        let statuses = self.statuses();
        let Some(status) = statuses.iter().find(|status| status.name == *name) else {
            return Ok(None);
        };
        let records = self.ports.state.routes().await?;
        let record = records.iter().find(|record| record.name == *name);
        let parked = record.map_or(0, |record| record.parked);
        let now = Instant::now();
        let ramp = self
            .ramps
            .entry(job.id)
            .or_insert_with(|| Ramp::new(now, parked));
        Ok(ramp.rate(now, parked, status))
    }

    fn statuses(&self) -> Vec<RouteStatus> {
        self.statuses
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// How many letters may come back before a route that they are of has as many parked events as it should.
    async fn room(&self, selection: &Selection) -> Result<u64, StateError> {
        let only = match selection {
            Selection::Filter(filter) => filter.route.as_ref(),
            Selection::Ids(_) => return Ok(u64::MAX),
        };
        let records = self.ports.state.routes().await?;
        let asked = records
            .iter()
            .filter(|record| record.dead > 0 && only.is_none_or(|only| *only == record.name));
        let room = asked.map(|record| self.enough(&record.name).saturating_sub(record.parked));
        Ok(room.min().unwrap_or(u64::MAX))
    }

    /// Never so many that the route would read no further because of them.
    fn enough(&self, route: &RouteName) -> u64 {
        let running = self.roster.find(route);
        running.map_or(ENOUGH, |route| {
            ENOUGH.min(route.policies.parked_max.div_ceil(2))
        })
    }
}
