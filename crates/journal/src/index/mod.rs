//! The index of one segment: where each frame stands, and of each record its id, deduplication hash
//! and source.
//!
//! Kept in memory for the segment being written; written beside the segment when that is sealed
//! ([`mod@file`]). Advisory: whatever it says can be had again by scanning the segment, and is, when the
//! file is missing, damaged, or speaks of another segment.

pub mod file;

use std::sync::Arc;

use domain::{DedupKey, EventId, Seq, SourceSet};

use crate::format::frame::FrameHeader;
use crate::format::header::SegmentHeader;
use crate::format::record::{Record, Records};
use crate::scan::{ScanError, Scanned, Scanner};

/// A frame's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameRef {
    /// Its first sequence number.
    pub first: Seq,
    /// Where it starts in the file.
    pub offset: u64,
    /// How many records of the segment come before it.
    pub records_before: u32,
}

/// What the index keeps of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordRef {
    /// The event's id.
    pub id: EventId,
    /// Its deduplication hash.
    pub key: Option<DedupKey>,
    /// Position of its source in [`SegmentIndex::sources`].
    pub source: u16,
}

/// A source with the number of its events in the segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceCount {
    /// Its name.
    pub name: Arc<str>,
    /// Events.
    pub events: u64,
}

/// The index of one segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentIndex {
    /// Frames with records, in order.
    pub frames: Vec<FrameRef>,
    /// Records, in order.
    pub records: Vec<RecordRef>,
    /// Sources that occur, with counts.
    pub sources: Vec<SourceCount>,
    /// The last sequence number in the segment, there or missing; the one before its first while it is
    /// empty.
    pub last: Seq,
    /// Where the next frame would start.
    pub data_end: u64,
    /// Checksum of the last frame; the header's `previous` while it is empty.
    pub last_checksum: u32,
    /// Sequence numbers within the segment that are missing.
    pub missing: u64,
}

impl SegmentIndex {
    /// Of a segment that holds nothing yet.
    #[must_use]
    pub fn empty(first: Seq, previous_checksum: u32) -> Self {
        Self {
            frames: Vec::new(),
            records: Vec::new(),
            sources: Vec::new(),
            last: first.previous(),
            data_end: crate::format::FIRST_FRAME,
            last_checksum: previous_checksum,
            missing: 0,
        }
    }

    /// Builds the index by reading the whole segment. Gaps are counted, not judged.
    ///
    /// # Errors
    /// [`ScanError`].
    pub fn scan(scanner: &mut Scanner, previous_checksum: u32) -> Result<Self, ScanError> {
        let mut index = Self::empty(scanner.expected(), previous_checksum);
        loop {
            match scanner.step()? {
                Scanned::Frame(frame) => {
                    index.push(&frame.header, frame.offset, Records::new(frame.payload));
                }
                Scanned::Gap { missing, .. } => {
                    index.missing += missing.map_or(0, |range| range.count());
                }
                Scanned::End { .. } => return Ok(index),
            }
        }
    }

    /// Takes the next segment's word for what this one held: when the last frame found is not the one that
    /// it goes on from, what lies between is missing.
    pub fn end_before(&mut self, next: &SegmentHeader) {
        if self.last_checksum == next.previous {
            return;
        }
        self.missing += next.first.0.saturating_sub(self.last.next().0);
        self.last = self.last.max(next.first.previous());
        self.last_checksum = next.previous;
    }

    /// Adds the frame that stands at `offset`.
    pub fn push(
        &mut self,
        header: &FrameHeader,
        offset: u64,
        records: impl Iterator<Item = Record>,
    ) {
        self.last = header.last();
        self.data_end = offset + header.stride();
        self.last_checksum = header.checksum;
        if header.is_end_mark() {
            return;
        }
        let records_before = u32::try_from(self.records.len()).unwrap_or(u32::MAX);
        self.frames.push(FrameRef {
            first: header.first,
            offset,
            records_before,
        });
        for record in records {
            let source = self.count_source(record.source());
            self.records.push(RecordRef {
                id: record.id,
                key: record.key,
                source,
            });
        }
    }

    fn count_source(&mut self, name: &str) -> u16 {
        let at = self
            .sources
            .iter()
            .position(|known| &*known.name == name)
            .unwrap_or_else(|| {
                self.sources.push(SourceCount {
                    name: name.into(),
                    events: 0,
                });
                self.sources.len() - 1
            });
        self.sources[at].events += 1;
        u16::try_from(at).unwrap_or(u16::MAX)
    }

    /// The frame that holds, or would hold, `seq`.
    #[must_use]
    pub fn frame_of(&self, seq: Seq) -> Option<&FrameRef> {
        let after = self.frames.partition_point(|frame| frame.first <= seq);
        self.frames.get(after.checked_sub(1)?)
    }

