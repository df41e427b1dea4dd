//! One attempt: a batch is handed to the destination, and comes back with an outcome an event.
//!
//! Runs as a task of its own. Whatever the destination does (hang, panic, answer for the wrong number
//! of events), an attempt ends within bounds and says something of every event.

use std::ops::Range;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use domain::ports::{Delivery, Destination};
use domain::{BatchOutcome, Cause, OrderKey, Outcome, Seq, Timestamp, Unavailable};
use futures_util::FutureExt;
use tokio::sync::Semaphore;

use crate::board::Board;

/// A live event's place in the window.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LiveMark {
    /// Where its stretch begins.
    pub(crate) from: Seq,
    /// Its share of the window, in bytes.
    pub(crate) weight: usize,
    /// What it is ordered by.
    pub(crate) key: Option<OrderKey>,
}

/// What a parked event brings along.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ParkedMark {
    /// When its first attempt failed.
    pub(crate) first_failure_at: Timestamp,
    /// When this attempt was due.
    pub(crate) due_at: Timestamp,
    /// Its share of the window, in bytes.
    pub(crate) weight: usize,
    /// What it is ordered by.
    pub(crate) key: Option<OrderKey>,
    /// It was a dead letter and was brought back.
    pub(crate) redriven: bool,
}

/// Where the events of a batch come from; one mark an event.
#[derive(Debug)]
pub(crate) enum Marks {
    /// From the journal, by the window.
    Live(Vec<LiveMark>),
    /// From state, due again.
    Parked(Vec<ParkedMark>),
}

/// Events of one attempt.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) deliveries: Vec<Delivery>,
    pub(crate) marks: Marks,
}

/// A batch that came back.
#[derive(Debug)]
pub(crate) struct Attempted {
    pub(crate) batch: Batch,
    /// One outcome an event.
    pub(crate) outcome: BatchOutcome,
    /// It was never handed over, because the route was paused meanwhile.
    pub(crate) withheld: bool,
}

/// Hands over the batch once the destination has a slot. `slots` bounds the batches in flight of all
/// routes to this destination; waiting for one is not part of the attempt's time.
pub(crate) async fn run(
    batch: Batch,
    destination: Arc<dyn Destination>,
    slots: Arc<Semaphore>,
    board: Arc<Board>,
) -> Attempted {
    // The semaphore is never closed; without a slot the attempt would only be less polite.
    let _slot = slots.acquire_owned().await.ok();
    let count = batch.deliveries.len();
    let withheld = board.paused();
    let outcome = if withheld {
        BatchOutcome {
            outcomes: vec![Outcome::NotDone; count],
            unavailable: None,
        }
    } else {
        deliver(&*destination, &batch.deliveries).await
    };
    Attempted {
        batch,
        outcome,
        withheld,
    }
}

/// Delivers, and where the destination panics, halves the batch until the event that makes it panic
/// is alone: that one failed, the others did not.
pub(crate) async fn deliver(
    destination: &dyn Destination,
    deliveries: &[Delivery],
) -> BatchOutcome {
    let mut outcomes = vec![Outcome::NotDone; deliveries.len()];
    let (mut next, mut later) = (Some(0..deliveries.len()), Vec::<Range<usize>>::new());
    while let Some(stretch) = next.take().or_else(|| later.pop()) {
        match once(destination, &deliveries[stretch.clone()]).await {
            Some(told) => {
                for (outcome, told) in outcomes[stretch].iter_mut().zip(told.outcomes) {
                    *outcome = told;
                }
                if told.unavailable.is_some() {
                    return BatchOutcome {
                        outcomes,
                        unavailable: told.unavailable,
                    };
                }
            }
            None if stretch.len() > 1 => {
                let middle = stretch.start + stretch.len() / 2;
                later.push(middle..stretch.end);
                next = Some(stretch.start..middle);
            }
            None => outcomes[stretch.start] = failed("panic", "the destination's code panicked"),
        }
    }
    BatchOutcome {
        outcomes,
        unavailable: None,
    }
}

/// One call of the destination; `None` when it panicked.
async fn once(destination: &dyn Destination, deliveries: &[Delivery]) -> Option<BatchOutcome> {
    let timeout = destination.limits().timeout;
    let call = AssertUnwindSafe(async { destination.deliver(deliveries).await }).catch_unwind();
    let told = match tokio::time::timeout(timeout, call).await {
        Err(_) => {
            let detail = format!("no answer to a batch within {timeout:?}");
            return Some(BatchOutcome::unavailable(
                deliveries.len(),
                Unavailable::new("timeout", detail),
            ));
        }
        Ok(Err(_)) => return None,
        Ok(Ok(told)) => told,
    };
    if told.outcomes.len() == deliveries.len() {
        return Some(told);
    }
    let detail = format!(
        "the destination answered for {} of {} events",
        told.outcomes.len(),
        deliveries.len()
    );
    Some(BatchOutcome {
        outcomes: vec![failed("defect", &detail); deliveries.len()],
        unavailable: told.unavailable,
    })
}

fn failed(code: &str, detail: &str) -> Outcome {
    Outcome::Retry {
        cause: Cause::new(code, detail),
        after: None,
    }
}

/// Asks the destination whether it is there. A panic and silence are a no.
pub(crate) async fn probe(destination: Arc<dyn Destination>) -> Result<(), Unavailable> {
    let timeout = destination.limits().timeout;
    let call = AssertUnwindSafe(async { destination.probe().await }).catch_unwind();
    match tokio::time::timeout(timeout, call).await {
        Err(_) => Err(Unavailable::new(
            "timeout",
            format!("no answer to a probe within {timeout:?}"),
        )),
        Ok(Err(_)) => Err(Unavailable::new(
            "panic",
            "the destination's probe panicked",
        )),
        Ok(Ok(answer)) => answer,
    }
}
