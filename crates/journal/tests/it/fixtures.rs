//! Journals that format version 1 wrote, checked in: whatever changes, they must read the same.
//!
//! `closed` ended cleanly; `torn` was killed within a write. Beside each journal stands what is in it, an
//! event a line. `FOREBAY_WRITE_FIXTURES=1` writes them anew, and the fuzz targets' seeds with them; for a
//! published version that is never right.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use domain::clock::ManualClock;
use domain::ports::{BatchLimit, Journal};
use domain::{
    DedupKey, Event, InstallationId, RouteName, Seq, SourceName, SourceSet, StoredEvent, Timestamp,
};
use journal::format::frame::FrameBuilder;
use journal::format::frame::{FRAME_HEADER_BYTES, decode_header};
use journal::format::header::SegmentHeader;
use journal::format::{FIRST_FRAME, record};
use journal::log::CommitError;
use journal::options::Config;
use journal::recovery::{self, Known};
use journal::storage::Storage;
use journal::storage::disk::DiskStorage;
use journal::{EmbeddedJournal, Metrics};
use rand::SeedableRng;
use rand::rngs::StdRng;

const INSTALLATION: &str = "0b1f7e2c-55aa-4c3e-9d60-1f2e3d4c5b6a";

const CONFIG: Config = Config {
    segment_bytes: 10 << 10,
    max_bytes: 1 << 20,
    min_free: 0,
    retain: Duration::from_secs(1 << 30),
    memory: 0,
};

/// The journals, and how many events are in each.
const FIXTURES: [(&str, u64); 2] = [("closed", 24), ("torn", 15)];

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/v1")
        .join(name)
}

fn seeds() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds")
}

fn now() -> Timestamp {
    Timestamp::from_millisecond(1_790_000_000_123).unwrap()
}

/// Every field of a stored event, filled and empty.
fn event(n: u64) -> Event {
    let full = n.is_multiple_of(2);
    Event {
        source: SourceName::new(["genesys", "b"][usize::try_from(n % 2).unwrap()]).unwrap(),
        received_at: Timestamp::from_microsecond(1_789_999_999_000_001 + i64::try_from(n).unwrap())
            .unwrap(),
        method: "POST".into(),
        path: format!("/in/genesys?n={n}"),
        headers: (0..n % 4)
            .map(|at| (format!("x-{at}"), [b'v', 0x80 + u8::try_from(n).unwrap()]))
            .collect(),
        body: format!(
            "{{\"n\":{n},\"text\":\"{}\"}}",
            "é".repeat(usize::try_from(n).unwrap())
        )
        .into(),
        event_type: full.then(|| "message".into()),
        remote: full.then(|| "192.0.2.7".into()),
        dedup: (!n.is_multiple_of(3)).then(|| DedupKey(u128::from(n).to_be_bytes())),
        only: None,
    }
}

/// Writes events through the shipped code, with all that is random from one seed.
fn write(directory: &Path, count: u64) {
    let _ = fs::remove_dir_all(directory);
    let journal = directory.join("journal");
    let storage: Arc<dyn Storage> = Arc::new(DiskStorage::open(&journal).unwrap());
    let known = Known {
        installation: INSTALLATION.parse().ok(),
        accept_loss: true,
        ..Known::default()
    };
    let random = StdRng::seed_from_u64(count);
    let mut opened = recovery::open(&storage, &CONFIG, &known, random).unwrap();
    let (mut n, mut lines) = (0, String::new());
    while n < count {
        let many = (1 + n % 4).min(count - n);
        let records: Vec<_> = (n..n + many).map(|n| record::encode(&event(n))).collect();
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
        for id in committed.ids {
            n += 1;
            writeln!(lines, "{n} {id}").unwrap();
        }
    }
    opened.room.write_indexes();
    let last = fs::read_dir(&journal)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "journal"))
        .max()
        .unwrap();
    if directory.ends_with("torn") {
        // Half of one more frame, which nobody was told of.
        let before = fs::read(&last).unwrap();
        let records: Vec<_> = (90..92).map(|n| record::encode(&event(n))).collect();
        opened
            .log
            .commit(&mut FrameBuilder::of(&records), now())
            .unwrap();
        let mut after = fs::read(&last).unwrap();
        let changed = (0..after.len())
            .rev()
            .find(|&at| before[at] != after[at])
            .unwrap();
        after[changed - 100..].fill(0);
        fs::write(&last, after).unwrap();
    } else {
        opened.log.mark_end().unwrap();
    }
    fs::write(directory.join("events.txt"), lines).unwrap();
}

