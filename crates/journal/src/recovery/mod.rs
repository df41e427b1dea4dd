//! Opening: what is on disk becomes a journal that can be trusted, or a clear refusal.
//!
//! What each kind of damage means:
//!
//! - **Torn tail**: the last segment ends in bytes that are no valid frame and that no later valid frame
//!   claims as synced. They were never acknowledged; they are cut, and that is normal.
//! - **Damage**: frames missing where a later frame, or the next segment, proves that they were durable.
//!   The file is kept aside, the gap stays visible to readers, who settle it as damaged.
//! - **Missing segment**: the chain of segment numbers has a hole above some route's cursor, or ends
//!   whole below what state has seen. Refused: somebody may still have the file.
//! - **Unknown version or flag**: refused.
//!
//! The last segment is never appended to again and never served as it is: what the page cache shows
//! need not be on the disk. Its valid frames are copied into a new file with a new salt, which is
//! synced and renamed over it before anybody reads.

mod aside;
mod copy;
mod holes;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use domain::{EventId, InstallationId, RouteName, Seq, SeqRange};
use rand::rngs::StdRng;

use crate::error::OpenError;
use crate::format::Salt;
use crate::format::frame::FRAME_HEADER_BYTES;
use crate::format::header::{HeaderError, SegmentHeader};
use crate::index::{SegmentIndex, file as index_file};
use crate::installation;
use crate::log::{Log, Resume};
use crate::options::Config;
use crate::room::{Room, Spare};
use crate::scan::{Scanned, Scanner};
use crate::segment::{Segment, names, read_header};
use crate::storage::{Entry, File, Storage};
use aside::Aside;
use copy::{Copy, copy_name, keep_aside};
use holes::Tail;

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
    // A process that was killed may have left names that only the page cache has. What is decided
    // below rests on them, so they are made durable first.
    storage
        .sync_directory()
        .map_err(OpenError::io("sync", "the directory"))?;
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
    recovery.check_chain(&chain)?;
    recovery.replace_last(&mut chain, &mut spares)?;
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

/// A segment file with a readable header.
struct Found {
    header: SegmentHeader,
    file: Arc<dyn File>,
    len: u64,
}

/// The segments found, and where their files had no readable header.
#[derive(Debug, Default)]
struct Chain {
    segments: Vec<Segment>,
    /// What was set aside, now or earlier, by its first number.
    aside: BTreeMap<Seq, Aside>,
}

