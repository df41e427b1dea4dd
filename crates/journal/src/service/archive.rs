//! Looking back: events by id and by page, keys for deduplication, counts. Off the hot path; all of it
//! blocks and runs on the blocking pool.

use std::sync::Arc;

use domain::ports::{EventPage, EventQuery, JournalError};
use domain::{DedupKey, EventId, Seq, SeqRange, SourceSet, StoredEvent, Timestamp};

use super::EmbeddedJournal;
use super::shared::Shared;
use crate::format::record::Records;
use crate::index::{FrameRef, SegmentIndex};
use crate::scan::{Frame, Scanned};
use crate::segment::{Segment, names};

/// Records looked at for one page before it is handed out unfinished, so that a rare source cannot
/// make one request read the whole journal.
const MAX_LOOKED_AT: usize = 2_000_000;

/// Ids are given after receipt: an event may have been received this long before its id's time. In
/// milliseconds; far above any `ack_timeout`.
const ID_SLACK_MILLIS: u64 = 60_000;

/// The event with this id.
pub(super) fn find(shared: &Shared, id: EventId) -> Result<Option<StoredEvent>, JournalError> {
    for segment in shared.room.segments().iter().rev() {
        let outside = segment.summary().is_some_and(|summary| {
            summary.first_id.is_none_or(|first| id < first)
                || summary.last_id.is_none_or(|last| id > last)
        });
        if outside {
            continue;
        }
        let place = shared.with_index(segment, |index| {
            index.position_of(id).map(|at| place(index, at))
        })?;
        if let Some(Some((seq, frame))) = place {
            return event_in(&read_frame(segment, frame)?, seq, segment).map(Some);
        }
    }
    Ok(None)
}

/// The events with these numbers; `None` for what damage took, which is then noted as it is for a reader. What
/// cannot be read just now is an error: nobody may take it for lost.
pub(super) fn at(shared: &Shared, seqs: &[Seq]) -> Result<Vec<Option<StoredEvent>>, JournalError> {
    let mut last: Option<(FrameRef, Option<Frame>)> = None;
    let mut found = Vec::with_capacity(seqs.len());
    for seq in seqs {
        let segment = shared.room.segment_from(*seq);
        let Some(segment) = segment.filter(|segment| segment.first() <= *seq) else {
            shared.note_damage(SeqRange::single(*seq));
            found.push(None);
            continue;
        };
        let place = shared.with_index(&segment, |index| index.frame_of(*seq).copied())?;
        if let Some(place) = place
            && last.as_ref().is_none_or(|(known, _)| *known != place)
        {
            last = Some((place, frame_at(&segment, place)?));
        }
        let frame = last.as_ref().filter(|(known, _)| Some(*known) == place);
        let frame = frame.and_then(|(_, frame)| frame.as_ref());
        let stored = frame.and_then(|frame| event_in(frame, *seq, &segment).ok());
        if stored.is_none() {
            tracing::error!(
                seq = seq.0,
                file = names::segment(segment.first()),
                "a stored event is damaged"
            );
            shared.found_damaged(&segment);
            shared.note_damage(SeqRange::single(*seq));
        }
        found.push(stored);
    }
    Ok(found)
}

fn place(index: &SegmentIndex, at: usize) -> Option<(Seq, FrameRef)> {
    let seq = index.seq_at(at)?;
    index.frame_of(seq).map(|frame| (seq, *frame))
}

fn read_frame(segment: &Segment, at: FrameRef) -> Result<Frame, JournalError> {
    frame_at(segment, at)?.ok_or_else(|| {
        JournalError(format!(
            "{}: the frame at {} is damaged",
            names::segment(segment.first()),
            at.offset
        ))
    })
}

/// `None` if there is no valid frame at the place.
fn frame_at(segment: &Segment, at: FrameRef) -> Result<Option<Frame>, JournalError> {
    let mut scanner = segment.scanner();
    scanner.seek(at.offset, at.first);
    let step = scanner
        .step()
        .map_err(|error| JournalError(format!("{}: {error}", names::segment(segment.first()))))?;
    Ok(match step {
        Scanned::Frame(frame) if frame.offset == at.offset => Some(frame),
        _ => None,
    })
}

fn event_in(frame: &Frame, seq: Seq, segment: &Segment) -> Result<StoredEvent, JournalError> {
    let nth = usize::try_from(seq.0 - frame.header.first.0).unwrap_or(usize::MAX);
    let unreadable = || {
        JournalError(format!(
            "{}: event {seq} cannot be read",
            names::segment(segment.first())
        ))
    };
    let record = Records::new(frame.payload.clone())
        .nth(nth)
        .ok_or_else(unreadable)?;
    // Copied out, so that one event on a page does not keep its whole frame in memory.
    let event = domain::event::decode(bytes::Bytes::copy_from_slice(&record.event()))
        .map_err(|_| unreadable())?;
    Ok(StoredEvent {
        seq,
        id: record.id,
        event: Arc::new(event),
    })
}

