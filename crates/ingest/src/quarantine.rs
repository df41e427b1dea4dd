//! Keeping requests apart that did not prove where they come from: for sources with `on_invalid = "quarantine"`.
//!
//! The sender is told 200 only once state has the request. What is kept is no event: it has every header and the whole
//! path, since it is not known what of them is a credential, and [`crate::release`] verifies it anew.

use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use domain::ports::{Quarantined, StateError};
use domain::{Event, EventId, IdGenerator, Timestamp};
use http::request::Parts;
use tokio::sync::Semaphore;

use crate::answer::{self, Answer};
use crate::event;
use crate::holding::{NoPlace, Place};
use crate::listener::Peer;
use crate::refusal::Refused;
use crate::service::Ingest;
use crate::source::Source;
use crate::verify::Refusal;

/// What keeping takes, over all sources.
#[derive(Debug)]
pub(crate) struct Keeper {
    ids: Mutex<IdGenerator>,
    /// One write at a time: routes' progress, which goes by the same writer, never waits behind more than one.
    turn: Arc<Semaphore>,
}

impl Default for Keeper {
    fn default() -> Self {
        Self {
            ids: Mutex::new(IdGenerator::resume_after(None)),
            turn: Arc::new(Semaphore::new(1)),
        }
    }
}

impl Keeper {
    fn id(&self, now: Timestamp) -> EventId {
        let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        ids.next(now, &mut rand::rng())
    }
}

impl Ingest {
    /// Takes note of what is in quarantine from before. To be called before anything is served.
    ///
    /// # Errors
    /// What state says.
    pub async fn count_quarantined(&self) -> Result<(), StateError> {
        for count in self.ports.quarantine.counts().await? {
            if let Some(source) = self.sources.get(&count.source) {
                source.holding.found(count.requests, count.bytes);
            }
        }
        Ok(())
    }

    /// Keeps a request that was not verified, if its source's quarantine has a place for it.
    ///
    /// # Errors
    /// [`Refused::NotVerified`] if it has none; [`Refused::RateLimited`], [`Refused::NoRoom`], [`Refused::NotKept`].
    pub(crate) async fn quarantine(
        &self,
        source: &Arc<Source>,
        head: &Parts,
        body: Bytes,
        received_at: Timestamp,
        peer: &Peer,
        refusal: Refusal,
    ) -> Result<Answer, Refused> {
        let path = head.uri.path_and_query();
        let event = Event {
            source: source.name.clone(),
            received_at,
            method: head.method.as_str().to_owned(),
            path: path.map_or("/", |path| path.as_str()).to_owned(),
            headers: event::all_headers(head),
            body,
            event_type: None,
            remote: Some(peer.origin_text(&head.headers)),
            dedup: None,
            only: None,
        };
        let bytes = domain::event::encoded_len(&event) as u64;
        let place = Place::take(source, bytes).map_err(|NoPlace { first }| {
            if first {
                tracing::warn!(source = %source.name, "the quarantine of this source is full; requests that cannot be verified are refused again until there is room: release or purge, or raise quarantine_max or quarantine_max_bytes");
            }
            Refused::NotVerified(refusal)
        })?;
        // Only now: what has no place takes nothing from the sender's rate.
        source.count(Instant::now)?;
        let id = self.keeper.id(received_at);
        let request = Quarantined {
            id,
            reason: refusal.to_string(),
            event,
        };
        let kept = pin!(self.keep(request, place));
        let waited = peer.patience.wait(self.ack_timeout(), kept).await;
        waited.unwrap_or_else(|| Err(Refused::NotKept("not in time".into())))?;
        source.note_quarantined(refusal, received_at);
        tracing::debug!(source = %source.name, reason = %refusal, "quarantined");
        Ok(answer::quarantined(id))
    }

    async fn keep(&self, request: Quarantined, place: Place) -> Result<(), Refused> {
        let gone = || Refused::NotKept("the process is ending".into());
        let turn = Arc::clone(&self.keeper.turn).acquire_owned().await;
        let turn = turn.map_err(|_| gone())?;
        let state = Arc::clone(&self.ports.quarantine);
        // To its end also if the sender hangs up meanwhile: what is counted is what is stored.
        let put = tokio::spawn(async move {
            let put = state.put(request).await;
            drop(turn);
            put.map(|()| place.fill())
        });
        match put.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                tracing::debug!(%error, "not quarantined");
                Err(match error {
                    StateError::Full(reason) => Refused::NoRoom(reason),
                    other => Refused::NotKept(other.to_string()),
                })
            }
            Err(_) => Err(gone()),
        }
    }
}