    /// The sequence number of the record at `position`.
    #[must_use]
    pub fn seq_at(&self, position: usize) -> Option<Seq> {
        if position >= self.records.len() {
            return None;
        }
        let after = self
            .frames
            .partition_point(|frame| frame.records_before as usize <= position);
        let frame = self.frames.get(after.checked_sub(1)?)?;
        Some(Seq(
            frame.first.0 + (position - frame.records_before as usize) as u64
        ))
    }

    /// The position of the first record whose number is above `seq`.
    #[must_use]
    pub fn position_after(&self, seq: Seq) -> usize {
        let Some(at) = self
            .frames
            .partition_point(|frame| frame.first <= seq)
            .checked_sub(1)
        else {
            return 0;
        };
        let frame = self.frames[at];
        let within = usize::try_from(seq.0 - frame.first.0 + 1).unwrap_or(usize::MAX);
        let next = self
            .frames
            .get(at + 1)
            .map_or(self.records.len(), |frame| frame.records_before as usize);
        (frame.records_before as usize)
            .saturating_add(within)
            .min(next)
    }

    /// The position of the record with this id.
    #[must_use]
    pub fn position_of(&self, id: EventId) -> Option<usize> {
        self.records
            .binary_search_by(|record| record.id.cmp(&id))
            .ok()
    }

    /// Which positions in [`SegmentIndex::sources`] belong to `sources`.
    #[must_use]
    pub fn members(&self, sources: &SourceSet) -> Vec<bool> {
        self.sources
            .iter()
            .map(|source| sources.contains(&source.name))
            .collect()
    }

    /// Counts the records of `sources` with `after < seq <= through`.
    #[must_use]
    pub fn count(&self, sources: &SourceSet, after: Seq, through: Seq) -> u64 {
        let members = self.members(sources);
        let (from, to) = (self.position_after(after), self.position_after(through));
        let range = self.records.get(from..to).unwrap_or_default();
        range
            .iter()
            .filter(|record| members[usize::from(record.source)])
            .count() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::frame::FrameBuilder;
    use domain::{Event, SourceName, Timestamp};

    pub(super) fn sample() -> SegmentIndex {
        let mut index = SegmentIndex::empty(Seq(10), 1);
        let mut offset = index.data_end;
        let mut id = 0_u8;
        // Numbers 10-12 and, behind a gap of two, 15-16.
        for (first, sources) in [(10, vec!["a", "b", "a"]), (15, vec!["b", "c"])] {
            let mut builder = FrameBuilder::with_capacity(0);
            for source in sources {
                id += 1;
                let event = Event {
                    source: SourceName::new(source).unwrap(),
                    received_at: Timestamp::UNIX_EPOCH,
                    method: String::new(),
                    path: String::new(),
                    headers: domain::Headers::default(),
                    body: bytes::Bytes::new(),
                    event_type: None,
                    remote: None,
                    dedup: (id.is_multiple_of(2)).then_some(DedupKey([id; 16])),
                    only: None,
                };
                let mut record = crate::format::record::encode(&event);
                crate::format::record::set_id(&mut record, EventId::from_bytes([id; 16]));
                builder.push_all(&record, 1);
            }
            let (header, bytes) = builder.finish(&[0; 16], Seq(first), Seq(first - 1), 0);
            let payload = bytes.slice(40..40 + header.payload_len as usize);
            index.push(&header, offset, Records::new(payload));
            offset = index.data_end;
        }
        index.missing = 2;
        index
    }

    #[test]
    fn places_are_found_across_a_gap() {
        let index = sample();
        let seqs: Vec<_> = (0..6).map(|at| index.seq_at(at).map(|seq| seq.0)).collect();
        assert_eq!(
            seqs,
            [Some(10), Some(11), Some(12), Some(15), Some(16), None]
        );
        let after: Vec<_> = (8..19).map(|seq| index.position_after(Seq(seq))).collect();
        assert_eq!(after, [0, 0, 1, 2, 3, 3, 3, 4, 5, 5, 5]);
        assert_eq!(index.frame_of(Seq(9)), None);
        assert_eq!(index.frame_of(Seq(12)).unwrap().first, Seq(10));
        assert_eq!(index.frame_of(Seq(15)).unwrap().first, Seq(15));
        assert_eq!(index.position_of(EventId::from_bytes([4; 16])), Some(3));
        assert_eq!(index.position_of(EventId::from_bytes([9; 16])), None);
    }

    #[test]
    fn counts_are_of_the_asked_sources_and_numbers_only() {
        let index = sample();
        let set = |names: &[&str]| {
            names
                .iter()
                .map(|name| SourceName::new(name).unwrap())
                .collect::<SourceSet>()
        };
        assert_eq!(index.count(&set(&["a"]), Seq(0), Seq(99)), 2);
        assert_eq!(index.count(&set(&["a", "b"]), Seq(10), Seq(15)), 3);
        assert_eq!(index.count(&set(&["c"]), Seq(16), Seq(99)), 0);
        assert_eq!(index.count(&set(&["nobody"]), Seq(0), Seq(99)), 0);
    }
}
