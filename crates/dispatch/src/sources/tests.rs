//! Counting settled ranges anew for other sources.

use std::sync::Arc;

use domain::ports::{ReadBatch, SettledRange};
use domain::{Event, EventId, Seq, SeqRange, SourceName, SourceSet, StoredEvent, Timestamp};
use proptest::prelude::*;

use super::Recount;

fn stored(seq: u64, source: &str) -> StoredEvent {
    let event = Event {
        source: SourceName::new(source).unwrap(),
        received_at: Timestamp::UNIX_EPOCH,
        method: "POST".into(),
        path: "/".into(),
        headers: domain::Headers::default(),
        body: bytes::Bytes::new(),
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

fn set(names: &[&str]) -> SourceSet {
    names
        .iter()
        .map(|name| SourceName::new(name).unwrap())
        .collect()
}

fn settled(first: u64, last: u64, events: u64) -> SettledRange {
    SettledRange {
        range: SeqRange {
            first: Seq(first),
            last: Seq(last),
        },
        events,
    }
}

/// A journal, one letter a number: its source, or `!` for damage.
fn read(journal: &str, sources: &[&SourceSet], from: usize, until: usize) -> ReadBatch {
    let mut batch = ReadBatch {
        through: Seq(until as u64),
        ..ReadBatch::default()
    };
    for (at, letter) in journal.char_indices().take(until).skip(from) {
        let (seq, source) = (at as u64 + 1, letter.to_string());
        if letter == '!' {
            batch.damaged.push(SeqRange::single(Seq(seq)));
        } else if sources.iter().any(|set| set.contains(&source)) {
            batch.events.push(stored(seq, &source));
        }
    }
    batch
}

fn recount(journal: &str, ranges: &[SettledRange], before: &[&str], after: &[&str]) -> Recount {
    let (before, after) = (set(before), set(after));
    let mut recount = Recount::new(ranges, before.clone(), after.clone());
    // In two reads: ranges and pieces reach over their border.
    let half = journal.len() / 2;
    for (from, until) in [(0, half), (half, journal.len())] {
        recount.take_in(read(journal, &[&before, &after], from, until));
    }
    recount.finish();
    recount
}

#[test]
fn an_event_of_a_source_that_joins_is_cut_out_and_the_rest_stays_counted() {
    let done = recount("aaabaacbba", &[settled(3, 10, 4)], &["a"], &["a", "b"]);
    let pieces = [settled(3, 3, 1), settled(5, 7, 2), settled(10, 10, 1)];
    assert_eq!((done.done.as_slice(), done.moved), (&pieces[..], 0));
}

#[test]
fn events_of_a_source_that_leaves_move_below_the_cursor_and_empty_pieces_go() {
    let ranges = [settled(2, 4, 3), settled(6, 7, 2)];
    let done = recount("aababbbaaa", &ranges, &["a", "b"], &["a"]);
    assert_eq!(
        (done.done.as_slice(), done.moved),
        (&[settled(2, 4, 2)][..], 3)
    );
}

#[test]
fn damage_stays_counted_also_over_the_ends_of_ranges() {
    let ranges = [settled(2, 4, 3), settled(6, 8, 3)];
    let done = recount("aa!!!!!baa", &ranges, &["a", "b"], &["a"]);
    let pieces = [settled(2, 4, 3), settled(6, 8, 2)];
    assert_eq!((done.done.as_slice(), done.moved), (&pieces[..], 1));
}

proptest! {
    #[test]
    fn no_event_is_counted_twice_or_lost_and_only_joined_ones_are_open_again(
        journal in "[abcd!]{1,60}",
        marks in prop::collection::vec(any::<bool>(), 60),
        (before, after) in (prop::collection::vec(any::<bool>(), 4), prop::collection::vec(any::<bool>(), 4)),
    ) {
        let pick = |of: &[bool]| -> Vec<&str> {
            ["a", "b", "c", "d"].into_iter().zip(of).filter_map(|(name, on)| on.then_some(name)).collect()
        };
        let (before, after) = (pick(&before), pick(&after));
        let is = |of: &[&str], at: usize| {
            let letter = &journal[at..=at];
            letter == "!" || of.contains(&letter)
        };
        // Settled stretches as the marks have them.
        let mut ranges: Vec<SettledRange> = Vec::new();
        for at in (0..journal.len()).filter(|at| marks[*at]) {
            let (seq, events) = (at as u64 + 1, u64::from(is(&before, at)));
            match ranges.last_mut() {
                Some(last) if last.range.last.next() == Seq(seq) => {
                    last.range.last = Seq(seq);
                    last.events += events;
                }
                _ => ranges.push(settled(seq, seq, events)),
            }
        }
        let had: u64 = ranges.iter().map(|range| range.events).sum();
        let done = recount(&journal, &ranges, &before, &after);
        let has: u64 = done.done.iter().map(|range| range.events).sum();
        prop_assert_eq!(has + done.moved, had);
        for piece in &done.done {
            let inside = (0..journal.len()).filter(|at| piece.range.contains(Seq(*at as u64 + 1)));
            let ours = inside.filter(|at| is(&after, *at)).count() as u64;
            prop_assert_eq!(piece.events, ours, "a piece counts as the journal does");
        }
        for (at, marked) in marks.iter().enumerate().take(journal.len()) {
            let seq = Seq(at as u64 + 1);
            let now = done.done.iter().any(|piece| piece.range.contains(seq));
            prop_assert!(!now || *marked);
            if is(&after, at) {
                prop_assert_eq!(now, *marked && is(&before, at), "{}", seq);
            }
        }
    }
}
