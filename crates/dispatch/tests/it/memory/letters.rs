//! Dead letters of the state in memory, as far as dispatch and its tests ask for them.

use std::collections::BTreeMap;

use async_trait::async_trait;
use domain::ports::{
    BatchLimit, DeadFilter, DeadGroup, DeadLetter, DeadLetters, DeadPage, DeadQuery, Edit, Edited,
    ExportCounts, Exported, Exports, Letter, Park, Redrive, RedriveId, RedriveStatus, RedriveStep,
    Selection, StateError,
};
use domain::{DestinationName, EventId, Reason, RouteName, Seq, Timestamp};

use super::{MemoryState, Rows, count};

/// Which dead letters are selected, by route and number.
fn selected(
    routes: &BTreeMap<RouteName, Rows>,
    selection: &Selection,
    through: Letter,
) -> Vec<(RouteName, Seq)> {
    let mut found = Vec::new();
    for (name, rows) in routes {
        for (seq, bury) in &rows.dead {
            let matches = match selection {
                Selection::Ids(ids) => ids.contains(&bury.stored.id),
                Selection::Filter(filter) => {
                    filter.route.as_ref().is_none_or(|route| route == name)
                        && filter.reason.is_none_or(|reason| reason == bury.reason)
                }
            };
            if matches && rows.letters[seq] <= through {
                found.push((rows.letters[seq], name.clone(), *seq));
            }
        }
    }
    found.sort();
    found
        .into_iter()
        .map(|(_, name, seq)| (name, seq))
        .collect()
}

#[async_trait]
impl DeadLetters for MemoryState {
    async fn last_letter(&self) -> Result<Letter, StateError> {
        Ok(Letter(*self.buried.lock().unwrap()))
    }

    async fn purge(
        &self,
        selection: &Selection,
        through: Letter,
        limit: usize,
    ) -> Result<u64, StateError> {
        let mut routes = self.routes.lock().unwrap();
        let mut found = selected(&routes, selection, through);
        found.truncate(limit);
        for (name, seq) in &found {
            let rows = routes.get_mut(name).unwrap();
            rows.dead.remove(seq).unwrap();
            rows.record.as_mut().unwrap().counters.discarded += 1;
            count(rows);
        }
        Ok(found.len() as u64)
    }

    async fn begin_redrive(
        &self,
        selection: &Selection,
        rate_per_second: Option<u32>,
        now: Timestamp,
    ) -> Result<Redrive, StateError> {
        let through = self.last_letter().await?;
        let matched = selected(&self.routes.lock().unwrap(), selection, through).len() as u64;
        let mut jobs = self.jobs.lock().unwrap();
        let job = Redrive {
            id: RedriveId(jobs.len() as u64),
            selection: selection.clone(),
            through,
            rate_per_second,
            ramped: false,
            status: RedriveStatus::Running,
            matched,
            moved: 0,
            created_at: now,
            finished_at: None,
        };
        jobs.push(job.clone());
        Ok(job)
    }

    async fn begin_recovery(
        &self,
        route: &RouteName,
        now: Timestamp,
    ) -> Result<Option<Redrive>, StateError> {
        let outage = Selection::Filter(DeadFilter {
            route: Some(route.clone()),
            reason: Some(Reason::Outage),
            ..DeadFilter::default()
        });
        let running = self.running_redrives().await?;
        let none = selected(&self.routes.lock().unwrap(), &outage, Letter(u64::MAX)).is_empty();
        if none
            || running
                .iter()
                .any(|job| job.ramped && job.selection == outage)
        {
            return Ok(None);
        }
        let job = self.begin_redrive(&outage, None, now).await?;
        let mut jobs = self.jobs.lock().unwrap();
        let kept = jobs.last_mut().unwrap();
        kept.ramped = true;
        Ok(Some(Redrive {
            ramped: true,
            ..job
        }))
    }

    async fn step_redrive(
        &self,
        id: RedriveId,
        limit: usize,
        now: Timestamp,
    ) -> Result<Option<RedriveStep>, StateError> {
        let (mut jobs, mut routes) = (self.jobs.lock().unwrap(), self.routes.lock().unwrap());
        let job = &mut jobs[usize::try_from(id.0).unwrap()];
        let mut found = selected(&routes, &job.selection, job.through);
        found.truncate(limit);
        for (name, seq) in &found {
            let rows = routes.get_mut(name).unwrap();
            let bury = rows.dead.remove(seq).unwrap();
            *rows.redrives.entry(*seq).or_default() += 1;
            let park = Park {
                stored: bury.stored,
                attempts: 0,
                due_at: now.min(bury.last_failure_at),
                first_failure_at: bury.first_failure_at,
                last_failure_at: bury.last_failure_at,
                cause: bury.cause,
                key: bury.key,
            };
            assert!(rows.parked.insert(*seq, park).is_none(), "parked and dead");
            count(rows);
        }
        job.moved += found.len() as u64;
        if found.is_empty() {
            job.status = RedriveStatus::Done;
        }
        let moved = found.len() as u64;
        let mut names: Vec<_> = found.into_iter().map(|(name, _)| name).collect();
        names.dedup();
        Ok(Some(RedriveStep {
            redrive: job.clone(),
            routes: names,
            moved,
        }))
    }

