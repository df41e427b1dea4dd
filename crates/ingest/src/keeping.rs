//! What was taken from a queue stays out of everybody else's sight while it is being stored, however long that takes.

use std::convert::Infallible;
use std::time::Duration;

use domain::ports::{Inlet, Message};

/// How often messages that are in hand are kept from coming again. Less than half of the shortest time that a queue
/// hides them for.
pub(crate) const KEEP: Duration = Duration::from_secs(10);

/// Does the work, and keeps the messages meanwhile: a journal that stalls must not make the queue give them to others,
/// and count that against them.
pub(crate) async fn while_kept<T>(
    inlet: &dyn Inlet,
    messages: &[Message],
    work: impl Future<Output = T>,
) -> T {
    tokio::select! {
        biased;
        done = work => done,
        never = keep_on(inlet, messages) => match never {},
    }
}

async fn keep_on(inlet: &dyn Inlet, messages: &[Message]) -> Infallible {
    loop {
        tokio::time::sleep(KEEP).await;
        let handles: Vec<String> = messages.iter().map(|one| one.handle.clone()).collect();
        keep(inlet, &handles).await;
    }
}

pub(crate) async fn keep(inlet: &dyn Inlet, handles: &[String]) {
    if let Err(unavailable) = inlet.keep(handles).await {
        // They may come again to somebody else, and are known then.
        tracing::debug!(%unavailable, "messages could not be kept");
    }
}
