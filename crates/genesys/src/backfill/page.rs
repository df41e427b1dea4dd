//! A page of results that is on its way to the journal.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// Counts the events of a page that are not durable yet.
#[derive(Debug)]
pub(crate) struct Page {
    left: AtomicUsize,
    done: Notify,
}

impl Page {
    pub(crate) fn of(events: usize) -> Self {
        Self {
            left: AtomicUsize::new(events),
            done: Notify::new(),
        }
    }

    /// One of them is durable, or never will be and was said to be missed.
    pub(crate) fn one_is_done(&self) {
        if self.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.done.notify_one();
        }
    }

    /// Until all are.
    pub(crate) async fn is_done(&self) {
        while self.left.load(Ordering::Acquire) > 0 {
            self.done.notified().await;
        }
    }
}
