//! Looking at a journal's files while nothing runs on them: what is there, and whether it is whole.
//!
//! [`inspect`] lists; [`verify`] reads everything. Both work on the files as they stand, need no lock and
//! never write: nothing is recovered, cut or made anew. Where a process holds the journal they say so, and
//! what is being written just then may look unfinished. Which events are settled is not known here.

mod report;
mod segment;

use std::fs;
use std::path::Path;

use domain::{InstallationId, Seq, SeqRange};

use crate::error::OpenError;
use crate::format::header::HeaderError;
use crate::lock::DirectoryLock;
use crate::segment::names;

pub use report::{
    End, Finding, FindingKind, Inspection, SegmentInfo, SegmentReport, SegmentState, Verification,
};
use segment::Opened;

/// Lists the files of the journal in `directory`, oldest first. Counts of sealed segments come from their
/// indexes where those are valid; other segments are read.
///
/// # Errors
/// [`OpenError::Io`] if the directory or a file cannot be read, [`OpenError::Format`] and
/// [`OpenError::Scan`] for what another version wrote.
pub fn inspect(directory: &Path) -> Result<Inspection, OpenError> {
    let held = DirectoryLock::is_held(directory);
    let files = Files::list(directory)?;
    let mut segments = Vec::new();
    for (at, opened) in files.segments.iter().enumerate() {
        segments.push(opened.info(directory, files.next(at))?);
    }
    segments.extend(files.others());
    Ok(Inspection {
        held,
        installation: files.installation,
        segments,
    })
}

/// Reads every segment of the journal in `directory` and reports what is damaged or torn.
///
/// # Errors
/// As [`inspect`]. Bytes that the disk does not give are a finding and no error.
pub fn verify(directory: &Path) -> Result<Verification, OpenError> {
    verify_with_progress(directory, &mut |_, _| ())
}

/// As [`verify`]; calls `progress` with the bytes read and the bytes to read, file by file.
///
/// # Errors
/// As [`verify`].
pub fn verify_with_progress(
    directory: &Path,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Verification, OpenError> {
    let held = DirectoryLock::is_held(directory);
    let files = Files::list(directory)?;
    let total = files.segments.iter().map(|opened| opened.len).sum();
    let (mut segments, mut done) = (Vec::new(), 0);
    for (at, opened) in files.segments.iter().enumerate() {
        progress(done, total);
        let mut report = opened.verify(directory, files.next(at), held)?;
        if opened.header.is_err()
            && let Some(finding) = report.findings.last_mut()
            && finding.kind == FindingKind::Damaged
        {
            finding.lost = files.lost_whole(at);
        }
        if let Some(hole) = at.checked_sub(1).and_then(|before| files.hole(before, at)) {
            report.findings.insert(0, hole);
        }
        segments.push(report);
        done += opened.len;
    }
    progress(done, total);
    segments.extend(files.others().map(SegmentReport::unread));
    let mut findings = Vec::new();
    if files.installation.is_none() && !files.segments.is_empty() {
        findings.push(Finding::damaged(
            "the file `installation` is missing or unreadable: without it the journal is not opened; restore it (state.db names the installation too)".into(),
        ));
    }
    Ok(Verification {
        held,
        installation: files.installation,
        findings,
        segments,
    })
}

/// The journal's files, opened to be read.
struct Files {
    installation: Option<InstallationId>,
    /// Files named as segments, and those kept aside, by first number.
    segments: Vec<Opened>,
    spares: Vec<(String, u64)>,
}

impl Files {
    fn list(directory: &Path) -> Result<Self, OpenError> {
        let listing = || OpenError::io("list", directory.display().to_string());
        let mut entries = Vec::new();
        for entry in fs::read_dir(directory).map_err(listing())? {
            let entry = entry.map_err(listing())?;
            if let Ok(name) = entry.file_name().into_string() {
                entries.push(name);
            }
        }
        entries.sort();
        let mut files = Self {
            installation: crate::installation::read_from(directory),
            segments: Vec::new(),
            spares: Vec::new(),
        };
        for name in entries {
            let segment = names::parse_segment(&name);
            if let Some(first) = segment.or_else(|| names::parse_damaged(&name)) {
                // A file that is gone by now was recycled by the process that holds the journal.
                files
                    .segments
                    .extend(Opened::open(directory, &name, first, segment.is_none())?);
            } else if names::parse_spare(&name).is_some()
                && let Ok(metadata) = fs::metadata(directory.join(&name))
            {
                files.spares.push((name, metadata.len()));
            }
        }
        files
            .segments
            .sort_by_key(|opened| (opened.first, !opened.aside));
        Ok(files)
    }

    /// The segment that follows in the chain; `None` for the last, and for what is kept aside.
    fn next(&self, at: usize) -> Option<&Opened> {
        let chained = |opened: &&Opened| !opened.aside && opened.header.is_ok();
        let this = self.segments.get(at).filter(chained)?;
        self.segments[at + 1..]
            .iter()
            .find(chained)
            .filter(|next| next.first > this.first)
    }

    /// Segments that should stand between those at `before` and `at` and do not.
    fn hole(&self, before: usize, at: usize) -> Option<Finding> {
        let next = self.segments.get(at)?;
        let earlier = self.segments[..=before]
            .iter()
            .rev()
            .find(|opened| !opened.aside)?;
        let (Ok(this), Ok(that)) = (&earlier.header, &next.header) else {
            return None;
        };
        if next.aside || that.number <= this.number + 1 {
            return None;
        }
        let aside = self.segments.iter().any(|opened| {
            opened.aside && opened.first > earlier.first && opened.first < next.first
        });
        let words = format!(
            "segments {} to {} are not there",
            this.number + 1,
            that.number - 1
        );
        Some(if aside {
            Finding::damaged(format!("{words}: what is left of them is kept aside"))
        } else {
            Finding::missing(format!(
                "{words}: normal if every route has settled them, else restore the files"
            ))
        })
    }

    /// The numbers that a segment without a header took with it, if a later one tells.
    fn lost_whole(&self, at: usize) -> Option<SeqRange> {
        let this = self.segments.get(at).filter(|opened| !opened.aside)?;
        let next = self.segments[at + 1..].iter().find(|next| !next.aside)?;
        SeqRange::new(this.first, next.first.previous())
    }

    fn others(&self) -> impl Iterator<Item = SegmentInfo> + '_ {
        self.spares.iter().map(|(file, bytes)| SegmentInfo {
            file: file.clone(),
            state: SegmentState::Spare,
            number: None,
            first: None,
            last: None,
            frames: None,
            records: None,
            bytes: *bytes,
        })
    }
}

/// What another version wrote is refused as a whole; the rest of a header's troubles are findings.
fn refuse_unknown(name: &str, error: &HeaderError) -> Result<(), OpenError> {
    match error {
        HeaderError::Damaged => Ok(()),
        other => Err(OpenError::Format {
            name: name.to_owned(),
            source: other.clone(),
        }),
    }
}

/// `events 4 to 9`, or `event 4`.
fn events(first: Seq, last: Seq) -> String {
    if first == last {
        format!("event {first}")
    } else {
        format!("events {first} to {last}")
    }
}
