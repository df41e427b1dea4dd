//! Walks the frames of one segment file, and says where frames are missing.
//!
//! Recovery, readers, the index builder and `journal verify` all read through this one scanner, so
//! they cannot disagree on what is valid. It never guesses: a frame counts only with both checksums
//! right, in its place in the chain. What is bad is reported with where the next valid frame
//! stands; whether that is a torn tail or damage is for the caller to say.

use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use domain::{Seq, SeqRange};

use crate::format::frame::{FRAME_HEADER_BYTES, FrameError, FrameHeader, decode, decode_header};
use crate::format::{ALIGNMENT, FIRST_FRAME, Salt, u64_at};
use crate::storage::{File, read_full};

/// Read from the file at once, unless a frame is larger.
const CHUNK_BYTES: usize = 256 << 10;

/// Why a scan cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// The file cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A valid frame has flags that this version does not know.
    #[error("a frame uses a feature (flags {0:#x}) that is not known to this version of Forebay")]
    Flags(u32),
}

/// A valid frame.
#[derive(Debug, Clone)]
pub struct Frame {
    /// Where it starts in the file.
    pub offset: u64,
    /// Its header.
    pub header: FrameHeader,
    /// Its records, for [`crate::format::record::Records`].
    pub payload: Bytes,
}

/// What comes next in a segment.
#[derive(Debug, Clone)]
pub enum Scanned {
    /// A valid frame. May be an end mark.
    Frame(Frame),
    /// Sequence numbers that should be here and are not; the scan goes on behind them.
    Gap {
        /// Where the bad stretch starts in the file.
        offset: u64,
        /// The missing numbers; `None` if none is missing though bytes are bad.
        missing: Option<SeqRange>,
        /// Whether the next valid frame says that the missing were durable before it was written.
        claimed: bool,
    },
    /// No further valid frame.
    End {
        /// Where the next frame would have to start.
        offset: u64,
        /// The valid header whose payload is bad or cut off, if that is what stands there.
        broken: Option<FrameHeader>,
    },
}

/// A position in a segment. Cheap to make; reads in chunks.
#[derive(Debug)]
pub struct Scanner {
    file: Arc<dyn File>,
    salt: Salt,
    limit: u64,
    offset: u64,
    expected: Seq,
    /// Checksum of the frame before; unknown behind a bad stretch and after a seek.
    previous: Option<u32>,
    chunk: Bytes,
    chunk_at: u64,
}

impl Scanner {
    /// At the first frame of a segment whose first sequence number is `first`. Reads nothing at or
    /// beyond `limit`.
    #[must_use]
    pub fn new(file: Arc<dyn File>, salt: Salt, first: Seq, limit: u64) -> Self {
        Self {
            file,
            salt,
            limit,
            offset: FIRST_FRAME,
            expected: first,
            previous: None,
            chunk: Bytes::new(),
            chunk_at: 0,
        }
    }

    /// Goes to the frame known to start at `offset`, whose first number is `expected`.
    pub fn seek(&mut self, offset: u64, expected: Seq) {
        self.offset = offset;
        self.expected = expected;
        self.previous = None;
    }

    /// Moves the limit up, for a segment that is being appended to.
    pub fn extend(&mut self, limit: u64) {
        self.limit = self.limit.max(limit);
    }

    /// The number that the next frame should start with.
    #[must_use]
    pub const fn expected(&self) -> Seq {
        self.expected
    }

    /// Where the next frame should start.
    #[must_use]
    pub const fn offset(&self) -> u64 {
        self.offset
    }

