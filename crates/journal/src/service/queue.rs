//! What waits to be written, and how each waiter learns its fate.

use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::BytesMut;
use domain::EventId;
use domain::ports::{AppendError, Appending};

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
pub(super) struct Waiting {
    pub records: Vec<BytesMut>,
    pub bytes: usize,
    pub slot: Arc<Slot>,
}

#[derive(Debug, Default)]
struct Inner {
    waiting: Vec<Waiting>,
    bytes: usize,
    closed: bool,
    /// The writer waits on the condition; nobody needs to signal while it works.
    idle: bool,
}

/// The queue ahead of the one writer.
#[derive(Debug, Default)]
pub(super) struct Queue {
    inner: Mutex<Inner>,
    something: Condvar,
}

impl Queue {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues laid-out records.
    pub(super) fn push(&self, records: Vec<BytesMut>) -> Result<Ticket, AppendError> {
        let bytes = records.iter().map(BytesMut::len).sum();
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
        inner.waiting.push(Waiting {
            records,
            bytes,
            slot,
        });
        let wake = std::mem::take(&mut inner.idle);
        drop(inner);
        if wake {
            self.something.notify_one();
        }
        Ok(ticket)
    }

    /// Waits for something and takes it, up to `max_bytes` but at least one append, leaving out what was
    /// withdrawn. `None`: closed, and nothing is left.
    pub(super) fn take(&self, max_bytes: usize) -> Option<Vec<Waiting>> {
        let mut inner = self.inner();
        loop {
            if inner.waiting.is_empty() {
                if inner.closed {
                    return None;
                }
                inner.idle = true;
                inner = self
                    .something
                    .wait(inner)
                    .unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let mut bytes = 0;
            let fits = inner.waiting.iter().take_while(|waiting| {
                bytes += waiting.bytes;
                bytes <= max_bytes
            });
            let count = fits.count().max(1);
            let mut taken = if count == inner.waiting.len() {
                std::mem::take(&mut inner.waiting)
            } else {
                inner.waiting.drain(..count).collect()
            };
            inner.bytes -= taken.iter().map(|waiting| waiting.bytes).sum::<usize>();
            taken.retain(|waiting| waiting.slot.claim());
            if !taken.is_empty() {
                return Some(taken);
            }
        }
    }

    /// Refuses everything from now on; what is queued is still taken.
    pub(super) fn close(&self) {
        self.inner().closed = true;
        self.something.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(len: usize) -> Vec<BytesMut> {
        vec![BytesMut::zeroed(len)]
    }

    #[test]
    fn what_is_withdrawn_before_it_is_taken_is_never_written() {
        let queue = Queue::default();
        let mut first = queue.push(records(10)).unwrap();
        let second = queue.push(records(10)).unwrap();
        let mut third = queue.push(records(10)).unwrap();
        assert!(Pin::new(&mut first).withdraw());
        drop(second);
        let taken = queue.take(100).unwrap();
        assert_eq!(taken.len(), 1);
        assert!(
            !Pin::new(&mut third).withdraw(),
            "it is in a frame: too late"
        );
    }

    #[test]
    fn a_frame_is_bounded_but_takes_at_least_one() {
        let queue = Queue::default();
        let _tickets: Vec<_> = [50, 60, 10, 500]
            .into_iter()
            .map(|len| queue.push(records(len)).unwrap())
            .collect();
        let sizes: Vec<usize> = (0..3).map(|_| queue.take(100).unwrap().len()).collect();
        assert_eq!(sizes, [1, 2, 1]);
    }

    #[test]
    fn a_closed_queue_gives_what_it_has_and_takes_no_more() {
        let queue = Queue::default();
        let _ticket = queue.push(records(1)).unwrap();
        queue.close();
        assert_eq!(queue.push(records(1)).unwrap_err(), AppendError::Closed);
        assert_eq!(queue.take(10).unwrap().len(), 1);
        assert!(queue.take(10).is_none());
    }
}
