//! Sequence numbers: the places of events in the journal, and sets of them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An event's place in the journal. The first event has 1; 0 stands for "before the first".
///
/// Never given twice, also not after a crash. As a cursor it means "everything up to and including
/// this number is settled".
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seq(pub u64);

impl Seq {
    /// Before the first event.
    pub const ZERO: Self = Self(0);

    /// The number after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The number before this one; zero stays zero.
    #[must_use]
    pub const fn previous(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// A stretch of sequence numbers, both ends included. Never empty.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SeqRange {
    /// The first number of the stretch.
    pub first: Seq,
    /// The last number of the stretch, not below `first`.
    pub last: Seq,
}

impl SeqRange {
    /// From `first` to `last`, both included; `None` when that would be empty.
    #[must_use]
    pub fn new(first: Seq, last: Seq) -> Option<Self> {
        (first <= last).then_some(Self { first, last })
    }

    /// The stretch of one number.
    #[must_use]
    pub const fn single(seq: Seq) -> Self {
        Self {
            first: seq,
            last: seq,
        }
    }

    /// How many numbers it holds.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.last.0 - self.first.0 + 1
    }

    /// Whether `seq` lies in it.
    #[must_use]
    pub fn contains(&self, seq: Seq) -> bool {
        self.first <= seq && seq <= self.last
    }

    /// The numbers that both hold.
    #[must_use]
    pub fn overlap(&self, other: Self) -> Option<Self> {
        Self::new(self.first.max(other.first), self.last.min(other.last))
    }
}

impl fmt::Debug for SeqRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}..={}", self.first, self.last)
    }
}

/// A set of sequence numbers, kept as disjoint, non-adjacent stretches in order.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct RangeSet {
    /// Last number by first number of each stretch.
    ranges: std::collections::BTreeMap<Seq, Seq>,
}

impl RangeSet {
    /// The empty set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a stretch, merging what touches. Adding twice changes nothing.
    pub fn insert(&mut self, range: SeqRange) {
        let SeqRange {
            mut first,
            mut last,
        } = range;
        if let Some((&before, &until)) = self.ranges.range(..=first).next_back()
            && until.next() >= first
        {
            first = before;
            last = last.max(until);
        }
        while let Some((&start, &until)) = self.ranges.range(first..=last.next()).next() {
            last = last.max(until);
            self.ranges.remove(&start);
        }
        self.ranges.insert(first, last);
    }

    /// Whether `seq` is in the set.
    #[must_use]
    pub fn contains(&self, seq: Seq) -> bool {
        self.ranges
            .range(..=seq)
            .next_back()
            .is_some_and(|(_, &last)| seq <= last)
    }

    /// Whether all of `range` is in the set.
    #[must_use]
    pub fn covers(&self, range: SeqRange) -> bool {
        self.ranges
            .range(..=range.first)
            .next_back()
            .is_some_and(|(_, &last)| range.last <= last)
    }

    /// Removes everything up to and including `seq`.
    pub fn remove_through(&mut self, seq: Seq) {
        while let Some((&first, &last)) = self.ranges.first_key_value() {
            if first > seq {
                break;
            }
            self.ranges.remove(&first);
            if let Some(rest) = SeqRange::new(seq.next(), last) {
                self.ranges.insert(rest.first, rest.last);
                break;
            }
        }
    }

    /// The stretches in order.
    pub fn iter(&self) -> impl Iterator<Item = SeqRange> + '_ {
        self.ranges
            .iter()
            .map(|(&first, &last)| SeqRange { first, last })
    }

    /// How many stretches there are (not how many numbers).
    #[must_use]
    pub fn stretches(&self) -> usize {
        self.ranges.len()
    }

    /// Whether nothing is in the set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }
}

impl fmt::Debug for RangeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

impl Extend<SeqRange> for RangeSet {
    fn extend<I: IntoIterator<Item = SeqRange>>(&mut self, ranges: I) {
        for range in ranges {
            self.insert(range);
        }
    }
}

impl FromIterator<SeqRange> for RangeSet {
    fn from_iter<I: IntoIterator<Item = SeqRange>>(ranges: I) -> Self {
        let mut set = Self::new();
        set.extend(ranges);
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn a_range_set_agrees_with_a_plain_set(
            adds in prop::collection::vec((1_u64..60, 0_u64..8), 0..40),
            cut in 0_u64..60,
        ) {
            let mut set = RangeSet::new();
            let mut plain = BTreeSet::new();
            for (first, more) in adds {
                set.insert(SeqRange { first: Seq(first), last: Seq(first + more) });
                plain.extend(first..=first + more);
            }
            for n in 0..80 {
                prop_assert_eq!(set.contains(Seq(n)), plain.contains(&n));
                let covers = |last: u64| (n..=last).all(|n| plain.contains(&n));
                for last in n..n + 4 {
                    let range = SeqRange { first: Seq(n), last: Seq(last) };
                    prop_assert_eq!(set.covers(range), covers(last));
                }
            }
            let stretches: Vec<_> = set.iter().collect();
            for pair in stretches.windows(2) {
                prop_assert!(pair[0].last.next() < pair[1].first, "stretches touch: {:?}", pair);
            }
            set.remove_through(Seq(cut));
            for n in 0..80 {
                prop_assert_eq!(set.contains(Seq(n)), n > cut && plain.contains(&n));
            }
        }
    }
}
