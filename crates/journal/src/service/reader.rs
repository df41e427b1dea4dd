//! A route's reader: recent frames from memory, older ones from the files, in order, each event once.

use std::collections::VecDeque;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use domain::ports::{BatchLimit, JournalError, ReadBatch, Reader};
use domain::{Seq, SeqRange, SourceSet, StoredEvent};
use tokio::sync::watch;

use super::shared::Shared;
use crate::format::record::{Record, Records};
use crate::scan::{Scanned, Scanner};
use crate::segment::{Segment, names};

/// Fetched at once from memory or disk, in bytes of frames.
const FETCH_BYTES: usize = 1 << 20;

/// What comes next, undecoded.
#[derive(Debug)]
enum Fetched {
    /// A frame. `in_memory`: its bytes stand in the memory tail and not in a chunk of a file.
    Frame {
        first: Seq,
        payload: Bytes,
        in_memory: bool,
    },
    /// Numbers that damage took.
    Damaged(Lost),
    /// Bad bytes between frames, of which none is missing.
    BadBytes(Arc<Segment>),
}

/// What a reader found missing.
#[derive(Debug)]
struct Lost {
    range: SeqRange,
    /// Whose frames they were, where the segment itself is there. What the journal counts in it changes
    /// only when the range is handed out: a route may stand before it for long, and until it has come
    /// there nobody could say why the count is another one.
    segment: Option<Arc<Segment>>,
}

impl Lost {
    /// Of a segment whose frames are missing.
    fn of(segment: &Arc<Segment>, range: SeqRange) -> Fetched {
        let segment = Some(Arc::clone(segment));
        Fetched::Damaged(Self { range, segment })
    }

    /// Where no segment is.
    fn between(range: SeqRange) -> Fetched {
        let segment = None;
        Fetched::Damaged(Self { range, segment })
    }
}

/// A frame that is being handed out.
#[derive(Debug)]
struct Current {
    records: Records,
    next: Seq,
    /// Whether events may share the frame's memory: all of them are this route's, so that what a
    /// window of events pins is no more than the events.
    share: bool,
}

/// Where a reader stands in the files.
#[derive(Debug)]
struct DiskCursor {
    segment: Arc<Segment>,
    scanner: Scanner,
}

/// The embedded journal's [`Reader`].
#[derive(Debug)]
pub(super) struct RouteReader {
    shared: Arc<Shared>,
    sources: SourceSet,
    end: watch::Receiver<Seq>,
    /// Everything through here was looked at.
    position: Seq,
    fetched: VecDeque<Fetched>,
    current: Option<Current>,
    disk: Option<DiskCursor>,
    /// Segments that are counted anew, until a batch says so.
    recounted: Vec<SeqRange>,
}

impl RouteReader {
    pub(super) fn new(shared: Arc<Shared>, after: Seq, sources: SourceSet) -> Self {
        let end = shared.end.subscribe();
        Self {
            shared,
            sources,
            end,
            position: after,
            fetched: VecDeque::new(),
            current: None,
            disk: None,
            recounted: Vec::new(),
        }
    }

    /// Notes that frames of the segment are missing. All of it is counted anew, whatever else is lost in it
    /// and is not handed out yet.
    fn found_damaged(&mut self, segment: &Segment) {
        // Removes an index file: rare, and brief.
        self.shared.found_damaged(segment);
        self.recounted
            .extend(SeqRange::new(segment.first(), segment.last()));
    }

    /// Fetches what follows the position. Waits until there is something.
    async fn fetch(&mut self) -> Result<(), JournalError> {
        let position = self.position;
        let end = *self
            .end
            .wait_for(|end| *end > position)
            .await
            .map_err(|_| JournalError("the journal is closed".into()))?;
        if let Some(frames) = self.shared.tail.after(position, FETCH_BYTES) {
            // A cursor on the files would keep its segment from being recycled.
            self.disk = None;
            self.fetched
                .extend(frames.into_iter().map(|frame| Fetched::Frame {
                    first: frame.first,
                    payload: frame.payload,
                    in_memory: true,
                }));
            return Ok(());
        }
        // If this call is dropped here, the cursor is lost and opened anew: nothing was taken yet.
        let disk = self.disk.take();
        let shared = Arc::clone(&self.shared);
        let read =
            tokio::task::spawn_blocking(move || read_files(&shared, disk, position, end)).await;
        let (disk, fetched) = read.map_err(|error| JournalError(error.to_string()))??;
        self.disk = disk;
        self.fetched.extend(fetched);
        Ok(())
    }

