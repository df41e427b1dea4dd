//! The low watermark of one route and the settled ranges above it.
//!
//! Pure arithmetic on stretches of sequence numbers. Every number that a route's reader passed is in
//! exactly one settled stretch sooner or later: an event's stretch begins where the one before it
//! ended, so that numbers of other sources settle with the event that follows them. Owned by the
//! settler, which makes a tentative copy, commits it, and keeps it only then.

use std::collections::BTreeMap;

use domain::ports::SettledRange;
use domain::{Seq, SeqRange};

/// Where a route stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Book {
    cursor: Seq,
    /// First number → last number and events, of disjoint stretches that do not touch.
    above: BTreeMap<Seq, (Seq, u64)>,
}

impl Book {
    /// As state has it.
    pub(crate) fn new(cursor: Seq, ranges: &[SettledRange]) -> Self {
        let mut book = Self {
            cursor,
            above: BTreeMap::new(),
        };
        for settled in ranges {
            book.settle(*settled);
        }
        book
    }

    /// Everything through here is settled.
    pub(crate) fn cursor(&self) -> Seq {
        self.cursor
    }

    /// Adds a settled stretch above the cursor, merging what touches. Each event must be counted
    /// in one stretch only; numbers may overlap.
    pub(crate) fn settle(&mut self, settled: SettledRange) {
        let SeqRange {
            mut first,
            mut last,
        } = settled.range;
        let mut events = settled.events;
        if let Some((&before, &(until, more))) = self.above.range(..=first).next_back()
            && until.next() >= first
        {
            first = before;
            last = last.max(until);
            events += more;
            self.above.remove(&before);
        }
        while let Some((&start, &(until, more))) = self.above.range(first..=last.next()).next() {
            last = last.max(until);
            events += more;
            self.above.remove(&start);
        }
        self.above.insert(first, (last, events));
    }

    /// Moves the cursor over what is settled directly after it. Returns how many events it passed.
    pub(crate) fn advance(&mut self) -> u64 {
        let mut passed = 0;
        while let Some(entry) = self.above.first_entry() {
            if *entry.key() > self.cursor.next() {
                break;
            }
            let (last, events) = entry.remove();
            self.cursor = self.cursor.max(last);
            passed += events;
        }
        passed
    }

    /// The settled stretches above the cursor, in order, for state to keep. Those that hold no event
    /// of the route are left out: they are found again by reading.
    pub(crate) fn ranges(&self) -> Vec<SettledRange> {
        let ranges = self.above.iter().map(|(&first, &(last, events))| {
            let range = SeqRange { first, last };
            SettledRange { range, events }
        });
        ranges.filter(|settled| settled.events > 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn settled(first: u64, last: u64, events: u64) -> SettledRange {
        SettledRange {
            range: SeqRange {
                first: Seq(first),
                last: Seq(last),
            },
            events,
        }
    }

    #[test]
    fn the_cursor_waits_for_the_oldest_batch_and_then_passes_all() {
        let mut book = Book::new(Seq(10), &[]);
        book.settle(settled(21, 30, 10));
        book.settle(settled(31, 40, 4));
        assert_eq!((book.advance(), book.cursor()), (0, Seq(10)));
        assert_eq!(book.ranges(), [settled(21, 40, 14)]);
        book.settle(settled(11, 20, 10));
        assert_eq!((book.advance(), book.cursor()), (24, Seq(40)));
        assert_eq!(book.ranges(), []);
    }

    #[test]
    fn a_book_made_of_its_own_ranges_is_the_same() {
        let mut book = Book::new(Seq(3), &[]);
        for stretch in [settled(9, 9, 1), settled(20, 30, 4), settled(5, 7, 2)] {
            book.settle(stretch);
        }
        assert_eq!(Book::new(book.cursor(), &book.ranges()), book);
    }

    #[test]
    fn a_stretch_of_other_sources_alone_is_not_kept_but_still_passed() {
        let mut book = Book::new(Seq(0), &[]);
        book.settle(settled(5, 9, 0));
        assert_eq!(book.ranges(), []);
        book.settle(settled(1, 4, 3));
        assert_eq!((book.advance(), book.cursor()), (3, Seq(9)));
    }

    proptest! {
        #[test]
        fn any_order_of_completion_ends_at_the_same_cursor_and_count(
            (tiles, order) in prop::collection::vec((1_u64..6, any::<bool>()), 1..60)
                .prop_flat_map(|tiles| {
                    let order: Vec<usize> = (0..tiles.len()).collect();
                    (Just(tiles), Just(order).prop_shuffle())
                }),
            start in 0_u64..5,
        ) {
            let mut next = start + 1;
            let tiles: Vec<_> = tiles.into_iter().map(|(numbers, ours)| {
                let tile = settled(next, next + numbers - 1, u64::from(ours));
                next += numbers;
                tile
            }).collect();
            let total: u64 = tiles.iter().map(|tile| tile.events).sum();
            let mut book = Book::new(Seq(start), &[]);
            let (mut passed, mut done) = (0, vec![false; tiles.len()]);
            for at in order {
                book.settle(tiles[at]);
                done[at] = true;
                passed += book.advance();
                let low = done.iter().take_while(|done| **done).count();
                let expected = if low == 0 { Seq(start) } else { tiles[low - 1].range.last };
                prop_assert_eq!(book.cursor(), expected);
                let above: u64 = book.ranges().iter().map(|settled| settled.events).sum();
                let completed: u64 = done.iter().zip(&tiles).filter(|(done, _)| **done).map(|(_, tile)| tile.events).sum();
                prop_assert_eq!(passed + above, completed);
            }
            prop_assert_eq!((passed, book.cursor()), (total, Seq(next - 1)));
        }
    }
}
