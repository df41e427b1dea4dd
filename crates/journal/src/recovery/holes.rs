//! Holes between segments: damage where the chain of segment numbers goes on or a file was set aside, a
//! missing segment where it does not.

use std::io;

use domain::{Seq, SeqRange};

use super::{Chain, Recovery};
use crate::error::OpenError;
use crate::segment::names;

impl Recovery<'_> {
    /// Finds the holes between segments, or refuses. Nothing was changed yet but that files with lost
    /// headers were set aside.
    pub(super) fn check_chain(&mut self, chain: &Chain) -> Result<(), OpenError> {
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

    pub(super) fn judge_hole(&mut self, hole: SeqRange, explained: bool) -> Result<(), OpenError> {
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
            if !explained {
                self.remember_acceptance(hole)?;
            }
            self.report.damaged.push(hole);
        }
        Ok(())
    }

    /// Leaves an empty file that explains the hole, so that the next start needs no leave of its own.
    fn remember_acceptance(&self, hole: SeqRange) -> Result<(), OpenError> {
        let name = names::damaged(hole.first);
        match self.storage.create(&name) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(OpenError::io("create", name)(error));
            }
            _ => {}
        }
        self.storage
            .sync_directory()
            .map_err(OpenError::io("sync the directory of", name))
    }
}
