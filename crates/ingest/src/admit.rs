//! Admission: the one place that appends, and that decides what a request's fate was.
//!
//! An event that could not be confirmed in time is withdrawn. If it was in a frame already it is too
//! late for that: the request is answered 503, the event may still become durable, and whoever repeats
//! it is then told so by its key. The same holds when the sender hangs up.

use std::sync::Arc;
use std::time::Duration;

use domain::ports::{Append, AppendError, Backlogs, Journal, OnItsWay};
use domain::{DedupKey, Event, EventId, Timestamp};

use crate::answer::Admitted;
use crate::deadline::Patience;
use crate::dedup::{Claim, Leader, Window};
use crate::event::Verified;
use crate::refusal::Refused;
use crate::source::Source;
use crate::unwanted::Unwanted;

/// What admission needs.
#[derive(Clone)]
pub(crate) struct Admission {
    pub journal: Arc<dyn Journal>,
    pub backlogs: Arc<dyn Backlogs>,
    pub window: Arc<Window>,
    pub ack_timeout: Duration,
}

impl Admission {
    /// Appends the events, less those of whose keys a durable one is, and waits until they are durable.
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
    ) -> Result<Vec<Admitted>, Refused> {
        let (source, events) = verified.into_parts();
        let confirmed = std::pin::pin!(self.confirmed(source, events));
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
        let admitted = self.confirmed(source, vec![event]).await?;
        admitted
            .into_iter()
            .next()
            .ok_or_else(|| AppendError::Closed.into())
    }

    /// The same for what was verified long after its sender got an answer: nobody's patience bounds it.
    ///
    /// # Errors
    /// [`Refused::Append`], [`Refused::NoRoute`].
    pub(crate) async fn admit_patiently(
        &self,
        verified: Verified<'_>,
    ) -> Result<Vec<Admitted>, Refused> {
        let (source, events) = verified.into_parts();
        self.confirmed(source, events).await
    }

    /// All of them are durable when it returns, or none is stored.
    async fn confirmed(
        &self,
        source: &Arc<Source>,
        events: Vec<Event>,
    ) -> Result<Vec<Admitted>, Refused> {
        let Some(first) = events.first() else {
            return Ok(Vec::new());
        };
        let received_at = first.received_at;
        // Before it is asked: a route that ends now waits until this one is in the journal, or asked no more.
        let on_its_way = self.backlogs.entering(&source.name);
        self.taken(source)?;
        let Claimed { fates, leaders } = self.claim(&events).await;
        let mut fresh = Vec::with_capacity(events.len());
        for (event, fate) in events.into_iter().zip(&fates) {
            if matches!(fate, Fate::Fresh) {
                fresh.push(event);
            }
        }
        let mut ids = Vec::new();
        if fresh.is_empty() {
            source.note_repeated(received_at);
        } else {
            let unwanted = Unwanted::among(&fresh, source, &self.backlogs).await;
            let mut under_way = UnderWay {
                source,
                backlogs: &self.backlogs,
                append: Some(self.journal.append(fresh)),
                end: Some(End {
                    leaders,
                    received_at,
                    unwanted,
                    _on_its_way: on_its_way,
                }),
            };
            ids = under_way.finish().await?;
        }
        let mut ids = ids.into_iter();
        let mut admitted: Vec<Admitted> = Vec::with_capacity(fates.len());
        for fate in fates {
            let one = match fate {
                Fate::Fresh => Admitted::Accepted(ids.next().ok_or(AppendError::Closed)?),
                Fate::Repeat(id) => Admitted::Duplicate(id),
                Fate::SameAs(at) => Admitted::Duplicate(admitted[at].id()),
            };
            if matches!(one, Admitted::Duplicate(_)) {
                source.note_duplicate();
            }
            admitted.push(one);
        }
        Ok(admitted)
    }

    /// Claims the keys of all events, in the order of the keys: of two requests with some keys in common one waits for
    /// the other, and never both for each other.
    async fn claim(&self, events: &[Event]) -> Claimed {
        let mut fates: Vec<Fate> = events.iter().map(|_| Fate::Fresh).collect();
        let mut leaders: Vec<(usize, Leader)> = Vec::new();
        let keyed = events.iter().enumerate();
        let mut keyed: Vec<_> = keyed
            .filter_map(|(at, event)| Some((event.dedup?, at)))
            .collect();
        keyed.sort_unstable();
        let mut before: Option<(DedupKey, usize)> = None;
        for (key, at) in keyed {
            if let Some((known, first)) = before
                && known == key
            {
                fates[at] = match &fates[first] {
                    Fate::Repeat(id) => Fate::Repeat(*id),
                    _ => Fate::SameAs(first),
                };
                continue;
            }
            before = Some((key, at));
            loop {
                match self.window.claim(key) {
                    Claim::First(leader) => {
                        leaders.push((at, leader));
                        break;
                    }
                    Claim::Repeat(id) => {
                        fates[at] = Fate::Repeat(id);
                        break;
                    }
                    Claim::Wait(decided) => Box::pin(decided).await,
                }
            }
        }
        // By their places among the fresh ones, as their ids will come.
        leaders.sort_unstable_by_key(|(at, _)| *at);
        let mut place = 0;
        let mut of_fresh = Vec::with_capacity(leaders.len());
        let mut waiting = leaders.into_iter().peekable();
        for (at, fate) in fates.iter().enumerate() {
            if matches!(fate, Fate::Fresh) {
                if let Some((_, leader)) = waiting.next_if(|(of, _)| *of == at) {
                    of_fresh.push((place, leader));
                }
                place += 1;
            }
        }
        Claimed {
            fates,
            leaders: of_fresh,
        }
    }

    /// What nobody takes is not stored: it would be acknowledged and never delivered.
    pub(crate) fn taken(&self, source: &Source) -> Result<(), Refused> {
        match self.backlogs.taken(&source.name) {
            true => Ok(()),
            false => Err(Refused::NoRoute),
        }
    }
}

