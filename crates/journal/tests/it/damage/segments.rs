//! Damage within segment files.

use std::collections::BTreeSet;

use domain::Seq;
use domain::ports::Journal;
use journal::format::frame::FRAME_HEADER_BYTES;

use super::{Ended, Indexes, Place, Written, numbers};

const BOTH: [Indexes; 2] = [Indexes::Written, Indexes::Missing];
const HEADER_COPIES: [usize; 2] = [0, 4096];

fn lost(place: &Place) -> BTreeSet<Seq> {
    numbers(&place.header).collect()
}

#[tokio::test]
async fn one_lost_copy_of_a_segment_header_costs_nothing() {
    for indexes in BOTH {
        for segment in 0..5 {
            for copy in HEADER_COPIES {
                let mut written = Written::new(indexes, Ended::Killed);
                let name = written.segment(segment);
                written.zero(&name, copy..copy + 4096);
                let what = format!("{name} copy at {copy}");
                written.expect(&BTreeSet::new(), &what).await;
            }
        }
    }
}

#[tokio::test]
async fn a_segment_without_a_header_is_kept_aside_counted_and_passed_over() {
    for indexes in BOTH {
        for segment in 0..4 {
            let mut written = Written::new(indexes, Ended::Killed);
            let name = written.segment(segment);
            let whole = 0..usize::MAX;
            let lost = written.touched(&name, &whole);
            for copy in HEADER_COPIES {
                written.flip(&name, copy + 33, 5);
            }
            written.expect(&lost, &name).await;
            assert_eq!(written.files(".damaged").len(), 1);
        }
    }
}

#[tokio::test]
async fn numbers_of_a_last_segment_without_a_header_are_not_given_again() {
    for reopened in [false, true] {
        let mut written = Written::new(Indexes::Written, Ended::Killed);
        let name = written.segment(4);
        let lost = written.touched(&name, &(0..usize::MAX));
        for copy in HEADER_COPIES {
            written.zero(&name, copy..copy + 4096);
        }
        if reopened {
            // A start that dies before its first event forgets nothing.
            drop(written.open(&written.known()).unwrap());
            written.disk.kill();
        }
        let life = written.live(&written.known()).await;
        // How many it held cannot be known any more: as many as it could hold count as damaged.
        assert!(lost.iter().all(|seq| life.damaged.contains(*seq)));
        assert!(life.counted >= i64::try_from(lost.len()).unwrap());
        assert!(!life.recovered.damaged.is_empty() && life.recovered.numbered_above.is_some());
        let seen: BTreeSet<_> = life.seen.iter().map(|(seq, ..)| *seq).collect();
        let acked = written.acked.len() - 1;
        assert_eq!(seen.len() + lost.len(), acked);
        let again = written.live(&written.known()).await;
        assert_eq!(again.seen.len(), seen.len() + 1);
        assert_eq!(again.counted, life.counted);
    }
}

#[tokio::test]
async fn a_journal_whose_only_segment_lost_its_header_starts_and_goes_on() {
    let mut written = Written::new(Indexes::Missing, Ended::Killed);
    for name in written.files(".journal") {
        for copy in HEADER_COPIES {
            written.flip(&name, copy, 0);
        }
    }
    let given = written.acked.len();
    let life = written.live(&written.known()).await;
    assert!(life.seen.is_empty() && usize::try_from(life.counted).unwrap() >= given);
    assert_eq!(written.live(&written.known()).await.seen.len(), 1);
}

/// Each frame in turn of a middle segment and of the last, by its first, middle and last one.
fn chosen(frames: &[Place]) -> [Place; 3] {
    [
        frames[0],
        frames[frames.len() / 2],
        frames[frames.len() - 1],
    ]
}

