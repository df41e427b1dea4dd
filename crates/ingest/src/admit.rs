//! Admission: the one place that appends, and that decides what a request's fate was.
//!
//! An event that could not be confirmed in time is withdrawn. If it was in a frame already it is too
//! late for that: the request is answered 503, the event may still become durable, and whoever repeats
//! it is then told so by its key. The same holds when the sender hangs up.

use std::sync::Arc;
use std::time::Duration;

use domain::ports::{Append, AppendError, Backlogs, Journal, OnItsWay};
use domain::{Event, EventId, Timestamp};

use crate::answer::Admitted;
use crate::deadline::Patience;
use crate::dedup::{Claim, Leader, Window};
use crate::event::Verified;
use crate::refusal::Refused;
use crate::source::Source;

/// What admission needs.
#[derive(Clone)]
pub(crate) struct Admission {
    pub journal: Arc<dyn Journal>,
    pub backlogs: Arc<dyn Backlogs>,
    pub window: Arc<Window>,
    pub ack_timeout: Duration,
}

impl Admission {
    /// Appends the event, unless a durable one has its key, and waits until it is durable.
    ///
    /// Dropping the call withdraws the event if it is in no frame yet; else it may become durable, and
    /// its key is then known.
    ///
    /// # Errors
    /// [`Refused::Append`], [`Refused::AckTimeout`], [`Refused::NoRoute`].
    pub(crate) async fn admit(
        &self,
        verified: Verified<'_>,
        patience: &Patience,
    ) -> Result<Admitted, Refused> {
        let (source, event) = verified.into_parts();
        let confirmed = std::pin::pin!(self.confirmed(source, vec![event]));
        let waited = patience.wait(self.ack_timeout, confirmed).await;
        waited.unwrap_or(Err(Refused::AckTimeout))
    }

    /// The same for an event that came from where nobody waits for an answer: it is waited for as long as it takes.
    ///
    /// # Errors
    /// [`Refused::Append`], [`Refused::NoRoute`].
    pub(crate) async fn admit_known(
        &self,
        source: &Arc<Source>,
        event: Event,
    ) -> Result<Admitted, Refused> {
        self.confirmed(source, vec![event]).await
    }

    async fn confirmed(
        &self,
        source: &Arc<Source>,
        events: Vec<Event>,
    ) -> Result<Admitted, Refused> {
        let Some(event) = events.first() else {
            return Err(AppendError::Closed.into());
        };
        let received_at = event.received_at;
        // Before it is asked: a route that ends now waits until this one is in the journal, or asked no more.
        let on_its_way = self.backlogs.entering(&source.name);
        self.taken(source)?;
        let leader = match event.dedup {
            None => None,
            Some(key) => loop {
                match self.window.claim(key) {
                    Claim::First(leader) => break Some(leader),
                    Claim::Repeat(id) => {
                        source.note_duplicate();
                        return Ok(Admitted::Duplicate(id));
                    }
                    Claim::Wait(decided) => Box::pin(decided).await,
                }
            },
        };
        let mut under_way = UnderWay {
            source,
            backlogs: &self.backlogs,
            append: Some(self.journal.append(events)),
            fate: Some(Fate {
                leader,
                received_at,
                _on_its_way: on_its_way,
            }),
        };
        let id = under_way.finish().await?;
        Ok(Admitted::Accepted(id))
    }

    /// What nobody takes is not stored: it would be acknowledged and never delivered.
    pub(crate) fn taken(&self, source: &Source) -> Result<(), Refused> {
        match self.backlogs.taken(&source.name) {
            true => Ok(()),
            false => Err(Refused::NoRoute),
        }
    }
}

/// Who has to hear of an append's end.
struct Fate {
    leader: Option<Leader>,
    received_at: Timestamp,
    _on_its_way: OnItsWay,
}

impl Fate {
    fn decided(
        self,
        source: &Source,
        backlogs: &dyn Backlogs,
        ids: Result<Vec<EventId>, AppendError>,
    ) -> Result<EventId, AppendError> {
        let id = ids?.into_iter().next().ok_or(AppendError::Closed)?;
        if let Some(leader) = self.leader {
            leader.commit(id);
        }
        source.note_accepted(self.received_at);
        backlogs.accepted(&source.name);
        Ok(id)
    }
}

/// An append that sees itself to its end, also when nobody waits for it any more.
struct UnderWay<'r> {
    source: &'r Arc<Source>,
    backlogs: &'r Arc<dyn Backlogs>,
    append: Option<Append>,
    fate: Option<Fate>,
}

impl UnderWay<'_> {
    async fn finish(&mut self) -> Result<EventId, AppendError> {
        let Some(append) = self.append.as_mut() else {
            return Err(AppendError::Closed);
        };
        let ids = append.await;
        self.append = None;
        match self.fate.take() {
            Some(fate) => fate.decided(self.source, &**self.backlogs, ids),
            None => Err(AppendError::Closed),
        }
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let (Some(mut append), Some(fate)) = (self.append.take(), self.fate.take()) else {
            return;
        };
        if append.as_mut().withdraw() {
            return;
        }
        // In a frame: its sync decides within a moment. At the end of the runtime nobody is left to ask.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let (source, backlogs) = (Arc::clone(self.source), Arc::clone(self.backlogs));
            runtime.spawn(async move {
                if let Err(error) = fate.decided(&source, &*backlogs, append.await) {
                    tracing::debug!(%error, "an event that its sender gave up on was not stored");
                }
            });
        }
    }
}
