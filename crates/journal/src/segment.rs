//! A segment: its names on disk, its header, and what is known of its content.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use domain::Seq;

use crate::format::header::{HEADER_BYTES, HeaderError, SegmentHeader};
use crate::format::{FIRST_FRAME, HEADER_COPY, Salt};
use crate::index::SegmentIndex;
use crate::index::file::Summary;
use crate::scan::Scanner;
use crate::storage::{File, read_full};

/// The names of files in the journal's directory.
pub mod names {
    use domain::Seq;

    /// A segment's file.
    #[must_use]
    pub fn segment(first: Seq) -> String {
        format!("{:020}.journal", first.0)
    }

    /// The index beside a sealed segment.
    #[must_use]
    pub fn index(first: Seq) -> String {
        format!("{:020}.index", first.0)
    }

    /// What is kept of a segment with damage.
    #[must_use]
    pub fn damaged(first: Seq) -> String {
        format!("{:020}.damaged", first.0)
    }

    /// A file written through and ready to become a segment.
    #[must_use]
    pub fn spare(number: u64) -> String {
        format!("{number:06}.spare")
    }

    /// Something unfinished; removed at start.
    pub const TEMPORARY: &str = ".tmp";

    /// The first sequence number in a segment file's name.
    #[must_use]
    pub fn parse_segment(name: &str) -> Option<Seq> {
        parse(name, ".journal").map(Seq)
    }

    /// The number in a spare file's name.
    #[must_use]
    pub fn parse_spare(name: &str) -> Option<u64> {
        parse(name, ".spare")
    }

    /// The first sequence number in the name of what was kept aside.
    #[must_use]
    pub fn parse_damaged(name: &str) -> Option<Seq> {
        parse(name, ".damaged").map(Seq)
    }

    fn parse(name: &str, ending: &str) -> Option<u64> {
        let digits = name.strip_suffix(ending)?;
        digits
            .bytes()
            .all(|byte| byte.is_ascii_digit())
            .then(|| digits.parse().ok())?
    }
}

/// Writes both copies of the header. Not synced.
pub(crate) fn write_header(file: &dyn File, header: &SegmentHeader) -> io::Result<()> {
    let bytes = header.encode();
    file.write_at(&bytes, 0)?;
    file.write_at(&bytes, HEADER_COPY)
}

/// Reads the header from whichever copy is valid.
pub(crate) fn read_header(file: &dyn File) -> io::Result<Result<SegmentHeader, HeaderError>> {
    let mut found = Err(HeaderError::Damaged);
    for at in [0, HEADER_COPY] {
        let mut bytes = [0; HEADER_BYTES];
        let read = read_full(file, &mut bytes, at)?;
        found = SegmentHeader::decode(&bytes[..read]);
        if !matches!(found, Err(HeaderError::Damaged)) {
            break;
        }
    }
    Ok(found)
}

/// A segment that can be read. Holding one keeps its file from being recycled.
#[derive(Debug)]
pub struct Segment {
    /// Its header.
    pub header: SegmentHeader,
    /// Its file's length: what it takes of the disk.
    pub len: u64,
    /// Its file.
    pub file: Arc<dyn File>,
    /// Where its synced frames end. Moves while it is the active one.
    data_end: AtomicU64,
    /// Set when it is sealed.
    summary: OnceLock<Summary>,
    /// The whole index once it is sealed, until its file is written.
    live: Mutex<Option<Arc<SegmentIndex>>>,
    /// The index of the segment being written, which grows with each frame.
    growing: Mutex<Option<SegmentIndex>>,
    /// Set when a reader found frames missing.
    damaged: AtomicBool,
}

impl Segment {
    /// A sealed segment.
    pub(crate) fn sealed(
        header: SegmentHeader,
        len: u64,
        file: Arc<dyn File>,
        summary: Summary,
    ) -> Self {
        Self {
            header,
            len,
            file,
            data_end: AtomicU64::new(summary.data_end),
            summary: OnceLock::from(summary),
            live: Mutex::new(None),
            growing: Mutex::new(None),
            damaged: AtomicBool::new(false),
        }
    }

