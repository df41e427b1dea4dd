//! Damage as it is met in looking back: what cannot be read is left out of a page, and nothing besides.

use std::collections::{BTreeMap, BTreeSet};

use domain::ports::{Archive, EventQuery, Journal};
use domain::{Seq, SourceName, SourceSet};
use journal::EmbeddedJournal;
use journal::format::record;
use journal::recovery::Known;

use super::refused::reseal_frame;
use super::{Ended, Indexes, Written};

/// All events by pages of so many.
async fn paged(journal: &EmbeddedJournal, limit: usize) -> Vec<Seq> {
    let mut query = EventQuery {
        limit,
        ..EventQuery::default()
    };
    let mut seen = Vec::new();
    loop {
        let page = journal.page(&query).await.unwrap();
        assert!(page.events.len() <= limit);
        seen.extend(page.events.iter().map(|stored| stored.seq));
        query.below = page.next;
        if page.next.is_none() {
            return seen;
        }
        assert_eq!(page.events.len(), limit, "there is more");
    }
}

#[tokio::test]
async fn a_page_leaves_out_what_is_damaged_and_nothing_besides() {
    let written = Written::new(Indexes::Written, Ended::Closed);
    let name = written.segment(3);
    let frames = written.frames(&name);
    let bad = [frames.len() - 1, frames.len() - 3, frames.len() - 4, 2];
    for at in bad {
        written.flip(&name, frames[at].offset + 50, 3);
    }
    let lost: BTreeSet<Seq> = bad
        .iter()
        .flat_map(|at| super::numbers(&frames[*at].header))
        .collect();
    let (journal, _) = written.open(&written.known()).unwrap();
    let newest_first = written.acked.keys().rev();
    let expected: Vec<Seq> = newest_first
        .filter(|seq| !lost.contains(seq))
        .copied()
        .collect();
    for limit in [1, 2, 3, 7, 1000] {
        assert_eq!(paged(&journal, limit).await, expected, "{limit} a page");
    }
    let sources = SourceSet::from_iter([super::source()]);
    for seq in lost {
        let after = seq.previous();
        let next = expected.iter().rev().find(|next| **next > after);
        let first = journal.first_after(&sources, after).await.unwrap();
        assert_eq!(first.map(|stored| stored.seq), next.copied());
    }
}

/// What a route finds that begins with the oldest.
#[tokio::test]
async fn what_begins_with_the_oldest_begins_before_what_damage_took() {
    let sources = SourceSet::from_iter([super::source()]);
    let others = SourceSet::from_iter([SourceName::new("other").unwrap()]);
    for (indexes, at) in [
        (Indexes::Written, 0),
        (Indexes::Missing, 0),
        (Indexes::Written, 3),
        (Indexes::Missing, 3),
    ] {
        let written = Written::new(indexes, Ended::Killed);
        let name = written.segment(0);
        let place = written.frames(&name)[at];
        written.flip(&name, place.offset + 50, 3);
        let known = Known {
            holds: BTreeMap::new(),
            ..written.known()
        };
        let (journal, _) = written.open(&known).unwrap();
        let before = journal.before_oldest(&sources).await.unwrap();
        assert_eq!(before, Seq::ZERO, "{indexes:?} {at}");
        let life = super::read_all(&journal, journal.end()).await;
        assert_eq!(
            life.damaged.iter().map(|lost| lost.count()).sum::<u64>(),
            u64::from(place.header.count)
        );
        // By now the journal knows; whose they were, it does not.
        let before = journal.before_oldest(&others).await.unwrap();
        assert_eq!(before, place.header.first.previous(), "{indexes:?} {at}");
    }
    let written = Written::new(Indexes::Written, Ended::Killed);
    let (journal, _) = written.open(&written.known()).unwrap();
    let before = journal.before_oldest(&others).await.unwrap();
    assert_eq!(before, journal.end());
}

#[tokio::test]
async fn one_event_that_cannot_be_decoded_is_left_out_of_a_page() {
    let written = Written::new(Indexes::Written, Ended::Killed);
    let name = written.segment(4);
    let place = *written.frames(&name).last().unwrap();
    let odd = *written.acked.last_key_value().unwrap().0;
    written.disk.damage(&name, |bytes| {
        let payload = place.payload();
        let record = record::starts(&bytes[payload.clone()]).last().unwrap();
        // Its id, length and source stay; the stored event behind them is no message any more.
        let event = payload.start + record + record::RECORD_HEADER_BYTES + "s".len();
        bytes[event..payload.end].fill(0xff);
        reseal_frame(bytes, &place);
    });
    let (journal, _) = written.open(&written.known()).unwrap();
    for limit in [1, 3, 1000] {
        let seen = paged(&journal, limit).await;
        assert_eq!(seen.len(), written.acked.len() - 1);
        assert!(!seen.contains(&odd));
    }
}
