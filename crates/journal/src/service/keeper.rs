//! The keeper: makes spares ahead of need, writes the indexes of sealed segments, and gives back the
//! space of what is settled. A thread of its own, because all of it blocks.

use std::time::Duration;

use super::shared::Shared;

/// How often it looks around unasked: for `retain`, for space that others freed, for metrics.
const ROUND: Duration = Duration::from_secs(1);

/// Runs until the journal is closed.
pub(super) fn run(shared: &Shared) {
    loop {
        round(shared);
        if !shared.keeper_waits(ROUND) {
            // What is sealed and not yet indexed is indexed now rather than at the next start.
            shared.room.write_indexes();
            return;
        }
    }
}

fn round(shared: &Shared) {
    // What is settled first: where there is no spare it becomes one, for the price of a rename. Then the
    // spare, because somebody may be waiting for it.
    if let Err(error) = shared.room.reclaim(shared.clock.now()) {
        tracing::warn!(%error, "cannot remove a settled segment; trying again");
    }
    shared.spare_attempted(shared.room.prepare_spare());
    shared.room.write_indexes();
    shared
        .metrics
        .bytes
        .set(i64::try_from(shared.room.bytes()).unwrap_or(i64::MAX));
    if let Ok(free) = shared.storage.free_bytes() {
        shared
            .metrics
            .disk_free
            .set(i64::try_from(free).unwrap_or(i64::MAX));
    }
}
