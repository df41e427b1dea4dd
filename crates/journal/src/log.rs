//! The writing end of the journal: one frame, one write, one sync.
//!
//! Single-threaded and without clocks or channels of its own, so that the crash simulation drives
//! exactly this code. [`crate::service`] gives it a thread and a queue; [`crate::recovery`] opens it.
//! After any failure it refuses everything: what is on disk is unknown, and only a restart, which
//! reads it again, can tell.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use domain::{EventId, IdGenerator, Seq, Timestamp};
use rand::rngs::StdRng;

use crate::format::frame::{FRAME_HEADER_BYTES, FrameBuilder, FrameHeader};
use crate::format::header::SegmentHeader;
use crate::format::record::{self, Records};
use crate::format::{FIRST_FRAME, Salt};
use crate::room::Spare;
use crate::segment::{Segment, names, write_header};
use crate::storage::Storage;

/// Why a frame was not committed.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The active segment has no room for it: rotate, then try again. Nothing was written.
    #[error("the active segment is full")]
    SegmentFull,
    /// A write or sync failed, now or before. Nothing is known of the frame, and no more is accepted.
    #[error("{0}")]
    Failed(String),
}

/// A frame that is durable.
#[derive(Debug, Clone)]
pub struct Committed {
    /// Its header.
    pub header: FrameHeader,
    /// Its records.
    pub payload: Bytes,
    /// The ids given, one a record.
    pub ids: Vec<EventId>,
}

/// The log.
#[derive(Debug)]
pub struct Log {
    storage: Arc<dyn Storage>,
    active: Option<Arc<Segment>>,
    offset: u64,
    /// The number of the next segment.
    next_number: u64,
    /// The number of the next event.
    next: Seq,
    last_checksum: u32,
    ids: IdGenerator,
    random: StdRng,
    failed: Option<String>,
}

/// Where a log goes on.
#[derive(Debug)]
pub(crate) struct Resume {
    pub next_number: u64,
    pub next: Seq,
    pub last_checksum: u32,
    pub last_id: Option<EventId>,
    pub random: StdRng,
}

impl Log {
    /// A log without an active segment: rotate first.
    pub(crate) fn resume(storage: Arc<dyn Storage>, from: Resume) -> Self {
        Self {
            storage,
            active: None,
            offset: 0,
            next_number: from.next_number,
            next: from.next,
            last_checksum: from.last_checksum,
            ids: IdGenerator::resume_after(from.last_id),
            random: from.random,
            failed: None,
        }
    }

    /// The last sequence number given.
    #[must_use]
    pub fn end(&self) -> Seq {
        self.next.previous()
    }

    /// Why the log accepts nothing more, if so.
    #[must_use]
    pub fn failure(&self) -> Option<&str> {
        self.failed.as_deref()
    }

    /// Gives the frame's records ids and sequence numbers, writes it, and syncs. When it returns, they
    /// are durable and readable, and `frame` is empty.
    ///
    /// # Errors
    /// [`CommitError`]; `frame` is as it was if the segment was full.
    pub fn commit(
        &mut self,
        frame: &mut FrameBuilder,
        now: Timestamp,
    ) -> Result<Committed, CommitError> {
        if let Some(reason) = &self.failed {
            return Err(CommitError::Failed(reason.clone()));
        }
        let fits = |segment: &Arc<Segment>| self.offset + frame.stride() <= segment.len;
        let Some(segment) = self.active.clone().filter(fits) else {
            return Err(CommitError::SegmentFull);
        };
        let mut frame = std::mem::take(frame);
        let ids = self.give_ids(&mut frame, now);
        let (header, bytes) =
            frame.finish(segment.salt(), self.next, self.end(), self.last_checksum);
        self.write(&segment, &header, &bytes)?;
        let payload =
            bytes.slice(FRAME_HEADER_BYTES..FRAME_HEADER_BYTES + header.payload_len as usize);
        segment
            .with_growing(|index| index.push(&header, self.offset, Records::new(payload.clone())));
        self.advance(&segment, &header);
        Ok(Committed {
            header,
            payload,
            ids,
        })
    }

