//! The window: stretches, bounds, and any order of completion.

use std::collections::BTreeSet;
use std::sync::Arc;

use domain::ports::{BatchLimit, ReadBatch, SettledRange};
use domain::{Event, EventId, Seq, SeqRange, SourceName, StoredEvent, Timestamp};
use proptest::prelude::*;

use super::{Waiting, Window};
use crate::book::Book;
use crate::completion::Completion;
use crate::options::WindowLimit;

const WIDE: WindowLimit = WindowLimit {
    events: 1000,
    bytes: 1 << 20,
};

fn stored(seq: u64, bytes: usize) -> StoredEvent {
    let event = Event {
        source: SourceName::new("s").unwrap(),
        received_at: Timestamp::UNIX_EPOCH,
        method: "POST".into(),
        path: "/".into(),
        headers: domain::Headers::default(),
        body: vec![b'x'; bytes].into(),
        event_type: None,
        remote: None,
        dedup: None,
        only: None,
    };
    StoredEvent {
        seq: Seq(seq),
        id: EventId::from_bytes(u128::from(seq).to_be_bytes()),
        event: Arc::new(event),
    }
}

fn range(first: u64, last: u64) -> SeqRange {
    SeqRange {
        first: Seq(first),
        last: Seq(last),
    }
}

fn settled(first: u64, last: u64, events: u64) -> SettledRange {
    SettledRange {
        range: range(first, last),
        events,
    }
}

fn read(seqs: &[u64], damaged: &[SeqRange], through: u64) -> ReadBatch {
    ReadBatch {
        events: seqs.iter().map(|&seq| stored(seq, 10)).collect(),
        damaged: damaged.to_vec(),
        recounted: Vec::new(),
        through: Seq(through),
    }
}

fn all(window: &mut Window) -> Vec<(u64, u64)> {
    let limit = BatchLimit {
        events: 1000,
        bytes: usize::MAX,
    };
    let batch = window.next_batch(limit, |_| usize::MAX);
    let stretch = |waiting: &Waiting| (waiting.from.0, waiting.stored.seq.0);
    batch.iter().map(stretch).collect()
}

#[test]
fn an_events_stretch_begins_after_the_one_before_and_a_tail_of_others_settles_at_once() {
    let mut window = Window::new(WIDE, Seq(10), &[]);
    let done = window.take_in(read(&[13, 14], &[], 20), Timestamp::UNIX_EPOCH, |_| true);
    assert_eq!(done.settled, [settled(15, 20, 0)]);
    let done = window.take_in(read(&[25], &[], 25), Timestamp::UNIX_EPOCH, |_| true);
    assert_eq!(done.settled, []);
    assert_eq!(all(&mut window), [(11, 13), (14, 14), (21, 25)]);
}

#[test]
fn what_state_had_settled_is_not_waited_for_again() {
    let before = [settled(13, 14, 2), settled(18, 30, 1)];
    let mut window = Window::new(WIDE, Seq(10), &before);
    let done = window.take_in(
        read(&[12, 13, 14, 17, 20], &[], 22),
        Timestamp::UNIX_EPOCH,
        |_| true,
    );
    assert_eq!(done.settled, [], "{:?}", done.settled);
    let done = window.take_in(read(&[29, 33], &[], 33), Timestamp::UNIX_EPOCH, |_| true);
    assert_eq!(done.settled, []);
    assert_eq!(all(&mut window), [(11, 12), (15, 17), (31, 33)]);
}

#[test]
fn damage_counts_once_also_where_some_of_it_was_settled_before() {
    let mut window = Window::new(WIDE, Seq(0), &[settled(4, 5, 2)]);
    let done = window.take_in(
        read(&[2, 9], &[range(3, 7)], 9),
        Timestamp::UNIX_EPOCH,
        |_| true,
    );
    assert_eq!(done.counters.damaged, 3);
    assert_eq!(done.settled, [settled(3, 3, 1), settled(6, 7, 2)]);
    assert_eq!(done.lost, [range(3, 3), range(6, 7)]);
    assert_eq!(all(&mut window), [(1, 2), (8, 9)]);
}

