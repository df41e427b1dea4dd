//! What was given up on, as the log tells of it: a line a second after it begins, with what came together, and then at
//! most one a minute for each reason, with how many there were since the last. What is untold at the end is told then.
//!
//! Pure bookkeeping on tokio's clock. Never a payload: a burial is told by its reason and its cause's code.

use std::collections::BTreeMap;
use std::time::Duration;

use domain::Reason;
use tokio::time::Instant;

/// The shortest time between two lines about one reason.
const AGAIN: Duration = Duration::from_secs(60);

/// How long the first of them waits for others of the same trouble.
const GATHER: Duration = Duration::from_secs(1);

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
    since: Option<Instant>,
    told: Option<Instant>,
}

/// The burials of one route.
#[derive(Debug, Default)]
pub(crate) struct Burials {
    by_reason: BTreeMap<Reason, Untold>,
}

impl Burials {
    /// Notes that an event was buried.
    pub(crate) fn add(&mut self, reason: Reason, code: &str, now: Instant) {
        let untold = self.by_reason.entry(reason).or_default();
        untold.count += 1;
        untold.since.get_or_insert(now);
        if untold.code != code {
            code.clone_into(&mut untold.code);
        }
    }

    /// The lines that are due now; each is given once.
    pub(crate) fn due(&mut self, now: Instant) -> Vec<Line> {
        self.lines(now, |untold| {
            let lately = untold.told.is_some_and(|told| now < told + AGAIN);
            !lately && untold.since.is_some_and(|since| now >= since + GATHER)
        })
    }

    /// Whatever has not been told, since nobody will ask again.
    pub(crate) fn rest(&mut self, now: Instant) -> Vec<Line> {
        self.lines(now, |_| true)
    }

    fn lines(&mut self, now: Instant, is_due: impl Fn(&Untold) -> bool) -> Vec<Line> {
        let due = self.by_reason.iter_mut();
        let due = due.filter(|(_, untold)| untold.count > 0 && is_due(untold));
        let lines = due.map(|(reason, untold)| {
            (untold.told, untold.since) = (Some(now), None);
            Line {
                reason: *reason,
                count: std::mem::take(&mut untold.count),
                code: untold.code.clone(),
            }
        });
        lines.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(lines: &[Line]) -> Vec<u64> {
        lines.iter().map(|line| line.count).collect()
    }

    #[test]
    fn what_dies_together_is_told_together_and_the_rest_at_the_end() {
        let (mut burials, begun) = (Burials::default(), Instant::now());
        let second = Duration::from_secs(1);
        for _ in 0..3 {
            burials.add(Reason::Rejected, "http 422", begun);
            assert_eq!(counts(&burials.due(begun)), [0; 0]);
        }
        assert_eq!(counts(&burials.due(begun + second)), [3]);
        burials.add(Reason::Rejected, "http 422", begun + 2 * second);
        burials.add(Reason::Outage, "connection", begun + 2 * second);
        assert_eq!(
            counts(&burials.due(begun + 3 * second)),
            [1],
            "the other one"
        );
        assert_eq!(counts(&burials.due(begun + 60 * second)), [0; 0]);
        burials.add(Reason::Rejected, "http 422", begun + 4 * second);
        assert_eq!(counts(&burials.rest(begun + 5 * second)), [2]);
        assert_eq!(counts(&burials.rest(begun + 5 * second)), [0; 0]);
        burials.add(Reason::Rejected, "http 422", begun + 6 * second);
        assert_eq!(counts(&burials.due(begun + 65 * second)), [1]);
    }
}