impl Chain {
    /// How far the segments may have reached that were set aside behind the last one that is there. Behind
    /// them, numbering goes on above whatever they may have held. A segment at or behind their place says
    /// where that was; without one, only the file's length does.
    fn lost_behind(&self, last: Option<Seq>) -> Seq {
        let behind = self
            .aside
            .iter()
            .filter(|(first, aside)| aside.most > 0 && last.is_none_or(|last| last < **first));
        behind
            .map(|(first, aside)| Seq(first.0 + aside.most))
            .max()
            .unwrap_or_default()
    }
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
        let mut found = Vec::new();
        for entry in files {
            if let Some(first) = names::parse_segment(&entry.name) {
                match self.read_header(first, entry)? {
                    Some(header) => found.push(header),
                    None => {
                        chain.aside.insert(first, Aside::lost(entry.len));
                    }
                }
            } else if let Some(first) = names::parse_damaged(&entry.name) {
                let aside = Aside::look(&**self.storage, entry, first, self.known.highest);
                chain.aside.insert(first, aside);
            }
        }
        let successors: Vec<_> = found.iter().skip(1).map(|found| found.header).collect();
        for (at, found) in found.into_iter().enumerate() {
            let segment = match successors.get(at) {
                Some(next) => self.load_sealed(found, next)?,
                // Read, and given a summary, by `replace_last`.
                None => Segment::active(found.header, found.len, found.file),
            };
            chain.segments.push(segment);
        }
        Ok(chain)
    }

    /// A segment file's header; `None` if it was lost and the file set aside.
    fn read_header(&self, first: Seq, entry: &Entry) -> Result<Option<Found>, OpenError> {
        let name = &entry.name;
        let file = self
            .storage
            .open(name)
            .map_err(OpenError::io("open", name))?;
        match read_header(&*file).map_err(OpenError::io("read", name))? {
            Ok(header) if header.first == first => Ok(Some(Found {
                header,
                file,
                len: entry.len,
            })),
            Ok(_) | Err(HeaderError::Damaged) => {
                tracing::error!(
                    file = name,
                    "a segment's headers are damaged: it is kept aside and its events count as damaged"
                );
                self.rename(name, &names::damaged(first))?;
                Ok(None)
            }
            Err(source) => Err(OpenError::Format {
                name: name.clone(),
                source,
            }),
        }
    }

    /// A sealed segment by its index; by reading it if the index is missing or the next segment's
    /// header contradicts it.
    fn load_sealed(&self, found: Found, next: &SegmentHeader) -> Result<Segment, OpenError> {
        let Found { header, file, len } = found;
        let linked = header.number + 1 == next.number;
        let name = names::index(header.first);
        let summary = self
            .storage
            .open(&name)
            .ok()
            .and_then(|index| index_file::read_summary(&*index, &header.salt))
            .filter(|summary| {
                !linked || (summary.last_checksum == next.previous && summary.last < next.first)
            });
        if let Some(summary) = summary {
            return Ok(Segment::sealed(header, len, file, summary));
        }
        let segment_name = names::segment(header.first);
        let mut scanner = Scanner::new(Arc::clone(&file), header.salt, header.first, len);
        let mut index = SegmentIndex::scan(&mut scanner, header.previous)
            .map_err(OpenError::scan(&segment_name))?;
        if linked {
            index.end_before(next);
        }
        if index.missing > 0 {
            tracing::error!(
                file = segment_name,
                events = index.missing,
                "a sealed segment is damaged: the missing events count as damaged when a route comes to them"
            );
        }
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
            let nothing = Tail {
                first: None,
                last: Seq::ZERO,
                is_whole: true,
                file: None,
            };
            return self.judge_tail(chain, &nothing).map(drop);
        };
        let name = names::segment(old.first());
        let mut copy = Copy::new(self.storage, &old, self.salt())
            .map_err(OpenError::io("write a copy of", &name))?;
        let mut scanner =
            Scanner::new(Arc::clone(&old.file), old.header.salt, old.first(), old.len);
        let (mut damaged, mut bad_bytes, mut ended) = (Vec::new(), false, false);
        loop {
            match scanner.step().map_err(OpenError::scan(&name))? {
                Scanned::Frame(frame) => {
                    ended = frame.header.is_end_mark();
                    copy.push(&frame)
                        .map_err(OpenError::io("write a copy of", &name))?;
                }
                Scanned::Gap {
                    offset,
                    missing,
                    claimed: true,
                } => {
                    // Where the next frame stands without bad bytes ahead of it, an earlier recovery
                    // copied around them.
                    bad_bytes |= scanner.offset() != offset;
                    damaged.extend(missing);
                }
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
        let is_empty = copy.is_empty() && damaged.is_empty();
        let before = chain.segments.last().filter(|_| is_empty);
        let tail = Tail {
            first: before.map(Segment::first).or(Some(old.first())),
            last: before.map_or(copy.last(), Segment::last),
            is_whole: ended || self.is_whole(&old, copy.last()),
            file: Some(&old),
        };
        let kept = match self.judge_tail(chain, &tail) {
            Ok(kept) => kept,
            Err(refusal) => {
                copy.abandon()
                    .map_err(OpenError::io("remove a copy of", &name))?;
                return Err(refusal);
            }
        };
        if bad_bytes {
            keep_aside(&**self.storage, &old).map_err(OpenError::io("keep aside", &name))?;
        }
        if bad_bytes || kept {
            tracing::error!(
                file = name,
                ?damaged,
                "the last segment is damaged: the original is kept aside and the missing events count as damaged"
            );
        }
        if is_empty {
            copy.abandon()
                .map_err(OpenError::io("remove a copy of", &name))?;
            return self.recycle_empty(&old, spares);
        }
        self.report.damaged.extend(&damaged);
        chain.segments.push(self.install(copy, &name)?);
        Ok(())
    }

    /// Whether the last segment's index, which is written once a segment is sealed, says that it ends with
    /// the frame that was found last.
    fn is_whole(&self, segment: &Segment, last: Seq) -> bool {
        let index = self.storage.open(&names::index(segment.first())).ok();
        index
            .and_then(|index| index_file::read_summary(&*index, segment.salt()))
            .is_some_and(|summary| summary.last <= last)
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

    fn resume(&mut self, chain: &Chain) -> Resume {
        let last = chain.segments.last();
        let found = last.map_or(Seq::ZERO, Segment::last);
        self.report.end = found;
        let lost = chain.lost_behind(last.map(Segment::first));
        let highest = found.max(self.known.highest).max(lost);
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
