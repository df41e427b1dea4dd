//! One file of the journal, opened and read.

use std::io;
use std::path::Path;
use std::sync::Arc;

use domain::{Seq, SeqRange};

use super::report::{End, Finding, SegmentInfo, SegmentReport, SegmentState};
use super::{events, refuse_unknown};
use crate::error::OpenError;
use crate::format::frame::{FRAME_HEADER_BYTES, FrameHeader};
use crate::format::header::{HEADER_BYTES, HeaderError, SegmentHeader};
use crate::format::record::Records;
use crate::format::{FIRST_FRAME, HEADER_COPY};
use crate::index::{SegmentIndex, file as index_file};
use crate::scan::{Frame, ScanError, Scanned, Scanner};
use crate::segment::names;
use crate::storage::disk::open_to_read;
use crate::storage::{File, read_full};

/// A file that is, or was, a segment.
pub(super) struct Opened {
    name: String,
    pub(super) first: Seq,
    pub(super) len: u64,
    /// Kept aside because of damage.
    pub(super) aside: bool,
    /// What the header says, from whichever copy is valid.
    pub(super) header: Result<SegmentHeader, HeaderError>,
    /// Which copies of the header are valid.
    copies: [bool; 2],
    file: Arc<dyn File>,
}

/// What reading a segment to its end gives.
struct Reading {
    frames: u64,
    records: u64,
    last: Seq,
    last_checksum: u32,
    /// The last frame is an end mark.
    marked: bool,
    offset: u64,
    broken: Option<FrameHeader>,
    /// Valid frames stand behind an end that nothing claims.
    unclaimed: bool,
    findings: Vec<Finding>,
}

impl Opened {
    /// `None` if the file is gone.
    pub(super) fn open(
        directory: &Path,
        name: &str,
        first: Seq,
        aside: bool,
    ) -> Result<Option<Self>, OpenError> {
        let file = match open_to_read(&directory.join(name)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(OpenError::io("open", name)(error)),
        };
        let len = file.size().map_err(OpenError::io("look at", name))?;
        let (mut header, mut copies) = (Err(HeaderError::Damaged), [false; 2]);
        for (copy, at) in [0, HEADER_COPY].into_iter().enumerate() {
            let mut bytes = [0; HEADER_BYTES];
            // What cannot be read is as good as damaged.
            let read = read_full(&*file, &mut bytes, at).unwrap_or(0);
            let decoded = SegmentHeader::decode(&bytes[..read]);
            copies[copy] = !matches!(decoded, Err(HeaderError::Damaged));
            if matches!(header, Err(HeaderError::Damaged)) {
                header = decoded;
            }
        }
        if let Err(error) = &header {
            refuse_unknown(name, error)?;
        }
        if header.as_ref().is_ok_and(|header| header.first != first) {
            header = Err(HeaderError::Damaged);
        }
        Ok(Some(Self {
            name: name.to_owned(),
            first,
            len,
            aside,
            header,
            copies,
            file,
        }))
    }

    fn state(&self, next: Option<&Self>) -> SegmentState {
        if self.aside || self.header.is_err() {
            SegmentState::Damaged
        } else if next.is_some() {
            SegmentState::Sealed
        } else {
            SegmentState::Active
        }
    }

    fn blank(&self, next: Option<&Self>) -> SegmentInfo {
        let header = self.header.as_ref().ok();
        SegmentInfo {
            file: self.name.clone(),
            state: self.state(next),
            number: header.map(|header| header.number),
            first: Some(self.first),
            last: None,
            frames: None,
            records: None,
            bytes: self.len,
        }
    }

    /// Lists it: by its index if that is valid and the next segment agrees, else by reading it.
    pub(super) fn info(
        &self,
        directory: &Path,
        next: Option<&Self>,
    ) -> Result<SegmentInfo, OpenError> {
        let mut info = self.blank(next);
        let Ok(header) = self.header else {
            return Ok(info);
        };
        let agreed = |index: &SegmentIndex| {
            next.and_then(|next| next.header.as_ref().ok())
                .is_some_and(|next| next.previous == index.last_checksum)
        };
        let index = self.index(directory, &header).filter(agreed);
        let (frames, records, last) = match index {
            Some(index) => (
                index.frames.len() as u64,
                index.records.len() as u64,
                index.last,
            ),
            None => {
                let reading = self.read(&header)?;
                (reading.frames, reading.records, reading.last)
            }
        };
        info.last = Some(last);
        info.frames = Some(frames);
        info.records = Some(records);
        Ok(info)
    }

