//! What a route does when an attempt fails: pure values and pure arithmetic.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::DestinationName;
use crate::pointer::{Pointer, PointerError};
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(try_from = "WrittenOnOutage")]
pub enum OnOutage {
    /// Wait for ever, in order, and spend no attempt. The default.
    #[default]
    Hold,
    /// Spend an attempt, as for any failure: an event has 1 + `max_retries` of them, and then is a dead
    /// letter. The breaker never trips, and no run of answers is taken for an outage.
    Retry,
    /// As [`OnOutage::Hold`]; but what has waited too long while the breaker was tripped becomes a dead letter.
    DeadLetterAfter(DeadLetterAfter),
}

impl OnOutage {
    /// What has waited so long becomes a dead letter, and stays one until somebody brings it back.
    #[must_use]
    pub const fn dead_letter_after(after: HumanDuration) -> Self {
        Self::DeadLetterAfter(DeadLetterAfter {
            dead_letter_after: after,
            redrive_on_recovery: false,
        })
    }

    /// Whether what was buried for an outage comes back by itself.
    #[must_use]
    pub const fn redrives_on_recovery(self) -> bool {
        match self {
            Self::DeadLetterAfter(bury) => bury.redrive_on_recovery,
            Self::Hold | Self::Retry => false,
        }
    }
}

/// When an outage makes dead letters, and what becomes of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeadLetterAfter {
    /// How long an event waits while the breaker is tripped. Time in which Forebay did not run does not count.
    pub dead_letter_after: HumanDuration,
    /// Once the destination is back they return by themselves, slowly at first. Default false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub redrive_on_recovery: bool,
}

#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "must be \"hold\", \"retry\" or { dead_letter_after = \"15m\" }"
)]
enum WrittenOnOutage {
    Word(OnOutageWord),
    Bury(DeadLetterAfter),
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum OnOutageWord {
    Hold,
    Retry,
}

impl TryFrom<WrittenOnOutage> for OnOutage {
    type Error = &'static str;

    fn try_from(written: WrittenOnOutage) -> Result<Self, Self::Error> {
        match written {
            WrittenOnOutage::Word(OnOutageWord::Hold) => Ok(Self::Hold),
            WrittenOnOutage::Word(OnOutageWord::Retry) => Ok(Self::Retry),
            WrittenOnOutage::Bury(bury) if bury.dead_letter_after.0.is_zero() => {
                Err("dead_letter_after must be longer than 0s")
            }
            WrittenOnOutage::Bury(bury) => Ok(Self::DeadLetterAfter(bury)),
        }
    }
}

impl Serialize for OnOutage {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Hold => serializer.serialize_str("hold"),
            Self::Retry => serializer.serialize_str("retry"),
            Self::DeadLetterAfter(bury) => bury.serialize(serializer),
        }
    }
}

/// In which order a route delivers.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(try_from = "WrittenOrder")]
pub enum Order {
    /// As fast as it goes; a failed event does not hold the others up. The default.
    #[default]
    None,
    /// Events with the same value at this pointer into their body go one after the other; what comes behind
    /// a parked one is held. Events without the value have no order.
    Key(Pointer),
    /// All events go one after the other.
    Strict,
}

#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "must be \"none\", \"strict\" or { key = \"/conversationId\" }"
)]
enum WrittenOrder {
    Word(OrderWord),
    Key(OrderByKey),
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum OrderWord {
    None,
    Strict,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OrderByKey {
    key: String,
}

impl TryFrom<WrittenOrder> for Order {
    type Error = PointerError;

    fn try_from(written: WrittenOrder) -> Result<Self, Self::Error> {
        match written {
            WrittenOrder::Word(OrderWord::None) => Ok(Self::None),
            WrittenOrder::Word(OrderWord::Strict) => Ok(Self::Strict),
            WrittenOrder::Key(by) => Pointer::parse(&by.key).map(Self::Key),
        }
    }
}

impl Serialize for Order {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::None => serializer.serialize_str("none"),
            Self::Strict => serializer.serialize_str("strict"),
            Self::Key(pointer) => OrderByKey {
                key: pointer.to_string(),
            }
            .serialize(serializer),
        }
    }
}