    fn give_ids(&mut self, frame: &mut FrameBuilder, now: Timestamp) -> Vec<EventId> {
        let starts: Vec<usize> = record::starts(frame.payload()).collect();
        let payload = frame.payload_mut();
        let give = |start| {
            let id = self.ids.next(now, &mut self.random);
            record::set_id(&mut payload[start..], id);
            id
        };
        starts.into_iter().map(give).collect()
    }

    /// Writes an end mark, which says that all before it is durable: damage to the last frame is
    /// then told from a torn tail. A full segment needs none: its successor says it.
    ///
    /// # Errors
    /// [`CommitError::Failed`].
    pub fn mark_end(&mut self) -> Result<(), CommitError> {
        let Some(segment) = self.active.clone() else {
            return Ok(());
        };
        if self.failed.is_some()
            || self.offset + FRAME_HEADER_BYTES as u64 > segment.len
            || self.offset == FIRST_FRAME
        {
            return Ok(());
        }
        let (header, bytes) = FrameBuilder::with_capacity(0).finish(
            segment.salt(),
            self.next,
            self.end(),
            self.last_checksum,
        );
        self.write(&segment, &header, &bytes)?;
        segment.with_growing(|index| index.push(&header, self.offset, std::iter::empty()));
        self.advance(&segment, &header);
        Ok(())
    }

    fn write(
        &mut self,
        segment: &Segment,
        header: &FrameHeader,
        bytes: &[u8],
    ) -> Result<(), CommitError> {
        let written = segment
            .file
            .write_at(bytes, self.offset)
            .map_err(|error| ("write to", error));
        written
            .and_then(|()| segment.file.sync().map_err(|error| ("sync", error)))
            .map_err(|(action, error)| {
                let name = names::segment(segment.first());
                self.fail(&format!(
                    "cannot {action} {name} (event {}): {error}",
                    header.first
                ))
            })
    }

    fn advance(&mut self, segment: &Segment, header: &FrameHeader) {
        self.offset += header.stride();
        self.next = header.last().next();
        self.last_checksum = header.checksum;
        segment.publish(self.offset);
    }

    fn fail(&mut self, reason: &str) -> CommitError {
        self.failed = Some(reason.to_owned());
        CommitError::Failed(reason.to_owned())
    }

    /// Makes the spare the active segment: header synced, renamed in, directory synced, and only
    /// then appended to. The segment before was synced by its last commit, and is sealed.
    ///
    /// # Errors
    /// [`CommitError::Failed`].
    pub fn rotate(
        &mut self,
        spare: Spare,
        segment_bytes: u64,
    ) -> Result<Arc<Segment>, CommitError> {
        if let Some(reason) = &self.failed {
            return Err(CommitError::Failed(reason.clone()));
        }
        let header = SegmentHeader {
            number: self.next_number,
            first: self.next,
            salt: self.salt(),
            previous: self.last_checksum,
        };
        let name = names::segment(self.next);
        self.install(&spare, &header, &name)
            .map_err(|error| self.fail(&format!("cannot start {name}: {error}")))?;
        if let Some(old) = self.active.take() {
            old.seal();
        }
        let segment = Arc::new(Segment::active(header, segment_bytes, spare.file));
        self.next_number += 1;
        self.offset = FIRST_FRAME;
        self.active = Some(Arc::clone(&segment));
        Ok(segment)
    }

    fn install(&self, spare: &Spare, header: &SegmentHeader, name: &str) -> io::Result<()> {
        write_header(&*spare.file, header)?;
        spare.file.sync()?;
        self.storage.rename(&spare.name, name)?;
        self.storage.sync_directory()
    }

    fn salt(&mut self) -> Salt {
        let mut salt = [0; 16];
        rand::Rng::fill_bytes(&mut self.random, &mut salt);
        salt
    }
}
