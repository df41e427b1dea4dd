//! Damage to what is stored, in each region of each file: alarmed and counted, what is whole still served,
//! and never a loop of failing starts.
//!
//! Every test damages a written journal behind its back, starts the running journal on it, reads all of it
//! as a route does, appends to it, and starts it once more.

mod files;
mod pages;
mod random;
mod refused;
mod segments;
mod verify;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use domain::clock::ManualClock;
use domain::ports::{BatchLimit, Journal};
use domain::{
    DedupKey, Event, EventId, InstallationId, RangeSet, RouteName, Seq, SourceName, SourceSet,
    Timestamp,
};
use journal::format::frame::FrameBuilder;
use journal::format::frame::{FRAME_HEADER_BYTES, FrameHeader, decode_header};
use journal::format::header::SegmentHeader;
use journal::format::{FIRST_FRAME, record};
use journal::log::CommitError;
use journal::options::Config;
use journal::recovery::{self, Known, Recovered};
use journal::{EmbeddedJournal, Metrics, OpenError};
use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::sim::{Dice, Disk, Lie, Make};

const CONFIG: Config = Config {
    segment_bytes: 14 << 10,
    max_bytes: 1 << 20,
    min_free: 0,
    retain: Duration::ZERO,
    memory: 0,
};

fn now() -> Timestamp {
    Timestamp::from_second(1_790_000_000).unwrap()
}

fn source() -> SourceName {
    SourceName::new("s").unwrap()
}

fn route() -> RouteName {
    RouteName::new("r").unwrap()
}

fn event(n: u64) -> Event {
    let mut body = n.to_string().into_bytes();
    body.resize(60 + usize::try_from(n % 50).unwrap(), b'.');
    Event {
        source: source(),
        received_at: now(),
        method: "POST".into(),
        path: "/".into(),
        headers: domain::Headers::default(),
        body: body.into(),
        event_type: None,
        remote: None,
        dedup: Some(DedupKey(u128::from(n + 1).to_be_bytes())),
        only: None,
    }
}

/// A written journal, at rest.
struct Written {
    disk: Disk,
    installation: InstallationId,
    /// The id and the event's number of everything that was acknowledged.
    acked: BTreeMap<Seq, (EventId, u64)>,
}

/// How the writing process ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// With an end mark.
    Closed,
    /// Without.
    Killed,
}

/// Whether the sealed segments have their indexes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Indexes {
    Written,
    Missing,
}

/// A frame in a file.
#[derive(Debug, Clone, Copy)]
struct Place {
    offset: usize,
    header: FrameHeader,
}

impl Place {
    fn payload(&self) -> Range<usize> {
        let start = self.offset + FRAME_HEADER_BYTES;
        start..start + self.header.payload_len as usize
    }
}

impl Written {
    /// Four full segments and a begun one.
    fn new(indexes: Indexes, ended: Ended) -> Self {
        let make = Make {
            page: 4096,
            lie: Lie::None,
        };
        let disk = Disk::new(Dice::new(7), make);
        let storage = disk.storage();
        let mut opened = recovery::open(
            &storage,
            &CONFIG,
            &Known::default(),
            StdRng::seed_from_u64(7),
        )
        .unwrap();
        let mut acked = BTreeMap::new();
        let mut n = 0;
        while opened.room.segments().len() < 5 || n % 17 != 0 {
            let records: Vec<_> = (n..n + 1 + n % 3)
                .map(|n| record::encode(&event(n)))
                .collect();
            let committed = loop {
                match opened.log.commit(&mut FrameBuilder::of(&records), now()) {
                    Ok(committed) => break committed,
                    Err(CommitError::SegmentFull) => {
                        opened.room.prepare_spare().unwrap();
                        let spare = opened.room.take_spare().unwrap();
                        let segment = opened.log.rotate(spare, CONFIG.segment_bytes).unwrap();
                        opened.room.add(segment);
                    }
                    Err(error) => panic!("{error}"),
                }
            };
            for (at, id) in committed.ids.into_iter().enumerate() {
                let seq = Seq(committed.header.first.0 + at as u64);
                acked.insert(seq, (id, n + at as u64));
            }
            n += records.len() as u64;
        }
        if ended == Ended::Closed {
            opened.log.mark_end().unwrap();
        }
        if indexes == Indexes::Written {
            opened.room.write_indexes();
        }
        disk.kill();
        Self {
            disk,
            installation: opened.installation,
            acked,
        }
    }

    /// Names of files with this ending, in order.
    fn files(&self, ending: &str) -> Vec<String> {
        let names = self.disk.names();
        names
            .into_iter()
            .filter(|name| name.ends_with(ending))
            .collect()
    }

    fn segment(&self, at: usize) -> String {
        self.files(".journal")[at].clone()
    }

    /// The frames of a segment, end marks included.
    fn frames(&self, name: &str) -> Vec<Place> {
        let bytes = self.disk.content(name);
        let salt = SegmentHeader::decode(&bytes).unwrap().salt;
        let mut offset = usize::try_from(FIRST_FRAME).unwrap();
        let mut places = Vec::new();
        while let Some(header) = bytes
            .get(offset..)
            .and_then(|bytes| decode_header(&salt, bytes))
        {
            places.push(Place { offset, header });
            offset += usize::try_from(header.stride()).unwrap();
        }
        places
    }