    /// The next frame, gap, or the end. After an `End` the same is said again, unless
    /// [`Scanner::extend`] gave more to read.
    ///
    /// # Errors
    /// [`ScanError`].
    pub fn step(&mut self) -> Result<Scanned, ScanError> {
        let broken = match self.frame_at(self.offset)? {
            Ok((header, payload)) if self.fits(&header) => {
                if header.first > self.expected {
                    // A gap that an earlier recovery found and copied around.
                    let missing = SeqRange::new(self.expected, header.first.previous());
                    self.expected = header.first;
                    return Ok(Scanned::Gap {
                        offset: self.offset,
                        missing,
                        claimed: true,
                    });
                }
                let frame = Frame {
                    offset: self.offset,
                    header,
                    payload,
                };
                self.offset += header.stride();
                self.expected = header.last().next();
                self.previous = Some(header.checksum);
                return Ok(Scanned::Frame(frame));
            }
            Ok(_) | Err(FrameError::BadHeader) => None,
            Err(FrameError::BadPayload(header)) => Some(header),
        };
        match self.search(broken)? {
            None => Ok(Scanned::End {
                offset: self.offset,
                broken,
            }),
            Some((found, header)) => {
                let missing = SeqRange::new(self.expected, header.first.previous());
                let claimed = header.synced_through >= self.expected;
                let offset = self.offset;
                self.seek(found, header.first);
                Ok(Scanned::Gap {
                    offset,
                    missing,
                    claimed,
                })
            }
        }
    }

    /// The first number of the valid frame that stands here, if one does. Does not move.
    ///
    /// # Errors
    /// [`ScanError`].
    pub fn peek(&mut self) -> Result<Option<Seq>, ScanError> {
        let frame = self.frame_at(self.offset)?;
        Ok(frame.ok().map(|(header, _)| header.first))
    }

    /// Whether a valid frame stands in its place in the chain.
    fn fits(&self, header: &FrameHeader) -> bool {
        header.first >= self.expected
            && self
                .previous
                .is_none_or(|previous| previous == header.previous)
    }

    fn frame_at(
        &mut self,
        offset: u64,
    ) -> Result<Result<(FrameHeader, Bytes), FrameError>, ScanError> {
        let head = self.bytes(offset, FRAME_HEADER_BYTES)?;
        let Some(header) = decode_header(&self.salt, &head) else {
            return Ok(Err(FrameError::BadHeader));
        };
        if header.flags != 0 {
            return Err(ScanError::Flags(header.flags));
        }
        let bytes = self.bytes(offset, FRAME_HEADER_BYTES + header.payload_len as usize)?;
        Ok(decode(&self.salt, &bytes))
    }

    /// Looks for the next valid frame behind a bad one. Only its header's checksum is computed for a
    /// candidate whose numbers are plausible, and only a candidate with a valid header is read whole.
    fn search(
        &mut self,
        broken: Option<FrameHeader>,
    ) -> Result<Option<(u64, FrameHeader)>, ScanError> {
        let mut at = self.offset + broken.map_or(ALIGNMENT as u64, |header| header.stride());
        while at + FRAME_HEADER_BYTES as u64 <= self.limit {
            let head = self.bytes(at, FRAME_HEADER_BYTES)?;
            let plausible = head.len() == FRAME_HEADER_BYTES && u64_at(&head, 8) >= self.expected.0;
            if !plausible || decode_header(&self.salt, &head).is_none() {
                at += ALIGNMENT as u64;
                continue;
            }
            match self.frame_at(at)? {
                Ok((header, _)) => return Ok(Some((at, header))),
                Err(FrameError::BadPayload(header)) => at += header.stride(),
                Err(FrameError::BadHeader) => at += ALIGNMENT as u64,
            }
        }
        Ok(None)
    }

    /// The `len` bytes at `offset`, or as many as there are below the limit.
    fn bytes(&mut self, offset: u64, len: usize) -> io::Result<Bytes> {
        let available = usize::try_from(self.limit.saturating_sub(offset)).unwrap_or(usize::MAX);
        let len = len.min(available);
        let held_until = self.chunk_at + self.chunk.len() as u64;
        if offset < self.chunk_at || offset + len as u64 > held_until {
            let mut chunk = BytesMut::zeroed(len.max(CHUNK_BYTES).min(available));
            let read = read_full(&*self.file, &mut chunk, offset)?;
            chunk.truncate(read);
            self.chunk = chunk.freeze();
            self.chunk_at = offset;
        }
        let start = usize::try_from(offset - self.chunk_at)
            .unwrap_or(usize::MAX)
            .min(self.chunk.len());
        Ok(self.chunk.slice(start..(start + len).min(self.chunk.len())))
    }
}
