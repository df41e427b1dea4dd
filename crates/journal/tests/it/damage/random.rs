//! Damage anywhere, by seed.

use std::collections::BTreeSet;
use std::ops::Range;

use domain::Seq;

use super::{Ended, Indexes, Written};
use crate::sim::Dice;

/// Seeds tried.
const SEEDS: u64 = 400;

/// Damages a random stretch of the segment, and returns it.
pub(super) fn damage(written: &Written, name: &str, dice: &mut Dice) -> Range<usize> {
    let len = written.disk.content(name).len();
    match dice.below(4) {
        0 => {
            let at = dice.index(len);
            written.flip(name, at, u8::try_from(dice.below(8)).unwrap());
            at..at + 1
        }
        1 => {
            let start = dice.index(len / 512) * 512;
            let end = (start + 512 * (1 + dice.index(8))).min(len);
            written.zero(name, start..end);
            start..end
        }
        2 => {
            let start = dice.index(len);
            let end = (start + dice.index(3000)).min(len);
            written.disk.damage(name, |bytes| {
                for byte in &mut bytes[start..end] {
                    *byte = dice.next().to_le_bytes()[0];
                }
            });
            start..end
        }
        _ => {
            let start = dice.index(len);
            written.truncate(name, start);
            start..usize::MAX
        }
    }
}

/// What of the segment may be lost when `range` of it is damaged.
fn may_be_lost(pristine: &Written, name: &str, range: &Range<usize>) -> BTreeSet<Seq> {
    let both_headers = range.start < 64 && range.end > 4096;
    pristine.touched(
        name,
        if both_headers {
            &(0..usize::MAX)
        } else {
            range
        },
    )
}

#[tokio::test]
async fn whatever_is_damaged_the_rest_is_served_and_nothing_is_lost_unseen() {
    for seed in 0..SEEDS {
        let mut dice = Dice::new(seed);
        let indexes = *dice.pick(&[Indexes::Written, Indexes::Missing]);
        let ended = *dice.pick(&[Ended::Closed, Ended::Killed]);
        let mut written = Written::new(indexes, ended);
        let name = written.segment(dice.index(5));
        let range = damage(&written, &name, &mut dice);
        let may_be_lost = may_be_lost(&Written::new(indexes, ended), &name, &range);
        let before = written.acked.clone();
        // State has seen the last number: else the end of the last segment, which nothing claims, could
        // only be taken for torn.
        let mut known = written.known();
        known.highest = *before.last_key_value().unwrap().0;
        for start in 1..=2 {
            let what = format!("seed {seed}, start {start}: {name} {range:?}");
            let life = written.live(&known).await;
            let seen: BTreeSet<_> = life.seen.iter().map(|(seq, ..)| *seq).collect();
            for (seq, id, n) in &life.seen {
                assert_eq!(written.acked.get(seq), Some(&(*id, *n)), "{what}");
            }
            for seq in before.keys().filter(|seq| !seen.contains(seq)) {
                assert!(may_be_lost.contains(seq), "{what}: {seq} is lost untouched");
                assert!(life.damaged.contains(*seq), "{what}: {seq} is lost unseen");
            }
        }
    }
}
