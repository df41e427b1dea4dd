//! The task that works off a source's backfills, the oldest first.

use std::sync::Arc;
use std::time::Duration;

use domain::Timestamp;
use domain::policy::ProbePolicy;
use domain::ports::{Backfill, BackfillStatus, GapQuery, Gaps, StateError};
use tokio::time::Instant;

use super::api::{self, Conversation, JobState, Query};
use super::page::Page;
use crate::buffer::{Filled, What};
use crate::channel::keeper::Shared;
use crate::error::{Error, Problem};
use crate::troubles::About;

/// How often state is asked whether there is one.
const LOOK: Duration = Duration::from_secs(2);

/// The most that run at once and are looked at; the others' turn comes.
const RUNNING: usize = 10_000;

/// How often a job is asked for, and how long until it is made anew.
const POLL: ProbePolicy = ProbePolicy {
    first: Duration::from_secs(2),
    max: Duration::from_secs(30),
};
const PENDING: Duration = Duration::from_secs(3600);

/// How often it is asked whether the analytics have caught up, and what is wrong is tried again.
const AGAIN: ProbePolicy = ProbePolicy {
    first: Duration::from_secs(5),
    max: Duration::from_secs(300),
};

/// See [`stretch`].
const AROUND: Duration = Duration::from_secs(5);

/// Jobs of one backfill that failed over there, or led nowhere, in one run.
const JOBS: u32 = 5;

/// Pages in a row that hold nothing but what the one before held.
const STALE: u32 = 5;

/// Works off the backfills of one source.
pub(crate) struct Runner {
    pub(crate) shared: Arc<Shared>,
    pub(crate) gaps: Arc<dyn Gaps>,
    pub(crate) query: Query,
}

/// Why a backfill is not worked on any more, just now.
enum Pause {
    /// It has ended, by itself or by an operator.
    Over,
    /// It can go on later.
    Later(String),
    /// It never can.
    Never(String),
}

impl From<Error> for Pause {
    fn from(error: Error) -> Self {
        match error.problem {
            // What is asked for is refused: the filters are wrong.
            Problem::Refused {
                status: 400..=499, ..
            } => Self::Never(error.to_string()),
            _ => Self::Later(error.to_string()),
        }
    }
}

impl From<StateError> for Pause {
    fn from(error: StateError) -> Self {
        Self::Later(error.to_string())
    }
}

impl Runner {
    /// Runs until all is to end.
    pub(crate) async fn until_stopped(self) {
        let shared = Arc::clone(&self.shared);
        tokio::select! {
            () = shared.stopped() => {}
            () = self.run() => {}
        }
    }

    async fn run(self) {
        let mut failures = 0;
        loop {
            let wait = match self.next().await {
                Some(backfill) => match self.work(backfill.clone()).await {
                    Pause::Over => {
                        failures = 0;
                        self.shared.troubles.over(About::Backfill);
                        Duration::ZERO
                    }
                    Pause::Later(why) => {
                        failures += 1;
                        self.say(backfill, BackfillStatus::Running, &why).await;
                        AGAIN.wait(failures, rand::random())
                    }
                    Pause::Never(why) => {
                        failures = 0;
                        self.say(backfill, BackfillStatus::Failed, &why).await;
                        Duration::ZERO
                    }
                },
                None => LOOK,
            };
            tokio::time::sleep(wait).await;
        }
    }

    /// The oldest that runs.
    async fn next(&self) -> Option<Backfill> {
        self.running().await?.pop()
    }

    /// Those that run, newest first.
    async fn running(&self) -> Option<Vec<Backfill>> {
        let query = GapQuery::pending_of(&self.shared.source, RUNNING);
        self.gaps.backfills(&query).await.ok()
    }

    /// Writes down why one does not go on.
    async fn say(&self, backfill: Backfill, status: BackfillStatus, why: &str) {
        let (source, id) = (&self.shared.source, backfill.id);
        // What it has come to meanwhile stands.
        let now = self.running().await;
        let now = now.and_then(|all| all.into_iter().find(|one| one.id == id));
        let Some(mut backfill) = now else { return };
        backfill.error = Some(why.to_owned());
        backfill.status = status;
        if status == BackfillStatus::Failed {
            backfill.finished_at = Some(self.shared.clock.now());
            tracing::error!(%source, backfill = id, why, "a backfill has failed; what it was to bring is missing until it is asked for again");
        } else {
            let what = format!("backfill {id} waits: {why}");
            self.shared.troubles.show(About::Backfill, &what);
        }
        if let Err(error) = self.gaps.note_backfill(&backfill).await {
            tracing::warn!(%source, backfill = id, %error, "a backfill could not be written down");
        }
    }

    async fn work(&self, mut backfill: Backfill) -> Pause {
        for _ in 0..JOBS {
            match self.one_job(&mut backfill).await {
                Ok(true) => return Pause::Over,
                // From the beginning: what is there already is known.
                Ok(false) => (backfill.job, backfill.cursor) = (None, None),
                Err(pause) => return pause,
            }
        }
        Pause::Later("job after job came to nothing in Genesys Cloud".into())
    }

