//! What reclaiming must leave.

use std::sync::Arc;
use std::time::Duration;

use domain::{Event, RouteName, Seq, SourceName, Timestamp};
use journal::format::frame::FrameBuilder;
use journal::format::record;
use journal::options::Config;
use journal::recovery::{self, Known};
use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::sim::{Dice, Disk, Lie, Make};

#[test]
fn the_segment_with_the_newest_records_stays_while_the_one_after_it_is_empty() {
    let config = Config {
        segment_bytes: 10 << 10,
        max_bytes: 100 << 10,
        min_free: 0,
        retain: Duration::ZERO,
        memory: 0,
    };
    let make = Make {
        page: 4096,
        lie: Lie::None,
    };
    let disk = Disk::new(Dice::new(1), make);
    let open = |known: &Known| {
        let storage: Arc<_> = disk.storage();
        recovery::open(&storage, &config, known, StdRng::seed_from_u64(1)).unwrap()
    };
    let event = Event {
        source: SourceName::new("s").unwrap(),
        received_at: Timestamp::UNIX_EPOCH,
        method: String::new(),
        path: String::new(),
        headers: domain::Headers::default(),
        body: bytes::Bytes::new(),
        event_type: None,
        remote: None,
        dedup: None,
        only: None,
    };
    let mut opened = open(&Known::default());
    let installation = Some(opened.installation);
    let time = |second| Timestamp::from_second(second).unwrap();
    for round in 0..3 {
        opened.room.prepare_spare().unwrap();
        let spare = opened.room.take_spare().unwrap();
        let segment = opened.log.rotate(spare, config.segment_bytes).unwrap();
        opened.room.add(segment);
        if round < 2 {
            let records = [record::encode(&event)];
            opened
                .log
                .commit(&mut FrameBuilder::of(&records), time(1_790_000_000))
                .unwrap();
        }
    }
    // Both events are settled, and old.
    opened.room.hold(&RouteName::new("r").unwrap(), Seq(2));
    assert_eq!(opened.room.reclaim(time(1_800_000_000)).unwrap(), 1);
    let firsts: Vec<_> = opened
        .room
        .segments()
        .iter()
        .map(|segment| segment.first())
        .collect();
    assert_eq!(firsts, [Seq(2), Seq(3)]);
    disk.kill();
    // A new state, which knows nothing: the number still is not given again.
    let known = Known {
        installation,
        ..Known::default()
    };
    assert_eq!(open(&known).log.end(), Seq(2));
}
