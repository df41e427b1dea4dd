//! What was heard without a gap, and every gap: written down before it can be forgotten.
//!
//! Nothing that a notification channel said can be asked for again there. So state knows until when the source missed
//! nothing ([`Attendance::note`]), and a gap begins there whenever a process begins; while it runs, a gap begins with the
//! last sign of life of the channel that is lost, and ends once its topics are subscribed again. A gap that is over is an
//! event as well, told again until that is durable.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::policy::ProbePolicy;
use domain::ports::{Gap, GapQuery, Gaps, NewGap, StateError};
use domain::{SourceName, Timestamp};
use tokio::time::Instant;

/// What was sent just before the last thing that was heard may have been lost on its way: a gap begins so much earlier.
const MARGIN: Duration = Duration::from_secs(2);

/// How often it is written down, at most, until when nothing was missed.
const NOTED: Duration = Duration::from_secs(5);

/// The most gaps that a restart takes up again.
const PENDING: usize = 10_000;

/// Events that were heard and are not durable yet.
pub(crate) enum Waiting {
    Nothing,
    /// There are some, and nobody can say how old they are.
    Some,
    /// When the oldest came, everything that was sent before this had been heard.
    Since(Timestamp),
}

/// The attendance of one source.
pub(crate) struct Attendance {
    gaps: Arc<dyn Gaps>,
    source: SourceName,
    /// Whether a gap is filled once it is over.
    fill: bool,
    inner: Mutex<Inner>,
}

