//! What lies in quarantine longer than its source says goes by itself, and that is said and counted.

use std::time::Duration;

use domain::ports::{QuarantineQuery, ReleaseError};
use domain::{EventId, SourceName, Timestamp};

use crate::options::default_quarantine_keep;
use crate::service::Ingest;

/// Entries that are looked at in one go, and taken out in one transaction.
const PAGE: usize = 100;

impl Ingest {
    /// Discards what has been in quarantine for as long as its source keeps it; what is of no source any more, for as long
    /// as a source does that does not say. Dropping the call leaves the rest for the next one.
    ///
    /// # Errors
    /// What state says; what was discarded until then is.
    pub async fn expire_quarantined(&self, now: Timestamp) -> Result<(), ReleaseError> {
        for count in self.ports.quarantine.counts().await? {
            let source = self.sources.get(&count.source);
            let keep = source.map_or(default_quarantine_keep().0, |source| source.quarantine_keep);
            let expired = self.expire_of(&count.source, now, keep).await?;
            if expired > 0 {
                self.metrics
                    .note_expired(source.map(|source| &source.name), expired);
                tracing::warn!(source = %count.source, expired, "requests in quarantine were discarded: they were kept as long as quarantine_keep says");
            }
        }
        Ok(())
    }

    /// How many of the source were discarded.
    async fn expire_of(
        &self,
        source: &SourceName,
        now: Timestamp,
        keep: Duration,
    ) -> Result<u64, ReleaseError> {
        let before = now.saturating_sub(keep).unwrap_or(Timestamp::MIN);
        let mut query = QuarantineQuery {
            source: Some(source.clone()),
            oldest_first: true,
            limit: PAGE,
            ..QuarantineQuery::default()
        };
        let mut expired = 0;
        loop {
            // What is being released is not to be said to have expired, and a release may take its time.
            let Ok(_one_at_a_time) = self.releasing.try_lock() else {
                return Ok(expired);
            };
            let page = self.ports.quarantine.page(&query).await?;
            let old = page.iter().filter(|entry| entry.received_at < before);
            let old: Vec<EventId> = old.map(|entry| entry.id).collect();
            // They came about in the order of their numbers, but for a clock that was set.
            if old.is_empty() {
                return Ok(expired);
            }
            expired += self.take_out(&old).await?;
            query.above = page.last().map(|last| last.number);
        }
    }
}