    /// The numbers of all frames of a segment that `range` touches.
    fn touched(&self, name: &str, range: &Range<usize>) -> BTreeSet<Seq> {
        self.frames(name)
            .iter()
            .filter(|place| place.offset < range.end && range.start < place.payload().end)
            .flat_map(|place| numbers(&place.header))
            .collect()
    }

    fn flip(&self, name: &str, byte: usize, bit: u8) {
        self.disk.damage(name, |bytes| bytes[byte] ^= 1 << bit);
    }

    fn zero(&self, name: &str, range: Range<usize>) {
        self.disk.damage(name, |bytes| bytes[range].fill(0));
    }

    fn truncate(&self, name: &str, len: usize) {
        self.disk.damage(name, |bytes| bytes.truncate(len));
    }

    /// Puts the files into a real directory.
    fn export(&self, directory: &Path) {
        for name in self.disk.names() {
            std::fs::write(directory.join(&name), self.disk.content(&name)).unwrap();
        }
    }

    fn known(&self) -> Known {
        Known {
            installation: Some(self.installation),
            holds: BTreeMap::from([(route(), Seq::ZERO)]),
            ..Known::default()
        }
    }

    fn open(&self, known: &Known) -> Result<(EmbeddedJournal, Metrics), OpenError> {
        let metrics = Metrics::register(&mut prometheus_client::registry::Registry::default());
        let journal = EmbeddedJournal::open_on(
            self.disk.storage(),
            None,
            CONFIG,
            known,
            Arc::new(ManualClock::new(now())),
            metrics.clone(),
        )?;
        Ok((journal, metrics))
    }

    fn refusal(&self) -> String {
        self.open(&self.known()).unwrap_err().to_string()
    }

    /// Starts the journal, reads all, appends, and ends it.
    async fn live(&mut self, known: &Known) -> Life {
        let (journal, metrics) = self.open(known).unwrap();
        let end = journal.end();
        let mut life = read_all(&journal, end).await;
        life.recovered = journal.recovered().clone();
        life.counted = metrics.damaged_events.get();
        // A sequence number is never given twice, whatever was lost.
        let last = self.acked.last_key_value().map(|(seq, _)| *seq).unwrap();
        let n = last.0 + 1_000_000;
        let ids = journal.append(vec![event(n)]).await.unwrap();
        let seq = journal.end();
        assert!(seq > last && seq == end.next(), "{seq} after {last}, {end}");
        self.acked.insert(seq, (ids[0], n));
        journal.close(Duration::from_secs(60)).await.unwrap();
        drop(journal);
        self.disk.kill();
        life
    }

    /// Lives twice, and expects exactly `lost` to be missing, counted, and reported to the route.
    async fn expect(&mut self, lost: &BTreeSet<Seq>, what: &str) -> [Recovered; 2] {
        let mut reports = Vec::new();
        for round in 1..=2 {
            let what = format!("{what}, start {round}");
            let expected: Vec<_> = self
                .acked
                .iter()
                .filter(|(seq, _)| !lost.contains(seq))
                .map(|(seq, (id, n))| (*seq, *id, *n))
                .collect();
            let given = self.acked.len();
            let life = self.live(&self.known()).await;
            assert_eq!(life.seen, expected, "{what}");
            let damaged: BTreeSet<_> = (1..=self.acked.last_key_value().unwrap().0.0)
                .map(Seq)
                .filter(|seq| life.damaged.contains(*seq))
                .collect();
            assert_eq!(&damaged, lost, "{what}");
            assert_eq!(life.counted, i64::try_from(lost.len()).unwrap(), "{what}");
            assert_eq!(self.acked.len(), given + 1);
            reports.push(life.recovered);
        }
        reports.try_into().unwrap()
    }
}

fn numbers(header: &FrameHeader) -> impl Iterator<Item = Seq> + use<> {
    (header.first.0..header.first.0 + u64::from(header.count)).map(Seq)
}

/// What a route came by.
#[derive(Default)]
struct Life {
    seen: Vec<(Seq, EventId, u64)>,
    damaged: RangeSet,
    counted: i64,
    recovered: Recovered,
}

async fn read_all(journal: &EmbeddedJournal, end: Seq) -> Life {
    let mut life = Life::default();
    let sources = SourceSet::from_iter([source()]);
    let mut reader = journal.reader(&route(), Seq::ZERO, sources).await.unwrap();
    let limit = BatchLimit {
        events: 50,
        bytes: 4096,
    };
    let mut at = Seq::ZERO;
    while at < end {
        let batch = reader.read(limit).await.unwrap();
        assert!(batch.through > at);
        at = batch.through;
        for range in batch.damaged {
            life.damaged.insert(range);
        }
        for stored in batch.events {
            let text = String::from_utf8(stored.event.body.to_vec()).unwrap();
            let n = text.trim_end_matches('.').parse().unwrap();
            assert_eq!(*stored.event, event(n), "an event was changed");
            life.seen.push((stored.seq, stored.id, n));
        }
    }
    life
}
