//! What becomes of what is in quarantine: it is verified anew and taken after all, or purged.
//!
//! A release goes a request's whole way again, certificate, scheme, splitting, admission, as of when it was received. A
//! request leaves the quarantine only after its events are durable; a crash between the two is harmless, since each of
//! its events has a key, if only that of its place in quarantine, and is known as a repeat the next time.
//!
//! The id that its sender was told goes with its events, as a header, so that each of the two leads to the other.

use std::sync::Arc;

use async_trait::async_trait;
use domain::ports::{
    AppendError, NotReleased, QuarantineCount, QuarantineQuery, QuarantineSelection, Quarantined,
    ReleaseError, ReleaseSpan, Released, ReleasedAs, Releases,
};
use domain::{EventId, SourceName};
use futures_util::future::join_all;
use http::request::Parts;
use http::uri::{self, PathAndQuery};
use http::{HeaderName, HeaderValue, Request, StatusCode, Uri};

use crate::answer::Admitted;
use crate::event::{Unverified, Verified};
use crate::refusal::Refused;
use crate::service::Ingest;
use crate::source::Source;
use crate::verify::Refusal;

/// Requests of one call: the rest is for the next one, so that none takes longer than its caller waits.
const MOST: usize = 1000;

/// Requests that are in memory and admitted at once; their appends share frames.
const AT_ONCE: usize = 32;

/// Bytes of them, unless one alone is larger.
const BYTES_AT_ONCE: usize = 8 << 20;

/// The header of a released event that has the id its sender was told.
pub(crate) const QUARANTINE_ID: &str = "forebay-quarantine-id";

/// A request as it came, built from what was kept of it.
struct Rebuilt {
    source: Arc<Source>,
    head: Parts,
    kept: Quarantined,
}

impl Rebuilt {
    /// `None`: its source is no more, or it is nothing that could have come in.
    fn of(ingest: &Ingest, kept: Quarantined) -> Option<Self> {
        let source = Arc::clone(ingest.posted(&kept.event.source)?);
        let path: PathAndQuery = kept.event.path.parse().ok()?;
        let mut place = uri::Parts::default();
        place.path_and_query = Some(path);
        let request = Request::builder()
            .method(kept.event.method.as_str())
            .uri(Uri::from_parts(place).ok()?);
        let (mut head, ()) = request.body(()).ok()?.into_parts();
        for header in kept.event.headers.iter() {
            let name = HeaderName::from_bytes(header.name.as_bytes()).ok()?;
            head.headers
                .append(name, HeaderValue::from_bytes(header.value).ok()?);
        }
        Some(Self { source, head, kept })
    }

    /// What ingest does with a request up to here, now that its secret may have been mended.
    async fn verify(&mut self, ingest: &Ingest) -> Result<Verified<'_>, Refused> {
        let request = Unverified {
            source: &self.source,
            head: &mut self.head,
            body: self.kept.event.body.clone(),
            received_at: self.kept.event.received_at,
            remote: self.kept.event.remote.clone(),
            // A certificate is of its connection, which is gone.
            client: None,
        };
        let certificates = &self.source.certificates;
        certificates.provide(&ingest.ports.fetch, &request).await?;
        if request.handshake().is_some() {
            // A challenge, which is over. It was none that its scheme knew when it came.
            return Err(Refusal::Stale.into());
        }
        let verified = request.verify(|_| Ok(()))?;
        Ok(verified.out_of_quarantine(self.kept.id))
    }
}

