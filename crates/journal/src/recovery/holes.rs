//! Holes between segments, and behind the last one: damage where the chain of segment numbers goes on or a
//! file was set aside, a missing segment where it does not.

use domain::{Seq, SeqRange};

use super::copy::{is_blank, keep_aside};
use super::{Chain, Recovery, aside};
use crate::error::OpenError;
use crate::segment::{Segment, names};

/// The end of what was found.
pub(super) struct Tail<'a> {
    /// Where the last segment with records begins.
    pub(super) first: Option<Seq>,
    /// The last number.
    pub(super) last: Seq,
    /// Whether the last segment is known to end there, and so never held what came after.
    pub(super) is_whole: bool,
    /// The segment that is about to be replaced.
    pub(super) file: Option<&'a Segment>,
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
                    || chain.aside.range(..=hole.last).any(|(&first, aside)| {
                        let is_here = number.is_none() || first >= hole.first;
                        (is_here || aside.is_marked()) && aside.covers(hole)
                    });
                self.judge_hole(hole, explained)?;
            }
            expected = expected.map(|expected| expected.max(segment.last().next()));
            number = Some(segment.header.number);
        }
        Ok(())
    }

    /// Finds what is missing behind the end, or refuses. State sees nothing that was not durable, so what it
    /// has seen was there once. Returns whether the last segment's own file held that, lost it, and was kept
    /// aside for it.
    pub(super) fn judge_tail(&mut self, chain: &Chain, tail: &Tail<'_>) -> Result<bool, OpenError> {
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
        let mut aside = chain.aside.range(tail.last.next()..=hole.last);
        let is_known = aside.any(|(_, aside)| aside.covers(hole));
        if is_known || tail.is_whole {
            self.judge_hole(hole, is_known)?;
            return Ok(false);
        }
        // Before the hole is explained: a start that dies in between is to keep it, too.
        let kept = match tail.file {
            Some(segment) => self.keep(segment)?,
            None => false,
        };
        self.remember(hole)?;
        self.judge_hole(hole, true)?;
        Ok(kept)
    }

    /// Keeps the segment aside. `false`: there is nothing in it.
    fn keep(&self, segment: &Segment) -> Result<bool, OpenError> {
        let name = names::segment(segment.first());
        if is_blank(segment).map_err(OpenError::io("read", &name))? {
            return Ok(false);
        }
        keep_aside(&**self.storage, segment).map_err(OpenError::io("keep aside", name))?;
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

    /// Leaves a marker that explains the hole, so that the next start needs no leave of its own.
    fn remember(&self, hole: SeqRange) -> Result<(), OpenError> {
        aside::mark(&**self.storage, hole)
            .map_err(OpenError::io("create", names::damaged(hole.first)))
    }
}
