//! What was given up on, as the log tells of it: a line when it begins, and then at most one a minute for each
//! reason, with how many there were since the last.
//!
//! Pure bookkeeping on tokio's clock. Never a payload: a burial is told by its reason and its cause's code.

use std::collections::BTreeMap;
use std::time::Duration;

use domain::Reason;
use domain::ports::Bury;
use tokio::time::Instant;

/// The shortest time between two lines about one reason.
const AGAIN: Duration = Duration::from_secs(60);

/// A line that is due.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) reason: Reason,
    /// How many since the last line.
    pub(crate) count: u64,
    /// The code of the last of them.
    pub(crate) code: String,
}

#[derive(Debug, Default)]
struct Untold {
    count: u64,
    code: String,
    told: Option<Instant>,
}

/// The burials of one route.
#[derive(Debug, Default)]
pub(crate) struct Burials {
    by_reason: BTreeMap<Reason, Untold>,
}

impl Burials {
    /// Notes what was buried.
    pub(crate) fn add(&mut self, buries: &[Bury]) {
        for bury in buries {
            let untold = self.by_reason.entry(bury.reason).or_default();
            untold.count += 1;
            if untold.code != bury.cause.code {
                untold.code.clone_from(&bury.cause.code);
            }
        }
    }

    /// The lines that are due now; each is given once.
    pub(crate) fn due(&mut self, now: Instant) -> Vec<Line> {
        let due = self.by_reason.iter_mut().filter(|(_, untold)| {
            let lately = untold.told.is_some_and(|told| now < told + AGAIN);
            untold.count > 0 && !lately
        });
        let lines = due.map(|(reason, untold)| {
            untold.told = Some(now);
            Line {
                reason: *reason,
                count: std::mem::take(&mut untold.count),
                code: untold.code.clone(),
            }
        });
        lines.collect()
    }
}