#[tokio::test]
async fn a_damaged_frame_of_a_sealed_segment_costs_itself_only() {
    for indexes in BOTH {
        for segment in [0, 2, 3] {
            for at in 0..3 {
                for byte in [
                    0,
                    9,
                    20,
                    25,
                    30,
                    33,
                    38,
                    FRAME_HEADER_BYTES,
                    FRAME_HEADER_BYTES + 70,
                ] {
                    let mut written = Written::new(indexes, Ended::Killed);
                    let name = written.segment(segment);
                    let place = chosen(&written.frames(&name))[at];
                    written.flip(&name, place.offset + byte, 6);
                    let what = format!("{indexes:?} {name} {place:?} byte {byte}");
                    written.expect(&lost(&place), &what).await;
                }
            }
        }
    }
}

/// The auditor must know of damage as soon as the journal counts it no more.
#[tokio::test]
async fn damage_is_counted_until_a_reader_hands_it_out() {
    let written = Written::new(Indexes::Written, Ended::Killed);
    let place = written.frames(&written.segment(0))[3];
    written.flip(&written.segment(0), place.offset + FRAME_HEADER_BYTES, 6);
    let (journal, _) = written.open(&written.known()).unwrap();
    let sources = domain::SourceSet::from_iter([super::source()]);
    let all = written.acked.len() as u64;
    let (route, mut found) = (super::route(), false);
    let reader = journal.reader(&route, Seq::ZERO, sources.clone());
    let mut reader = reader.await.unwrap();
    while !found {
        let counted = journal.count(&sources, Seq::ZERO, journal.end()).await;
        assert_eq!(counted.unwrap(), all);
        let one = domain::ports::BatchLimit {
            events: 1,
            bytes: 1,
        };
        let batch = reader.read(one).await.unwrap();
        found = !batch.damaged.is_empty();
        assert!(found || batch.through < place.header.first, "{batch:?}");
    }
    let counted = journal.count(&sources, Seq::ZERO, journal.end()).await;
    assert_eq!(counted.unwrap(), all - u64::from(place.header.count));
}

#[tokio::test]
async fn a_damaged_frame_of_the_last_segment_is_told_from_a_torn_tail_by_what_follows() {
    for at in 0..3 {
        for byte in [0, 12, 36, FRAME_HEADER_BYTES + 5] {
            let mut written = Written::new(Indexes::Written, Ended::Closed);
            let name = written.segment(4);
            let mut frames = written.frames(&name);
            assert!(frames.pop().unwrap().header.is_end_mark());
            let place = chosen(&frames)[at];
            let original = written.disk.content(&name);
            written.flip(&name, place.offset + byte, 1);
            let damaged = written.disk.content(&name);
            let what = format!("{place:?} byte {byte}");
            let [first, _] = written.expect(&lost(&place), &what).await;
            assert_eq!((first.damaged.len(), first.torn_bytes), (1, 0), "{what}");
            let aside = written.files(".damaged");
            assert_eq!(aside.len(), 1, "{what}");
            let kept = written.disk.content(&aside[0]);
            assert!(
                kept == damaged && kept != original,
                "{what}: the original is kept"
            );
        }
    }
}

#[tokio::test]
async fn a_bad_last_frame_that_nothing_claims_is_a_torn_tail_and_is_cut() {
    let mut written = Written::new(Indexes::Written, Ended::Killed);
    let name = written.segment(4);
    let place = *written.frames(&name).last().unwrap();
    written.flip(&name, place.payload().start + 3, 1);
    // Nobody was told that it is durable.
    let cut = lost(&place);
    written.acked.retain(|seq, _| !cut.contains(seq));
    let [first, second] = written.expect(&BTreeSet::new(), "torn").await;
    assert!(first.torn_bytes > 0 && first.damaged.is_empty());
    assert_eq!(second.torn_bytes, 0);
    assert!(written.files(".damaged").is_empty());
}

#[tokio::test]
async fn a_zeroed_page_costs_the_frames_it_touches() {
    for indexes in BOTH {
        for segment in [1, 3, 4] {
            for page in [8192, 8704, 9216, 10240, 11264] {
                let mut written = Written::new(indexes, Ended::Closed);
                let name = written.segment(segment);
                let range = page..page + 512;
                let lost = written.touched(&name, &range);
                assert!(segment == 4 || !lost.is_empty(), "{name} {page}");
                written.zero(&name, range);
                written.expect(&lost, &format!("{name} {page}")).await;
            }
        }
    }
}