#[async_trait]
impl Releases for Ingest {
    async fn release(
        &self,
        selection: QuarantineSelection,
        span: Option<ReleaseSpan>,
        dry_run: bool,
    ) -> Result<Released, ReleaseError> {
        let _one_at_a_time = self.releasing.lock().await;
        let asked_for = matches!(selection, QuarantineSelection::Ids(_));
        let (ids, next) = match selection {
            QuarantineSelection::Ids(ids) => (ids, None),
            QuarantineSelection::Source(name) => {
                if self.posted(&name).is_none() {
                    return Err(ReleaseError::UnknownSource(name));
                }
                self.page(&name, span).await?
            }
        };
        let mut released = Released {
            next,
            ..Released::default()
        };
        let (mut some, mut bytes) = (Vec::new(), 0);
        for id in ids {
            let Some(kept) = self.ports.quarantine.get(id).await? else {
                released.unknown += u64::from(asked_for);
                continue;
            };
            bytes += kept.event.weight();
            some.push(kept);
            if some.len() >= AT_ONCE || bytes >= BYTES_AT_ONCE {
                let full = std::mem::take(&mut some);
                self.release_some(full, dry_run, &mut released).await?;
                bytes = 0;
            }
        }
        self.release_some(some, dry_run, &mut released).await?;
        if !dry_run {
            tracing::info!(
                verified = released.verified,
                still_invalid = released.still_invalid,
                not_taken = released.not_taken.len(),
                "an operator released from quarantine"
            );
        }
        Ok(released)
    }

    async fn purge(
        &self,
        selection: QuarantineSelection,
        dry_run: bool,
    ) -> Result<u64, ReleaseError> {
        let _one_at_a_time = match dry_run {
            true => None,
            // What is being released is an event already, and is not to be said to be discarded.
            false => Some(self.releasing.lock().await),
        };
        let mut purged = 0;
        match selection {
            QuarantineSelection::Ids(ids) if dry_run => {
                for id in ids {
                    purged += u64::from(self.ports.quarantine.get(id).await?.is_some());
                }
            }
            QuarantineSelection::Ids(ids) => purged = self.take_out(&ids).await?,
            QuarantineSelection::Source(name) if dry_run => {
                let counts = self.ports.quarantine.counts().await?;
                let of = counts.iter().find(|count| count.source == name);
                purged = of.map_or(0, |count| count.requests);
            }
            QuarantineSelection::Source(name) => {
                let mut span = None;
                loop {
                    let (ids, next) = self.page(&name, span).await?;
                    for some in ids.chunks(AT_ONCE) {
                        purged += self.take_out(some).await?;
                    }
                    if next.is_none() {
                        break;
                    }
                    span = next;
                }
            }
        }
        if !dry_run {
            tracing::info!(purged, "an operator discarded what was in quarantine");
        }
        Ok(purged)
    }

    fn credentials(&self, source: &SourceName) -> Vec<String> {
        let source = self.sources.get(source);
        let header = source.and_then(|source| source.scheme.credential());
        header.iter().map(ToString::to_string).collect()
    }
}

impl Ingest {
    /// A source that is posted to. A queue's scheme takes whatever it is asked, and must not be asked here.
    fn posted(&self, name: &SourceName) -> Option<&Arc<Source>> {
        let source = self.sources.get(name);
        source.filter(|source| !source.paths.is_empty())
    }

    /// The ids that one call is about, oldest first, and from where the next one goes on.
    async fn page(
        &self,
        source: &SourceName,
        span: Option<ReleaseSpan>,
    ) -> Result<(Vec<EventId>, Option<ReleaseSpan>), ReleaseError> {
        let state = &self.ports.quarantine;
        let mut query = QuarantineQuery {
            source: Some(source.clone()),
            limit: 1,
            ..QuarantineQuery::default()
        };
        let ReleaseSpan { after, through } = match span {
            Some(span) => span,
            None => {
                let newest = state.page(&query).await?;
                let Some(newest) = newest.first() else {
                    return Ok((Vec::new(), None));
                };
                ReleaseSpan {
                    after: 0,
                    through: newest.number,
                }
            }
        };
        query.limit = MOST;
        query.oldest_first = true;
        (query.above, query.below) = (Some(after), Some(through.saturating_add(1)));
        let page = state.page(&query).await?;
        let next = page.last().filter(|_| page.len() == MOST);
        let next = next.map(|last| ReleaseSpan {
            after: last.number,
            through,
        });
        Ok((page.into_iter().map(|entry| entry.id).collect(), next))
    }

