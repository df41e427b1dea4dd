//! What the journal's threads, readers and handles share.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::ports::{AppendError, JournalError};
use domain::{Clock, RangeSet, Seq, SeqRange};
use tokio::sync::watch;

use super::queue::Queue;
use super::tail::Tail;
use crate::format::ALIGNMENT;
use crate::format::frame::FRAME_HEADER_BYTES;
use crate::index::{SegmentIndex, file as index_file};
use crate::lock::DirectoryLock;
use crate::metrics::Metrics;
use crate::options::Config;
use crate::room::{NoRoom, Room};
use crate::segment::{Segment, names};
use crate::storage::Storage;

/// Indexes of sealed segments kept after use, for counts and look-ups that come back.
const CACHED_INDEXES: usize = 4;

/// Between the writer, which needs spares, and the keeper, which makes them.
#[derive(Debug, Default)]
struct Keeping {
    no_room: Option<NoRoom>,
    nudged: bool,
    closed: bool,
}

/// Shared by everything that runs on one journal.
#[derive(Debug)]
pub(super) struct Shared {
    /// Released when the last thread lets go, so that no other process opens what is still written.
    pub _lock: Option<DirectoryLock>,
    pub storage: Arc<dyn Storage>,
    pub config: Config,
    pub room: Room,
    pub queue: Queue,
    pub tail: Tail,
    pub clock: Arc<dyn Clock>,
    pub metrics: Metrics,
    /// The last durable sequence number.
    pub end: watch::Sender<Seq>,
    /// Why the journal accepts nothing more, once it has failed.
    pub failure: watch::Sender<Option<String>>,
    /// Set once the writer has written and synced the last of it.
    pub written_out: watch::Sender<bool>,
    /// Set with `failure`: every append asks, and this costs it one load.
    failed: AtomicBool,
    /// Set while appends meet `NoRoom`, so that they are refused before any work.
    full: AtomicBool,
    /// Set once there is a segment to write to. Until then there is room only if there is a spare.
    begun: AtomicBool,
    keeping: Mutex<Keeping>,
    keeper_wake: Condvar,
    spare_wake: Condvar,
    damaged: Mutex<RangeSet>,
    indexes: Mutex<VecDeque<(Seq, Arc<SegmentIndex>)>>,
}

/// One write takes at most about this much, so that a burst of large events cannot hold a frame of any
/// size in memory. In bytes.
const FRAME_BYTES: usize = 4 << 20;

impl Shared {
    pub(super) fn new(
        lock: Option<DirectoryLock>,
        storage: Arc<dyn Storage>,
        config: Config,
        room: Room,
        clock: Arc<dyn Clock>,
        metrics: Metrics,
        end: Seq,
    ) -> Self {
        // A frame of several appends has to fit into an empty segment, too.
        let most = config.max_frame() - (FRAME_HEADER_BYTES + ALIGNMENT) as u64;
        let frame_bytes = usize::try_from(most).map_or(FRAME_BYTES, |most| most.min(FRAME_BYTES));
        Self {
            _lock: lock,
            storage,
            tail: Tail::new(config.memory),
            config,
            room,
            queue: Queue::new(frame_bytes),
            clock,
            metrics,
            end: watch::Sender::new(end),
            failure: watch::Sender::new(None),
            written_out: watch::Sender::new(false),
            failed: AtomicBool::new(false),
            full: AtomicBool::new(false),
            begun: AtomicBool::new(false),
            keeping: Mutex::default(),
            keeper_wake: Condvar::new(),
            spare_wake: Condvar::new(),
            damaged: Mutex::default(),
            indexes: Mutex::default(),
        }
    }

    fn keeping(&self) -> MutexGuard<'_, Keeping> {
        self.keeping.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether an append could be taken now.
    pub(super) fn can_append(&self) -> Result<(), AppendError> {
        if self.failed.load(Ordering::Acquire)
            && let Some(reason) = &*self.failure.borrow()
        {
            return Err(AppendError::Failed(reason.clone()));
        }
        if self.full.load(Ordering::Acquire) {
            let why = self
                .keeping()
                .no_room
                .as_ref()
                .map_or_else(|| "a segment is being made".into(), NoRoom::to_string);
            return Err(AppendError::NoRoom(why));
        }
        Ok(())
    }

    /// Says why the journal accepts nothing more. The first reason stands.
    pub(super) fn fail(&self, reason: String) {
        self.failure.send_if_modified(|failure| {
            let first = failure.is_none();
            failure.get_or_insert(reason);
            first
        });
        self.failed.store(true, Ordering::Release);
    }

    /// Waits until there is a spare, or it is known that there is no room for one.
    pub(super) fn await_spare(&self) -> Result<(), NoRoom> {
        let mut keeping = self.keeping();
        while self.room.spares() == 0 {
            if let Some(no_room) = &keeping.no_room {
                self.is_full(no_room);
                return Err(no_room.clone());
            }
            keeping.nudged = true;
            self.keeper_wake.notify_one();
            keeping = self
                .spare_wake
                .wait(keeping)
                .unwrap_or_else(PoisonError::into_inner);
        }
        Ok(())
    }