    /// `false`: the job is lost, and another is needed.
    async fn one_job(&self, backfill: &mut Backfill) -> Result<bool, Pause> {
        let client = &self.shared.client;
        let job = match &backfill.job {
            Some(job) => job.clone(),
            None => {
                let (from, to) = stretch(backfill);
                self.is_available(to).await?;
                let job = api::begin(client, &self.query, from, to).await?;
                backfill.job = Some(job.clone());
                self.note(backfill).await?;
                job
            }
        };
        if !self.is_fulfilled(&job).await? {
            return Ok(false);
        }
        let (mut stale, mut before): (u32, Vec<String>) = (0, Vec::new());
        loop {
            let results = match api::results(client, &job, backfill.cursor.as_deref()).await {
                Ok(results) => results,
                Err(error) if is_lost(&error) => return Ok(false),
                Err(error) => return Err(error.into()),
            };
            let ids: Vec<String> = results
                .conversations
                .iter()
                .map(|one| one.id.clone())
                .collect();
            // A cursor may be handed out twice. It is followed, as long as it leads anywhere.
            stale = if ids == before { stale + 1 } else { 0 };
            if stale >= STALE {
                return Ok(false);
            }
            before = ids;
            backfill.events += self.store(backfill, results.conversations).await;
            backfill.cursor = results.cursor;
            backfill.error = None;
            if backfill.cursor.is_none() {
                backfill.status = BackfillStatus::Done;
                backfill.finished_at = Some(self.shared.clock.now());
                self.note(backfill).await?;
                tracing::info!(source = %self.shared.source, backfill = backfill.id, gap = backfill.gap, events = backfill.events, "a backfill is done");
                return Ok(true);
            }
            self.note(backfill).await?;
        }
    }

    /// Waits for nothing: what is not there yet is asked for later.
    async fn is_available(&self, to: Timestamp) -> Result<(), Pause> {
        let until = api::available_until(&self.shared.client).await?;
        if until >= to {
            return Ok(());
        }
        let why =
            format!("the analytics of Genesys Cloud reach to {until:.0}, and {to:.0} is asked for");
        Err(Pause::Later(why))
    }

    /// Until the job has its results; `false` if it never will.
    async fn is_fulfilled(&self, job: &str) -> Result<bool, Pause> {
        let began = Instant::now();
        let mut asked = 0;
        loop {
            let found = match api::state(&self.shared.client, job).await {
                Ok(found) => found,
                Err(error) if is_lost(&error) => return Ok(false),
                Err(error) => return Err(error.into()),
            };
            match found.state {
                JobState::Fulfilled => return Ok(true),
                JobState::Queued | JobState::Pending if began.elapsed() < PENDING => {}
                JobState::Queued | JobState::Pending => {
                    tracing::warn!(source = %self.shared.source, job, "a job has been pending for an hour; another is begun");
                    return Ok(false);
                }
                JobState::Expired | JobState::Cancelled => return Ok(false),
                JobState::Failed => {
                    tracing::warn!(source = %self.shared.source, job, why = found.why(), "a job has failed in Genesys Cloud; another is begun");
                    return Ok(false);
                }
            }
            asked += 1;
            tokio::time::sleep(POLL.wait(asked, rand::random())).await;
        }
    }

    /// Hands a page to the reader, and waits until all of it is durable. Gives how many it was.
    async fn store(&self, backfill: &Backfill, conversations: Vec<Conversation>) -> u64 {
        let count = conversations.len();
        let page = Arc::new(Page::of(count));
        for conversation in conversations {
            if conversation.record.len() as u64 > self.shared.max_body {
                let why = format!(
                    "the record of conversation {} has {} bytes, which is more than max_body ({})",
                    conversation.id.split(':').next().unwrap_or_default(),
                    conversation.record.len(),
                    self.shared.max_body
                );
                let topic = crate::notifications::CONVERSATION.to_owned();
                let gap = self
                    .shared
                    .attendance
                    .missed(backfill.from, topic, &why)
                    .await;
                self.shared.tell(vec![gap]).await;
                page.one_is_done();
                continue;
            }
            let filled = Filled {
                record: conversation.record,
                id: conversation.id,
                backfill: backfill.id,
                gap: backfill.gap,
                page: Arc::clone(&page),
            };
            self.shared.buffer.push(What::Filled(filled)).await;
        }
        page.is_done().await;
        count as u64
    }

    /// # Errors
    /// It does not run any more, or state does not take it.
    async fn note(&self, backfill: &Backfill) -> Result<(), Pause> {
        match self.gaps.note_backfill(backfill).await? {
            true => Ok(()),
            false => Err(Pause::Over),
        }
    }
}

/// What is asked for. What fills a gap asks for a moment more on both sides: their clock and ours are not one, and what
/// comes twice is known.
fn stretch(backfill: &Backfill) -> (Timestamp, Timestamp) {
    let (from, to) = (backfill.from, backfill.to);
    match backfill.gap {
        Some(_) => (
            from.saturating_sub(AROUND).unwrap_or(from),
            to.saturating_add(AROUND).unwrap_or(to),
        ),
        None => (from, to),
    }
}

/// Whether the job, or where it was in it, is not known any more over there.
fn is_lost(error: &Error) -> bool {
    error.is_not_found()
        || matches!(
            error.problem,
            Problem::Refused {
                status: 400 | 410,
                ..
            }
        )
}