    async fn running_redrives(&self) -> Result<Vec<Redrive>, StateError> {
        let jobs = self.jobs.lock().unwrap();
        let running = jobs
            .iter()
            .filter(|job| job.status == RedriveStatus::Running);
        Ok(running.cloned().collect())
    }

    async fn redrive(&self, id: RedriveId) -> Result<Option<Redrive>, StateError> {
        let jobs = self.jobs.lock().unwrap();
        Ok(jobs.get(usize::try_from(id.0).unwrap()).cloned())
    }

    async fn redrive_edited(&self, _: Edit) -> Result<Option<RouteName>, StateError> {
        unreachable!()
    }
    async fn redrive_one(
        &self,
        _: EventId,
        _: &RouteName,
        _: Timestamp,
    ) -> Result<bool, StateError> {
        unreachable!()
    }
    async fn history(&self, _: EventId) -> Result<Vec<Edited>, StateError> {
        unreachable!()
    }
    async fn dead_page(&self, _: &DeadQuery) -> Result<DeadPage, StateError> {
        unreachable!()
    }
    async fn dead_letters(&self, _: EventId) -> Result<Vec<DeadLetter>, StateError> {
        unreachable!()
    }
    async fn dead_groups(&self, _: &DeadFilter, _: usize) -> Result<Vec<DeadGroup>, StateError> {
        unreachable!()
    }
    async fn count_dead(&self, _: &Selection) -> Result<u64, StateError> {
        unreachable!()
    }
    async fn count_redrivable(&self, _: &Selection) -> Result<u64, StateError> {
        unreachable!()
    }
    async fn cancel_redrive(
        &self,
        _: RedriveId,
        _: Timestamp,
    ) -> Result<Option<Redrive>, StateError> {
        unreachable!()
    }
    async fn redrives(&self, _: Option<RedriveId>, _: usize) -> Result<Vec<Redrive>, StateError> {
        unreachable!()
    }
}

impl MemoryState {
    /// Whether the target said that it would not take the letter.
    pub(crate) fn is_refused(
        &self,
        route: &RouteName,
        target: &DestinationName,
        letter: Letter,
    ) -> bool {
        let routes = self.routes.lock().unwrap();
        let mut refused = routes[route].refused.iter();
        refused.any(|(of, one)| of == target && *one == letter)
    }
}

#[async_trait]
impl Exports for MemoryState {
    async fn export_position(
        &self,
        route: &RouteName,
        target: &DestinationName,
    ) -> Result<Letter, StateError> {
        let routes = self.routes.lock().unwrap();
        Ok(routes[route]
            .exported
            .get(target)
            .copied()
            .unwrap_or_default())
    }

    async fn letters_after(
        &self,
        route: &RouteName,
        after: Letter,
        limit: BatchLimit,
    ) -> Result<Vec<DeadLetter>, StateError> {
        let routes = self.routes.lock().unwrap();
        let rows = &routes[route];
        let mut found: Vec<_> = rows
            .dead
            .iter()
            .filter(|(seq, _)| rows.letters[seq] > after)
            .map(|(seq, bury)| DeadLetter {
                letter: rows.letters[seq],
                route: route.clone(),
                retired: false,
                stored: bury.stored.clone(),
                attempts: bury.attempts,
                reason: bury.reason,
                cause: bury.cause.clone(),
                first_failure_at: bury.first_failure_at,
                last_failure_at: bury.last_failure_at,
                redrives: rows.redrives.get(seq).copied().unwrap_or(0),
                not_exported: Vec::new(),
            })
            .collect();
        found.sort_by_key(|letter| letter.letter);
        found.truncate(limit.events);
        Ok(found)
    }

    async fn exported(&self, step: Exported) -> Result<(), StateError> {
        let mut routes = self.routes.lock().unwrap();
        let rows = routes.get_mut(&step.route).unwrap();
        let came = rows.exported.entry(step.target.clone()).or_default();
        *came = step.through.max(*came);
        let refused = step.unexportable.into_iter();
        rows.refused
            .extend(refused.map(|one| (step.target.clone(), one.letter)));
        Ok(())
    }

    async fn export_counts(
        &self,
        route: &RouteName,
        target: &DestinationName,
    ) -> Result<ExportCounts, StateError> {
        let after = self.export_position(route, target).await?;
        let routes = self.routes.lock().unwrap();
        let rows = &routes[route];
        let pending = rows.dead.keys().filter(|seq| rows.letters[seq] > after);
        let refused = rows.refused.iter().filter(|(of, _)| of == target);
        Ok(ExportCounts {
            pending: pending.count() as u64,
            refused: refused.count() as u64,
        })
    }

    async fn discard_exported(
        &self,
        _: &RouteName,
        _: &[DestinationName],
        _: Timestamp,
        _: usize,
    ) -> Result<u64, StateError> {
        unreachable!()
    }
}