#[tokio::test]
async fn a_truncated_sealed_segment_costs_what_was_cut_off() {
    for indexes in BOTH {
        for segment in [0, 3] {
            let boundary = {
                let written = Written::new(indexes, Ended::Killed);
                written.frames(&written.segment(segment))[3].offset
            };
            for len in [0, 50, 5000, 8192, boundary, boundary + 20, boundary + 60] {
                let mut written = Written::new(indexes, Ended::Killed);
                let name = written.segment(segment);
                // Below the header, nothing of it can be read.
                let cut = if len < 64 { 0 } else { len };
                let lost = written.touched(&name, &(cut..usize::MAX));
                written.truncate(&name, len);
                written
                    .expect(&lost, &format!("{indexes:?} {name} cut to {len}"))
                    .await;
            }
        }
    }
}

#[tokio::test]
async fn a_damaged_segment_is_kept_aside_when_it_is_settled_and_never_recycled() {
    for indexes in BOTH {
        for at in 0..3 {
            let mut written = Written::new(indexes, Ended::Killed);
            let name = written.segment(1);
            let place = chosen(&written.frames(&name))[at];
            written.flip(&name, place.offset + 4, 0);
            let damaged = written.disk.content(&name);
            written.live(&written.known()).await;
            // A new start, with everything settled: nobody reads the damage again.
            settle_and_reclaim(&written);
            let aside = written.files(".damaged");
            assert_eq!(aside.len(), 1, "{indexes:?} {place:?}");
            assert_eq!(written.disk.content(&aside[0]), damaged);
        }
    }
}

#[tokio::test]
async fn what_is_kept_aside_is_the_first_that_was_found_whatever_comes_after() {
    let mut written = Written::new(Indexes::Written, Ended::Closed);
    let name = written.segment(4);
    let place = written.frames(&name)[1];
    written.flip(&name, place.offset + 50, 1);
    let damaged = written.disk.content(&name);
    let aside = |written: &Written| {
        let names = written.files(".damaged");
        assert_eq!(names.len(), 1);
        written.disk.content(&names[0])
    };
    for _ in 0..2 {
        drop(written.open(&written.known()).unwrap());
        written.disk.kill();
        assert_eq!(aside(&written), damaged, "a start that finds the gap again");
    }
    let place = written.frames(&name)[2];
    written.flip(&name, place.offset + 50, 1);
    written.live(&written.known()).await;
    assert_eq!(aside(&written), damaged, "damage to the copy");
    settle_and_reclaim(&written);
    assert!(!written.files(".journal").contains(&name));
    assert_eq!(aside(&written), damaged, "the copy is settled");
}

/// A start at which every route has settled everything, and the space it gives back.
fn settle_and_reclaim(written: &Written) {
    let end = *written.acked.last_key_value().unwrap().0;
    let mut known = written.known();
    known.holds.values_mut().for_each(|cursor| *cursor = end);
    let storage = written.disk.storage();
    let random = rand::SeedableRng::seed_from_u64(1);
    let opened = journal::recovery::open(&storage, &super::CONFIG, &known, random).unwrap();
    let much_later = domain::Timestamp::from_second(1_800_000_000).unwrap();
    assert!(opened.room.reclaim(much_later).unwrap() > 1);
}

#[tokio::test]
async fn a_gap_that_was_copied_around_is_not_kept_aside_again() {
    let written = Written::new(Indexes::Written, Ended::Closed);
    let name = written.segment(4);
    let place = written.frames(&name)[1];
    written.flip(&name, place.offset + 50, 1);
    drop(written.open(&written.known()).unwrap());
    written.disk.kill();
    let aside = written.files(".damaged").remove(0);
    written.disk.storage().remove(&aside).unwrap();
    let (journal, _) = written.open(&written.known()).unwrap();
    assert_eq!(
        journal.recovered().damaged.len(),
        1,
        "the loss is still told"
    );
    assert!(written.files(".damaged").is_empty());
}