    fn index(&self, directory: &Path, header: &SegmentHeader) -> Option<SegmentIndex> {
        let file = open_to_read(&directory.join(names::index(self.first))).ok()?;
        index_file::read(&*file, &header.salt)
    }

    /// Reads it to its end and judges what was found. `held`: a process may be writing it.
    pub(super) fn verify(
        &self,
        directory: &Path,
        next: Option<&Self>,
        held: bool,
    ) -> Result<SegmentReport, OpenError> {
        let mut report = SegmentReport::unread(self.blank(next));
        if self.aside {
            let words =
                "kept aside because it was damaged; remove it when nobody will look at it any more";
            report.findings.push(Finding::damaged(words.into()));
        }
        let Ok(header) = self.header else {
            if held && !directory.join(&self.name).exists() {
                report.findings.push(recycled());
            } else if !self.aside {
                let words = "no copy of the header can be read, so none of its events can: the next start keeps it aside";
                report.findings.push(Finding::damaged(words.into()).at(0));
            }
            return Ok(report);
        };
        let mut reading = self.read(&header)?;
        if held && self.was_recycled(&header) {
            report.findings.push(recycled());
            return Ok(report);
        }
        for (copy, name) in ["first", "second"].into_iter().enumerate() {
            if !self.copies[copy] {
                let words = format!("the {name} copy of the header is damaged; the other is whole");
                report
                    .findings
                    .push(Finding::damaged(words).at(copy as u64 * HEADER_COPY));
            }
        }
        report.findings.append(&mut reading.findings);
        report.info.frames = Some(reading.frames);
        report.info.records = Some(reading.records);
        let (end, finding) = match next.and_then(|next| next.header.as_ref().ok()) {
            Some(next) => sealed_end(&header, &reading, next),
            None => self.last_end(&reading, held),
        };
        report.end = end;
        report.findings.extend(finding);
        let lost = |finding: &Finding| finding.lost.map(|range| range.last);
        let lost = report
            .findings
            .iter()
            .filter_map(lost)
            .max()
            .unwrap_or_default();
        report.info.last = Some(reading.last.max(lost));
        // An index from before the damage knows more than can be read; that it does is no news.
        let whole = report.findings.is_empty();
        if whole && next.is_some() && directory.join(names::index(self.first)).exists() && !held {
            let index = self.index(directory, &header);
            if index.is_none_or(|index| index.records.len() as u64 != reading.records) {
                let words =
                    "its index is damaged or does not agree with it: the segment is read instead";
                report.findings.push(Finding::note(words.into()));
            }
        }
        Ok(report)
    }

    fn was_recycled(&self, header: &SegmentHeader) -> bool {
        let mut bytes = [0; HEADER_BYTES];
        let read = read_full(&*self.file, &mut bytes, 0).unwrap_or(0);
        SegmentHeader::decode(&bytes[..read]).is_ok_and(|now| now.salt != header.salt)
    }

    fn read(&self, header: &SegmentHeader) -> Result<Reading, OpenError> {
        let file = Arc::clone(&self.file);
        let mut scanner = Scanner::new(file, header.salt, header.first, self.len);
        let mut reading = Reading {
            frames: 0,
            records: 0,
            last: header.first.previous(),
            last_checksum: header.previous,
            marked: false,
            offset: FIRST_FRAME,
            broken: None,
            unclaimed: false,
            findings: Vec::new(),
        };
        loop {
            match scanner.step() {
                Ok(Scanned::Frame(frame)) => reading.take(&frame),
                Ok(Scanned::Gap {
                    offset,
                    missing,
                    claimed: true,
                }) => {
                    let copied_around = scanner.offset() == offset;
                    reading.findings.push(gap(offset, missing, copied_around));
                }
                Ok(Scanned::Gap {
                    offset,
                    claimed: false,
                    ..
                }) => {
                    (reading.offset, reading.unclaimed) = (offset, true);
                    return Ok(reading);
                }
                Ok(Scanned::End { offset, broken }) => {
                    (reading.offset, reading.broken) = (offset, broken);
                    return Ok(reading);
                }
                Err(ScanError::Io(error)) => {
                    reading.offset = scanner.offset();
                    let words = format!(
                        "the disk does not give its bytes ({error}): copy it to a good disk"
                    );
                    reading
                        .findings
                        .push(Finding::damaged(words).at(reading.offset));
                    return Ok(reading);
                }
                Err(error @ ScanError::Flags(_)) => {
                    return Err(OpenError::scan(&self.name)(error));
                }
            }
        }
    }