#[test]
fn a_window_is_bounded_by_count_and_bytes_and_always_takes_one() {
    let limit = WindowLimit {
        events: 3,
        bytes: 2000,
    };
    let most = BatchLimit {
        events: 100,
        bytes: 1 << 20,
    };
    let mut window = Window::new(limit, Seq(0), &[]);
    assert_eq!(window.room(most).map(|room| room.events), Some(3));
    window.take_in(read(&[1, 2], &[], 2), Timestamp::UNIX_EPOCH, |_| true);
    assert_eq!(window.room(most).map(|room| room.events), Some(1));
    window.take_in(read(&[3], &[], 3), Timestamp::UNIX_EPOCH, |_| true);
    assert_eq!(window.room(most), None);

    let mut window = Window::new(limit, Seq(0), &[]);
    let large = ReadBatch {
        events: vec![stored(1, 1 << 20)],
        damaged: Vec::new(),
        recounted: Vec::new(),
        through: Seq(1),
    };
    window.take_in(large, Timestamp::UNIX_EPOCH, |_| true);
    assert_eq!(window.room(most), None);
    let few = BatchLimit {
        events: 10,
        bytes: 100,
    };
    let batch = window.next_batch(few, |_| usize::MAX);
    assert_eq!(batch.len(), 1, "a large event goes alone");
    window.release(1, batch[0].weight);
    assert!(window.room(most).is_some());
}

#[test]
fn events_put_back_take_their_old_places() {
    let mut window = Window::new(WIDE, Seq(0), &[]);
    window.take_in(
        read(&[1, 2, 3, 4, 5], &[], 5),
        Timestamp::UNIX_EPOCH,
        |_| true,
    );
    let two = BatchLimit {
        events: 2,
        bytes: usize::MAX,
    };
    let (first, second) = (
        window.next_batch(two, |_| usize::MAX),
        window.next_batch(two, |_| usize::MAX),
    );
    window.put_back(second);
    window.put_back(first);
    let probe = window.one(1).unwrap();
    assert_eq!(probe.stored.seq, Seq(2));
    window.put_back(vec![probe]);
    let seqs: Vec<u64> = all(&mut window).iter().map(|(_, seq)| *seq).collect();
    assert_eq!(seqs, [1, 2, 3, 4, 5]);
}

#[test]
fn a_suspect_travels_in_small_company() {
    let mut window = Window::new(WIDE, Seq(0), &[]);
    window.take_in(
        read(&[1, 2, 3, 4, 5, 6], &[], 6),
        Timestamp::UNIX_EPOCH,
        |_| true,
    );
    let company = |seq| if seq == Seq(4) { 2 } else { usize::MAX };
    let limit = BatchLimit {
        events: 100,
        bytes: usize::MAX,
    };
    let mut sizes = Vec::new();
    loop {
        let batch = window.next_batch(limit, company);
        if batch.is_empty() {
            break;
        }
        sizes.push(batch.len());
    }
    assert_eq!(sizes, [3, 2, 1]);
}

/// A journal of `ours` and other sources' numbers, damaged here and there.
#[derive(Debug, Clone)]
struct Story {
    /// Of each number: 0 other source's, 1 ours, 2 damaged.
    numbers: Vec<u8>,
    read_sizes: Vec<usize>,
    batch_sizes: Vec<usize>,
    /// How many of the open batches' events complete, and from which batch.
    completions: Vec<(usize, usize)>,
    crash_after: usize,
}

fn story() -> impl Strategy<Value = Story> {
    (
        prop::collection::vec(
            prop_oneof![2 => Just(0_u8), 6 => Just(1), 1 => Just(2)],
            1..80,
        ),
        prop::collection::vec(1_usize..12, 80),
        prop::collection::vec(1_usize..9, 200),
        prop::collection::vec((0_usize..8, 1_usize..9), 400),
        0_usize..60,
    )
        .prop_map(
            |(numbers, read_sizes, batch_sizes, completions, crash_after)| Story {
                numbers,
                read_sizes,
                batch_sizes,
                completions,
                crash_after,
            },
        )
}

