//! A trouble that lasts, as the log tells of it: when it begins, when it becomes another, and then once
//! a minute, however often it is met.
//!
//! Pure bookkeeping on tokio's clock; whoever meets the trouble writes the line.

use std::time::Duration;

use tokio::time::Instant;

/// How long a trouble that lasts goes unsaid.
const AGAIN: Duration = Duration::from_secs(60);

/// What was said of a trouble, and when.
#[derive(Debug, Default)]
pub(crate) struct Trouble {
    said: Option<(&'static str, Instant)>,
}

impl Trouble {
    /// Notes that the trouble was met. Whether a line about it is due.
    pub(crate) fn is_worth_a_line(&mut self, kind: &'static str) -> bool {
        let known = self
            .said
            .is_some_and(|(said, at)| said == kind && at.elapsed() < AGAIN);
        if !known {
            self.said = Some((kind, Instant::now()));
        }
        !known
    }

    /// Notes that it has passed. Whether there was one.
    pub(crate) fn has_passed(&mut self) -> bool {
        self.said.take().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_is_said_when_it_begins_when_it_changes_and_then_each_minute() {
        let mut trouble = Trouble::default();
        assert!(trouble.is_worth_a_line("full"));
        assert!(!trouble.is_worth_a_line("full"));
        assert!(trouble.is_worth_a_line("busy"));
        let mut lines = 0;
        for _ in 0..1200 {
            tokio::time::advance(Duration::from_millis(500)).await;
            lines += u32::from(trouble.is_worth_a_line("busy"));
        }
        assert_eq!(lines, 10);
        assert!(trouble.has_passed());
        assert!(!trouble.has_passed());
        assert!(trouble.is_worth_a_line("busy"));
    }
}