/// What is to become of one event of a request.
enum Fate {
    /// It is stored.
    Fresh,
    /// A durable event has its key.
    Repeat(EventId),
    /// An earlier one of the same request has its key: that one, counted from 0.
    SameAs(usize),
}

/// The keys of a request's events, claimed.
struct Claimed {
    fates: Vec<Fate>,
    /// The claims, each with its event's place among the fresh ones.
    leaders: Vec<(usize, Leader)>,
}

/// Who has to hear of an append's end.
struct End {
    leaders: Vec<(usize, Leader)>,
    received_at: Timestamp,
    unwanted: Unwanted,
    _on_its_way: OnItsWay,
}

impl End {
    fn decided(
        self,
        source: &Arc<Source>,
        backlogs: &dyn Backlogs,
        ids: Result<Vec<EventId>, AppendError>,
    ) -> Result<Vec<EventId>, AppendError> {
        let ids = ids?;
        for (at, leader) in self.leaders {
            leader.commit(*ids.get(at).ok_or(AppendError::Closed)?);
        }
        for _ in &ids {
            source.note_accepted(self.received_at);
            backlogs.accepted(&source.name);
        }
        self.unwanted.note(source);
        Ok(ids)
    }
}

/// An append that sees itself to its end, also when nobody waits for it any more.
struct UnderWay<'r> {
    source: &'r Arc<Source>,
    backlogs: &'r Arc<dyn Backlogs>,
    append: Option<Append>,
    end: Option<End>,
}

impl UnderWay<'_> {
    async fn finish(&mut self) -> Result<Vec<EventId>, AppendError> {
        let Some(append) = self.append.as_mut() else {
            return Err(AppendError::Closed);
        };
        let ids = append.await;
        self.append = None;
        match self.end.take() {
            Some(end) => end.decided(self.source, &**self.backlogs, ids),
            None => Err(AppendError::Closed),
        }
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let (Some(mut append), Some(end)) = (self.append.take(), self.end.take()) else {
            return;
        };
        if append.as_mut().withdraw() {
            return;
        }
        // In a frame: its sync decides within a moment. At the end of the runtime nobody is left to ask.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let (source, backlogs) = (Arc::clone(self.source), Arc::clone(self.backlogs));
            runtime.spawn(async move {
                if let Err(error) = end.decided(&source, &*backlogs, append.await) {
                    tracing::debug!(%error, "an event that its sender gave up on was not stored");
                }
            });
        }
    }
}