    /// The segment that is written from now on.
    pub(crate) fn active(header: SegmentHeader, len: u64, file: Arc<dyn File>) -> Self {
        Self {
            header,
            len,
            file,
            data_end: AtomicU64::new(FIRST_FRAME),
            summary: OnceLock::new(),
            live: Mutex::new(None),
            growing: Mutex::new(Some(SegmentIndex::empty(header.first, header.previous))),
            damaged: AtomicBool::new(false),
        }
    }

    /// The first sequence number it may hold.
    #[must_use]
    pub fn first(&self) -> Seq {
        self.header.first
    }

    /// Its salt.
    #[must_use]
    pub fn salt(&self) -> &Salt {
        &self.header.salt
    }

    /// What is known of it once it is sealed.
    #[must_use]
    pub fn summary(&self) -> Option<&Summary> {
        self.summary.get()
    }

    /// Where its synced frames end.
    #[must_use]
    pub fn data_end(&self) -> u64 {
        self.data_end.load(Ordering::Acquire)
    }

    /// A scanner over its synced frames.
    #[must_use]
    pub fn scanner(&self) -> Scanner {
        Scanner::new(
            Arc::clone(&self.file),
            self.header.salt,
            self.header.first,
            self.data_end(),
        )
    }

    /// Looks at, or adds to, the index of the active segment; `None` once it is sealed.
    pub(crate) fn with_growing<T>(&self, act: impl FnOnce(&mut SegmentIndex) -> T) -> Option<T> {
        self.growing
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .as_mut()
            .map(act)
    }

    /// Moves the end of what may be read. Called after the sync.
    pub(crate) fn publish(&self, data_end: u64) {
        self.data_end.store(data_end, Ordering::Release);
    }

    /// Ends writing: from now on it has a summary, and its index waits in memory to be written.
    pub(crate) fn seal(&self) {
        let index = self
            .growing
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(index) = index {
            let _ = self.summary.set(index.summary());
            *self.live.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(index));
        }
    }

    /// The index of a sealed segment, while it is still in memory.
    pub(crate) fn sealed_index(&self) -> Option<Arc<SegmentIndex>> {
        self.live
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Lets go of the index in memory: its file is written.
    pub(crate) fn drop_index(&self) {
        *self.live.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The last sequence number it holds and where its frames end, as one consistent pair.
    #[must_use]
    pub fn bound(&self) -> (Seq, u64) {
        let sealed = || {
            self.summary
                .get()
                .map(|summary| (summary.last, summary.data_end))
        };
        sealed()
            .or_else(|| self.with_growing(|index| (index.last, index.data_end)))
            .or_else(sealed)
            .unwrap_or_default()
    }

    /// The last sequence number it holds.
    #[must_use]
    pub fn last(&self) -> Seq {
        self.bound().0
    }

    /// Whether any record stands in it.
    pub(crate) fn has_records(&self) -> bool {
        let sealed = || {
            self.summary
                .get()
                .is_some_and(|summary| summary.last_id.is_some())
        };
        sealed()
            || self
                .with_growing(|index| !index.records.is_empty())
                .unwrap_or_else(sealed)
    }

    /// Notes that frames of it are missing: its file will be kept aside instead of recycled. `true` if
    /// that was not known before.
    pub(crate) fn mark_damaged(&self) -> bool {
        let known = self.is_damaged();
        self.damaged.store(true, Ordering::Relaxed);
        !known
    }

    /// Whether frames of it are known to be missing.
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        self.damaged.load(Ordering::Relaxed)
            || self
                .summary
                .get()
                .is_some_and(|summary| summary.missing > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::names;
    use domain::Seq;

    #[test]
    fn names_read_back_and_strangers_are_left_alone() {
        assert_eq!(names::segment(Seq(42)), "00000000000000000042.journal");
        assert_eq!(
            names::parse_segment(&names::segment(Seq(42))),
            Some(Seq(42))
        );
        assert_eq!(names::parse_spare(&names::spare(7)), Some(7));
        for stranger in [
            "journal",
            "x.journal",
            "+1.journal",
            "1.journal.tmp",
            "1.spare2",
            ".journal",
        ] {
            assert_eq!(
                (names::parse_segment(stranger), names::parse_spare(stranger)),
                (None, None),
                "{stranger}"
            );
        }
    }
}