/// A page of events, newest first. What cannot be read is left out.
pub(super) fn page(shared: &Shared, query: &EventQuery) -> Result<EventPage, JournalError> {
    let mut page = EventPage::default();
    let mut looked_at = 0;
    let below = query.below.unwrap_or(Seq(u64::MAX));
    for segment in shared
        .room
        .segments()
        .iter()
        .rev()
        .filter(|segment| segment.first() < below)
    {
        if outside_time(segment, query) {
            continue;
        }
        let mut frames = LastFrame::default();
        let mut rest = Some(below);
        while let Some(below) = rest {
            let wanted = query.limit.saturating_sub(page.events.len());
            let looked = candidates(shared, segment, query, below, wanted.saturating_add(1))?;
            for (seq, at) in looked.found {
                if page.events.len() == query.limit {
                    return Ok(page);
                }
                let Some(frame) = frames.read(segment, at) else {
                    continue;
                };
                let stored = event_in(frame, seq, segment).inspect_err(left_out);
                let Ok(stored) = stored else { continue };
                page.next = Some(seq);
                if within(stored.event.received_at, query) {
                    page.events.push(stored);
                }
            }
            looked_at += looked.count;
            rest = looked.rest;
            if looked_at >= MAX_LOOKED_AT {
                page.next = Some(rest.unwrap_or(segment.first()));
                return Ok(page);
            }
        }
    }
    page.next = None;
    Ok(page)
}

fn left_out(error: &JournalError) {
    tracing::warn!(%error, "left out of a listing");
}

/// The frame read last: events that follow on each other stand in one. `None`: it cannot be read.
#[derive(Default)]
struct LastFrame(Option<(FrameRef, Option<Frame>)>);

impl LastFrame {
    fn read(&mut self, segment: &Segment, at: FrameRef) -> Option<&Frame> {
        if self.0.as_ref().is_none_or(|(last, _)| *last != at) {
            let frame = read_frame(segment, at).inspect_err(left_out).ok();
            self.0 = Some((at, frame));
        }
        self.0.as_ref().and_then(|(_, frame)| frame.as_ref())
    }
}

/// What was looked at in a segment.
struct Looked {
    /// The numbers that the index does not rule out, newest first, with their frames.
    found: Vec<(Seq, FrameRef)>,
    /// How many records it took.
    count: usize,
    /// Below which number to go on; `None` at the segment's start.
    rest: Option<Seq>,
}

/// Looks for at most so many numbers below `below` that the index does not rule out.
fn candidates(
    shared: &Shared,
    segment: &Segment,
    query: &EventQuery,
    below: Seq,
    most: usize,
) -> Result<Looked, JournalError> {
    shared.with_index(segment, |index| {
        let until = index.position_after(below.previous());
        let source = query.source.as_ref().map(|name| {
            index
                .sources
                .iter()
                .position(|known| *known.name == *name.as_str())
        });
        let (mut found, mut at) = (Vec::new(), until);
        while at > 0 && found.len() < most {
            at -= 1;
            let record = index.records[at];
            let of_source = source.is_none_or(|source| source == Some(usize::from(record.source)));
            if of_source && id_within(record.id, query) {
                found.extend(place(index, at));
            }
        }
        Looked {
            found,
            count: until - at,
            rest: index.seq_at(at).filter(|_| at > 0),
        }
    })
}

fn millis(time: Timestamp) -> u64 {
    u64::try_from(time.as_millisecond()).unwrap_or(0)
}

fn id_within(id: EventId, query: &EventQuery) -> bool {
    query.after.is_none_or(|after| id.millis() >= millis(after))
        && query
            .before
            .is_none_or(|before| id.millis() <= millis(before) + ID_SLACK_MILLIS)
}

fn within(received: Timestamp, query: &EventQuery) -> bool {
    query.after.is_none_or(|after| received >= after)
        && query.before.is_none_or(|before| received < before)
}

fn outside_time(segment: &Segment, query: &EventQuery) -> bool {
    segment.summary().is_some_and(|summary| {
        let (Some(first), Some(last)) = (summary.first_id, summary.last_id) else {
            return true;
        };
        query
            .after
            .is_some_and(|after| last.millis() < millis(after))
            || query
                .before
                .is_some_and(|before| first.millis() > millis(before) + ID_SLACK_MILLIS)
    })
}

/// The first event of `sources` after `after` that can be read.
pub(super) fn first_after(
    shared: &Shared,
    sources: &SourceSet,
    mut after: Seq,
) -> Result<Option<StoredEvent>, JournalError> {
    for segment in shared.room.segments() {
        let mut frames = LastFrame::default();
        while segment.last() > after {
            let found = shared.with_index(&segment, |index| {
                let members = index.members(sources);
                let from = index.position_after(after);
                let later = index.records.get(from..).unwrap_or_default();
                let at = later
                    .iter()
                    .position(|record| members[usize::from(record.source)])?;
                place(index, from + at)
            })?;
            let Some((seq, at)) = found else { break };
            let frame = frames.read(&segment, at);
            let stored = frame.map(|frame| event_in(frame, seq, &segment).inspect_err(left_out));
            if let Some(Ok(stored)) = stored {
                return Ok(Some(stored));
            }
            after = seq;
        }
    }
    Ok(None)
}

