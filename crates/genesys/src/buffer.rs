//! What was heard and not handed out yet: bounded in number and in bytes, so that a reader that is slow makes the sockets
//! wait and not the memory grow.

use std::sync::Arc;

use bytes::Bytes;
use domain::Timestamp;
use domain::ports::Gap;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// Things at once, beside the bound in bytes.
const ITEMS: usize = 1024;

/// One thing for the reader.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) what: What,
    _room: OwnedSemaphorePermit,
}

/// What it is.
#[derive(Debug)]
pub(crate) enum What {
    /// An event that was heard.
    Heard(Heard),
    /// A gap that is over.
    Gap(Gap),
    /// An event of a page of a backfill.
    Filled(Filled),
}

/// An event that was heard.
#[derive(Debug)]
pub(crate) struct Heard {
    /// The frame, byte for byte.
    pub(crate) frame: Bytes,
    pub(crate) topic: String,
    /// What makes a repeat of it.
    pub(crate) id: String,
    pub(crate) at: Timestamp,
    /// Everything that was sent before this had been heard by then.
    pub(crate) sure_at: Timestamp,
}

/// A conversation of a page.
#[derive(Debug)]
pub(crate) struct Filled {
    /// The record, byte for byte.
    pub(crate) record: Bytes,
    pub(crate) id: String,
    pub(crate) backfill: u64,
    pub(crate) gap: Option<u64>,
    /// Counts those of the page that are durable.
    pub(crate) page: Arc<crate::backfill::Page>,
}

/// The end that is filled. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Buffer {
    sender: mpsc::Sender<Item>,
    room: Arc<Semaphore>,
    bytes: u32,
}

impl Buffer {
    /// A buffer for so many bytes, and the end that is emptied.
    pub(crate) fn new(bytes: u32) -> (Self, mpsc::Receiver<Item>) {
        let (sender, receiver) = mpsc::channel(ITEMS);
        let room = Arc::new(Semaphore::new(bytes as usize));
        let buffer = Self {
            sender,
            room,
            bytes,
        };
        (buffer, receiver)
    }

    /// Whether nothing is in it. What was taken out is not.
    pub(crate) fn is_empty(&self) -> bool {
        self.room.available_permits() >= self.bytes as usize
    }

    /// Waits for room, and puts it in. `false`: nobody reads any more. Dropping the call puts nothing in.
    pub(crate) async fn push(&self, what: What) -> bool {
        let bytes = match &what {
            What::Heard(heard) => heard.frame.len(),
            What::Gap(gap) => gap.topics.iter().map(String::len).sum(),
            What::Filled(filled) => filled.record.len(),
        };
        // Something larger than all the room takes all of it.
        let wanted = u32::try_from(bytes)
            .unwrap_or(u32::MAX)
            .clamp(1, self.bytes);
        let room = Arc::clone(&self.room).acquire_many_owned(wanted).await;
        let Ok(room) = room else { return false };
        self.sender.send(Item { what, _room: room }).await.is_ok()
    }
}
