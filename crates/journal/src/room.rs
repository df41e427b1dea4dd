//! Room on the disk: spare files made ahead of time, and segments recycled or removed when every
//! route has settled them.
//!
//! Owns the catalogue of segments and the pool of spares. Settled segments stay for `retain` while
//! there is room, and go first when there is not; unsettled ones never go. Called by the keeper
//! thread of the running journal, and directly by the crash simulation.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use domain::{ByteSize, RouteName, Seq, Timestamp};

use crate::options::Config;
use crate::segment::{Segment, names};
use crate::storage::{File, Storage};

/// Zeros are written in pieces of this size.
const ZERO_BYTES: usize = 1 << 20;

/// A file of the full segment length, written through, ready to become a segment. What a recycled
/// one held before is unreadable under its next salt.
#[derive(Debug)]
pub struct Spare {
    /// Its present name.
    pub name: String,
    /// Its handle.
    pub file: Arc<dyn File>,
}

/// Why there is no spare and none can be made. Passes when something is settled, or space freed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoRoom {
    /// The journal is as large as it may be.
    #[error(
        "journal.max_bytes ({}) is used up by events that are not settled: raise it, or see what holds them up in `forebay status`", ByteSize(*.max)
    )]
    MaxBytes {
        /// The limit.
        max: u64,
    },
    /// The disk has too little left.
    #[error(
        "the disk has {} free, and {} are needed for a segment beside journal.min_free: make room there, or lower that", ByteSize(*.free), ByteSize(*.needed)
    )]
    MinFree {
        /// Free now.
        free: u64,
        /// Needed.
        needed: u64,
    },
    /// Making a file failed.
    #[error("a new segment file could not be written: {0}")]
    Write(String),
}

#[derive(Debug)]
struct Inner {
    segments: BTreeMap<Seq, Arc<Segment>>,
    spares: Vec<Spare>,
    next_spare: u64,
    holds: BTreeMap<RouteName, Seq>,
}

/// The catalogue and the pool.
#[derive(Debug)]
pub struct Room {
    storage: Arc<dyn Storage>,
    config: Config,
    inner: Mutex<Inner>,
}

