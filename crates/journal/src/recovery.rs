//! Opening: what is on disk becomes a journal that can be trusted, or a clear refusal.
//!
//! What each kind of damage means:
//!
//! - **Torn tail**: the last segment ends in bytes that are no valid frame and that no later valid frame
//!   claims as synced. They were never acknowledged; they are cut, and that is normal.
//! - **Damage**: frames missing where a later frame, or the next segment, proves that they were durable.
//!   The file is kept aside, the gap stays visible to readers, who settle it as damaged.
//! - **Missing segment**: the chain of segment numbers has a hole above some route's cursor. Refused:
//!   somebody may still have the file.
//! - **Unknown version or flag**: refused.
//!
//! The last segment is never appended to again and never served as it is: what the page cache shows
//! need not be on the disk. Its valid frames are copied into a new file with a new salt, which is
//! synced and renamed over it before anybody reads.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use bytes::BytesMut;
use domain::{EventId, InstallationId, RouteName, Seq, SeqRange};
use rand::rngs::StdRng;

use crate::error::OpenError;
use crate::format::frame::{FRAME_HEADER_BYTES, FrameBuilder};
use crate::format::header::{HeaderError, SegmentHeader};
use crate::format::record::{RECORD_HEADER_BYTES, Records};
use crate::format::{FIRST_FRAME, Salt};
use crate::index::{SegmentIndex, file as index_file};
use crate::installation;
use crate::log::{Log, Resume};
use crate::options::Config;
use crate::room::{Room, Spare};
use crate::scan::{Scanned, Scanner};
use crate::segment::{Segment, names, read_header, write_header};
use crate::storage::{Entry, File, Storage};

/// Copied frames are written in pieces of about this size.
const COPY_BYTES: usize = 1 << 20;

/// What state knows of the journal.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// The installation that state belongs to; `None` if state is new.
    pub installation: Option<InstallationId>,
    /// Where each route stands.
    pub holds: BTreeMap<RouteName, Seq>,
    /// The highest sequence number that state has seen in any place.
    pub highest: Seq,
    /// Go on although a segment is missing: what it held is settled as damaged.
    pub accept_loss: bool,
}

/// What opening found and did.
#[derive(Debug, Clone, Default)]
pub struct Recovered {
    /// Whether the journal was made just now.
    pub fresh: bool,
    /// The last sequence number found.
    pub end: Seq,
    /// Bytes of a torn tail that were cut; never acknowledged.
    pub torn_bytes: u64,
    /// Stretches that are missing.
    pub damaged: Vec<SeqRange>,
    /// Set if state has seen numbers above `end`; numbering goes on above this one.
    pub numbered_above: Option<Seq>,
}

/// An opened journal, not yet running.
#[derive(Debug)]
pub struct Opened {
    /// The writing end; has no active segment until it is rotated.
    pub log: Log,
    /// Segments and spares.
    pub room: Room,
    /// Names this installation.
    pub installation: InstallationId,
    /// What was found.
    pub recovered: Recovered,
}

/// Opens, recovering what is there. The caller holds the directory's lock.
///
/// # Errors
/// [`OpenError`].
pub fn open(
    storage: &Arc<dyn Storage>,
    config: &Config,
    known: &Known,
    random: StdRng,
) -> Result<Opened, OpenError> {
    let mut files = list(&**storage)?;
    remove_unfinished(&**storage, &mut files)?;
    let (installation, fresh) = installation::settle(&**storage, &files, known)?;
    let mut recovery = Recovery {
        storage,
        config,
        known,
        random,
        report: Recovered {
            fresh,
            ..Recovered::default()
        },
    };
    let mut chain = recovery.load_chain(&files)?;
    let mut spares = recovery.spares(&files)?;
    recovery.replace_last(&mut chain, &mut spares)?;
    recovery.check_chain(&chain)?;
    let resume = recovery.resume(&chain);
    let Recovery { random, report, .. } = recovery;
    let segments = chain
        .segments
        .into_iter()
        .map(|segment| (segment.first(), Arc::new(segment)))
        .collect();
    let room = Room::new(
        Arc::clone(storage),
        config.clone(),
        segments,
        spares,
        known.holds.clone(),
    );
    let log = Log::resume(Arc::clone(storage), Resume { random, ..resume });
    Ok(Opened {
        log,
        room,
        installation,
        recovered: report,
    })
}

