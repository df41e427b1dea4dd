//! Scanning a whole segment file, with anything in it.
//!
//! The file is read twice: as it is, and with frames of the fuzzer's making under right checksums, so that
//! gaps, overlaps and jumps of numbers are met too. The scan always ends, moves only forward, never gives a
//! number twice, and a segment of good frames alone comes back whole.
#![no_main]

use std::io;
use std::sync::Arc;

use domain::Seq;
use journal::format::FIRST_FRAME;
use journal::format::frame::FrameBuilder;
use journal::format::header::SegmentHeader;
use journal::index::SegmentIndex;
use journal::scan::{Scanned, Scanner};
use journal::storage::File;
use libfuzzer_sys::fuzz_target;

/// More frames than this show nothing new and cost time.
const MOST_FRAMES: usize = 40;

#[derive(Debug)]
struct Memory(Vec<u8>);

impl File for Memory {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let start = usize::try_from(offset)
            .unwrap_or(usize::MAX)
            .min(self.0.len());
        let count = buffer.len().min(self.0.len() - start);
        buffer[..count].copy_from_slice(&self.0[start..start + count]);
        Ok(count)
    }

    fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }
}

/// Scans to the end; the numbers of the frames found.
fn scan(bytes: Vec<u8>, header: &SegmentHeader) -> Vec<Seq> {
    let len = bytes.len() as u64;
    let file: Arc<dyn File> = Arc::new(Memory(bytes));
    let scanner = || Scanner::new(Arc::clone(&file), header.salt, header.first, len);
    let mut scan = scanner();
    let (mut numbers, mut next) = (Vec::new(), header.first);
    // Every step but the last two gives a frame or goes over bad bytes, so there are not many.
    for _ in 0..2 * len + 4 {
        let (offset, expected) = (scan.offset(), scan.expected());
        match scan.step() {
            Ok(Scanned::Frame(frame)) => {
                assert_eq!((frame.offset, frame.header.first), (offset, expected));
                assert!(scan.offset() > offset && scan.offset() <= len + 8);
                assert!(frame.header.first >= next, "a number is given twice");
                next = frame.header.last().next();
                numbers.extend((frame.header.first.0..next.0).take(1 << 16).map(Seq));
            }
            Ok(Scanned::Gap {
                offset: bad,
                missing,
                ..
            }) => {
                assert_eq!(bad, offset);
                assert!(scan.offset() > offset || scan.expected() > expected);
                assert_eq!(missing.map(|range| range.first), missing.map(|_| expected));
            }
            Ok(Scanned::End { offset: end, .. }) => {
                assert_eq!(end, offset);
                let index = SegmentIndex::scan(&mut scanner(), header.previous);
                assert!(index.is_ok_and(|index| index.last.next() >= next));
                return numbers;
            }
            Err(_) => return numbers,
        }
    }
    panic!("the scan does not end");
}

/// Frames from the input: a byte says what comes next.
fn build(input: &[u8], header: &SegmentHeader) -> (Vec<u8>, Option<Vec<Seq>>) {
    let mut bytes = vec![0; usize::try_from(FIRST_FRAME).unwrap_or_default()];
    let (mut next, mut previous, mut good) = (header.first, header.previous, Some(Vec::new()));
    let mut rest = input;
    for _ in 0..MOST_FRAMES {
        let Some((&act, after)) = rest.split_first() else {
            break;
        };
        let (&size, after) = after.split_first().unwrap_or((&1, after));
        let (piece, after) = after.split_at(usize::from(size).min(after.len()));
        rest = after;
        if act >= 0xe0 {
            // Bytes that are no frame.
            bytes.extend_from_slice(piece);
            bytes.resize(bytes.len().next_multiple_of(8), 0);
            good = None;
            continue;
        }
        if act & 0x10 != 0 {
            next = Seq(next.0 + u64::from(size));
            good = None;
        }
        if act & 0x20 != 0 {
            previous ^= 1;
            good = None;
        }
        let mut builder = FrameBuilder::with_capacity(piece.len());
        let count = u32::from(act & 0xf);
        if count > 0 && !piece.is_empty() {
            builder.push_all(piece, count);
        }
        let synced = if act & 0x40 == 0 {
            next.previous()
        } else {
            header.first.previous()
        };
        let (frame, sealed) = builder.finish(&header.salt, next, synced, previous);
        if let Some(numbers) = &mut good {
            numbers.extend((frame.first.0..=frame.last().0).map(Seq));
        }
        bytes.extend_from_slice(&sealed);
        (next, previous) = (frame.last().next(), frame.checksum);
    }
    (bytes, good)
}

fuzz_target!(|input: &[u8]| {
    if let Ok(header) = SegmentHeader::decode(input)
        && header.first.0 > 0
        && header.first.0 < u64::MAX / 2
    {
        scan(input.to_vec(), &header);
    }
    let header = SegmentHeader {
        number: 1,
        first: Seq(7),
        salt: [9; 16],
        previous: 5,
    };
    // The seeds are whole files; what follows their header is taken for acts as well.
    let acts = input.get(8192..).unwrap_or(input);
    let (bytes, good) = build(acts, &header);
    let found = scan(bytes, &header);
    if let Some(good) = good {
        assert_eq!(found, good, "good frames come back whole");
    }
});