    /// How the last segment ends. Nothing behind it claims more than it holds.
    fn last_end(&self, reading: &Reading, held: bool) -> (End, Option<Finding>) {
        let offset = reading.offset;
        if self.aside || held {
            return (End::Open, None);
        }
        if let Some(broken) = reading.broken {
            let words = format!(
                "torn: the write of {} did not finish and was not acknowledged; the next start cuts it off",
                events(broken.first, broken.last())
            );
            return (End::Torn, Some(Finding::torn(words).at(offset)));
        }
        if reading.marked && !reading.unclaimed {
            return (End::Whole, None);
        }
        let mut head = [0; FRAME_HEADER_BYTES];
        let read = read_full(&*self.file, &mut head, offset).unwrap_or(0);
        if head[..read].iter().all(|byte| *byte == 0) && !reading.unclaimed {
            return (End::Open, None);
        }
        let words = "ends without a mark in bytes that are no frame: a write that did not finish, or what the file held in an earlier life; none of it was acknowledged";
        (End::Torn, Some(Finding::torn(words.into()).at(offset)))
    }
}

impl Reading {
    fn take(&mut self, frame: &Frame) {
        let header = &frame.header;
        self.last = header.last();
        self.last_checksum = header.checksum;
        self.marked = header.is_end_mark();
        if self.marked {
            return;
        }
        self.frames += 1;
        let mut seq = header.first;
        for record in Records::new(frame.payload.clone()) {
            if domain::event::decode(record.event()).is_err() {
                self.unreadable(frame, seq, seq);
            } else {
                self.records += 1;
            }
            seq = seq.next();
        }
        if seq <= header.last() {
            self.unreadable(frame, seq, header.last());
        }
    }

    fn unreadable(&mut self, frame: &Frame, first: Seq, last: Seq) {
        let words = format!(
            "{} cannot be decoded though the checksum is right",
            events(first, last)
        );
        let finding = Finding::damaged(words).at(frame.offset);
        self.findings
            .push(finding.losing(SeqRange::new(first, last)));
    }
}

fn recycled() -> Finding {
    Finding::note("settled and recycled by the running process while it was read".into())
}

fn gap(offset: u64, missing: Option<SeqRange>, copied_around: bool) -> Finding {
    let Some(lost) = missing else {
        let words = "bytes are damaged, and no event with them".into();
        return Finding::damaged(words).at(offset);
    };
    let events = events(lost.first, lost.last);
    let words = if copied_around {
        format!("{events} missing: an earlier start found them damaged and went on behind them")
    } else {
        format!("{events} lost to damage; what follows can be read")
    };
    Finding::damaged(words).at(offset).losing(Some(lost))
}

/// How a segment ends that another one follows.
fn sealed_end(
    header: &SegmentHeader,
    reading: &Reading,
    next: &SegmentHeader,
) -> (End, Option<Finding>) {
    if header.number + 1 != next.number {
        return (End::Open, None);
    }
    let lost = SeqRange::new(reading.last.next(), next.first.previous());
    if reading.last_checksum != next.previous {
        let words = lost.map_or_else(
            || "damaged at its end, and no event with it".into(),
            |lost| {
                format!(
                    "{} lost to damage at its end",
                    events(lost.first, lost.last)
                )
            },
        );
        return (
            End::Damaged,
            Some(Finding::damaged(words).at(reading.offset).losing(lost)),
        );
    }
    let Some(lost) = lost else {
        return (End::Whole, None);
    };
    let words = format!(
        "{} missing behind its end: state had seen them and an earlier start did not find them",
        events(lost.first, lost.last)
    );
    (
        End::Damaged,
        Some(Finding::damaged(words).losing(Some(lost))),
    )
}