/// What the fuzz targets start from, by target and name.
fn cut_seeds() -> BTreeMap<PathBuf, Vec<u8>> {
    let mut cut = BTreeMap::new();
    for (name, _) in FIXTURES {
        for (file, bytes) in files(&fixture(name).join("journal")) {
            let Some(number) = file.strip_suffix(".journal") else {
                continue;
            };
            let number = number.trim_start_matches('0');
            let header = SegmentHeader::decode(&bytes).unwrap();
            let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
            cut.insert(
                format!("segment/{name}-{number}").into(),
                bytes[..end].to_vec(),
            );
            let at = usize::try_from(FIRST_FRAME).unwrap();
            let frame = decode_header(&header.salt, &bytes[at..]).unwrap();
            let end = at + FRAME_HEADER_BYTES + frame.payload_len as usize;
            let salted = [&header.salt, &bytes[at..end]].concat();
            cut.insert(format!("frame/{name}-{number}").into(), salted);
            let records = bytes[at + FRAME_HEADER_BYTES..end].to_vec();
            cut.insert(format!("record/{name}-{number}").into(), records);
        }
    }
    cut
}

fn files(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| {
            (
                entry.file_name().into_string().unwrap(),
                fs::read(entry.path()).unwrap(),
            )
        })
        .collect()
}

/// A copy that may be written to; the fixtures are written first if that is asked for.
fn copy(name: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (file, bytes) in files(&fixture(name).join("journal")) {
        fs::write(directory.path().join(file), bytes).unwrap();
    }
    directory
}

async fn read(directory: &Path, torn: bool) -> Vec<StoredEvent> {
    let installation: InstallationId = INSTALLATION.parse().unwrap();
    let known = Known {
        installation: Some(installation),
        ..Known::default()
    };
    let journal = EmbeddedJournal::open_on(
        Arc::new(DiskStorage::open(directory).unwrap()),
        None,
        CONFIG,
        &known,
        Arc::new(ManualClock::new(now())),
        Metrics::register(&mut prometheus_client::registry::Registry::default()),
    )
    .unwrap();
    assert_eq!(journal.recovered().torn_bytes > 0, torn);
    let sources: SourceSet = (0..2).map(|n| event(n).source).collect();
    let route = RouteName::new("r").unwrap();
    let mut reader = journal.reader(&route, Seq::ZERO, sources).await.unwrap();
    let (mut events, mut at) = (Vec::new(), Seq::ZERO);
    while at < journal.end() {
        let limit = BatchLimit {
            events: 7,
            bytes: 1 << 20,
        };
        let batch = reader.read(limit).await.unwrap();
        assert!(batch.damaged.is_empty());
        at = batch.through;
        events.extend(batch.events);
    }
    let more = journal.append(vec![event(99)]).await.unwrap();
    assert!(more[0] > events.last().unwrap().id);
    journal.close(Duration::from_secs(60)).await.unwrap();
    events
}

#[tokio::test]
async fn journals_of_format_version_1_read_as_they_were_written() {
    if std::env::var_os("FOREBAY_WRITE_FIXTURES").is_some() {
        for (name, count) in FIXTURES {
            write(&fixture(name), count);
        }
        for (name, bytes) in cut_seeds() {
            let path = seeds().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
    }
    for (name, count) in FIXTURES {
        let directory = copy(name);
        let events = read(directory.path(), name == "torn").await;
        assert_eq!(events.len() as u64, count, "{name}");
        let mut lines = String::new();
        for (n, stored) in (0..).zip(&events) {
            assert_eq!(*stored.event, event(n), "{name}");
            writeln!(lines, "{} {}", stored.seq, stored.id).unwrap();
        }
        assert_eq!(
            lines,
            fs::read_to_string(fixture(name).join("events.txt")).unwrap()
        );
        // And once more, from the copy of the last segment that the first start made.
        assert_eq!(read(directory.path(), false).await.len(), events.len() + 1);
    }
}

#[test]
fn the_layout_of_version_1_is_where_its_page_says() {
    let all = files(&fixture("closed").join("journal"));
    let segments: Vec<_> = all
        .iter()
        .filter(|(name, _)| name.ends_with(".journal"))
        .collect();
    assert!(segments.len() >= 3 && all.keys().any(|name| name.ends_with(".index")));
    assert_eq!(all["installation"], format!("{INSTALLATION}\n").as_bytes());
    let u64_at =
        |bytes: &[u8], at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    for (number, (name, bytes)) in (1..).zip(segments) {
        assert_eq!(bytes[..16], *b"FOREBAY\0\x01\0\0\0\0\0\0\0");
        assert_eq!(bytes[..64], bytes[4096..4160], "two copies of the header");
        assert_eq!(u64_at(bytes, 16), number);
        assert_eq!(format!("{:020}.journal", u64_at(bytes, 24)), *name);
        assert_eq!(
            u64_at(bytes, 8192 + 8),
            u64_at(bytes, 24),
            "the first frame's first number"
        );
        assert_eq!(
            u64_at(bytes, 8192 + 16),
            u64_at(bytes, 24) - 1,
            "synced through"
        );
        assert_eq!(bytes[8192 + 24..8192 + 28], [0; 4], "flags");
        assert_eq!(
            bytes[8192 + 28..8192 + 32],
            bytes[48..52],
            "the chain of checksums"
        );
    }
}

#[test]
fn fuzzing_starts_from_the_fixtures() {
    for (name, bytes) in cut_seeds() {
        assert!(
            fs::read(seeds().join(&name)).unwrap() == bytes,
            "{}",
            name.display()
        );
    }
}
