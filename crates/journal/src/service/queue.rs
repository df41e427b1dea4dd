//! What waits to be written: frames that are filled in place, and taken whole by the writer.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use bytes::BytesMut;
use domain::Event;
use domain::ports::AppendError;

use super::fate::{Group, Ticket, Waiters};
use crate::format::frame::FrameBuilder;
use crate::format::record;

/// The most bytes that may wait. Far above what ingest lets in at once; a bound against mistakes.
const MAX_WAITING_BYTES: usize = 256 << 20;

/// Spare memory is kept for so many frames: one is filled while one is written.
const SPARES: usize = 2;

/// What the writer takes: a frame, and who waits for it.
#[derive(Debug)]
pub(super) struct Batch {
    pub frame: FrameBuilder,
    pub waiters: Waiters,
}

/// A frame being filled, and who waits for it.
#[derive(Debug)]
struct Filling {
    frame: FrameBuilder,
    appends: usize,
    group: Arc<Group>,
}

/// What frames usually hold, so that the next one need not grow while others wait for the lock.
#[derive(Debug, Default, Clone, Copy)]
struct Usual {
    bytes: usize,
    appends: usize,
}

#[derive(Debug, Default)]
struct Inner {
    /// The next frames. Only the last one is filled further.
    frames: VecDeque<Filling>,
    /// Bytes of all records in them.
    bytes: usize,
    usual: Usual,
    /// Memory of frames that nobody needs any more. New memory would have to be mapped in page by page:
    /// with 1 KiB events one page fault for every three of them.
    spares: Vec<BytesMut>,
    closed: bool,
    /// The writer waits on the condition; nobody needs to signal while it works.
    idle: bool,
}

/// The queue ahead of the one writer. Records are laid out where they will be written from, so that the
/// writer copies nothing and nothing is allocated for an event on its own.
#[derive(Debug)]
pub(super) struct Queue {
    /// The most bytes of records in a frame of several appends. One append alone may be larger; whoever
    /// pushes has seen to it that it fits into a segment.
    frame_bytes: usize,
    inner: Mutex<Inner>,
    something: Condvar,
}