fn list(storage: &dyn Storage) -> Result<Vec<Entry>, OpenError> {
    let mut files = storage.list().map_err(OpenError::io("list", "the files"))?;
    files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(files)
}

fn remove_unfinished(storage: &dyn Storage, files: &mut Vec<Entry>) -> Result<(), OpenError> {
    for entry in files.extract_if(.., |entry| entry.name.ends_with(names::TEMPORARY)) {
        storage
            .remove(&entry.name)
            .map_err(OpenError::io("remove the unfinished", entry.name))?;
    }
    Ok(())
}

/// The segments found, and where their files had no readable header.
#[derive(Debug, Default)]
struct Chain {
    segments: Vec<Segment>,
    /// First numbers of segments set aside, now or earlier, with an upper bound of what each held.
    aside: BTreeMap<Seq, u64>,
}

struct Recovery<'a> {
    storage: &'a Arc<dyn Storage>,
    config: &'a Config,
    known: &'a Known,
    random: StdRng,
    report: Recovered,
}

impl Recovery<'_> {
    fn load_chain(&self, files: &[Entry]) -> Result<Chain, OpenError> {
        let mut chain = Chain::default();
        let segments: Vec<_> = files
            .iter()
            .filter_map(|entry| names::parse_segment(&entry.name).map(|first| (first, entry)))
            .collect();
        for (at, &(first, entry)) in segments.iter().enumerate() {
            let file = self
                .storage
                .open(&entry.name)
                .map_err(OpenError::io("open", &entry.name))?;
            match read_header(&*file).map_err(OpenError::io("read", &entry.name))? {
                Ok(header) if header.first == first => {
                    let is_last = at + 1 == segments.len();
                    chain
                        .segments
                        .push(self.load(header, file, entry.len, is_last)?);
                }
                Ok(_) | Err(HeaderError::Damaged) => {
                    tracing::error!(
                        file = entry.name,
                        "a segment's headers are damaged: it is kept aside and its events count as damaged"
                    );
                    self.rename(&entry.name, &names::damaged(first))?;
                    chain.aside.insert(first, most_records(entry.len));
                }
                Err(source) => {
                    return Err(OpenError::Format {
                        name: entry.name.clone(),
                        source,
                    });
                }
            }
        }
        for entry in files {
            if let Some(first) = entry
                .name
                .strip_suffix(".damaged")
                .and_then(|digits| digits.parse().ok())
            {
                chain.aside.entry(Seq(first)).or_insert(0);
            }
        }
        Ok(chain)
    }

    /// A sealed segment by its index, or by reading it if that is missing; the last one is read in
    /// [`Recovery::replace_last`] and gets a summary there.
    fn load(
        &self,
        header: SegmentHeader,
        file: Arc<dyn File>,
        len: u64,
        is_last: bool,
    ) -> Result<Segment, OpenError> {
        if is_last {
            return Ok(Segment::active(header, len, file));
        }
        let name = names::index(header.first);
        let summary = self
            .storage
            .open(&name)
            .ok()
            .and_then(|index| index_file::read_summary(&*index, &header.salt));
        if let Some(summary) = summary {
            return Ok(Segment::sealed(header, len, file, summary));
        }
        let mut scanner = Scanner::new(Arc::clone(&file), header.salt, header.first, len);
        let index = SegmentIndex::scan(&mut scanner, header.previous).map_err(|source| {
            OpenError::Scan {
                name: names::segment(header.first),
                source,
            }
        })?;
        self.write_index(&index, &name, &header.salt);
        Ok(Segment::sealed(header, len, file, index.summary()))
    }

    /// An index is only a convenience: failing to write one is said and otherwise ignored.
    fn write_index(&self, index: &SegmentIndex, name: &str, salt: &Salt) {
        if let Err(error) = index.write(&**self.storage, name, salt) {
            tracing::warn!(file = name, %error, "cannot write a segment's index; the next start reads the segment instead");
        }
    }

    fn spares(&self, files: &[Entry]) -> Result<Vec<Spare>, OpenError> {
        let mut spares = Vec::new();
        for entry in files
            .iter()
            .filter(|entry| names::parse_spare(&entry.name).is_some())
        {
            if entry.len == self.config.segment_bytes {
                let file = self
                    .storage
                    .open(&entry.name)
                    .map_err(OpenError::io("open", &entry.name))?;
                spares.push(Spare {
                    name: entry.name.clone(),
                    file,
                });
            } else {
                // Cut short by a crash, or from before segment_bytes was changed.
                self.storage
                    .remove(&entry.name)
                    .map_err(OpenError::io("remove", &entry.name))?;
            }
        }
        Ok(spares)
    }

    /// Copies the last segment's valid frames into a new file and puts it in the old one's place.
    fn replace_last(
        &mut self,
        chain: &mut Chain,
        spares: &mut Vec<Spare>,
    ) -> Result<(), OpenError> {
        let Some(old) = chain.segments.pop() else {
            return Ok(());
        };
        let name = names::segment(old.first());
        let scan_error = |source| OpenError::Scan {
            name: names::segment(old.first()),
            source,
        };
        let mut copy = Copy::new(self.storage, &old, self.salt())
            .map_err(OpenError::io("write a copy of", &name))?;
        let mut scanner =
            Scanner::new(Arc::clone(&old.file), old.header.salt, old.first(), old.len);
        let mut damaged = Vec::new();
        loop {
            match scanner.step().map_err(scan_error)? {
                Scanned::Frame(frame) => copy
                    .push(&frame)
                    .map_err(OpenError::io("write a copy of", &name))?,
                Scanned::Gap {
                    missing,
                    claimed: true,
                    ..
                } => damaged.extend(missing),
                Scanned::Gap {
                    offset,
                    claimed: false,
                    ..
                }
                | Scanned::End { offset, .. } => {
                    self.report.torn_bytes = torn_bytes(&*old.file, offset, old.len)
                        .map_err(OpenError::io("read", &name))?;
                    break;
                }
            }
        }
        if copy.is_empty() && damaged.is_empty() {
            copy.abandon()
                .map_err(OpenError::io("remove a copy of", &name))?;
            return self.recycle_empty(&old, spares);
        }
        if !damaged.is_empty() {
            tracing::error!(
                file = name,
                ?damaged,
                "the last segment is damaged: the original is kept aside and the missing events count as damaged"
            );
            keep_aside(&**self.storage, &old).map_err(OpenError::io("keep aside", &name))?;
            self.report.damaged.extend(&damaged);
        }
        chain.segments.push(self.install(copy, &name)?);
        Ok(())
    }

    fn install(&self, copy: Copy<'_>, name: &str) -> Result<Segment, OpenError> {
        let (header, len, file, index) = copy
            .finish()
            .map_err(OpenError::io("write a copy of", name))?;
        self.rename(&copy_name(header.first), name)?;
        self.storage
            .sync_directory()
            .map_err(OpenError::io("sync the directory of", name))?;
        self.write_index(&index, &names::index(header.first), &header.salt);
        Ok(Segment::sealed(header, len, file, index.summary()))
    }

    /// A segment without a frame becomes a spare again, or goes.
    fn recycle_empty(&self, old: &Segment, spares: &mut Vec<Spare>) -> Result<(), OpenError> {
        let name = names::segment(old.first());
        if old.len == self.config.segment_bytes && spares.is_empty() {
            let spare = names::spare(0);
            self.rename(&name, &spare)?;
            spares.push(Spare {
                name: spare,
                file: Arc::clone(&old.file),
            });
        } else {
            self.storage
                .remove(&name)
                .map_err(OpenError::io("remove the empty", &name))?;
        }
        // Its old name must be gone for good before the file can get a new header.
        self.storage
            .sync_directory()
            .map_err(OpenError::io("sync the directory of", name))
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), OpenError> {
        self.storage
            .rename(from, to)
            .map_err(OpenError::io("rename", from))
    }

    fn salt(&mut self) -> Salt {
        let mut salt = [0; 16];
        rand::Rng::fill_bytes(&mut self.random, &mut salt);
        salt
    }

    /// Finds the holes between segments: damage where the chain of numbers goes on or a file was set
    /// aside, a missing segment where it does not.
    fn check_chain(&mut self, chain: &Chain) -> Result<(), OpenError> {
        let lowest = self.known.holds.iter().min_by_key(|(_, cursor)| **cursor);
        let mut expected = lowest.map(|(_, cursor)| cursor.next());
        let mut number = None;
        for segment in &chain.segments {
            let first = segment.first();
            let hole = expected.and_then(|expected| SeqRange::new(expected, first.previous()));
            let unbroken = number.is_some_and(|number: u64| number + 1 == segment.header.number);
            if let Some(hole) = hole {
                let explained = unbroken
                    || chain
                        .aside
                        .range(..=hole.last)
                        .next_back()
                        .is_some_and(|(&aside, _)| number.is_none() || aside >= hole.first);
                self.judge_hole(hole, explained)?;
            }
            expected = expected.map(|expected| expected.max(segment.last().next()));
            number = Some(segment.header.number);
        }
        // Everything gone although some route has settled something.
        if chain.segments.is_empty()
            && chain.aside.is_empty()
            && let Some(hole) = SeqRange::new(
                lowest.map_or(Seq(1), |(_, cursor)| cursor.next()),
                self.known.highest,
            )
        {
            self.judge_hole(hole, false)?;
        }
        Ok(())
    }

    fn judge_hole(&mut self, hole: SeqRange, explained: bool) -> Result<(), OpenError> {
        let needing = self
            .known
            .holds
            .iter()
            .find(|(_, cursor)| **cursor < hole.last);
        if let Some((route, &cursor)) = needing {
            if !explained && !self.known.accept_loss {
                return Err(OpenError::MissingSegment {
                    missing: hole.first,
                    route: route.clone(),
                    cursor,
                });
            }
            self.report.damaged.push(hole);
        }
        Ok(())
    }

    fn resume(&mut self, chain: &Chain) -> Resume {
        let last = chain.segments.last();
        let found = last.map_or(Seq::ZERO, Segment::last);
        self.report.end = found;
        // Behind a segment that was set aside, numbering goes on above whatever it may have held.
        let aside = chain
            .aside
            .iter()
            .map(|(first, most)| Seq(first.0 + most))
            .max()
            .unwrap_or_default();
        let highest = found.max(self.known.highest).max(aside);
        if highest > found {
            self.report.numbered_above = Some(highest);
        }
        let last_id: Option<EventId> = chain
            .segments
            .iter()
            .rev()
            .find_map(|segment| segment.summary().and_then(|summary| summary.last_id));
        Resume {
            next_number: last.map_or(1, |segment| segment.header.number + 1),
            next: highest.next(),
            last_checksum: last
                .and_then(Segment::summary)
                .map_or(0, |summary| summary.last_checksum),
            last_id,
            random: rand::SeedableRng::from_rng(&mut self.random),
        }
    }
}

