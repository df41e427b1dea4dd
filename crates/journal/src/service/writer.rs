//! The one writer: takes what is queued, commits it as one frame, and tells the waiters.
//!
//! A thread of its own, because it blocks in `fdatasync`. It wakes all waiters of a frame in one go: the
//! first wake-up may cost a system call, the others are pushes onto the runtime's queue.

use std::time::Instant;

use bytes::Bytes;
use domain::ports::AppendError;

use super::queue::Batch;
use super::shared::Shared;
use super::tail::TailFrame;
use crate::format::frame::{FrameBuilder, FrameHeader};
use crate::log::{CommitError, Committed, Log};

/// Writes until the queue is closed and empty, or the log has failed.
pub(super) fn run(mut log: Log, shared: &Shared) {
    while let Some(Batch { mut frame, waiters }) = shared.queue.take() {
        let held = frame.capacity();
        let written = commit(&mut log, shared, &mut frame).map(|committed| {
            publish(shared, committed.header, committed.payload, held);
            committed.ids
        });
        waiters.decide(written);
    }
    if let Err(error) = log.mark_end() {
        shared.fail(error.to_string());
    }
    shared.written_out.send_replace(true);
}

fn commit(
    log: &mut Log,
    shared: &Shared,
    frame: &mut FrameBuilder,
) -> Result<Committed, AppendError> {
    let mut rotated = false;
    loop {
        let started = Instant::now();
        match log.commit(frame, shared.clock.now()) {
            Ok(committed) => {
                shared
                    .metrics
                    .sync_seconds
                    .observe(started.elapsed().as_secs_f64());
                return Ok(committed);
            }
            Err(CommitError::SegmentFull) if rotated => {
                // No frame is larger than a segment (`service::frame_bytes`): this would go on for ever.
                let reason = "a frame does not fit into an empty segment: a defect".to_owned();
                return Err(fail(shared, reason));
            }
            Err(CommitError::SegmentFull) => {
                rotate(log, shared)?;
                rotated = true;
            }
            Err(CommitError::Failed(reason)) => return Err(fail(shared, reason)),
        }
    }
}

fn rotate(log: &mut Log, shared: &Shared) -> Result<(), AppendError> {
    let spare = loop {
        if let Some(spare) = shared.room.take_spare() {
            break spare;
        }
        shared
            .await_spare()
            .map_err(|no_room| AppendError::NoRoom(no_room.to_string()))?;
    };
    let segment = log
        .rotate(spare, shared.config.segment_bytes)
        .map_err(|error| fail(shared, error.to_string()))?;
    shared.room.add(segment);
    shared.begin();
    // The sealed segment's index wants writing, and the next spare making.
    shared.nudge_keeper();
    Ok(())
}

fn fail(shared: &Shared, reason: String) -> AppendError {
    shared.fail(reason.clone());
    AppendError::Failed(reason)
}

/// Makes the frame visible: only now that it is synced do readers, counters and waiters see it.
fn publish(shared: &Shared, header: FrameHeader, payload: Bytes, held: usize) {
    let (first, last) = (header.first, header.last());
    let memory = shared.tail.push(TailFrame {
        first,
        last,
        payload,
        held,
    });
    shared.end.send_replace(last);
    if let Some(memory) = memory {
        shared.queue.give_back(memory);
    }
}
