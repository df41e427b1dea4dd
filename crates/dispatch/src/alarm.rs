//! The alarm: what ends the process, because nothing can be settled any more.
//!
//! Raising it stops the workers, so that nothing is delivered that cannot be written down.

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Raised once, heard by the composition root.
#[derive(Debug, Clone)]
pub(crate) struct Alarm {
    failure: watch::Sender<Option<String>>,
    stop_workers: CancellationToken,
}

impl Alarm {
    pub(crate) fn new(stop_workers: CancellationToken) -> Self {
        Self {
            failure: watch::Sender::new(None),
            stop_workers,
        }
    }

    /// Says why nothing can go on. The first reason stays.
    pub(crate) fn raise(&self, why: String) {
        tracing::error!(why, "dispatch cannot go on");
        self.failure.send_if_modified(|failure| {
            let first = failure.is_none();
            failure.get_or_insert(why);
            first
        });
        self.stop_workers.cancel();
    }

    /// Ends the workers.
    pub(crate) const fn stop_workers(&self) -> &CancellationToken {
        &self.stop_workers
    }

    /// Shows the reason.
    pub(crate) fn heard(&self) -> watch::Receiver<Option<String>> {
        self.failure.subscribe()
    }
}
