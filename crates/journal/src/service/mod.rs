//! The running journal: [`EmbeddedJournal`] is the [`Journal`] and [`Archive`] port over the log.
//!
//! Owns two threads, the writer and the keeper. They end with [`Journal::close`], or when the last handle is
//! dropped.

mod archive;
mod fate;
mod keeper;
mod queue;
mod reader;
mod shared;
mod tail;
mod writer;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use domain::ports::{
    Append, AppendError, Archive, Durability, EventPage, EventQuery, Journal, JournalError, Reader,
};
use domain::{
    Clock, DedupKey, Event, EventId, InstallationId, RouteName, Seq, SeqRange, SourceSet,
    StoredEvent,
};
use rand::SeedableRng;
use tokio::sync::watch;

use crate::error::OpenError;
use crate::format::frame::FRAME_HEADER_BYTES;
use crate::format::{padded, record};
use crate::lock::DirectoryLock;
use crate::log::Log;
use crate::metrics::Metrics;
use crate::options::Config;
use crate::recovery::{self, Known, Recovered};
use crate::storage::Storage;
use crate::storage::disk::DiskStorage;
use fate::Refused;
use reader::RouteReader;
use shared::Shared;

/// The embedded journal of this process.
#[derive(Debug)]
pub struct EmbeddedJournal {
    shared: Arc<Shared>,
    installation: InstallationId,
    recovered: Recovered,
}

impl EmbeddedJournal {
    /// Opens the journal in `directory`, whose lock the caller took. Blocks while it recovers: copying
    /// the last segment, and reading those whose index is missing. Must be called within a tokio
    /// runtime, whose blocking pool it uses later.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(
        directory: &Path,
        lock: DirectoryLock,
        config: Config,
        known: &Known,
        clock: Arc<dyn Clock>,
        metrics: Metrics,
    ) -> Result<Self, OpenError> {
        let storage = DiskStorage::open(directory)
            .map_err(OpenError::io("open", directory.display().to_string()))?;
        Self::open_on(Arc::new(storage), Some(lock), config, known, clock, metrics)
    }

    /// Opens the journal on any storage. Without a lock the caller sees to it that nobody else does.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open_on(
        storage: Arc<dyn Storage>,
        lock: Option<DirectoryLock>,
        config: Config,
        known: &Known,
        clock: Arc<dyn Clock>,
        metrics: Metrics,
    ) -> Result<Self, OpenError> {
        let random = rand::rngs::StdRng::from_rng(&mut rand::rng());
        let opened = recovery::open(&storage, &config, known, random)?;
        let end = opened.log.end();
        let shared = Arc::new(Shared::new(
            lock,
            storage,
            config,
            opened.room,
            clock,
            metrics,
            end,
        ));
        for range in &opened.recovered.damaged {
            shared.note_damage(*range);
        }
        let journal = Self {
            shared,
            installation: opened.installation,
            recovered: opened.recovered,
        };
        journal.start(opened.log)?;
        Ok(journal)
    }

    fn start(&self, log: Log) -> Result<(), OpenError> {
        self.thread("journal-writer", move |shared| writer::run(log, shared))?;
        self.thread("journal-keeper", keeper::run)
    }

    /// Runs a part on a thread of its own. If it panics, that is a defect that must end the process, and
    /// not leave appends waiting for ever.
    fn thread(
        &self,
        name: &'static str,
        run: impl FnOnce(&Shared) + Send + 'static,
    ) -> Result<(), OpenError> {
        let shared = Arc::clone(&self.shared);
        let watched = move || {
            if catch_unwind(AssertUnwindSafe(|| run(&shared))).is_err() {
                shared.fail(format!("the thread {name} panicked: a defect"));
                // Who waits is told, and a writer that waits for the keeper is let go.
                shared.queue.abandon();
                shared.close_keeper();
            }
        };
        let spawned = std::thread::Builder::new().name(name.into()).spawn(watched);
        spawned
            .map(drop)
            .map_err(OpenError::io("start the thread", name))
    }

    /// Names this installation.
    #[must_use]
    pub const fn installation(&self) -> InstallationId {
        self.installation
    }

    /// What opening found.
    #[must_use]
    pub const fn recovered(&self) -> &Recovered {
        &self.recovered
    }

    /// Shows why the journal accepts nothing more, once a write or sync has failed. The process must
    /// then end: only a restart can tell what is on disk.
    #[must_use]
    pub fn failure(&self) -> watch::Receiver<Option<String>> {
        self.shared.failure.subscribe()
    }

    /// Bytes of all segments and spares.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.shared.room.bytes()
    }

    async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Shared) -> Result<T, JournalError> + Send + 'static,
    ) -> Result<T, JournalError> {
        let shared = Arc::clone(&self.shared);
        let looked = tokio::task::spawn_blocking(move || look(&shared)).await;
        looked.map_err(|error| JournalError(error.to_string()))?
    }
}

