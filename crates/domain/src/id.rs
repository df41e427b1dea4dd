//! Event ids (UUIDv7, given in journal order), and the ids of subscriptions and of the installation.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use rand::Rng;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The number that state gave a route when it was registered. It stays the route's own through every renaming, and is
/// never another's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RouteId(pub u64);

/// The id of an event: a UUIDv7 (RFC 9562, section 5.7).
///
/// Ids are handed out by the journal's one writer and grow strictly with the sequence number, so
/// comparing two ids compares their places in the journal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EventId(Uuid);

impl EventId {
    /// From the sixteen bytes of a stored id.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    /// The sixteen bytes, most significant first.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// As a plain UUID, for database drivers.
    #[must_use]
    pub const fn as_uuid(&self) -> Uuid {
        self.0
    }

    /// The millisecond in which the id was given, since the Unix epoch.
    #[must_use]
    pub fn millis(&self) -> u64 {
        u64::try_from(self.0.as_u128() >> 80).unwrap_or(u64::MAX)
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for EventId {
    type Err = uuid::Error;
    fn from_str(text: &str) -> Result<Self, uuid::Error> {
        Uuid::parse_str(text).map(Self)
    }
}

/// Bits of the counter within a millisecond: `rand_a` (12) and the top 30 of `rand_b`.
const COUNTER_BITS: u32 = 42;
const COUNTER_MAX: u64 = (1 << COUNTER_BITS) - 1;

/// Gives strictly growing ids, also when the clock stands still or goes back, and across restarts
/// when it is resumed from the last id given.
///
/// RFC 9562, section 6.2, method 1: a 42-bit counter behind the millisecond, seeded at random with
/// its top bit clear for each new millisecond, and 32 random bits behind it.
#[derive(Debug)]
pub struct IdGenerator {
    millis: u64,
    counter: u64,
}

impl IdGenerator {
    /// A generator whose ids all come after `last`.
    #[must_use]
    pub fn resume_after(last: Option<EventId>) -> Self {
        let Some(last) = last else {
            return Self {
                millis: 0,
                counter: 0,
            };
        };
        let bits = last.as_uuid().as_u128();
        let rand_a = u64::try_from((bits >> 64) & 0xfff).unwrap_or(0);
        let rand_b_top = u64::try_from((bits >> 32) & 0x3fff_ffff).unwrap_or(0);
        Self {
            millis: last.millis(),
            counter: (rand_a << 30) | rand_b_top,
        }
    }

    /// The next id. `now` only moves the ids' time forward, never back.
    pub fn next(&mut self, now: Timestamp, random: &mut impl Rng) -> EventId {
        let now = u64::try_from(now.as_millisecond()).unwrap_or(0);
        if now > self.millis {
            self.millis = now;
            self.counter = random.next_u64() & (COUNTER_MAX >> 1);
        } else if self.counter < COUNTER_MAX {
            self.counter += 1;
        } else {
            self.millis += 1;
            self.counter = 0;
        }
        let rand_a = u128::from(self.counter >> 30);
        let rand_b_top = u128::from(self.counter & 0x3fff_ffff);
        let bits = (u128::from(self.millis) << 80)
            | (0x7 << 76)
            | (rand_a << 64)
            | (0b10 << 62)
            | (rand_b_top << 32)
            | u128::from(random.next_u32());
        EventId(Uuid::from_u128(bits))
    }
}

/// Names one installation: journal and state that belong together carry the same one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct InstallationId(Uuid);

impl InstallationId {
    /// A fresh random one (UUIDv4).
    #[must_use]
    pub fn random() -> Self {
        Self(Uuid::new_v4())
    }
}

impl fmt::Display for InstallationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for InstallationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for InstallationId {
    type Err = uuid::Error;
    fn from_str(text: &str) -> Result<Self, uuid::Error> {
        Uuid::parse_str(text).map(Self)
    }
}

/// The id of a subscription: a UUIDv7, so that ids sort by when they were given.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SubscriptionId(Uuid);

impl SubscriptionId {
    /// A fresh one. Two of the same millisecond are in no particular order.
    #[must_use]
    pub fn new(now: Timestamp, random: &mut impl Rng) -> Self {
        Self(IdGenerator::resume_after(None).next(now, random).as_uuid())
    }

    /// The id as a number: where it is in the order of ids.
    #[must_use]
    pub const fn as_u128(&self) -> u128 {
        self.0.as_u128()
    }
}

impl SubscriptionId {
    /// The id that has these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    /// Its bytes; they sort as the ids do.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }
}

impl fmt::Display for SubscriptionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for SubscriptionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for SubscriptionId {
    type Err = uuid::Error;
    fn from_str(text: &str) -> Result<Self, uuid::Error> {
        Uuid::parse_str(text).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::SignedDuration;

    #[test]
    fn ids_grow_though_the_clock_goes_back_and_the_process_restarts() {
        let mut random = rand::rng();
        let start = Timestamp::from_millisecond(1_790_000_000_000).unwrap();
        let mut ids = IdGenerator::resume_after(None);
        let mut last = ids.next(start, &mut random);
        for step in 0..10_000_i64 {
            if step % 100 == 0 {
                ids = IdGenerator::resume_after(Some(last));
            }
            let now =
                start + SignedDuration::from_millis(if step % 7 == 0 { -step } else { step / 50 });
            let next = ids.next(now, &mut random);
            assert!(next > last, "step {step}");
            assert_eq!(next.as_uuid().get_version_num(), 7);
            assert_eq!(next.as_uuid().get_variant(), uuid::Variant::RFC4122);
            last = next;
        }
    }

    #[test]
    fn a_full_counter_borrows_from_the_next_millisecond() {
        let mut random = rand::rng();
        let now = Timestamp::from_millisecond(5).unwrap();
        let mut ids = IdGenerator {
            millis: 5,
            counter: COUNTER_MAX,
        };
        let id = ids.next(now, &mut random);
        assert_eq!(id.millis(), 6);
    }
}
