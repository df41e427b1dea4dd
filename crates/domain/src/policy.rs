//! What a route does when an attempt fails: pure values and pure arithmetic.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::units::HumanDuration;

/// The longest that a destination's `Retry-After` is honoured.
pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// How waits grow from one retry to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backoff {
    /// Always `retry_interval`.
    Fixed,
    /// `retry_interval` × the number of the retry.
    Linear,
    /// `retry_interval` × 2^(number of the retry − 1).
    Exponential,
}

/// When and how often a single event that failed is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetryPolicy {
    /// Retries after the first attempt; 8 means at most nine attempts in all. Default 8.
    pub max_retries: u32,
    /// The wait before the first retry. Default `"10s"`.
    pub retry_interval: HumanDuration,
    /// How the wait grows: `"fixed"`, `"linear"` or `"exponential"` (default).
    pub backoff: Backoff,
    /// The longest wait between two attempts. Default `"15m"`.
    pub max_interval: HumanDuration,
    /// How far a wait is spread at random, as a fraction of it, from 0 to 1. Default 0.2: between
    /// 80 % and 120 %.
    pub jitter: f64,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            max_retries: 8,
            retry_interval: HumanDuration::from_secs(10),
            backoff: Backoff::Exponential,
            max_interval: HumanDuration::from_secs(15 * 60),
            jitter: 0.2,
        }
    }
}

impl RetryPolicy {
    /// Says what is wrong with the values, if anything.
    ///
    /// # Errors
    /// One line that names the key and what would be right.
    pub fn validate(&self) -> Result<(), String> {
        if !(0.0..=1.0).contains(&self.jitter) {
            return Err("jitter is a fraction from 0 to 1".into());
        }
        if self.retry_interval.0.is_zero() {
            return Err("retry_interval must be longer than 0s".into());
        }
        if self.max_interval < self.retry_interval {
            return Err("max_interval must not be shorter than retry_interval".into());
        }
        Ok(())
    }

    /// The wait before retry number `retry` (from 1), without what the destination asked for.
    /// `random` is from 0 to 1 and places the wait within the jitter.
    #[must_use]
    pub fn wait(&self, retry: u32, random: f64) -> Duration {
        let first = self.retry_interval.0;
        let grown = match self.backoff {
            Backoff::Fixed => first,
            Backoff::Linear => first.saturating_mul(retry.max(1)),
            Backoff::Exponential => {
                let factor = 1_u32
                    .checked_shl(retry.saturating_sub(1))
                    .unwrap_or(u32::MAX);
                first.saturating_mul(factor.max(1))
            }
        };
        let capped = grown.min(self.max_interval.0);
        capped.mul_f64(1.0 - self.jitter + 2.0 * self.jitter * random.clamp(0.0, 1.0))
    }
}

/// What a route does while its destination is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnOutage {
    /// Wait for ever, in order, and spend no attempt.
    #[default]
    Hold,
}

/// In which order a route delivers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// As fast as it goes; a failed event does not hold the others up.
    #[default]
    None,
}

/// Limits of the breaker's waits between probes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProbePolicy {
    /// The wait before the first probe. 1 s.
    pub first: Duration,
    /// The longest wait between probes. 30 s.
    pub max: Duration,
}

impl Default for ProbePolicy {
    fn default() -> Self {
        Self {
            first: Duration::from_secs(1),
            max: Duration::from_secs(30),
        }
    }
}

impl ProbePolicy {
    /// The wait before probe number `probe` (from 1) of an outage: doubling, and between 80 % and
    /// 100 % of that, so that many routes do not probe in step and none waits longer than `max`.
    #[must_use]
    pub fn wait(&self, probe: u32, random: f64) -> Duration {
        let factor = 1_u32
            .checked_shl(probe.saturating_sub(1))
            .unwrap_or(u32::MAX)
            .max(1);
        let grown = self.first.saturating_mul(factor).min(self.max);
        grown.mul_f64(0.8 + 0.2 * random.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(backoff: Backoff) -> RetryPolicy {
        RetryPolicy {
            backoff,
            jitter: 0.0,
            max_interval: HumanDuration::from_secs(60),
            ..RetryPolicy::default()
        }
    }

    #[test]
    fn waits_grow_as_the_policy_says_and_stop_at_the_longest() {
        let seconds = |backoff| -> Vec<u64> {
            [1, 2, 3, 4, 40]
                .iter()
                .map(|&n| policy(backoff).wait(n, 0.5).as_secs())
                .collect()
        };
        assert_eq!(seconds(Backoff::Fixed), [10, 10, 10, 10, 10]);
        assert_eq!(seconds(Backoff::Linear), [10, 20, 30, 40, 60]);
        assert_eq!(seconds(Backoff::Exponential), [10, 20, 40, 60, 60]);
    }

    #[test]
    fn jitter_stays_within_its_fraction() {
        let policy = RetryPolicy {
            jitter: 0.2,
            ..policy(Backoff::Fixed)
        };
        assert_eq!(policy.wait(1, 0.0), Duration::from_secs(8));
        assert_eq!(policy.wait(1, 1.0), Duration::from_secs(12));
    }

    #[test]
    fn probes_double_from_a_second_to_half_a_minute() {
        let waits: Vec<u64> = (1..8)
            .map(|n| ProbePolicy::default().wait(n, 1.0).as_secs())
            .collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30]);
        assert!(ProbePolicy::default().wait(u32::MAX, 0.0) >= Duration::from_secs(24));
    }
}
