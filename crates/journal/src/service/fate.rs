//! The fate of a frame, shared by all appends in it, and the ticket with which each waits for it.
//!
//! A frame's appends become durable together or fail together, so they have one fate, decided once and
//! kept once: waiting costs an append neither an allocation nor a lock of its own.

use std::ops::Range;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};

use domain::EventId;
use domain::ports::{AppendError, Appending};

/// What an append comes to.
pub(super) type Fate = Result<Vec<EventId>, AppendError>;

/// A frame's records and who waits for them, known by their positions in the frame.
#[derive(Debug, Default)]
pub(super) struct Group {
    /// The ids of all records, withdrawn ones included, or why they are not stored. Set under the lock,
    /// read without it.
    fate: OnceLock<Fate>,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    /// The writer has it: nothing can be withdrawn any more.
    taken: bool,
    /// By position among the appends.
    wakers: Vec<Option<Waker>>,
    /// Records that were withdrawn before it was taken, a range an append, in no order.
    withdrawn: Vec<Range<u32>>,
}

impl Group {
    /// With room for this many appends.
    pub(super) fn with_capacity(appends: usize) -> Self {
        Self {
            fate: OnceLock::new(),
            waiting: Mutex::new(Waiting {
                wakers: Vec::with_capacity(appends),
                ..Waiting::default()
            }),
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The writer's claim of all that was not withdrawn.
    pub(super) fn claim(self: Arc<Self>) -> Waiters {
        let mut waiting = self.waiting();
        waiting.taken = true;
        let mut withdrawn = std::mem::take(&mut waiting.withdrawn);
        drop(waiting);
        withdrawn.sort_unstable_by_key(|records| records.start);
        Waiters {
            group: self,
            withdrawn,
        }
    }

    /// The first word stands.
    fn decide(&self, fate: Fate) {
        let mut waiting = self.waiting();
        let _ = self.fate.set(fate);
        let wakers = std::mem::take(&mut waiting.wakers);
        drop(waiting);
        wakers.into_iter().flatten().for_each(Waker::wake);
    }
}

/// Those who wait for a frame that the writer has taken. Dropping them undecided, as a panic does, tells
/// them that the journal failed.
#[derive(Debug)]
pub(super) struct Waiters {
    group: Arc<Group>,
    /// Records that were withdrawn before, in order: not in the frame, but counted by those who wait.
    pub withdrawn: Vec<Range<u32>>,
}

impl Waiters {
    /// Wakes everybody with what became of the frame: the ids of the records in it, in order, or why it is
    /// not stored.
    pub(super) fn decide(self, written: Fate) {
        let nobody = EventId::from_bytes([0; 16]);
        let fate = written.map(|mut ids| {
            for records in &self.withdrawn {
                let at = (records.start as usize).min(ids.len());
                ids.splice(at..at, records.clone().map(|_| nobody));
            }
            ids
        });
        self.group.decide(fate);
    }
}

impl Drop for Waiters {
    fn drop(&mut self) {
        if self.group.fate.get().is_none() {
            let reason = "the writer ended before it came to them".to_owned();
            self.group.decide(Err(AppendError::Failed(reason)));
        }
    }
}

/// One append's end of it. Dropping it withdraws if that is still possible.
#[derive(Debug)]
pub(super) struct Ticket {
    group: Arc<Group>,
    /// Among the frame's appends.
    position: usize,
    /// Its records among the frame's.
    records: Range<u32>,
    /// Withdrawn, or its fate is known.
    over: bool,
}

impl Ticket {
    pub(super) const fn new(group: Arc<Group>, position: usize, records: Range<u32>) -> Self {
        Self {
            group,
            position,
            records,
            over: false,
        }
    }

    fn share(&self, fate: &Fate) -> Fate {
        let ids = fate.as_ref().map_err(Clone::clone)?;
        let own = ids.get(self.records.start as usize..self.records.end as usize);
        own.map(Into::into).ok_or(AppendError::Closed)
    }
}

impl Future for Ticket {
    type Output = Fate;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Fate> {
        if self.over {
            // Polled after its end; the contract of a future allows anything but unsoundness.
            return Poll::Pending;
        }
        if self.group.fate.get().is_none() {
            let position = self.position;
            let mut waiting = self.group.waiting();
            // It may have been decided meanwhile, and then nobody would wake this.
            if self.group.fate.get().is_none() {
                if waiting.wakers.len() <= position {
                    waiting.wakers.resize(position + 1, None);
                }
                match &mut waiting.wakers[position] {
                    Some(waker) => waker.clone_from(context.waker()),
                    none => *none = Some(context.waker().clone()),
                }
                return Poll::Pending;
            }
        }
        self.over = true;
        let fate = self.group.fate.get().map(|fate| self.share(fate));
        fate.map_or(Poll::Pending, Poll::Ready)
    }
}

impl Appending for Ticket {
    fn withdraw(mut self: Pin<&mut Self>) -> bool {
        if self.over {
            return false;
        }
        let mut waiting = self.group.waiting();
        if waiting.taken {
            return false;
        }
        waiting.withdrawn.push(self.records.clone());
        if let Some(waker) = waiting.wakers.get_mut(self.position) {
            *waker = None;
        }
        drop(waiting);
        self.over = true;
        true
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

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u8) -> EventId {
        EventId::from_bytes([n; 16])
    }

    #[tokio::test]
    async fn each_append_hears_of_its_own_records_whether_it_waited_or_came_late() {
        let group = Arc::new(Group::with_capacity(2));
        let early = Ticket::new(Arc::clone(&group), 0, 0..2);
        let late = Ticket::new(Arc::clone(&group), 1, 2..3);
        let early = tokio::spawn(early);
        tokio::task::yield_now().await;
        Arc::clone(&group)
            .claim()
            .decide(Ok(vec![id(1), id(2), id(3)]));
        assert_eq!(early.await.unwrap(), Ok(vec![id(1), id(2)]));
        assert_eq!(late.await, Ok(vec![id(3)]));
    }

    #[tokio::test]
    async fn a_failed_frame_fails_all_of_it() {
        let group = Arc::new(Group::default());
        let tickets = [0, 1].map(|at| Ticket::new(Arc::clone(&group), at as usize, at..at + 1));
        group.claim().decide(Err(AppendError::Busy));
        for ticket in tickets {
            assert_eq!(ticket.await, Err(AppendError::Busy));
        }
    }

    #[tokio::test]
    async fn who_waits_is_told_when_the_writer_panics() {
        let group = Arc::new(Group::default());
        let ticket = Ticket::new(Arc::clone(&group), 0, 0..1);
        drop(group.claim());
        assert!(matches!(ticket.await, Err(AppendError::Failed(_))));
    }

    #[tokio::test]
    async fn what_is_taken_cannot_be_withdrawn_and_the_others_keep_their_ids() {
        let group = Arc::new(Group::default());
        let ticket = |at: u32| Ticket::new(Arc::clone(&group), at as usize, at..at + 1);
        let (mut first, mut second, mut third) = (ticket(0), ticket(1), ticket(2));
        assert!(Pin::new(&mut third).withdraw());
        assert!(Pin::new(&mut first).withdraw());
        drop((first, third));
        let waiters = Arc::clone(&group).claim();
        assert_eq!(waiters.withdrawn, [0..1, 2..3], "each once, in order");
        assert!(!Pin::new(&mut second).withdraw());
        waiters.decide(Ok(vec![id(2)]));
        assert_eq!(second.await, Ok(vec![id(2)]));
    }
}
