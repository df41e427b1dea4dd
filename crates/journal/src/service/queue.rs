//! What waits to be written, and how each waiter learns its fate.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use domain::ports::{AppendError, Appending};
use domain::{Event, EventId};

use crate::format::frame::FrameBuilder;

/// The most bytes that may wait. Far above what ingest lets in at once; a bound against mistakes.
const MAX_WAITING_BYTES: usize = 256 << 20;

/// What an append comes to.
pub(super) type Fate = Result<Vec<EventId>, AppendError>;

#[derive(Debug)]
enum SlotState {
    /// In the queue; may still be withdrawn.
    Queued(Option<Waker>),
    /// In a frame; its fate is being decided.
    Taken(Option<Waker>),
    /// Decided, not yet picked up.
    Decided(Fate),
    /// Withdrawn, or picked up.
    Over,
}

/// One append, shared by its waiter and the writer.
#[derive(Debug)]
pub(super) struct Slot(Mutex<SlotState>);

impl Slot {
    fn state(&self) -> MutexGuard<'_, SlotState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The writer's claim; `false` if it was withdrawn.
    fn claim(&self) -> bool {
        let mut state = self.state();
        match &mut *state {
            SlotState::Queued(waker) => {
                *state = SlotState::Taken(waker.take());
                true
            }
            _ => false,
        }
    }

    /// Decides the fate and wakes the waiter.
    pub(super) fn decide(&self, fate: Fate) {
        let before = std::mem::replace(&mut *self.state(), SlotState::Decided(fate));
        if let SlotState::Queued(Some(waker)) | SlotState::Taken(Some(waker)) = before {
            waker.wake();
        }
    }
}

/// The waiter's end. Dropping it withdraws if that is still possible.
#[derive(Debug)]
pub(super) struct Ticket(pub(super) Arc<Slot>);

impl Future for Ticket {
    type Output = Fate;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Fate> {
        let mut state = self.0.state();
        match &mut *state {
            SlotState::Queued(waker) | SlotState::Taken(waker) => {
                match waker {
                    Some(waker) => waker.clone_from(context.waker()),
                    None => *waker = Some(context.waker().clone()),
                }
                Poll::Pending
            }
            SlotState::Decided(_) => match std::mem::replace(&mut *state, SlotState::Over) {
                SlotState::Decided(fate) => Poll::Ready(fate),
                _ => Poll::Pending,
            },
            // Polled after its end; the contract of a future allows anything but unsoundness.
            SlotState::Over => Poll::Pending,
        }
    }
}

impl Appending for Ticket {
    fn withdraw(self: Pin<&mut Self>) -> bool {
        let mut state = self.0.state();
        let queued = matches!(*state, SlotState::Queued(_));
        if queued {
            *state = SlotState::Over;
        }
        queued
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        Pin::new(self).withdraw();
    }
}

/// An append that was over before it began.
#[derive(Debug)]
pub(super) struct Refused(pub(super) Option<AppendError>);

impl Future for Refused {
    type Output = Fate;

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Fate> {
        self.0
            .take()
            .map_or(Poll::Pending, |error| Poll::Ready(Err(error)))
    }
}

impl Appending for Refused {
    fn withdraw(self: Pin<&mut Self>) -> bool {
        true
    }
}

/// An append in the queue.
#[derive(Debug)]
struct Waiting {
    /// Bytes of its records in the frame that is being filled.
    bytes: usize,
    records: u32,
    slot: Arc<Slot>,
}

/// What the writer takes: a frame, and whose records are in it, in order.
#[derive(Debug)]
pub(super) struct Batch {
    pub frame: FrameBuilder,
    pub owners: Vec<(Arc<Slot>, u32)>,
}

/// A frame being filled, and what waits in it.
#[derive(Debug, Default)]
struct Filling {
    frame: FrameBuilder,
    waiting: Vec<Waiting>,
}

#[derive(Debug, Default)]
struct Inner {
    /// The next frames. Only the last one is filled further.
    frames: VecDeque<Filling>,
    /// Bytes of all records in them.
    bytes: usize,
    /// What the last frame taken held: the next will likely be as large.
    usual: usize,
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
        let slot = Arc::new(Slot(Mutex::new(SlotState::Queued(None))));
        let ticket = Ticket(Arc::clone(&slot));
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
        events.iter().for_each(|event| filling.frame.push(event));
        filling.waiting.push(Waiting {
            bytes,
            records: u32::try_from(events.len()).unwrap_or(u32::MAX),
            slot,
        });
        let wake = std::mem::take(&mut inner.idle);
        drop(inner);
        if wake {
            self.something.notify_one();
        }
        Ok(ticket)
    }

    /// Waits for something and takes the next frame, leaving out what was withdrawn. `None`: closed, and
    /// nothing is left.
    pub(super) fn take(&self) -> Option<Batch> {
        let mut inner = self.inner();
        loop {
            if let Some(filled) = inner.frames.pop_front() {
                let bytes = filled.frame.payload().len();
                inner.bytes -= bytes;
                inner.usual = bytes;
                let batch = claim(filled);
                if !batch.owners.is_empty() {
                    return Some(batch);
                }
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

    /// Refuses everything from now on; what is queued is still taken.
    pub(super) fn close(&self) {
        self.inner().closed = true;
        self.something.notify_all();
    }
}

impl Inner {
    /// The frame to fill: the last one if `bytes` more fit into it, else a new one behind it.
    fn last_with_room(&mut self, bytes: usize, most: usize, usual: usize) -> &mut Filling {
        let full = |filling: &Filling| filling.frame.payload().len() + bytes > most;
        if self.frames.back().is_none_or(full) {
            self.frames.push_back(Filling {
                frame: FrameBuilder::with_capacity(usual.max(bytes)),
                waiting: Vec::new(),
            });
        }
        let last = self.frames.len() - 1;
        &mut self.frames[last]
    }
}

/// Claims every append for the writer, and takes the records of those that were withdrawn out of the
/// frame.
fn claim(Filling { mut frame, waiting }: Filling) -> Batch {
    let claimed: Vec<bool> = waiting.iter().map(|waiting| waiting.slot.claim()).collect();
    if claimed.contains(&false) {
        let mut left = FrameBuilder::with_capacity(frame.payload().len());
        let mut at = 0;
        for (waiting, claimed) in waiting.iter().zip(&claimed) {
            if *claimed {
                left.push_all(&frame.payload()[at..at + waiting.bytes], waiting.records);
            }
            at += waiting.bytes;
        }
        frame = left;
    }
    frame.shrink();
    let owners = waiting
        .into_iter()
        .zip(claimed)
        .filter(|(_, claimed)| *claimed);
    Batch {
        frame,
        owners: owners
            .map(|(waiting, _)| (waiting.slot, waiting.records))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use domain::{SourceName, Timestamp};

    use super::*;
    use crate::format::record;

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
        assert_eq!((taken.owners.len(), taken.frame.count()), (1, 1));
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

    #[test]
    fn a_closed_queue_gives_what_it_has_and_takes_no_more() {
        let queue = Queue::new(250);
        let _ticket = push(&queue, 60).unwrap();
        queue.close();
        assert_eq!(push(&queue, 60).unwrap_err(), AppendError::Closed);
        assert_eq!(queue.take().unwrap().owners.len(), 1);
        assert!(queue.take().is_none());
    }
}