/// The most records that a file of this length can hold.
fn most_records(len: u64) -> u64 {
    len.saturating_sub(FIRST_FRAME) / (RECORD_HEADER_BYTES as u64)
}

/// How many bytes of the tail are not zero; 0 for a log that ends cleanly in a fresh file. In a recycled
/// file what was there before counts as well, so this is an upper bound.
fn torn_bytes(file: &dyn File, offset: u64, len: u64) -> io::Result<u64> {
    let mut head = [0; FRAME_HEADER_BYTES];
    let read = crate::storage::read_full(file, &mut head, offset)?;
    Ok(if head[..read].iter().all(|byte| *byte == 0) {
        0
    } else {
        len.saturating_sub(offset)
    })
}

fn copy_name(first: Seq) -> String {
    format!("{}{}", names::segment(first), names::TEMPORARY)
}

/// Copies the whole file, so that the original's content survives its replacement.
fn keep_aside(storage: &dyn Storage, segment: &Segment) -> io::Result<()> {
    let name = names::damaged(segment.first());
    let temporary = format!("{name}{}", names::TEMPORARY);
    let target = storage.create(&temporary)?;
    let mut buffer = vec![0; COPY_BYTES];
    let mut at = 0;
    loop {
        let read = crate::storage::read_full(&*segment.file, &mut buffer, at)?;
        if read == 0 {
            break;
        }
        target.write_at(&buffer[..read], at)?;
        at += read as u64;
    }
    target.sync()?;
    storage.rename(&temporary, &name)?;
    storage.sync_directory()
}

