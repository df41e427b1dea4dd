//! What stands under the name `.damaged`: a segment that was kept, or a marker.
//!
//! A marker is a small file that says through which number a loss was accepted or found. It explains that
//! loss to later starts, and no other.

use std::io;

use domain::{Seq, SeqRange};

use crate::format::FIRST_FRAME;
use crate::format::record::RECORD_HEADER_BYTES;
use crate::segment::{names, read_header};
use crate::storage::{Entry, File, Storage, read_full};

/// A marker's length: the last number lost, as twenty digits, and a line's end.
const MARKER_BYTES: usize = 21;

/// One that was set aside.
#[derive(Debug, Clone, Copy)]
pub(super) struct Aside {
    /// An upper bound of the records it held, where nothing else tells how far it reached.
    pub(super) most: u64,
    /// The last number that a marker stands for. `None`: it is a segment, or an empty marker, as the first
    /// versions left them.
    through: Option<Seq>,
}

impl Aside {
    /// A segment whose headers are lost, in a file of this length.
    pub(super) fn lost(len: u64) -> Self {
        Self {
            most: len.saturating_sub(FIRST_FRAME) / (RECORD_HEADER_BYTES as u64),
            through: None,
        }
    }

    /// Looks at one that an earlier start left. State has seen numbers through `seen`.
    pub(super) fn look(storage: &dyn Storage, entry: &Entry, first: Seq, seen: Seq) -> Self {
        let lost = Self::lost(entry.len);
        let Ok(file) = storage.open(&entry.name) else {
            return lost;
        };
        if let Ok(Some(through)) = marked(&*file) {
            let through = Some(through);
            return Self { most: 0, through };
        }
        // One with a header was kept by a start that numbered on above what state had seen.
        let is_bounded =
            seen >= first && matches!(read_header(&*file), Ok(Ok(header)) if header.first == first);
        Self {
            most: if is_bounded { 0 } else { lost.most },
            ..lost
        }
    }

    /// Whether it says where all of the hole went.
    pub(super) fn covers(self, hole: SeqRange) -> bool {
        self.through.is_none_or(|through| hole.last <= through)
    }

    /// Whether it explains a loss by what it says, and not just by its place.
    pub(super) fn is_marked(self) -> bool {
        self.through.is_some()
    }
}

/// The number in a marker; `None` if the file is something else.
fn marked(file: &dyn File) -> io::Result<Option<Seq>> {
    let mut bytes = [0; MARKER_BYTES + 1];
    let read = read_full(file, &mut bytes, 0)?;
    let digits = bytes[..read]
        .strip_suffix(b"\n")
        .filter(|digits| digits.len() + 1 == MARKER_BYTES && digits.iter().all(u8::is_ascii_digit));
    let text = digits.and_then(|digits| std::str::from_utf8(digits).ok());
    Ok(text.and_then(|text| text.parse().ok()).map(Seq))
}

/// Whether the file is a marker, of any version.
pub(super) fn is_marker(file: &dyn File) -> io::Result<bool> {
    Ok(file.size()? == 0 || marked(file)?.is_some())
}

/// Leaves a marker for the hole, durable when this returns. A kept segment of that name says as much.
pub(super) fn mark(storage: &dyn Storage, hole: SeqRange) -> io::Result<()> {
    let name = names::damaged(hole.first);
    if let Ok(there) = storage.open(&name)
        && !is_marker(&*there)?
    {
        return Ok(());
    }
    let temporary = format!("{name}{}", names::TEMPORARY);
    let file = storage.create(&temporary)?;
    file.write_at(format!("{:020}\n", hole.last.0).as_bytes(), 0)?;
    file.sync()?;
    storage.rename(&temporary, &name)?;
    storage.sync_directory()
}
