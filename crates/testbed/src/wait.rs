//! Waiting for a condition instead of for a time.
//!
//! No test may depend on the speed of the machine: it says what it waits for and gives up only after a
//! deadline that no working machine reaches.

use std::time::{Duration, Instant};

use crate::{Error, Result};

/// The deadline for anything that should happen soon. Generous: it is only ever reached by a failure.
pub const DEADLINE: Duration = Duration::from_secs(60);

const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// Asks `probe` until it answers `Ok`, and returns that answer.
///
/// `probe` answers `Err` with what it saw instead; the last of these stands in the error when
/// `deadline` has passed. It is asked at once, then at pauses growing from 5 ms to 100 ms, and at
/// least once more after the deadline. Real time: not for tests under paused time.
///
/// # Errors
///
/// [`Error::Deadline`] when the condition did not come about.
pub async fn until<T>(
    what: &str,
    deadline: Duration,
    mut probe: impl AsyncFnMut() -> Result<T, String>,
) -> Result<T> {
    let start = Instant::now();
    let mut pause = FIRST_PAUSE;
    loop {
        let late = start.elapsed() >= deadline;
        match probe().await {
            Ok(found) => return Ok(found),
            Err(seen) if late => {
                return Err(Error::Deadline {
                    what: what.to_owned(),
                    deadline,
                    seen,
                });
            }
            Err(_) => tokio::time::sleep(pause).await,
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}