/// The copy of a segment under a new salt, being written.
struct Copy<'a> {
    storage: &'a Arc<dyn Storage>,
    header: SegmentHeader,
    file: Arc<dyn File>,
    index: SegmentIndex,
    pending: BytesMut,
    written: u64,
}

impl<'a> Copy<'a> {
    fn new(storage: &'a Arc<dyn Storage>, old: &Segment, salt: Salt) -> io::Result<Self> {
        let header = SegmentHeader { salt, ..old.header };
        let file = storage.create(&copy_name(header.first))?;
        write_header(&*file, &header)?;
        Ok(Self {
            storage,
            header,
            file,
            index: SegmentIndex::empty(header.first, header.previous),
            pending: BytesMut::new(),
            written: FIRST_FRAME,
        })
    }

    fn is_empty(&self) -> bool {
        self.index.frames.is_empty()
    }

    fn push(&mut self, frame: &crate::scan::Frame) -> io::Result<()> {
        if frame.header.is_end_mark() {
            return Ok(());
        }
        if self
            .index
            .frames
            .last()
            .is_some_and(|_| self.index.last.next() < frame.header.first)
            || self.is_empty()
        {
            let before = if self.is_empty() {
                self.header.first
            } else {
                self.index.last.next()
            };
            self.index.missing += frame.header.first.0.saturating_sub(before.0);
        }
        let mut builder = FrameBuilder::with_capacity(frame.payload.len());
        let records: Vec<_> = Records::new(frame.payload.clone()).collect();
        builder.push_all(&frame.payload, frame.header.count);
        let (header, bytes) = builder.finish(
            &self.header.salt,
            frame.header.first,
            frame.header.synced_through,
            self.index.last_checksum,
        );
        self.index
            .push(&header, self.index.data_end, records.into_iter());
        self.append(&bytes)
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.pending.extend_from_slice(bytes);
        if self.pending.len() >= COPY_BYTES {
            self.flush()
        } else {
            Ok(())
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.write_at(&self.pending, self.written)?;
        self.written += self.pending.len() as u64;
        self.pending.clear();
        Ok(())
    }

    /// Ends the copy with an end mark and syncs it. It still has its temporary name.
    fn finish(mut self) -> io::Result<(SegmentHeader, u64, Arc<dyn File>, SegmentIndex)> {
        let (mark, bytes) = FrameBuilder::with_capacity(0).finish(
            &self.header.salt,
            self.index.last.next(),
            self.index.last,
            self.index.last_checksum,
        );
        self.index
            .push(&mark, self.index.data_end, std::iter::empty());
        self.append(&bytes)?;
        self.flush()?;
        self.file.sync()?;
        Ok((self.header, self.written, self.file, self.index))
    }

    fn abandon(self) -> io::Result<()> {
        self.storage.remove(&copy_name(self.header.first))
    }
}
