//! Gaps and backfills in memory: what state does, without a thread that a paused clock would not wait for.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use async_trait::async_trait;
use domain::ports::{
    Backfill, BackfillStatus, Gap, GapQuery, Gaps, NewBackfill, NewGap, StateError,
};
use domain::{SourceName, Timestamp};

#[derive(Debug, Default)]
pub(crate) struct MemoryGaps(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    attended: BTreeMap<SourceName, Timestamp>,
    gaps: Vec<Gap>,
    backfills: Vec<Backfill>,
}

impl MemoryGaps {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap()
    }

    /// All of them, oldest first.
    pub(crate) fn all(&self) -> Vec<Gap> {
        self.inner().gaps.clone()
    }

    /// The same of backfills.
    pub(crate) fn all_backfills(&self) -> Vec<Backfill> {
        self.inner().backfills.clone()
    }
}

fn begin(inner: &mut Inner, new: NewBackfill) -> Backfill {
    let backfill = Backfill {
        id: inner.backfills.len() as u64 + 1,
        source: new.source,
        from: new.from,
        to: new.to,
        gap: new.gap,
        status: BackfillStatus::Running,
        job: None,
        cursor: None,
        events: 0,
        error: None,
        created_at: new.created_at,
        finished_at: None,
    };
    inner.backfills.push(backfill.clone());
    backfill
}

#[async_trait]
impl Gaps for MemoryGaps {
    async fn attended(&self, source: &SourceName, until: Timestamp) -> Result<(), StateError> {
        let mut inner = self.inner();
        let known = inner.attended.entry(source.clone()).or_insert(until);
        *known = until.max(*known);
        Ok(())
    }

    async fn last_attended(&self, source: &SourceName) -> Result<Option<Timestamp>, StateError> {
        Ok(self.inner().attended.get(source).copied())
    }

    async fn open_gap(&self, new: NewGap) -> Result<Gap, StateError> {
        let mut inner = self.inner();
        let gap = Gap {
            id: inner.gaps.len() as u64 + 1,
            source: new.source,
            from: new.from,
            to: new.to,
            topics: new.topics,
            why: new.why,
            announced: false,
        };
        inner.gaps.push(gap.clone());
        Ok(gap)
    }

    async fn close_gap(
        &self,
        id: u64,
        to: Timestamp,
        fill: bool,
    ) -> Result<Option<Gap>, StateError> {
        let mut inner = self.inner();
        let open = inner
            .gaps
            .iter_mut()
            .find(|gap| gap.id == id && gap.to.is_none());
        let Some(gap) = open else { return Ok(None) };
        gap.to = Some(to.max(gap.from));
        let gap = gap.clone();
        if fill {
            let new = NewBackfill {
                source: gap.source.clone(),
                from: gap.from,
                to: to.max(gap.from),
                gap: Some(id),
                created_at: to,
            };
            begin(&mut inner, new);
        }
        Ok(Some(gap))
    }

    async fn announced(&self, ids: &[u64]) -> Result<(), StateError> {
        for gap in &mut self.inner().gaps {
            gap.announced |= ids.contains(&gap.id);
        }
        Ok(())
    }

    async fn gaps(&self, query: &GapQuery) -> Result<Vec<Gap>, StateError> {
        let all = self.all();
        let wanted = |gap: &Gap| {
            query
                .source
                .as_ref()
                .is_none_or(|source| *source == gap.source)
                && !(query.pending && gap.announced)
        };
        Ok(all
            .into_iter()
            .rev()
            .filter(wanted)
            .take(query.limit)
            .collect())
    }

    async fn begin_backfill(&self, backfill: NewBackfill) -> Result<Backfill, StateError> {
        Ok(begin(&mut self.inner(), backfill))
    }

    async fn backfills(&self, query: &GapQuery) -> Result<Vec<Backfill>, StateError> {
        let all = self.all_backfills();
        let wanted = |one: &Backfill| !query.pending || one.status == BackfillStatus::Running;
        Ok(all
            .into_iter()
            .rev()
            .filter(wanted)
            .take(query.limit)
            .collect())
    }

    async fn note_backfill(&self, backfill: &Backfill) -> Result<bool, StateError> {
        let mut inner = self.inner();
        let running =
            |one: &&mut Backfill| one.id == backfill.id && one.status == BackfillStatus::Running;
        let Some(one) = inner.backfills.iter_mut().find(running) else {
            return Ok(false);
        };
        *one = backfill.clone();
        Ok(true)
    }

    async fn cancel_backfill(
        &self,
        id: u64,
        at: Timestamp,
    ) -> Result<Option<Backfill>, StateError> {
        let mut inner = self.inner();
        let Some(one) = inner.backfills.iter_mut().find(|one| one.id == id) else {
            return Ok(None);
        };
        if one.status == BackfillStatus::Running {
            (one.status, one.finished_at) = (BackfillStatus::Cancelled, Some(at));
        }
        Ok(Some(one.clone()))
    }
}