/// When a run of answers is taken for an outage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BreakerPolicy {
    /// So many different events in a row, each answered as a destination that is broken as a whole would
    /// (HTTP 401, 403, 404, 5xx), with none delivered between, are an outage: the breaker trips, and they
    /// go back to where they were with no attempt spent. 0 switches that off. Default 20, at most 1,000.
    pub run: u32,
}

impl Default for BreakerPolicy {
    fn default() -> Self {
        Self { run: 20 }
    }
}

impl BreakerPolicy {
    /// Says what is wrong with the values, if anything.
    ///
    /// # Errors
    /// One line that names the key and what would be right.
    pub fn validate(&self) -> Result<(), String> {
        if self.run > 1000 {
            return Err("run must be from 0 (off) to 1000".into());
        }
        Ok(())
    }
}

/// Where dead letters go, and how long they are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DeadLetterPolicy {
    /// Destinations that each dead letter is delivered to, with what became of it. Default none: they stay in
    /// state, where `forebay dlq` finds them.
    pub to: Vec<DestinationName>,
    /// How long a dead letter stays after every target confirmed it. Without a target it stays until it is
    /// redriven or purged. Default `"30d"`.
    pub keep: HumanDuration,
    /// When a dead letter that nobody dealt with is discarded, and counted so. Never unless set.
    pub expire_after: Option<HumanDuration>,
}

impl Default for DeadLetterPolicy {
    fn default() -> Self {
        Self {
            to: Vec::new(),
            keep: HumanDuration::from_secs(30 * 24 * 3600),
            expire_after: None,
        }
    }
}

/// How much of a route may wait in the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFull {
    /// New events of its sources are told 503.
    Refuse,
    /// Its oldest events become dead letters.
    DeadLetter,
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

    fn written<T: serde::de::DeserializeOwned>(json: &str) -> Result<T, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn what_happens_in_an_outage_reads_as_it_is_written() {
        let after = OnOutage::dead_letter_after(HumanDuration::from_secs(900));
        let back = OnOutage::DeadLetterAfter(DeadLetterAfter {
            dead_letter_after: HumanDuration::from_secs(900),
            redrive_on_recovery: true,
        });
        let cases = [
            ("\"hold\"", OnOutage::Hold),
            ("\"retry\"", OnOutage::Retry),
            (r#"{"dead_letter_after":"15m"}"#, after),
            (
                r#"{"dead_letter_after":"15m","redrive_on_recovery":true}"#,
                back,
            ),
        ];
        for (text, value) in cases {
            assert_eq!(written(text), Ok(value), "{text}");
            assert_eq!(serde_json::to_string(&value).unwrap(), text);
        }
        for wrong in [
            "\"wait\"",
            "{}",
            r#"{"dead_letter_after":"15m","x":1}"#,
            "3",
        ] {
            let error = written::<OnOutage>(wrong).unwrap_err();
            assert!(error.contains("dead_letter_after"), "{error}");
        }
        assert!(written::<OnOutage>(r#"{"dead_letter_after":"0s"}"#).is_err());
    }

    #[test]
    fn an_order_reads_as_it_is_written() {
        let key = Order::Key(Pointer::parse("/a~1b/0").unwrap());
        let cases = [
            ("\"none\"", Order::None),
            ("\"strict\"", Order::Strict),
            (r#"{"key":"/a~1b/0"}"#, key),
        ];
        for (text, value) in cases {
            assert_eq!(written(text), Ok(value.clone()), "{text}");
            assert_eq!(serde_json::to_string(&value).unwrap(), text);
        }
        let error = written::<Order>("\"fifo\"").unwrap_err();
        assert!(error.contains("conversationId"), "{error}");
        let error = written::<Order>(r#"{"key":"conversationId"}"#).unwrap_err();
        assert!(error.contains("begins with"), "{error}");
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
