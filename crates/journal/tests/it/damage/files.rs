//! Damage to indexes: they are never trusted over the log.

use std::collections::BTreeSet;

use domain::ports::{Archive, BatchLimit, Journal};
use domain::{Seq, SeqRange, SourceSet};
use journal::index::{FrameRef, SegmentIndex, file};

use super::{Ended, Indexes, Written, source};

#[tokio::test]
async fn a_damaged_index_is_made_anew_from_the_log() {
    let len = {
        let written = Written::new(Indexes::Written, Ended::Killed);
        written.disk.content(&written.files(".index")[1]).len()
    };
    for at in (0..len).step_by(len / 40) {
        let mut written = Written::new(Indexes::Written, Ended::Killed);
        let name = written.files(".index")[1].clone();
        match at % 3 {
            0 => written.flip(&name, at, 3),
            1 => written.truncate(&name, at),
            _ => written.zero(&name, at..len),
        }
        written
            .expect(&BTreeSet::new(), &format!("{name} at {at}"))
            .await;
    }
}

#[tokio::test]
async fn an_index_of_another_segment_is_not_believed() {
    let mut written = Written::new(Indexes::Written, Ended::Killed);
    let names = written.files(".index");
    let other = written.disk.content(&names[2]);
    written.disk.damage(&names[1], |bytes| *bytes = other);
    written.expect(&BTreeSet::new(), "swapped").await;
}

type Lie = fn(&mut SegmentIndex);

/// Indexes whose checksums are right and whose content is not.
#[tokio::test]
async fn a_wrong_index_with_a_right_checksum_hides_no_event() {
    let lies: [(&str, Lie); 5] = [
        ("ends early", |index| {
            index.last = Seq(index.last.0 - 4);
            index.last_checksum ^= 1;
        }),
        ("ends late", |index| index.last = Seq(index.last.0 + 1)),
        ("data ends early", |index| {
            index.data_end = 9000;
            index.last_checksum ^= 1;
        }),
        ("frames stand elsewhere", |index| {
            index.frames.iter_mut().for_each(|frame| frame.offset += 8);
        }),
        ("knows one frame, and that one wrong", |index| {
            let first = index.frames[0].first;
            index.frames = vec![FrameRef {
                first,
                offset: 9000,
                records_before: 0,
            }];
        }),
    ];
    let cases = lies.iter().flat_map(|lie| [(lie, 0), (lie, 1)]);
    for ((what, lie), at) in cases {
        let mut written = Written::new(Indexes::Written, Ended::Killed);
        let storage = written.disk.storage();
        let name = written.files(".index")[at].clone();
        let segment = written.disk.content(&written.segment(at));
        let salt = journal::format::header::SegmentHeader::decode(&segment)
            .unwrap()
            .salt;
        let mut index = file::read(&*storage.open(&name).unwrap(), &salt).unwrap();
        lie(&mut index);
        index.write(&*storage, &name, &salt).unwrap();
        written.disk.kill();
        written
            .expect(&BTreeSet::new(), &format!("{at} {what}"))
            .await;
    }
}

#[tokio::test]
async fn counts_leave_out_what_is_lost_once_a_reader_has_found_it() {
    let written = Written::new(Indexes::Written, Ended::Killed);
    let name = written.segment(2);
    let place = written.frames(&name)[2];
    written.flip(&name, place.offset + 50, 3);
    let (journal, _) = written.open(&written.known()).unwrap();
    let end = journal.end();
    let life = super::read_all(&journal, end).await;
    let sources = SourceSet::from_iter([source()]);
    let counted = journal.count(&sources, Seq::ZERO, end).await.unwrap();
    assert_eq!(counted, life.seen.len() as u64);
    assert_eq!(counted + u64::from(place.header.count), end.0);
    for (seq, (id, _)) in &written.acked {
        let found = journal.find(*id).await;
        let gone = life.damaged.contains(*seq);
        assert_eq!(
            found.is_ok_and(|found| found.is_some_and(|found| found.seq == *seq)),
            !gone
        );
    }
}

#[tokio::test]
async fn who_meets_the_first_damaged_place_of_a_segment_is_told_that_all_of_it_is_counted_anew() {
    let written = Written::new(Indexes::Written, Ended::Killed);
    let name = written.segment(2);
    let frames = written.frames(&name);
    let (near, far) = (frames[2], frames[frames.len() - 2]);
    for place in [near, far] {
        written.flip(&name, place.offset + 50, 3);
    }
    let (journal, _) = written.open(&written.known()).unwrap();
    let sources = SourceSet::from_iter([source()]);
    let whole = SeqRange {
        first: frames[0].header.first,
        last: frames[frames.len() - 1].header.last(),
    };
    let count = || journal.count(&sources, whole.first.previous(), whole.last);
    let mut reader = journal
        .reader(&super::route(), Seq::ZERO, sources.clone())
        .await
        .unwrap();
    let limit = BatchLimit {
        events: 1,
        bytes: 1,
    };
    loop {
        let batch = reader.read(limit).await.unwrap();
        if batch.damaged.is_empty() {
            assert!(batch.recounted.is_empty());
            assert_eq!(count().await.unwrap(), whole.count());
            continue;
        }
        assert!(batch.through < far.header.first);
        let lost = u64::from(near.header.count + far.header.count);
        assert_eq!(count().await.unwrap(), whole.count() - lost);
        assert_eq!(batch.recounted, [whole]);
        return;
    }
}