    /// Hands out of what is fetched until the batch is full or nothing is left.
    fn drain(&mut self, limit: BatchLimit, batch: &mut ReadBatch) {
        let mut bytes: usize = batch
            .events
            .iter()
            .map(|stored| stored.event.weight())
            .sum();
        while batch.events.len() < limit.events && (bytes < limit.bytes || batch.events.is_empty())
        {
            let Some(current) = &mut self.current else {
                match self.fetched.pop_front() {
                    None => return,
                    Some(Fetched::Damaged(Lost { range, segment })) => {
                        if let Some(segment) = segment {
                            self.found_damaged(&segment);
                        }
                        self.shared.note_damage(range);
                        batch.damaged.push(range);
                        self.position = self.position.max(range.last);
                    }
                    Some(Fetched::BadBytes(segment)) => self.found_damaged(&segment),
                    Some(Fetched::Frame {
                        first,
                        payload,
                        in_memory,
                    }) => {
                        self.current = Some(self.begin(first, payload, in_memory));
                    }
                }
                continue;
            };
            let Some(record) = current.records.next() else {
                self.current = None;
                continue;
            };
            let seq = current.next;
            let share = current.share;
            current.next = seq.next();
            if seq <= self.position {
                continue;
            }
            self.position = seq;
            if self.sources.contains(record.source()) {
                match decode(seq, &record, share) {
                    Ok(stored) => {
                        bytes += stored.event.weight();
                        batch.events.push(stored);
                    }
                    Err(error) => {
                        tracing::error!(seq = seq.0, %error, "a stored event cannot be read and counts as damaged");
                        self.shared.note_damage(SeqRange::single(seq));
                        batch.damaged.push(SeqRange::single(seq));
                    }
                }
            }
        }
    }

    fn begin(&self, first: Seq, payload: Bytes, in_memory: bool) -> Current {
        let records = Records::new(payload);
        let share = in_memory
            && records
                .clone()
                .all(|record| self.sources.contains(record.source()));
        Current {
            records,
            next: first,
            share,
        }
    }
}

fn decode(
    seq: Seq,
    record: &Record,
    share: bool,
) -> Result<StoredEvent, domain::event::DecodeError> {
    let bytes = if share {
        record.event()
    } else {
        Bytes::copy_from_slice(&record.event())
    };
    Ok(StoredEvent {
        seq,
        id: record.id,
        event: Arc::new(domain::event::decode(bytes)?),
    })
}

#[async_trait]
impl Reader for RouteReader {
    async fn read(&mut self, limit: BatchLimit) -> Result<ReadBatch, JournalError> {
        let start = self.position;
        let mut batch = ReadBatch::default();
        while self.position == start {
            if self.current.is_none() && self.fetched.is_empty() {
                self.fetch().await?;
            }
            self.drain(limit, &mut batch);
        }
        batch.through = self.position;
        batch.recounted = std::mem::take(&mut self.recounted);
        Ok(batch)
    }
}