    async fn release_some(
        &self,
        some: Vec<Quarantined>,
        dry_run: bool,
        released: &mut Released,
    ) -> Result<(), ReleaseError> {
        let (mut requests, mut reasons) = (Vec::with_capacity(some.len()), Vec::new());
        for kept in some {
            let id = kept.id;
            match Rebuilt::of(self, kept) {
                Some(request) => requests.push(request),
                None => released
                    .not_taken
                    .push(not_taken(id, &Refused::SourceRemoved)),
            }
        }
        let mut verified = Vec::with_capacity(requests.len());
        for request in &mut requests {
            let (id, name) = (request.kept.id, request.source.name.clone());
            let before = request.kept.reason.clone();
            match request.verify(self).await {
                Ok(events) => verified.push((id, name, events)),
                Err(refused) => {
                    tracing::debug!(%id, source = %name, code = refused.code(), "it stays in quarantine");
                    let reason = reason(&refused).filter(|reason| *reason != before);
                    reasons.extend(reason.map(|reason| (id, reason)));
                    match refused {
                        Refused::NotVerified(_) => released.still_invalid += 1,
                        other => released.not_taken.push(not_taken(id, &other)),
                    }
                }
            }
        }
        if dry_run {
            released.verified += verified.len() as u64;
            return Ok(());
        }
        let admissions = verified.into_iter().map(|(id, name, events)| async move {
            let admitted = self.admit_released(&name, events).await;
            (id, name, admitted)
        });
        let (mut done, mut trouble) = (Vec::new(), None);
        for (id, source, admitted) in join_all(admissions).await {
            match admitted {
                Ok(admitted) => {
                    let known = |one: &Admitted| matches!(one, Admitted::Duplicate(_));
                    released.repeats +=
                        u64::from(!admitted.is_empty() && admitted.iter().all(known));
                    if let Some(first) = admitted.first() {
                        let (event, events) = (first.id(), admitted.len() as u64);
                        tracing::info!(%source, %id, %event, events, "released from quarantine");
                        released.events.push(ReleasedAs { id, event, events });
                    }
                    done.push(id);
                }
                // It never will be taken, and the others should be.
                Err(refused @ Refused::Append(AppendError::TooLarge { .. })) => {
                    released.not_taken.push(not_taken(id, &refused));
                }
                Err(refused) => trouble = Some(refused),
            }
        }
        self.take_out(&done).await?;
        released.verified += done.len() as u64;
        if !reasons.is_empty() {
            self.ports.quarantine.set_reasons(reasons).await?;
        }
        match trouble {
            Some(refused) => Err(ReleaseError::Refused {
                code: refused.code(),
                words: refused.in_words(),
                before: released.verified,
            }),
            None => Ok(()),
        }
    }

    async fn admit_released(
        &self,
        source: &SourceName,
        events: Verified<'_>,
    ) -> Result<Vec<Admitted>, Refused> {
        self.ports.journal.can_append()?;
        if self.ports.backlogs.admits(source).is_err() {
            return Err(Refused::RouteFull);
        }
        self.admission.admit_patiently(events).await
    }

    /// Takes them out of state, and says how many were there.
    pub(crate) async fn take_out(&self, ids: &[EventId]) -> Result<u64, ReleaseError> {
        if ids.is_empty() {
            return Ok(0);
        }
        let mut all = 0;
        for count in self.ports.quarantine.remove(ids).await? {
            let QuarantineCount {
                source,
                requests,
                bytes,
            } = count;
            all += requests;
            if let Some(source) = self.sources.get(&source) {
                source.holding.left(requests, bytes);
            }
        }
        Ok(all)
    }
}

fn not_taken(id: EventId, refused: &Refused) -> NotReleased {
    NotReleased {
        id,
        code: refused.code().into(),
        reason: refused.in_words(),
    }
}

/// Why it stays, for the list; `None`: it is our own trouble, which passes and says nothing of the request.
fn reason(refused: &Refused) -> Option<String> {
    match refused {
        Refused::NotVerified(refusal) => Some(refusal.to_string()),
        ours if ours.status() == StatusCode::SERVICE_UNAVAILABLE => None,
        other => Some(format!(
            "verified, but {}: {}",
            other.code(),
            other.in_words()
        )),
    }
}