    /// From now on appends are refused before any work; says why when it begins.
    fn is_full(&self, no_room: &NoRoom) {
        if !self.full.swap(true, Ordering::AcqRel) {
            tracing::warn!(reason = %no_room, "the journal has no room: new events are refused with 503 no-room until there is");
        }
    }

    /// Says what the last attempt to have a spare came to.
    pub(super) fn spare_attempted(&self, attempt: Result<(), NoRoom>) {
        let mut keeping = self.keeping();
        keeping.no_room = attempt.err();
        match &keeping.no_room {
            None => {
                if self.full.swap(false, Ordering::AcqRel) {
                    tracing::info!("the journal has room again: events are accepted");
                }
            }
            // After a start on a full disk nobody need lose a request to find out.
            Some(no_room) if !self.begun.load(Ordering::Acquire) => self.is_full(no_room),
            Some(_) => {}
        }
        self.spare_wake.notify_all();
    }

    /// Says that a segment is written to.
    pub(super) fn begin(&self) {
        self.begun.store(true, Ordering::Release);
    }

    /// Wakes the keeper: something was taken or released.
    pub(super) fn nudge_keeper(&self) {
        self.keeping().nudged = true;
        self.keeper_wake.notify_one();
    }

    /// Waits for a nudge, at most `longest`. `false`: the journal is closed.
    pub(super) fn keeper_waits(&self, longest: Duration) -> bool {
        let keeping = self.keeping();
        let (mut keeping, _) = self
            .keeper_wake
            .wait_timeout_while(keeping, longest, |keeping| {
                !keeping.nudged && !keeping.closed
            })
            .unwrap_or_else(PoisonError::into_inner);
        keeping.nudged = false;
        !keeping.closed
    }

    /// Ends the keeper.
    pub(super) fn close_keeper(&self) {
        let mut keeping = self.keeping();
        keeping.closed = true;
        // A writer that waits for a spare would wait for ever.
        keeping
            .no_room
            .get_or_insert(NoRoom::Write("the journal is closed".into()));
        self.keeper_wake.notify_all();
        self.spare_wake.notify_all();
    }

    /// Notes numbers that damage took; those of the same place are counted once.
    pub(super) fn note_damage(&self, range: SeqRange) {
        let mut damaged = self.damaged.lock().unwrap_or_else(PoisonError::into_inner);
        let before: u64 = damaged.iter().map(|range| range.count()).sum();
        damaged.insert(range);
        let after: u64 = damaged.iter().map(|range| range.count()).sum();
        if after > before {
            tracing::error!(
                first = range.first.0,
                last = range.last.0,
                "the journal is damaged: acknowledged events are missing and count as damaged on every route"
            );
            self.metrics
                .damaged_events
                .set(i64::try_from(after).unwrap_or(i64::MAX));
        }
    }

    /// Notes that a reader found frames of the segment missing. Its index, which does not know that, goes:
    /// it is made anew from what the file holds.
    pub(super) fn found_damaged(&self, segment: &Segment) {
        if !segment.mark_damaged() {
            return;
        }
        let name = names::index(segment.first());
        if let Err(error) = self.storage.remove(&name)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(file = name, %error, "cannot remove the index of a damaged segment");
        }
        let mut cache = self.indexes.lock().unwrap_or_else(PoisonError::into_inner);
        cache.retain(|(cached, _)| *cached != segment.first());
        drop(cache);
        segment.drop_index();
    }

    /// The index of a sealed segment: from memory, its file, or by reading the segment.
    pub(super) fn index_of(&self, segment: &Segment) -> Result<Arc<SegmentIndex>, JournalError> {
        if let Some(index) = segment.sealed_index() {
            return Ok(index);
        }
        let first = segment.first();
        if let Some(index) = self.cached_index(first) {
            return Ok(index);
        }
        let name = names::index(first);
        let stored = self
            .storage
            .open(&name)
            .ok()
            .and_then(|file| index_file::read(&*file, segment.salt()));
        let index = match stored {
            Some(index) => index,
            None => SegmentIndex::scan(&mut segment.scanner(), segment.header.previous)
                .map_err(|error| JournalError(format!("{}: {error}", names::segment(first))))?,
        };
        let index = Arc::new(index);
        let mut cache = self.indexes.lock().unwrap_or_else(PoisonError::into_inner);
        cache.push_back((first, Arc::clone(&index)));
        if cache.len() > CACHED_INDEXES {
            cache.pop_front();
        }
        Ok(index)
    }

    fn cached_index(&self, first: Seq) -> Option<Arc<SegmentIndex>> {
        let cache = self.indexes.lock().unwrap_or_else(PoisonError::into_inner);
        cache
            .iter()
            .find(|(cached, _)| *cached == first)
            .map(|(_, index)| Arc::clone(index))
    }

    /// Looks into the index of any segment, also the one being written.
    pub(super) fn with_index<T>(
        &self,
        segment: &Segment,
        look: impl Fn(&SegmentIndex) -> T,
    ) -> Result<T, JournalError> {
        match segment.with_growing(|index| look(index)) {
            Some(seen) => Ok(seen),
            None => self.index_of(segment).map(|index| look(&index)),
        }
    }
}
