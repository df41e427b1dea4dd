//! Holes between segments, and behind the last one: damage where the chain of segment numbers goes on or a
//! file was set aside, a missing segment where it does not.

use std::io;

use domain::{Seq, SeqRange};

use super::{Chain, Recovery};
use crate::error::OpenError;
use crate::segment::names;

/// The end of what was found.
pub(super) struct Tail {
    /// Where the last segment with records begins.
    pub(super) first: Option<Seq>,
    /// The last number.
    pub(super) last: Seq,
    /// Whether the last segment is known to end there, and so never held what came after.
    pub(super) is_whole: bool,
}

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
        Ok(())
    }

    /// Finds what is missing behind the end, or refuses. State sees nothing that was not durable, so what it
    /// has seen was there once. Returns whether the last segment's own file held that, and lost it.
    pub(super) fn judge_tail(&mut self, chain: &Chain, tail: &Tail) -> Result<bool, OpenError> {
        let lost = chain.lost_behind(tail.first);
        if let Some(hole) = SeqRange::new(tail.last.next(), lost) {
            self.judge_hole(hole, true)?;
        }
        let lowest = self.known.holds.values().min().copied();
        let needed = tail.last.max(lost).max(lowest.unwrap_or_default());
        let Some(hole) = SeqRange::new(needed.next(), self.known.highest) else {
            return Ok(false);
        };
        // A start that died before its first event has judged it.
        let is_known = chain.aside.range(tail.last.next()..=hole.last).next();
        if is_known.is_some() || tail.is_whole {
            self.judge_hole(hole, is_known.is_some())?;
            return Ok(false);
        }
        self.remember(hole)?;
        self.judge_hole(hole, true)?;
        Ok(true)
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
            if !explained {
                self.remember(hole)?;
            }
            self.report.damaged.push(hole);
        }
        Ok(())
    }

    /// Leaves an empty file that explains the hole, so that the next start needs no leave of its own.
    fn remember(&self, hole: SeqRange) -> Result<(), OpenError> {
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
