//! Copying the last segment into a new file with a new salt, and keeping a damaged one aside.
//!
//! A copy has a temporary name until it is whole and synced; only [`super`] renames it into place. What
//! is missing in the original stays missing in the copy, under the same numbers.

use std::io;
use std::sync::Arc;

use bytes::BytesMut;
use domain::Seq;

use super::aside;
use crate::format::frame::FrameBuilder;
use crate::format::header::SegmentHeader;
use crate::format::record::Records;
use crate::format::{FIRST_FRAME, Salt};
use crate::index::SegmentIndex;
use crate::scan::Frame;
use crate::segment::{Segment, names, write_header};
use crate::storage::{File, Storage};

/// Copied frames are written in pieces of about this size.
const COPY_BYTES: usize = 1 << 20;

pub(super) fn copy_name(first: Seq) -> String {
    format!("{}{}", names::segment(first), names::TEMPORARY)
}

/// Copies the whole file, so that the original's content survives its replacement. What was kept of it
/// before stays: it is nearer to the original. A marker that has the name gives way.
pub(super) fn keep_aside(storage: &dyn Storage, segment: &Segment) -> io::Result<()> {
    let name = names::damaged(segment.first());
    if let Ok(kept) = storage.open(&name)
        && !aside::is_marker(&*kept)?
    {
        return Ok(());
    }
    let temporary = format!("{name}{}", names::TEMPORARY);
    let target = storage.create(&temporary)?;
    let mut buffer = vec![0; COPY_BYTES];
    let mut at = 0;
    loop {
        let read = crate::storage::read_full(&*segment.file, &mut buffer, at)?;
        if read == 0 {
            break;
        }
        target.write_at(&buffer[..read], at)?;
        at += read as u64;
    }
    target.sync()?;
    storage.rename(&temporary, &name)?;
    storage.sync_directory()
}

/// Whether nothing was ever written behind the segment's headers, so that there is nothing to keep.
pub(super) fn is_blank(segment: &Segment) -> io::Result<bool> {
    let mut buffer = vec![0; COPY_BYTES];
    let mut at = FIRST_FRAME;
    loop {
        let read = crate::storage::read_full(&*segment.file, &mut buffer, at)?;
        if buffer[..read].iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
        if read == 0 {
            return Ok(true);
        }
        at += read as u64;
    }
}

/// The copy of a segment under a new salt, being written.
pub(super) struct Copy<'a> {
    storage: &'a Arc<dyn Storage>,
    header: SegmentHeader,
    file: Arc<dyn File>,
    index: SegmentIndex,
    pending: BytesMut,
    written: u64,
}

impl<'a> Copy<'a> {
    pub(super) fn new(
        storage: &'a Arc<dyn Storage>,
        old: &Segment,
        salt: Salt,
    ) -> io::Result<Self> {
        let header = SegmentHeader { salt, ..old.header };
        let file = storage.create(&copy_name(header.first))?;
        write_header(&*file, &header)?;
        Ok(Self {
            storage,
            header,
            file,
            index: SegmentIndex::empty(header.first, header.previous),
            pending: BytesMut::new(),
            written: FIRST_FRAME,
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.index.frames.is_empty()
    }

    /// The last number in it, there or missing; the one before its first while it is empty.
    pub(super) fn last(&self) -> Seq {
        self.index.last
    }

    pub(super) fn push(&mut self, frame: &Frame) -> io::Result<()> {
        // Numbers that are missing ahead of the frame were given, and stay so: also when only an end
        // mark is left to say it.
        let missing = frame
            .header
            .first
            .0
            .saturating_sub(self.index.last.next().0);
        self.index.missing += missing;
        if frame.header.is_end_mark() {
            self.index.last = self.index.last.max(frame.header.last());
            return Ok(());
        }
        let mut builder = FrameBuilder::with_capacity(frame.payload.len());
        let records: Vec<_> = Records::new(frame.payload.clone()).collect();
        builder.push_all(&frame.payload, frame.header.count);
        let (header, bytes) = builder.finish(
            &self.header.salt,
            frame.header.first,
            frame.header.synced_through,
            self.index.last_checksum,
        );
        self.index
            .push(&header, self.index.data_end, records.into_iter());
        self.append(&bytes)
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.pending.extend_from_slice(bytes);
        if self.pending.len() >= COPY_BYTES {
            self.flush()
        } else {
            Ok(())
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.write_at(&self.pending, self.written)?;
        self.written += self.pending.len() as u64;
        self.pending.clear();
        Ok(())
    }

    /// Ends the copy with an end mark and syncs it. It still has its temporary name.
    pub(super) fn finish(
        mut self,
    ) -> io::Result<(SegmentHeader, u64, Arc<dyn File>, SegmentIndex)> {
        let (mark, bytes) = FrameBuilder::with_capacity(0).finish(
            &self.header.salt,
            self.index.last.next(),
            self.index.last,
            self.index.last_checksum,
        );
        self.index
            .push(&mark, self.index.data_end, std::iter::empty());
        self.append(&bytes)?;
        self.flush()?;
        self.file.sync()?;
        Ok((self.header, self.written, self.file, self.index))
    }

    pub(super) fn abandon(self) -> io::Result<()> {
        self.storage.remove(&copy_name(self.header.first))
    }
}
