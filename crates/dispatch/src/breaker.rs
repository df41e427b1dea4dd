//! A route's guard: passing, tripped, probing.
//!
//! A pure state machine, told what happened and when; it waits for nothing and calls nobody. Only a
//! delivery makes it pass again and resets the waits between probes.

use domain::policy::ProbePolicy;
use domain::ports::BreakerState;
use tokio::time::Instant;

/// Events that a probing breaker tries in turn while the destination answers and delivers none.
const TRIES_A_PROBE: u32 = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Passing,
    Tripped { until: Instant },
    Probing { tries: u32 },
}

/// The breaker of one route.
#[derive(Debug)]
pub(crate) struct Breaker {
    policy: ProbePolicy,
    state: State,
    /// Waits since the last delivery; the next is longer.
    waits: u32,
}

impl Breaker {
    pub(crate) fn new(policy: ProbePolicy) -> Self {
        Self {
            policy,
            state: State::Passing,
            waits: 0,
        }
    }

    /// The word for its state.
    pub(crate) fn state(&self) -> BreakerState {
        match self.state {
            State::Passing => BreakerState::Passing,
            State::Tripped { .. } => BreakerState::Tripped,
            State::Probing { .. } => BreakerState::Probing,
        }
    }

    /// When the next probe is due, while tripped.
    pub(crate) fn next_probe(&self) -> Option<Instant> {
        match self.state {
            State::Tripped { until } => Some(until),
            State::Passing | State::Probing { .. } => None,
        }
    }

    /// The destination is not there. While tripped already this is old news. `random` is from 0 to 1.
    pub(crate) fn unavailable(&mut self, now: Instant, random: f64) {
        match self.state {
            State::Passing | State::Probing { .. } => self.trip(now, random),
            State::Tripped { .. } => {}
        }
    }

    fn trip(&mut self, now: Instant, random: f64) {
        self.waits = self.waits.saturating_add(1);
        self.state = State::Tripped {
            until: now + self.policy.wait(self.waits, random),
        };
    }

    /// A tripped breaker whose wait is over begins to probe. Returns whether it did.
    pub(crate) fn begin_probe(&mut self, now: Instant) -> bool {
        match self.state {
            State::Tripped { until } if until <= now => {
                self.state = State::Probing { tries: 0 };
                true
            }
            State::Passing | State::Tripped { .. } | State::Probing { .. } => false,
        }
    }

    /// The destination took an event for good.
    pub(crate) fn delivered(&mut self) {
        self.waits = 0;
        self.state = State::Passing;
    }

    /// The destination answers, and nothing waits that it could take: there is nothing to guard. Its next outage begins
    /// with the waits that this one ended with.
    pub(crate) fn idle(&mut self) {
        if let State::Probing { .. } = self.state {
            self.state = State::Passing;
        }
    }

    /// The destination answered the probe's event, but did not take it. It is there; the next
    /// waiting event is tried, a few in turn, before it is left alone for another wait.
    pub(crate) fn answered(&mut self, now: Instant, random: f64) {
        match self.state {
            State::Probing { tries } if tries + 1 < TRIES_A_PROBE => {
                self.state = State::Probing { tries: tries + 1 };
            }
            State::Probing { .. } => self.trip(now, random),
            State::Passing | State::Tripped { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[derive(Debug, Clone, Copy)]
    enum Happens {
        Unavailable,
        Delivered,
        Answered,
        /// So many seconds pass, and a probe begins if it may.
        Seconds(u64),
    }
    use Happens::{Answered, Delivered, Seconds, Unavailable};

    fn words(events: &[Happens]) -> Vec<&'static str> {
        let mut breaker = Breaker::new(ProbePolicy::default());
        let mut now = Instant::now();
        let mut seen = Vec::new();
        for event in events {
            match event {
                Unavailable => breaker.unavailable(now, 1.0),
                Delivered => breaker.delivered(),
                Answered => breaker.answered(now, 1.0),
                Seconds(seconds) => {
                    now += Duration::from_secs(*seconds);
                    breaker.begin_probe(now);
                }
            }
            seen.push(match breaker.state() {
                BreakerState::Passing => "passing",
                BreakerState::Tripped => "tripped",
                BreakerState::Probing => "probing",
            });
        }
        seen
    }

    #[test]
    fn every_event_in_every_state_leads_where_the_table_says() {
        let table: &[(&[Happens], &str)] = &[
            (&[Delivered], "passing"),
            (&[Answered], "passing"),
            (&[Seconds(100)], "passing"),
            (&[Unavailable], "tripped"),
            (&[Unavailable, Unavailable], "tripped"),
            (&[Unavailable, Answered], "tripped"),
            (&[Unavailable, Delivered], "passing"),
            (&[Unavailable, Seconds(0)], "tripped"),
            (&[Unavailable, Seconds(1)], "probing"),
            (&[Unavailable, Seconds(1), Delivered], "passing"),
            (&[Unavailable, Seconds(1), Answered], "probing"),
            (&[Unavailable, Seconds(1), Answered, Answered], "probing"),
            (
                &[Unavailable, Seconds(1), Answered, Answered, Answered],
                "tripped",
            ),
            (&[Unavailable, Seconds(1), Unavailable], "tripped"),
            (&[Unavailable, Seconds(1), Seconds(100)], "probing"),
        ];
        for (events, expected) in table {
            assert_eq!(words(events).last(), Some(expected), "{events:?}");
        }
    }

    fn wait(breaker: &Breaker, now: Instant) -> u64 {
        breaker
            .next_probe()
            .map_or(0, |until| (until - now).as_secs())
    }

    #[test]
    fn waits_double_to_half_a_minute_and_only_a_delivery_resets_them() {
        let mut breaker = Breaker::new(ProbePolicy::default());
        let mut now = Instant::now();
        let mut waits = Vec::new();
        for _ in 0..7 {
            breaker.unavailable(now, 1.0);
            // More news of the same outage, from other batches, changes nothing.
            breaker.unavailable(now, 1.0);
            waits.push(wait(&breaker, now));
            now += Duration::from_secs(30);
            assert!(breaker.begin_probe(now));
            breaker.answered(now, 1.0);
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30]);
        breaker.delivered();
        breaker.unavailable(now, 1.0);
        assert_eq!(wait(&breaker, now), 1);
    }

    #[test]
    fn waits_are_spread_below_their_length() {
        let mut breaker = Breaker::new(ProbePolicy::default());
        let now = Instant::now();
        breaker.unavailable(now, 0.0);
        assert_eq!(
            breaker.next_probe().map(|until| until - now),
            Some(Duration::from_millis(800))
        );
    }
}
