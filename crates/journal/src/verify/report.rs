//! What looking at a journal gives. All of it serialises, for `--json`; salts are left out.

use domain::{InstallationId, Seq, SeqRange};
use serde::Serialize;

/// The journal's files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Inspection {
    /// A process holds the journal: what is listed changes meanwhile.
    pub held: bool,
    /// Whose journal it is; `None` if the file that says so is missing or unreadable.
    pub installation: Option<InstallationId>,
    /// Segments, what is kept aside, and spares.
    pub segments: Vec<SegmentInfo>,
}

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SegmentState {
    /// Full, and followed by another.
    Sealed,
    /// The last one: appended to by a process that has the journal open, copied at the next start.
    Active,
    /// Without a readable header, or kept aside because of damage.
    Damaged,
    /// Zeros or an earlier life, ready to become a segment.
    Spare,
}

/// One file. What cannot be told of it is `None`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SegmentInfo {
    /// Its name in the journal's directory.
    pub file: String,
    /// What it is.
    pub state: SegmentState,
    /// Its number in the chain of segments.
    pub number: Option<u64>,
    /// The first sequence number it may hold.
    pub first: Option<Seq>,
    /// The last one in it; one below `first` while it holds none.
    pub last: Option<Seq>,
    /// Group commits in it.
    pub frames: Option<u64>,
    /// Events in it that can be read.
    pub records: Option<u64>,
    /// Its length in bytes.
    pub bytes: u64,
}

/// What kind of thing was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FindingKind {
    /// Acknowledged events are lost, or bytes are bad that were right once.
    Damaged,
    /// A write that never finished: nothing of it was acknowledged, and the next start cuts it off.
    Torn,
    /// A file that the chain names is not there: normal below every route's cursor.
    Missing,
    /// Worth knowing, and nothing to do.
    Note,
}

/// Something found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Its kind.
    pub kind: FindingKind,
    /// Where in the file the bad bytes begin, if there are any.
    pub offset: Option<u64>,
    /// The sequence numbers that are lost with it.
    pub lost: Option<SeqRange>,
    /// All of it in words.
    pub words: String,
}

impl Finding {
    fn new(kind: FindingKind, words: String) -> Self {
        Self {
            kind,
            offset: None,
            lost: None,
            words,
        }
    }

    pub(super) fn damaged(words: String) -> Self {
        Self::new(FindingKind::Damaged, words)
    }

    pub(super) fn torn(words: String) -> Self {
        Self::new(FindingKind::Torn, words)
    }

    pub(super) fn missing(words: String) -> Self {
        Self::new(FindingKind::Missing, words)
    }

    pub(super) fn note(words: String) -> Self {
        Self::new(FindingKind::Note, words)
    }

    pub(super) fn at(self, offset: u64) -> Self {
        Self {
            offset: Some(offset),
            ..self
        }
    }

    pub(super) fn losing(self, lost: Option<SeqRange>) -> Self {
        Self { lost, ..self }
    }
}

/// How the frames of a segment end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// With all that was written: the next segment goes on from here, or a clean end marks it.
    Whole,
    /// The last segment, with no mark of a clean end and no trace of an unfinished write: a process writes it
    /// now, or was killed.
    Open,
    /// The last segment, with an unfinished write, which was never acknowledged.
    Torn,
    /// Frames that were durable are missing.
    Damaged,
    /// Not read.
    Unread,
}

/// One file, read to its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SegmentReport {
    /// What it is.
    #[serde(flatten)]
    pub info: SegmentInfo,
    /// How it ends.
    pub end: End,
    /// What was found, in the order of the file.
    pub findings: Vec<Finding>,
}

impl SegmentReport {
    pub(super) fn unread(info: SegmentInfo) -> Self {
        Self {
            info,
            end: End::Unread,
            findings: Vec::new(),
        }
    }
}

/// The whole journal, read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verification {
    /// A process holds the journal: its last frame may be on its way.
    pub held: bool,
    /// Whose journal it is.
    pub installation: Option<InstallationId>,
    /// What was found of the journal as a whole.
    pub findings: Vec<Finding>,
    /// File by file.
    pub segments: Vec<SegmentReport>,
}

impl Verification {
    /// All findings, with the file that each is of.
    pub fn findings(&self) -> impl Iterator<Item = (Option<&str>, &Finding)> {
        let whole = self.findings.iter().map(|finding| (None, finding));
        let of_files = self.segments.iter().flat_map(|report| {
            let file = Some(report.info.file.as_str());
            report.findings.iter().map(move |finding| (file, finding))
        });
        whole.chain(of_files)
    }

    /// Whether damage was found. A torn tail is none, nor is a missing file below every cursor.
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        self.findings()
            .any(|(_, finding)| finding.kind == FindingKind::Damaged)
    }

    /// Events that can be read.
    #[must_use]
    pub fn records(&self) -> u64 {
        let kept = self.segments.iter().filter(|report| {
            matches!(
                report.info.state,
                SegmentState::Sealed | SegmentState::Active
            )
        });
        kept.filter_map(|report| report.info.records).sum()
    }
}