impl EmbeddedJournal {
    /// The number after which the oldest event of `sources` comes that the journal holds, or should hold: a
    /// route that begins there meets every one of them, and is told of those that damage took. By the
    /// catalogue alone, which does not know whose the events were that it misses: they count as anybody's.
    /// The end if there is nothing. Only reads; dropping it is safe.
    ///
    /// # Errors
    /// When an index must be rebuilt and its segment cannot be read.
    pub async fn before_oldest(&self, sources: &SourceSet) -> Result<Seq, JournalError> {
        let sources = sources.clone();
        self.look(move |shared| before_oldest(shared, &sources))
            .await
    }
}

fn before_oldest(shared: &Shared, sources: &SourceSet) -> Result<Seq, JournalError> {
    let end = *shared.end.borrow();
    let mut looked = None;
    for segment in shared.room.segments() {
        let after = looked.unwrap_or(segment.first().previous());
        if segment.first() > after.next() {
            return Ok(after);
        }
        let (oldest, last) = shared.with_index(&segment, |index| {
            (oldest_in(index, sources, after), index.last)
        })?;
        if let Some(oldest) = oldest {
            return Ok(oldest.previous());
        }
        looked = Some(last.max(after));
    }
    Ok(end)
}

/// The first number above `after` in a segment that is of `sources` or missing.
fn oldest_in(index: &SegmentIndex, sources: &SourceSet, after: Seq) -> Option<Seq> {
    let members = index.members(sources);
    let mut expected = after.next();
    for (at, record) in index.records.iter().enumerate() {
        let seq = index.seq_at(at)?;
        if seq > expected || members[usize::from(record.source)] {
            return Some(expected);
        }
        expected = seq.next();
    }
    (expected <= index.last).then_some(expected)
}

/// The newest `limit` keys with their ids, oldest first.
pub(super) fn recent_keys(
    shared: &Shared,
    limit: usize,
) -> Result<Vec<(DedupKey, EventId)>, JournalError> {
    let mut keys: Vec<(DedupKey, EventId)> = Vec::new();
    for segment in shared.room.segments().iter().rev() {
        let room = limit - keys.len();
        if room == 0 {
            break;
        }
        let found: Vec<_> = shared.with_index(segment, |index| {
            let newest_first = index.records.iter().rev();
            newest_first
                .filter_map(|record| record.key.map(|key| (key, record.id)))
                .take(room)
                .collect()
        })?;
        keys.extend(found);
    }
    keys.reverse();
    Ok(keys)
}

/// Counts events of `sources` in all of the stretches, which are in order and apart.
pub(super) fn count_in(
    shared: &Shared,
    sources: &SourceSet,
    stretches: &[SeqRange],
) -> Result<u64, JournalError> {
    let mut total = 0;
    let mut rest = stretches;
    for segment in shared.room.segments() {
        let (first, last) = (segment.first(), segment.last());
        while let Some(stretch) = rest.first()
            && stretch.last < first
        {
            rest = &rest[1..];
        }
        let within = rest.partition_point(|stretch| stretch.first <= last);
        if within == 0 {
            continue;
        }
        let whole = segment
            .summary()
            .filter(|summary| rest[0].first <= first && summary.last <= rest[0].last)
            .filter(|_| !segment.is_damaged());
        if let Some(summary) = whole {
            let ours = summary.sources.iter();
            let ours = ours.filter(|source| sources.contains(&source.name));
            total += ours.map(|source| source.events).sum::<u64>();
            continue;
        }
        total += shared.with_index(&segment, |index| {
            let count =
                |stretch: &SeqRange| index.count(sources, stretch.first.previous(), stretch.last);
            rest[..within].iter().map(count).sum::<u64>()
        })?;
    }
    Ok(total)
}

/// Counts events of `sources` with `after < seq <= through`.
pub(super) fn count(
    shared: &Shared,
    sources: &SourceSet,
    after: Seq,
    through: Seq,
) -> Result<u64, JournalError> {
    let mut total = 0;
    for segment in shared.room.segments() {
        if segment.first() > through || segment.last() <= after {
            continue;
        }
        let whole = segment
            .summary()
            .filter(|summary| segment.first() > after && summary.last <= through)
            // The summary may be from before the damage, and count what is lost.
            .filter(|_| !segment.is_damaged());
        total += match whole {
            Some(summary) => {
                let ours = summary
                    .sources
                    .iter()
                    .filter(|source| sources.contains(&source.name));
                ours.map(|source| source.events).sum()
            }
            None => shared.with_index(&segment, |index| index.count(sources, after, through))?,
        };
    }
    Ok(total)
}