/// Runs window and book over a story, from a cursor and ranges; stops after so many completions.
struct Run<'a> {
    story: &'a Story,
    book: Book,
    accepted: u64,
    delivered: BTreeSet<u64>,
    damaged: u64,
}

impl Run<'_> {
    fn apply(&mut self, done: &Completion) {
        for settled in &done.settled {
            self.book.settle(*settled);
        }
        self.accepted += self.book.advance();
        self.damaged += done.counters.damaged;
    }

    fn check(&self) {
        let above: u64 = self
            .book
            .ranges()
            .iter()
            .map(|settled| settled.events)
            .sum();
        let accounted = self.delivered.len() as u64 + self.damaged;
        assert_eq!(self.accepted + above, accounted, "the ledger balances");
        let through = usize::try_from(self.book.cursor().0).unwrap();
        let below = &self.story.numbers[..through];
        let ours = below.iter().filter(|kind| **kind != 0).count() as u64;
        assert_eq!(self.accepted, ours, "the cursor passes what it counted");
    }

    fn go(&mut self, most: usize) {
        let numbers = &self.story.numbers;
        let mut window = Window::new(WIDE, self.book.cursor(), &self.book.ranges());
        let (mut at, mut open) = (usize::try_from(self.book.cursor().0).unwrap(), Vec::new());
        let mut reads = self.story.read_sizes.iter().cycle();
        let mut sizes = self.story.batch_sizes.iter().cycle();
        let mut completions = self.story.completions.iter().cycle();
        for _ in 0..most {
            let until = (at + reads.next().unwrap()).min(numbers.len());
            if until > at {
                let of = |kind: u8| {
                    let picked = (at..until).filter(move |n| numbers[*n] == kind);
                    picked.map(|n| n as u64 + 1)
                };
                let damaged: Vec<_> = of(2).map(|n| range(n, n)).collect();
                let ours: Vec<_> = of(1).collect();
                let done = window.take_in(
                    read(&ours, &damaged, until as u64),
                    Timestamp::UNIX_EPOCH,
                    |_| true,
                );
                self.apply(&done);
                at = until;
            }
            let limit = BatchLimit {
                events: *sizes.next().unwrap(),
                bytes: usize::MAX,
            };
            let batch = window.next_batch(limit, |_| usize::MAX);
            if !batch.is_empty() {
                open.push(batch);
            }
            let (which, many) = *completions.next().unwrap();
            if !open.is_empty() {
                let mut batch = open.remove(which % open.len());
                let rest = batch.split_off(many.min(batch.len()));
                let mut done = Completion::default();
                for waiting in batch {
                    let seq = waiting.stored.seq;
                    assert!(self.delivered.insert(seq.0), "{seq} was delivered twice");
                    done.settle(
                        SeqRange {
                            first: waiting.from,
                            last: seq,
                        },
                        1,
                    );
                    window.release(1, waiting.weight);
                }
                window.put_back(rest);
                self.apply(&done);
            }
            self.check();
        }
    }
}

proptest! {
    #[test]
    fn any_order_of_completion_balances_and_a_restart_repeats_nothing_that_was_settled(story in story()) {
        let mut run = Run {
            story: &story,
            book: Book::new(Seq::ZERO, &[]),
            accepted: 0,
            delivered: BTreeSet::new(),
            damaged: 0,
        };
        run.go(story.crash_after);
        // A restart with what state has.
        run.book = Book::new(run.book.cursor(), &run.book.ranges());
        run.go(1000);
        let of = |kind: u8| story.numbers.iter().filter(|n| **n == kind).count() as u64;
        prop_assert_eq!(run.book.cursor(), Seq(story.numbers.len() as u64));
        prop_assert_eq!((run.delivered.len() as u64, run.damaged), (of(1), of(2)));
        prop_assert_eq!(run.accepted, of(1) + of(2));
    }
}