/// Reads on in the files, from where `disk` stands or else from the index's word on `position`.
fn read_files(
    shared: &Shared,
    disk: Option<DiskCursor>,
    position: Seq,
    end: Seq,
) -> Result<(Option<DiskCursor>, Vec<Fetched>), JournalError> {
    let mut fetched = Vec::new();
    let mut cursor = match disk {
        Some(cursor) => cursor,
        None => match open_cursor(shared, position, end, &mut fetched)? {
            Some(cursor) => cursor,
            None => return Ok((None, fetched)),
        },
    };
    let mut bytes = 0;
    while bytes < FETCH_BYTES && cursor.scanner.expected() <= end {
        cursor.scanner.extend(cursor.segment.data_end());
        let step = cursor
            .scanner
            .step()
            .map_err(|error| read_error(&cursor.segment, &error))?;
        match step {
            Scanned::Frame(frame)
                if frame.header.is_end_mark() || frame.header.last() <= position => {}
            Scanned::Frame(frame) => {
                bytes += frame.payload.len();
                fetched.push(Fetched::Frame {
                    first: frame.header.first,
                    payload: frame.payload,
                    in_memory: false,
                });
            }
            Scanned::Gap { missing, .. } => match missing {
                Some(missing) => fetched.push(Lost::of(&cursor.segment, missing)),
                None => fetched.push(Fetched::BadBytes(Arc::clone(&cursor.segment))),
            },
            Scanned::End { .. } => cursor = finish_segment(shared, cursor, end, &mut fetched),
        }
    }
    Ok((Some(cursor), fetched))
}

fn read_error(segment: &Segment, error: &dyn std::fmt::Display) -> JournalError {
    JournalError(format!("{}: {error}", names::segment(segment.first())))
}

/// Opens the file that holds the number after `position`, as near to it as the index knows. `None`: no
/// file holds it or a later one, and what was numbered there is lost.
fn open_cursor(
    shared: &Shared,
    position: Seq,
    end: Seq,
    fetched: &mut Vec<Fetched>,
) -> Result<Option<DiskCursor>, JournalError> {
    let wanted = position.next();
    let Some(segment) = shared.room.segment_from(wanted) else {
        fetched.extend(SeqRange::new(wanted, end).map(Lost::between));
        return Ok(None);
    };
    let mut scanner = segment.scanner();
    if segment.first() > wanted {
        fetched
            .extend(SeqRange::new(wanted, segment.first().previous().min(end)).map(Lost::between));
    } else if let Ok(Some(frame)) =
        shared.with_index(&segment, |index| index.frame_of(wanted).copied())
    {
        scanner.seek(frame.offset, frame.first);
        // The index is not taken at its word: where it is wrong, or where damage began just there, the
        // segment is read from its start.
        if scanner
            .peek()
            .map_err(|error| read_error(&segment, &error))?
            != Some(frame.first)
        {
            scanner = segment.scanner();
        }
    }
    Ok(Some(DiskCursor { segment, scanner }))
}

/// At the end of a segment's valid frames: what should still have been there is damage; then on to
/// the next segment.
fn finish_segment(
    shared: &Shared,
    mut cursor: DiskCursor,
    end: Seq,
    fetched: &mut Vec<Fetched>,
) -> DiskCursor {
    let (last, data_end) = cursor.segment.bound();
    let expected = cursor.scanner.expected();
    if let Some(lost) = SeqRange::new(expected, last.min(end)) {
        // Frames that were synced while this was read lie behind the damage, and are read next.
        let behind =
            shared.with_index(&cursor.segment, |index| index.frame_of(end.next()).copied());
        let behind = behind.ok().flatten().filter(|_| last > end);
        let (offset, next) =
            behind.map_or((data_end, last.next()), |frame| (frame.offset, frame.first));
        fetched.push(Lost::of(&cursor.segment, lost));
        cursor.scanner.extend(data_end);
        cursor.scanner.seek(offset, next);
        return cursor;
    }
    let Some(next) = shared.room.segment_after(cursor.segment.first()) else {
        // The active segment, and yet nothing at its end: numbers up to `end` do not exist there.
        fetched.extend(SeqRange::new(expected, end).map(Lost::between));
        cursor.scanner.seek(data_end, end.next());
        return cursor;
    };
    if let Some(lost) = SeqRange::new(expected, next.first().previous()) {
        // Another segment is gone, or numbers were passed over; this one ends where it should.
        fetched.push(Lost::between(lost));
    }
    DiskCursor {
        scanner: next.scanner(),
        segment: next,
    }
}
