//! A socket as the rest of the cloud sees it: a bounded buffer of what it is still to write.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

/// What a buffer holds at most.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bound {
    pub(super) frames: usize,
    pub(super) bytes: usize,
}

impl Default for Bound {
    fn default() -> Self {
        Self {
            frames: 10_000,
            bytes: 64 << 20,
        }
    }
}

/// Something that a socket is to do, in its turn.
#[derive(Debug, Clone)]
pub(super) enum Item {
    /// Write an event of the book.
    Event {
        number: u64,
        text: Utf8Bytes,
    },
    /// Write anything else.
    Message(Message),
    /// Write these bytes beside the protocol.
    Raw(Vec<u8>),
    /// End by a close frame in 60 s.
    CloseInAMinute,
    /// End by a close frame.
    End(u16, String),
    /// End without one.
    Break,
    /// Do nothing more.
    Hang,
    Heartbeats(bool),
}

impl Item {
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Event { text, .. } => text.len(),
            Self::Message(message) => message.len(),
            Self::Raw(bytes) => bytes.len(),
            _ => 0,
        }
    }
}

/// An open socket. Its task alone takes from it.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) number: u64,
    pub(super) channel: String,
    outbox: Mutex<Outbox>,
    wake: Notify,
    cut: Notify,
    doomed: Notify,
}

#[derive(Debug)]
struct Outbox {
    bound: Bound,
    items: VecDeque<Item>,
    /// What waits and what is being written.
    frames: usize,
    bytes: usize,
    open: bool,
    hung: bool,
    cut: Option<&'static str>,
}

impl Socket {
    pub(super) fn new(number: u64, channel: &str, bound: Bound) -> Self {
        Self {
            number,
            channel: channel.to_owned(),
            outbox: Mutex::new(Outbox {
                bound,
                items: VecDeque::new(),
                frames: 0,
                bytes: 0,
                open: true,
                hung: false,
                cut: None,
            }),
            wake: Notify::new(),
            cut: Notify::new(),
            doomed: Notify::new(),
        }
    }

    /// Whether it takes items: it is neither ending nor ended.
    pub(super) fn is_open(&self) -> bool {
        self.outbox().open
    }

    /// Frames that are not yet written.
    pub(super) fn waiting(&self) -> usize {
        self.outbox().frames
    }

    /// Puts an item behind the others. False when the socket is not open, or is cut off for want of room.
    pub(super) fn push(&self, item: Item) -> bool {
        let mut outbox = self.outbox();
        if !outbox.open {
            return false;
        }
        let (frames, bytes) = (outbox.frames + 1, outbox.bytes + item.bytes());
        if frames > outbox.bound.frames || bytes > outbox.bound.bytes {
            drop(outbox);
            self.cut("the client reads too slowly");
            return false;
        }
        outbox.open = !matches!(item, Item::End(..) | Item::Break);
        (outbox.frames, outbox.bytes) = (frames, bytes);
        outbox.items.push_back(item);
        let (hung, open) = (outbox.hung, outbox.open);
        drop(outbox);
        if hung && !open {
            // A socket that hangs comes to no end of its own.
            self.cut("it was to end while it hung");
        }
        self.wake.notify_one();
        true
    }

    /// Ends it at once.
    pub(super) fn cut(&self, why: &'static str) {
        let mut outbox = self.outbox();
        outbox.open = false;
        outbox.cut.get_or_insert(why);
        drop(outbox);
        self.cut.notify_one();
    }

    /// Resolves when it is to end at once, with why.
    pub(super) async fn is_cut(&self) -> &'static str {
        loop {
            if let Some(why) = self.outbox().cut {
                return why;
            }
            self.cut.notified().await;
        }
    }

    /// It has a minute to live, as it was told or will be when the client reads.
    pub(super) fn doom(&self) {
        self.doomed.notify_one();
    }

    /// Resolves when it is doomed.
    pub(super) async fn is_doomed(&self) {
        self.doomed.notified().await;
    }

    /// Resolves when there may be items.
    pub(super) async fn woken(&self) {
        self.wake.notified().await;
    }

    /// Takes at most so many items, and says whether more are left.
    pub(super) fn take(&self, most: usize) -> (Vec<Item>, bool) {
        let mut outbox = self.outbox();
        let count = outbox.items.len().min(most);
        let items = outbox.items.drain(..count).collect();
        (items, !outbox.items.is_empty())
    }

    /// To be called when items that were taken are dealt with.
    pub(super) fn done(&self, frames: usize, bytes: usize) {
        let mut outbox = self.outbox();
        outbox.frames = outbox.frames.saturating_sub(frames);
        outbox.bytes = outbox.bytes.saturating_sub(bytes);
    }

    pub(super) fn hang(&self) {
        let mut outbox = self.outbox();
        outbox.hung = true;
        let ending = !outbox.open;
        drop(outbox);
        if ending {
            self.cut("it was to end while it hung");
        }
    }

    /// Nothing is accepted any more.
    pub(super) fn closed(&self) {
        let mut outbox = self.outbox();
        outbox.open = false;
        outbox.items.clear();
        (outbox.frames, outbox.bytes) = (0, 0);
    }

    fn outbox(&self) -> MutexGuard<'_, Outbox> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