struct Inner {
    channels: Vec<Channel>,
    /// Gaps that are over once every channel is up: those of the time before this process.
    of_before: Vec<u64>,
    noted: Option<(Instant, Timestamp)>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Channel {
    /// The last sign of life, while it is up.
    heard_at: Option<Timestamp>,
    /// The gap that is open.
    gap: Option<u64>,
}

impl Attendance {
    pub(crate) fn new(
        gaps: Arc<dyn Gaps>,
        source: SourceName,
        channels: usize,
        fill: bool,
    ) -> Self {
        let inner = Inner {
            channels: vec![Channel::default(); channels],
            of_before: Vec::new(),
            noted: None,
        };
        Self {
            gaps,
            source,
            fill,
            inner: Mutex::new(inner),
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes up what was left open before, and opens a gap for the time when nobody listened. Gives the gaps that are over
    /// and were not told of.
    pub(crate) async fn begin(&self, topics: Vec<String>) -> Vec<Gap> {
        let source = &self.source;
        let query = GapQuery::pending_of(source, PENDING);
        let pending = self.insist(|| self.gaps.gaps(&query)).await;
        let attended = self.insist(|| self.gaps.last_attended(source)).await;
        let (over, open): (Vec<Gap>, Vec<Gap>) =
            pending.into_iter().partition(|gap| gap.to.is_some());
        let mut of_before: Vec<u64> = open.iter().map(|gap| gap.id).collect();
        if let Some(from) = attended {
            let why = "Forebay did not run";
            of_before.push(self.open(earlier(from), None, topics, why).await.id);
        }
        self.inner().of_before = of_before;
        over
    }

    /// A channel is subscribed. Gives the gaps that are over now.
    pub(crate) async fn up(&self, channel: usize, at: Timestamp) -> Vec<Gap> {
        let (over, is_first) = {
            let mut inner = self.inner();
            let mut over = Vec::new();
            if let Some(channel) = inner.channels.get_mut(channel) {
                channel.heard_at = Some(at);
                over.extend(channel.gap.take());
            }
            let channels = inner.channels.iter();
            let all = channels
                .map(|channel| channel.heard_at)
                .all(|heard| heard.is_some());
            if all {
                over.append(&mut inner.of_before);
            }
            (over, all && inner.noted.is_none())
        };
        if is_first {
            // A process that is killed now has listened; the next one must know since when.
            self.insist(|| self.gaps.attended(&self.source, at)).await;
        }
        let mut closed = Vec::new();
        for id in over {
            let gap = self.insist(|| self.gaps.close_gap(id, at, self.fill)).await;
            closed.extend(gap);
        }
        closed
    }

    /// A channel gave a sign of life.
    pub(crate) fn heard(&self, channel: usize, at: Timestamp) {
        if let Some(channel) = self.inner().channels.get_mut(channel) {
            channel.heard_at = Some(at);
        }
    }

    /// A channel is lost; the last that was heard of it was then.
    pub(crate) async fn down(
        &self,
        channel: usize,
        heard_at: Timestamp,
        topics: &[String],
        why: &str,
    ) {
        let has_gap = match self.inner().channels.get(channel) {
            Some(known) => known.gap.is_some(),
            None => return,
        };
        // The gap is durable before the channel holds nothing back any more: others may go on being heard.
        let opened = match has_gap {
            true => None,
            false => {
                let gap = self
                    .open(earlier(heard_at), None, topics.to_vec(), why)
                    .await;
                Some(gap.id)
            }
        };
        if let Some(known) = self.inner().channels.get_mut(channel) {
            known.heard_at = None;
            known.gap = known.gap.or(opened);
        }
    }

    /// One thing was missed at this time, and nothing else. Gives the gap.
    pub(crate) async fn missed(&self, at: Timestamp, topic: String, why: &str) -> Gap {
        self.open(at, Some(at), vec![topic], why).await
    }

    /// A stretch of a channel that is over already. Gives the gap as it is.
    pub(crate) async fn between(
        &self,
        from: Timestamp,
        to: Timestamp,
        topics: Vec<String>,
        why: &str,
    ) -> Option<Gap> {
        let opened = self.open(earlier(from), None, topics, why).await;
        self.insist(|| self.gaps.close_gap(opened.id, to, self.fill))
            .await
    }

    async fn open(
        &self,
        from: Timestamp,
        to: Option<Timestamp>,
        topics: Vec<String>,
        why: &str,
    ) -> Gap {
        let gap = NewGap {
            source: self.source.clone(),
            from,
            to,
            topics,
            why: why.to_owned(),
        };
        self.insist(|| self.gaps.open_gap(gap.clone())).await
    }

    /// The events that tell of these gaps are durable.
    pub(crate) async fn announced(&self, ids: &[u64]) {
        if !ids.is_empty() {
            self.insist(|| self.gaps.announced(ids)).await;
        }
    }

    /// Writes down until when nothing was missed, if that is worth it. `waiting` is asked after the channels.
    pub(crate) async fn note(&self, waiting: impl FnOnce() -> Waiting, at_once: bool) {
        // A channel that is lost has an open gap of its own. Without any there is nothing to say.
        let heard = {
            let inner = self.inner();
            inner
                .channels
                .iter()
                .filter_map(|channel| channel.heard_at)
                .min()
        };
        let until = match (heard, waiting()) {
            (None, _) | (_, Waiting::Some) => return,
            (Some(heard), Waiting::Nothing) => heard,
            (Some(heard), Waiting::Since(oldest)) => oldest.min(heard),
        };
        {
            let mut inner = self.inner();
            let is_due = match inner.noted {
                None => true,
                Some((when, noted)) => until > noted && (at_once || when.elapsed() >= NOTED),
            };
            if !is_due {
                return;
            }
            inner.noted = Some((Instant::now(), until));
        }
        if let Err(error) = self.gaps.attended(&self.source, until).await {
            // The next one says it as well; until then a gap would begin earlier.
            tracing::warn!(source = %self.source, %error, "until when nothing was missed could not be written down");
        }
    }

    /// Until state takes it: nothing may be forgotten of a gap. State that failed for good ends the process.
    async fn insist<T, F>(&self, ask: impl Fn() -> F) -> T
    where
        F: Future<Output = Result<T, StateError>>,
    {
        let mut tries = 0;
        loop {
            match ask().await {
                Ok(done) => return done,
                Err(error) => {
                    tries += 1;
                    tracing::warn!(source = %self.source, %error, "a gap could not be written down; trying again");
                    let wait = ProbePolicy::default().wait(tries, rand::random());
                    tokio::time::sleep(wait).await;
                }
            }
        }
    }
}

fn earlier(at: Timestamp) -> Timestamp {
    at.saturating_sub(MARGIN).unwrap_or(at)
}