impl Queue {
    /// An empty queue.
    pub(super) fn new(frame_bytes: usize) -> Self {
        Self {
            frame_bytes,
            inner: Mutex::default(),
            something: Condvar::new(),
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues events. `bytes` is what their records take.
    pub(super) fn push(&self, events: &[Event], bytes: usize) -> Result<Ticket, AppendError> {
        let mut inner = self.inner();
        if inner.closed {
            return Err(AppendError::Closed);
        }
        if inner.bytes + bytes > MAX_WAITING_BYTES {
            return Err(AppendError::Busy);
        }
        inner.bytes += bytes;
        let usual = inner.usual;
        let filling = inner.last_with_room(bytes, self.frame_bytes, usual);
        let first = filling.frame.count();
        events.iter().for_each(|event| filling.frame.push(event));
        let records = first..filling.frame.count();
        let ticket = Ticket::new(Arc::clone(&filling.group), filling.appends, records);
        filling.appends += 1;
        let wake = std::mem::take(&mut inner.idle);
        drop(inner);
        if wake {
            self.something.notify_one();
        }
        Ok(ticket)
    }

    /// Waits for something and takes the next frame, leaving out what was withdrawn. `None`: closed, and
    /// nothing is left. Appends of no events are decided here: there is nothing to write.
    pub(super) fn take(&self) -> Option<Batch> {
        let mut inner = self.inner();
        loop {
            if let Some(filled) = inner.frames.pop_front() {
                let bytes = filled.frame.payload().len();
                inner.bytes -= bytes;
                inner.usual.note(bytes, filled.appends);
                drop(inner);
                let batch = claim(filled);
                if batch.frame.count() > 0 {
                    return Some(batch);
                }
                batch.waiters.decide(Ok(Vec::new()));
                inner = self.inner();
            } else if inner.closed {
                return None;
            } else {
                inner.idle = true;
                inner = self
                    .something
                    .wait(inner)
                    .unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    /// Takes memory for a later frame, unless it is that of a single event larger than frames are.
    pub(super) fn give_back(&self, memory: BytesMut) {
        let mut inner = self.inner();
        let usual = memory.capacity() <= self.frame_bytes + self.frame_bytes / 2;
        if usual && inner.spares.len() < SPARES {
            inner.spares.push(memory);
        }
    }

    /// Takes all that is queued and tells those who wait that it will not be written.
    pub(super) fn abandon(&self) {
        self.close();
        while let Some(batch) = self.take() {
            drop(batch);
        }
    }

    /// Refuses everything from now on; what is queued is still taken.
    pub(super) fn close(&self) {
        self.inner().closed = true;
        self.something.notify_all();
    }
}

impl Inner {
    /// The frame to fill: the last one if `bytes` more fit into it, else a new one behind it.
    fn last_with_room(&mut self, bytes: usize, most: usize, usual: Usual) -> &mut Filling {
        let full = |filling: &Filling| filling.frame.payload().len() + bytes > most;
        if self.frames.back().is_none_or(full) {
            let spare = self.spares.pop().unwrap_or_default();
            self.frames.push_back(Filling {
                frame: FrameBuilder::reusing(spare, usual.bytes.max(bytes)),
                appends: 0,
                group: Arc::new(Group::with_capacity(usual.appends)),
            });
        }
        let last = self.frames.len() - 1;
        &mut self.frames[last]
    }
}

impl Usual {
    /// Follows growth at once, and forgets it an eighth a frame.
    fn note(&mut self, bytes: usize, appends: usize) {
        self.bytes = bytes.max(self.bytes - self.bytes / 8);
        self.appends = appends.max(self.appends - self.appends / 8);
    }
}

/// Claims every append for the writer, and takes the records of those that were withdrawn out of the
/// frame.
fn claim(
    Filling {
        mut frame, group, ..
    }: Filling,
) -> Batch {
    let waiters = group.claim();
    if !waiters.withdrawn.is_empty() {
        frame = without(&frame, &waiters.withdrawn);
    }
    frame.shrink();
    Batch { frame, waiters }
}

/// The frame without some of its records.
fn without(frame: &FrameBuilder, withdrawn: &[Range<u32>]) -> FrameBuilder {
    let payload = frame.payload();
    let ends = record::starts(payload).skip(1).chain([payload.len()]);
    let mut left = FrameBuilder::with_capacity(payload.len());
    let mut withdrawn = withdrawn.iter().peekable();
    for (position, (start, end)) in (0..).zip(record::starts(payload).zip(ends)) {
        while withdrawn
            .next_if(|records| records.end <= position)
            .is_some()
        {}
        if withdrawn
            .peek()
            .is_none_or(|records| position < records.start)
        {
            left.push_all(&payload[start..end], 1);
        }
    }
    left
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;

    use domain::ports::Appending;
    use domain::{SourceName, Timestamp};

    use super::*;

    /// An event whose record has this many bytes.
    fn event(len: usize) -> Event {
        let mut event = Event {
            source: SourceName::new("s").unwrap(),
            received_at: Timestamp::UNIX_EPOCH,
            method: String::new(),
            path: String::new(),
            headers: domain::Headers::default(),
            body: bytes::Bytes::new(),
            event_type: None,
            remote: None,
            dedup: None,
            only: None,
        };
        while record::encoded_len(&event) < len {
            event.body = vec![b'x'; event.body.len() + 1].into();
        }
        event
    }

    fn push(queue: &Queue, len: usize) -> Result<Ticket, AppendError> {
        queue.push(&[event(len)], len)
    }

    fn lens(batch: &Batch) -> Vec<usize> {
        let payload = batch.frame.payload();
        let starts: Vec<usize> = record::starts(payload).chain([payload.len()]).collect();
        starts.windows(2).map(|pair| pair[1] - pair[0]).collect()
    }

    #[test]
    fn what_is_withdrawn_before_it_is_taken_is_never_written() {
        let queue = Queue::new(250);
        let mut first = push(&queue, 50).unwrap();
        let second = push(&queue, 70).unwrap();
        let mut third = push(&queue, 60).unwrap();
        assert!(Pin::new(&mut first).withdraw());
        drop(second);
        let taken = queue.take().unwrap();
        assert_eq!(taken.frame.count(), 1);
        assert_eq!(lens(&taken), [60]);
        assert!(
            !Pin::new(&mut third).withdraw(),
            "it is in a frame: too late"
        );
    }

    #[test]
    fn a_frame_is_bounded_but_takes_at_least_one() {
        let queue = Queue::new(250);
        let _tickets: Vec<_> = [150, 160, 60, 500]
            .into_iter()
            .map(|len| push(&queue, len).unwrap())
            .collect();
        let sizes: Vec<_> = (0..3).map(|_| lens(&queue.take().unwrap())).collect();
        assert_eq!(sizes, [vec![150], vec![160, 60], vec![500]]);
    }

    #[tokio::test]
    async fn no_events_are_durable_at_once_and_what_is_abandoned_is_told() {
        let queue = Queue::new(250);
        let none = queue.push(&[], 0).unwrap();
        let one = push(&queue, 60).unwrap();
        queue.abandon();
        assert!(matches!(one.await, Err(AppendError::Failed(_))));
        assert!(none.await.is_err(), "it was in the same frame");
        let queue = Queue::new(250);
        let none = queue.push(&[], 0).unwrap();
        queue.close();
        assert!(queue.take().is_none());
        assert_eq!(none.await, Ok(Vec::new()));
    }

    #[test]
    fn memory_of_an_event_larger_than_frames_is_not_kept() {
        let queue = Queue::new(1000);
        queue.give_back(BytesMut::with_capacity(100_000));
        assert!(queue.inner().spares.is_empty());
        for _ in 0..5 {
            queue.give_back(BytesMut::with_capacity(1000));
        }
        assert_eq!(queue.inner().spares.len(), SPARES);
    }

    #[test]
    fn a_closed_queue_gives_what_it_has_and_takes_no_more() {
        let queue = Queue::new(250);
        let _ticket = push(&queue, 60).unwrap();
        queue.close();
        assert_eq!(push(&queue, 60).unwrap_err(), AppendError::Closed);
        assert_eq!(queue.take().unwrap().frame.count(), 1);
        assert!(queue.take().is_none());
    }
}