impl Drop for EmbeddedJournal {
    fn drop(&mut self) {
        self.shared.queue.close();
        self.shared.close_keeper();
    }
}

#[async_trait]
impl Journal for EmbeddedJournal {
    fn append(&self, events: Vec<Event>) -> Append {
        if let Err(error) = self.shared.can_append() {
            return Box::pin(Refused(Some(error)));
        }
        let bytes = events.iter().map(record::encoded_len).sum::<usize>();
        let frame = padded(FRAME_HEADER_BYTES + bytes) as u64;
        if frame > self.shared.config.max_frame() {
            return Box::pin(Refused(Some(AppendError::TooLarge { bytes: frame })));
        }
        match self.shared.queue.push(&events, bytes) {
            Ok(ticket) => Box::pin(ticket),
            Err(error) => Box::pin(Refused(Some(error))),
        }
    }

    async fn reader(
        &self,
        route: &RouteName,
        after: Seq,
        sources: SourceSet,
    ) -> Result<Box<dyn Reader>, JournalError> {
        self.shared.room.hold(route, after);
        Ok(Box::new(RouteReader::new(
            Arc::clone(&self.shared),
            after,
            sources,
        )))
    }

    fn release(&self, route: &RouteName, cursor: Seq) {
        self.shared.room.hold(route, cursor);
        if self.shared.can_append().is_err() {
            self.shared.nudge_keeper();
        }
    }

    fn bytes_after(&self, seq: Seq) -> u64 {
        self.shared.room.bytes_after(seq)
    }

    async fn count(
        &self,
        sources: &SourceSet,
        after: Seq,
        through: Seq,
    ) -> Result<u64, JournalError> {
        if after >= through {
            return Ok(0);
        }
        let sources = sources.clone();
        self.look(move |shared| archive::count(shared, &sources, after, through))
            .await
    }

    async fn count_in(
        &self,
        sources: &SourceSet,
        stretches: Vec<SeqRange>,
    ) -> Result<u64, JournalError> {
        let sources = sources.clone();
        self.look(move |shared| archive::count_in(shared, &sources, &stretches))
            .await
    }

    fn end(&self) -> Seq {
        *self.shared.end.borrow()
    }

    fn durability(&self) -> Durability {
        Durability::Disk
    }

    fn can_append(&self) -> Result<(), AppendError> {
        self.shared.can_append()
    }

    async fn close(&self, deadline: Duration) -> Result<(), AppendError> {
        self.shared.queue.close();
        let mut written_out = self.shared.written_out.subscribe();
        let waited = tokio::time::timeout(deadline, written_out.wait_for(|done| *done)).await;
        self.shared.close_keeper();
        if waited.is_err() {
            return Err(AppendError::Failed(
                "the last write did not return in time".into(),
            ));
        }
        match &*self.shared.failure.borrow() {
            Some(reason) => Err(AppendError::Failed(reason.clone())),
            None => Ok(()),
        }
    }
}

#[async_trait]
impl Archive for EmbeddedJournal {
    async fn find(&self, id: EventId) -> Result<Option<StoredEvent>, JournalError> {
        self.look(move |shared| archive::find(shared, id)).await
    }

    async fn at(&self, seqs: Vec<Seq>) -> Result<Vec<Option<StoredEvent>>, JournalError> {
        self.look(move |shared| archive::at(shared, &seqs)).await
    }

    async fn page(&self, query: &EventQuery) -> Result<EventPage, JournalError> {
        let query = query.clone();
        self.look(move |shared| archive::page(shared, &query)).await
    }

    async fn first_after(
        &self,
        sources: &SourceSet,
        after: Seq,
    ) -> Result<Option<StoredEvent>, JournalError> {
        let sources = sources.clone();
        self.look(move |shared| archive::first_after(shared, &sources, after))
            .await
    }

    async fn recent_keys(&self, limit: usize) -> Result<Vec<(DedupKey, EventId)>, JournalError> {
        self.look(move |shared| archive::recent_keys(shared, limit))
            .await
    }
}
