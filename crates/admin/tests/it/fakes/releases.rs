//! Releases that verify whatever has an even body, one request a call, and take out of state what they are asked to.

use std::sync::Arc;

use async_trait::async_trait;
use domain::ports::{
    Quarantine, QuarantineQuery, QuarantineSelection, ReleaseError, ReleaseSpan, Released, Releases,
};
use domain::{EventId, SourceName};
use state::SqliteState;

/// Over the quarantine of this state.
pub(crate) struct FakeReleases(pub(crate) Arc<SqliteState>);

impl FakeReleases {
    /// The ids with their numbers, oldest first.
    async fn all(&self, selection: &QuarantineSelection) -> Vec<(u64, EventId)> {
        let query = QuarantineQuery {
            oldest_first: true,
            limit: 1000,
            ..QuarantineQuery::default()
        };
        let mut page = self.0.page(&query).await.unwrap();
        page.retain(|entry| match selection {
            QuarantineSelection::Source(name) => entry.source == *name,
            QuarantineSelection::Ids(ids) => ids.contains(&entry.id),
        });
        page.iter().map(|entry| (entry.number, entry.id)).collect()
    }
}

#[async_trait]
impl Releases for FakeReleases {
    async fn release(
        &self,
        selection: QuarantineSelection,
        span: Option<ReleaseSpan>,
        dry_run: bool,
    ) -> Result<Released, ReleaseError> {
        match &selection {
            QuarantineSelection::Source(name) if name.as_str() == "gone" => {
                return Err(ReleaseError::UnknownSource(name.clone()));
            }
            QuarantineSelection::Source(name) if name.as_str() == "full" => {
                return Err(ReleaseError::Refused {
                    code: "route-full",
                    words: "full".into(),
                    before: 1,
                });
            }
            _ => {}
        }
        let all = self.all(&selection).await;
        let after = span.map_or(0, |span| span.after);
        let mut left = all.iter().filter(|(number, _)| *number > after);
        let Some((number, id)) = left.next() else {
            return Ok(Released::default());
        };
        let kept = self.0.get(*id).await?.unwrap();
        let verified = kept.event.body.len().is_multiple_of(2);
        if verified && !dry_run {
            self.0.remove(&[*id]).await?;
        }
        Ok(Released {
            verified: u64::from(verified),
            repeats: 0,
            still_invalid: u64::from(!verified),
            not_taken: Vec::new(),
            unknown: 0,
            events: Vec::new(),
            next: left.next().map(|_| ReleaseSpan {
                after: *number,
                through: 1000,
            }),
        })
    }

    async fn purge(
        &self,
        selection: QuarantineSelection,
        dry_run: bool,
    ) -> Result<u64, ReleaseError> {
        let ids: Vec<EventId> = self
            .all(&selection)
            .await
            .iter()
            .map(|(_, id)| *id)
            .collect();
        if !dry_run {
            self.0.remove(&ids).await?;
        }
        Ok(ids.len() as u64)
    }

    fn credentials(&self, _: &SourceName) -> Vec<String> {
        vec!["x-odd".into()]
    }
}
