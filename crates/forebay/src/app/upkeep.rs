//! What is done now and then while the server runs: what state remembers of deliveries expires with the
//! journal's `retain`.

use std::sync::Arc;
use std::time::Duration;

use domain::ports::State;
use domain::{Clock, Timestamp};

/// How often.
const ROUND: Duration = Duration::from_secs(60);

/// Runs until the runtime ends.
pub async fn run(state: Arc<dyn State>, clock: Arc<dyn Clock>, retain: Duration) {
    loop {
        tokio::time::sleep(ROUND).await;
        if let Err(error) = state.expire_delivered(before(clock.now(), retain)).await {
            tracing::warn!(%error, "cannot forget old deliveries; trying again");
        }
    }
}

fn before(now: Timestamp, retain: Duration) -> Timestamp {
    now.saturating_sub(retain).unwrap_or(Timestamp::MIN)
}
