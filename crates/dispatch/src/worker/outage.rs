//! How long what waits has waited while the breaker was tripped, for `dead_letter_after`.
//!
//! By tokio's clock and by the journal's end, never by the wall clock and the time of receipt: a clock that
//! jumps buries nothing, and time in which Forebay did not run does not count. The end of the journal is noted
//! now and then during an outage; what lies at or below a note has waited since then at least.

use std::collections::VecDeque;
use std::time::Duration;

use domain::Seq;
use tokio::time::Instant;

/// How many notes are taken in the time after which events are buried: so much finer is it kept.
const NOTES: u32 = 100;

/// The present outage of one route, if there is one.
#[derive(Debug)]
pub(super) struct Outage {
    after: Duration,
    notes: VecDeque<(Instant, Seq)>,
    /// Everything through here has waited long enough.
    ripe: Seq,
}

impl Outage {
    /// `after`: how long an event may wait.
    pub(super) fn new(after: Duration) -> Self {
        Self {
            after,
            notes: VecDeque::new(),
            ripe: Seq::ZERO,
        }
    }

    /// The outage lasts, and the journal ends at `end`. Returns through where events have waited long enough.
    pub(super) fn lasts(&mut self, now: Instant, end: Seq) -> Seq {
        let due = self
            .notes
            .back()
            .is_none_or(|(at, _)| now >= *at + self.step());
        if due {
            self.notes.push_back((now, end));
        }
        while let Some((at, end)) = self.notes.front().copied()
            && at + self.after <= now
        {
            self.ripe = self.ripe.max(end);
            self.notes.pop_front();
        }
        self.ripe
    }

    /// It is over.
    pub(super) fn ends(&mut self) {
        self.notes.clear();
        self.ripe = Seq::ZERO;
    }

    /// When to look again.
    pub(super) fn next(&self) -> Option<Instant> {
        let ripens = self.notes.front().map(|(at, _)| *at + self.after);
        let note = self.notes.back().map(|(at, _)| *at + self.step());
        [ripens, note].into_iter().flatten().min()
    }

    fn step(&self) -> Duration {
        (self.after / NOTES).max(Duration::from_millis(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn an_event_is_ripe_when_it_has_waited_so_long_in_this_outage() {
        let (mut outage, begun) = (Outage::new(MINUTE), Instant::now());
        let after = |seconds| begun + Duration::from_secs(seconds);
        assert_eq!(outage.lasts(after(0), Seq(10)), Seq::ZERO);
        assert_eq!(outage.lasts(after(30), Seq(20)), Seq::ZERO);
        assert_eq!(outage.lasts(after(59), Seq(30)), Seq::ZERO);
        assert_eq!(outage.lasts(after(60), Seq(30)), Seq(10));
        assert_eq!(outage.lasts(after(89), Seq(40)), Seq(10));
        assert_eq!(outage.lasts(after(90), Seq(40)), Seq(20));
        outage.ends();
        assert_eq!(outage.lasts(after(91), Seq(50)), Seq::ZERO);
    }

    #[test]
    fn it_says_when_to_look_again() {
        let (mut outage, begun) = (Outage::new(MINUTE), Instant::now());
        assert_eq!(outage.next(), None);
        outage.lasts(begun, Seq(1));
        assert_eq!(outage.next(), Some(begun + MINUTE / 100));
        let mut now = begun;
        let mut looks = 0;
        while outage.lasts(now, Seq(1)) < Seq(1) {
            now = outage.next().unwrap();
            looks += 1;
        }
        assert_eq!((now, looks), (begun + MINUTE, 100));
    }
}
