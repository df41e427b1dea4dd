//! Recent frames in memory, for readers that keep up. Bounded in bytes.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use domain::Seq;

/// A synced frame.
#[derive(Debug, Clone)]
pub(super) struct TailFrame {
    pub first: Seq,
    pub last: Seq,
    pub payload: Bytes,
    /// Bytes of memory that the payload keeps from being used otherwise.
    pub held: usize,
}

#[derive(Debug, Default)]
struct Inner {
    frames: VecDeque<TailFrame>,
    bytes: usize,
}

/// The newest frames without a gap between them.
#[derive(Debug)]
pub(super) struct Tail {
    inner: Mutex<Inner>,
    max_bytes: usize,
}

impl Tail {
    pub(super) fn new(max_bytes: u64) -> Self {
        Self {
            inner: Mutex::default(),
            max_bytes: usize::try_from(max_bytes).unwrap_or(usize::MAX),
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds the next frame, and lets the oldest go. Returns the memory of one that went, if no reader
    /// holds on to it.
    pub(super) fn push(&self, frame: TailFrame) -> Option<BytesMut> {
        let mut inner = self.inner();
        inner.bytes += frame.held;
        inner.frames.push_back(frame);
        let mut last = None;
        while inner.bytes > self.max_bytes
            && let Some(oldest) = inner.frames.pop_front()
        {
            inner.bytes -= oldest.held;
            last = Some(oldest);
        }
        drop(inner);
        last?.payload.try_into_mut().ok()
    }

    /// The frames that go on directly after `after`, up to about `max_bytes`; `None` when the number
    /// after it is not in memory.
    pub(super) fn after(&self, after: Seq, max_bytes: usize) -> Option<Vec<TailFrame>> {
        let inner = self.inner();
        if inner.frames.front()?.first > after.next() {
            return None;
        }
        let start = inner.frames.partition_point(|frame| frame.last <= after);
        let mut bytes = 0;
        let wanted = inner.frames.range(start..).take_while(|frame| {
            let take = bytes == 0 || bytes < max_bytes;
            bytes += frame.payload.len();
            take
        });
        Some(wanted.cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_bounded_and_what_left_it_is_said_to_be_gone() {
        let tail = Tail::new(250);
        for n in 0..5_u64 {
            let payload = Bytes::from(vec![0; 100]);
            tail.push(TailFrame {
                first: Seq(n * 2 + 1),
                last: Seq(n * 2 + 2),
                payload,
                held: 100,
            });
        }
        assert!(tail.after(Seq(3), 1000).is_none());
        let firsts = |after, bytes| -> Vec<u64> {
            tail.after(Seq(after), bytes)
                .unwrap()
                .iter()
                .map(|frame| frame.first.0)
                .collect()
        };
        assert_eq!(firsts(6, 1000), [7, 9]);
        assert_eq!(
            firsts(7, 1000),
            [7, 9],
            "a frame that is half read comes again"
        );
        assert_eq!(firsts(8, 1), [9]);
        assert_eq!(firsts(10, 1000), [0_u64; 0]);
    }
}