impl Room {
    pub(crate) fn new(
        storage: Arc<dyn Storage>,
        config: Config,
        segments: BTreeMap<Seq, Arc<Segment>>,
        spares: Vec<Spare>,
        holds: BTreeMap<RouteName, Seq>,
    ) -> Self {
        let next_spare = spares
            .iter()
            .filter_map(|spare| names::parse_spare(&spare.name))
            .max()
            .unwrap_or(0)
            + 1;
        Self {
            storage,
            config,
            inner: Mutex::new(Inner {
                segments,
                spares,
                next_spare,
                holds,
            }),
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The segments, oldest first.
    #[must_use]
    pub fn segments(&self) -> Vec<Arc<Segment>> {
        self.inner().segments.values().cloned().collect()
    }

    /// The segment that holds `seq`, or the first one after it.
    #[must_use]
    pub fn segment_from(&self, seq: Seq) -> Option<Arc<Segment>> {
        let inner = self.inner();
        let holding = inner
            .segments
            .range(..=seq)
            .next_back()
            .map(|(_, segment)| segment);
        match holding.filter(|segment| segment.last() >= seq || segment.summary().is_none()) {
            Some(segment) => Some(Arc::clone(segment)),
            None => inner
                .segments
                .range(seq.next()..)
                .next()
                .map(|(_, segment)| Arc::clone(segment)),
        }
    }

    /// The segment after the one that starts at `first`.
    #[must_use]
    pub fn segment_after(&self, first: Seq) -> Option<Arc<Segment>> {
        self.inner()
            .segments
            .range(first.next()..)
            .next()
            .map(|(_, segment)| Arc::clone(segment))
    }

    /// Adds the segment that a rotation made.
    pub fn add(&self, segment: Arc<Segment>) {
        self.inner().segments.insert(segment.first(), segment);
    }

    /// Keeps what comes after `cursor` for `route`. A hold never moves back.
    pub fn hold(&self, route: &RouteName, cursor: Seq) {
        let mut inner = self.inner();
        let hold = inner.holds.entry(route.clone()).or_insert(cursor);
        *hold = (*hold).max(cursor);
    }

    /// Everything through here is settled on every route. Zero while no route is known.
    #[must_use]
    pub fn low_watermark(&self) -> Seq {
        self.inner()
            .holds
            .values()
            .min()
            .copied()
            .unwrap_or(Seq::ZERO)
    }

    /// Bytes of all segments and spares.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let inner = self.inner();
        let spares = inner.spares.len() as u64 * self.config.segment_bytes;
        inner
            .segments
            .values()
            .map(|segment| segment.len)
            .sum::<u64>()
            + spares
    }

    /// About how many bytes of the segments lie after `seq`: of the one that holds it, the part that its numbers are.
    #[must_use]
    pub fn bytes_after(&self, seq: Seq) -> u64 {
        let after = |segment: &Arc<Segment>| {
            let (first, last) = (segment.first().0, segment.last().0);
            let all = (last + 1).saturating_sub(first);
            let left = last.saturating_sub(seq.0).min(all);
            if all == 0 {
                return 0;
            }
            let bytes = u128::from(segment.data_end()) * u128::from(left) / u128::from(all);
            u64::try_from(bytes).unwrap_or(u64::MAX)
        };
        self.inner().segments.values().map(after).sum()
    }

    /// A spare from the pool.
    #[must_use]
    pub fn take_spare(&self) -> Option<Spare> {
        self.inner().spares.pop()
    }

    /// How many spares there are.
    #[must_use]
    pub fn spares(&self) -> usize {
        self.inner().spares.len()
    }

    /// Makes sure that there is a spare: recycles, evicts what is settled, or makes a new file.
    ///
    /// # Errors
    /// [`NoRoom`] when none can be had now.
    pub fn prepare_spare(&self) -> Result<(), NoRoom> {
        while self.spares() == 0 {
            let made = self.make_spare();
            if made.is_ok()
                || !self
                    .evict()
                    .map_err(|error| NoRoom::Write(error.to_string()))?
            {
                return made;
            }
        }
        Ok(())
    }

    /// Makes a new file, if the limits allow.
    fn make_spare(&self) -> Result<(), NoRoom> {
        let segment = self.config.segment_bytes;
        if self.bytes() + segment > self.config.max_bytes {
            return Err(NoRoom::MaxBytes {
                max: self.config.max_bytes,
            });
        }
        let free = self
            .storage
            .free_bytes()
            .map_err(|error| NoRoom::Write(error.to_string()))?;
        let needed = segment + self.config.min_free;
        if free < needed {
            return Err(NoRoom::MinFree { free, needed });
        }
        let number = {
            let mut inner = self.inner();
            inner.next_spare += 1;
            inner.next_spare - 1
        };
        let name = names::spare(number);
        let temporary = format!("{name}{}", names::TEMPORARY);
        let made = self.write_through(&temporary).and_then(|file| {
            self.storage.rename(&temporary, &name)?;
            Ok(file)
        });
        match made {
            Ok(file) => {
                self.inner().spares.push(Spare { name, file });
                Ok(())
            }
            Err(error) => {
                // A half-written file only takes space; the next start removes it too.
                let _ = self.storage.remove(&temporary);
                Err(NoRoom::Write(error.to_string()))
            }
        }
    }

    /// Writes a file through with zeros, so that a later sync never has to change its metadata.
    fn write_through(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let file = self.storage.create(name)?;
        let zeros = vec![0; ZERO_BYTES];
        let mut at = 0;
        while at < self.config.segment_bytes {
            let piece = usize::try_from(self.config.segment_bytes - at)
                .unwrap_or(ZERO_BYTES)
                .min(ZERO_BYTES);
            file.write_at(&zeros[..piece], at)?;
            at += piece as u64;
        }
        file.sync()?;
        Ok(file)
    }

    /// Writes the indexes of sealed segments that have none yet, and lets go of them in memory.
    pub fn write_indexes(&self) {
        for segment in self.segments() {
            let Some(index) = segment.sealed_index() else {
                continue;
            };
            let name = names::index(segment.first());
            if let Err(error) = index.write(&*self.storage, &name, segment.salt()) {
                // Memory keeps nothing for it: the index can be had from the segment itself.
                tracing::warn!(file = name, %error, "cannot write a segment's index; it is read from the segment when needed");
            }
            segment.drop_index();
        }
    }

    /// Recycles or removes segments that every route has settled, and that are older than `retain`.
    /// State must have committed what the holds say. Returns how many went.
    ///
    /// # Errors
    /// As the system reports; a segment that could not be removed is tried again at the next start.
    pub fn reclaim(&self, now: Timestamp) -> io::Result<usize> {
        let retain = u64::try_from(self.config.retain.as_millis()).unwrap_or(u64::MAX);
        let oldest_kept = u64::try_from(now.as_millisecond())
            .unwrap_or(0)
            .saturating_sub(retain);
        let mut gone = 0;
        while self.reclaim_oldest(|newest| newest < oldest_kept)? {
            gone += 1;
        }
        Ok(gone)
    }

    /// Gives up the oldest settled segment although `retain` would keep it, because there is no room.
    fn evict(&self) -> io::Result<bool> {
        self.reclaim_oldest(|_| true)
    }

    /// Takes the oldest segment out of the catalogue if it is sealed, settled on every route, read by
    /// nobody, and `old_enough` says so of the millisecond of its last event.
    fn reclaim_oldest(&self, old_enough: impl FnOnce(u64) -> bool) -> io::Result<bool> {
        let low = self.low_watermark();
        let (segment, recycle) = {
            let mut inner = self.inner();
            let Some((&first, segment)) = inner.segments.first_key_value() else {
                return Ok(false);
            };
            let Some(summary) = segment.summary() else {
                return Ok(false);
            };
            let newest = summary.last_id.map_or(0, |id| id.millis());
            // Two owners: the catalogue, and nobody else but this borrow's clone to come.
            if summary.last > low || Arc::strong_count(segment) > 1 || !old_enough(newest) {
                return Ok(false);
            }
            // The newest records stay: from them a restart knows the last number and id given.
            if !inner
                .segments
                .values()
                .skip(1)
                .any(|later| later.has_records())
            {
                return Ok(false);
            }
            let whole = segment.len == self.config.segment_bytes && !segment.is_damaged();
            let recycle = (whole && inner.spares.is_empty()).then(|| {
                inner.next_spare += 1;
                names::spare(inner.next_spare - 1)
            });
            (inner.segments.remove(&first), recycle)
        };
        let Some(segment) = segment else {
            return Ok(false);
        };
        self.dispose(&segment, recycle)?;
        Ok(true)
    }

    fn dispose(&self, segment: &Arc<Segment>, recycle: Option<String>) -> io::Result<()> {
        let name = names::segment(segment.first());
        let aside = names::damaged(segment.first());
        match self.storage.remove(&names::index(segment.first())) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        match recycle {
            Some(spare) => {
                self.storage.rename(&name, &spare)?;
                // Before the file gets a new header its old name must be gone for good: else a power
                // cut could bring back the name with the wrong content behind it.
                self.storage.sync_directory()?;
                self.inner().spares.push(Spare {
                    name: spare,
                    file: Arc::clone(&segment.file),
                });
                Ok(())
            }
            // If recovery kept the original of this file aside, this is the copy around the damage.
            None if segment.is_damaged() && self.storage.open(&aside).is_err() => {
                self.storage.rename(&name, &aside)
            }
            None => self.storage.remove(&name),
        }
    }
}
