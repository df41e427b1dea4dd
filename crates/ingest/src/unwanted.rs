//! How many events of a request no route wants, for their source's count. What takes long to know is asked beside the
//! append and never holds an answer up.

use std::sync::Arc;

use domain::Event;
use domain::ports::{Asking, Backlogs};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::source::Source;

/// Requests whose large bodies are asked about at once. Each may be in memory for longer than its request is.
static LONG: Semaphore = Semaphore::const_new(4);

/// Events that no route wants.
#[derive(Debug)]
pub(crate) enum Unwanted {
    /// So many.
    Known(u64),
    /// It will be said.
    Asked(JoinHandle<u64>),
}

impl Unwanted {
    /// Begins to count those among the events of one source. Waits only for others that take long.
    pub(crate) async fn among(
        events: &[Event],
        source: &Source,
        backlogs: &Arc<dyn Backlogs>,
    ) -> Self {
        let bytes = events.iter().map(|event| event.body.len()).sum();
        let for_all = events.iter().all(|event| event.only.is_none());
        match backlogs.asking(&source.name, bytes) {
            Asking::Nothing if for_all => Self::Known(0),
            Asking::Nothing | Asking::Quick => Self::Known(count(events, &**backlogs)),
            Asking::Long => {
                // It is never closed.
                let turn = LONG.acquire().await.ok();
                let (events, backlogs) = (events.to_vec(), Arc::clone(backlogs));
                Self::Asked(tokio::task::spawn_blocking(move || {
                    let _turn = turn;
                    count(&events, &*backlogs)
                }))
            }
        }
    }

    /// The events are durable: counts them for their source, now or once it is known.
    pub(crate) fn note(self, source: &Arc<Source>) {
        match self {
            Self::Known(events) => source.note_discarded(events),
            Self::Asked(asked) => {
                let source = Arc::clone(source);
                // At the end of the runtime nobody is left to ask.
                if let Ok(runtime) = Handle::try_current() {
                    runtime.spawn(async move {
                        if let Ok(events) = asked.await {
                            source.note_discarded(events);
                        }
                    });
                }
            }
        }
    }
}

fn count(events: &[Event], backlogs: &dyn Backlogs) -> u64 {
    let unwanted = events.iter().filter(|event| !backlogs.wants(event));
    unwanted.count() as u64
}
