//! A frame: one group commit.
//!
//! | bytes | field |
//! |---|---|
//! | 0..4 | payload length, without padding |
//! | 4..8 | record count; 0 only in an end mark, whose payload is empty |
//! | 8..16 | first sequence number (of an end mark: the next one) |
//! | 16..24 | synced through: the last sequence number known durable when this was written |
//! | 24..28 | flags; none is known, so anything but 0 refuses to start |
//! | 28..32 | checksum of the frame before |
//! | 32..36 | CRC-32C over the salt, bytes 0..32 and the payload |
//! | 36..40 | CRC-32C over the salt and bytes 0..36 |
//! | 40.. | payload, then zeros up to the next multiple of 8 |
//!
//! The header has a checksum of its own, beyond what the design page lists: with it, a damaged payload still says
//! how long it is and which numbers it took with it, and the search for the next valid frame never
//! has to read a payload to reject a candidate, whatever a sender put into its bodies.

use bytes::{BufMut, Bytes, BytesMut};
use domain::Seq;

use super::{Salt, finish, padded, salted, u32_at, u64_at};

/// The size of a frame's header, in bytes.
pub const FRAME_HEADER_BYTES: usize = 40;

/// The header of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    /// Payload bytes, without padding.
    pub payload_len: u32,
    /// Records in the payload.
    pub count: u32,
    /// The sequence number of the first record.
    pub first: Seq,
    /// The last sequence number known durable when this frame was written.
    pub synced_through: Seq,
    /// Flags; 0 in this version.
    pub flags: u32,
    /// Checksum of the frame before, as chained.
    pub previous: u32,
    /// This frame's checksum, which the next one carries.
    pub checksum: u32,
}

impl FrameHeader {
    /// The last sequence number in it; of an end mark, the last before it.
    #[must_use]
    pub fn last(&self) -> Seq {
        Seq(self.first.0 + u64::from(self.count)).previous()
    }

    /// Bytes from this frame's start to the next one's.
    #[must_use]
    pub const fn stride(&self) -> u64 {
        padded(FRAME_HEADER_BYTES + self.payload_len as usize) as u64
    }

    /// Whether it holds no records and only says that all before it is durable.
    #[must_use]
    pub const fn is_end_mark(&self) -> bool {
        self.count == 0
    }
}

/// Why bytes are not a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameError {
    /// No valid header stands here.
    BadHeader,
    /// The header is right, the payload is not (or is cut off).
    BadPayload(FrameHeader),
}

/// Reads and checks a frame header.
#[must_use]
pub fn decode_header(salt: &Salt, bytes: &[u8]) -> Option<FrameHeader> {
    if bytes.len() < FRAME_HEADER_BYTES {
        return None;
    }
    let first = u64_at(bytes, 8);
    let (payload_len, count) = (u32_at(bytes, 0), u32_at(bytes, 4));
    // Cheap tests first: zeros and most of what is not a header end here, without a checksum.
    if first == 0 || (count == 0) != (payload_len == 0) || u64_at(bytes, 16) >= first {
        return None;
    }
    first.checked_add(u64::from(count))?;
    let mut digest = salted(salt);
    digest.update(&bytes[..36]);
    (finish(&digest) == u32_at(bytes, 36)).then(|| FrameHeader {
        payload_len,
        count,
        first: Seq(first),
        synced_through: Seq(u64_at(bytes, 16)),
        flags: u32_at(bytes, 24),
        previous: u32_at(bytes, 28),
        checksum: u32_at(bytes, 32),
    })
}

/// Reads and checks the frame at the start of `bytes`, which may go on beyond it. The payload shares
/// `bytes`.
///
/// # Errors
/// [`FrameError`]; nothing of what it says may be believed but the header of a
/// [`FrameError::BadPayload`].
pub fn decode(salt: &Salt, bytes: &Bytes) -> Result<(FrameHeader, Bytes), FrameError> {
    let header = decode_header(salt, bytes).ok_or(FrameError::BadHeader)?;
    let end = FRAME_HEADER_BYTES + header.payload_len as usize;
    if bytes.len() < end {
        return Err(FrameError::BadPayload(header));
    }
    let payload = bytes.slice(FRAME_HEADER_BYTES..end);
    let mut digest = salted(salt);
    digest.update(&bytes[..32]);
    digest.update(&payload);
    if finish(&digest) == header.checksum {
        Ok((header, payload))
    } else {
        Err(FrameError::BadPayload(header))
    }
}

/// Builds a frame in place: records are appended behind a reserved header, which
/// [`FrameBuilder::finish`] fills in.
#[derive(Debug)]
pub struct FrameBuilder {
    buffer: BytesMut,
    count: u32,
}

impl Default for FrameBuilder {
    fn default() -> Self {
        Self::with_capacity(0)
    }
}

impl FrameBuilder {
    /// An empty frame with room for `payload_bytes`.
    #[must_use]
    pub fn with_capacity(payload_bytes: usize) -> Self {
        Self::reusing(BytesMut::new(), payload_bytes)
    }

    /// An empty frame with room for `payload_bytes`, in the memory of one that is no longer needed.
    #[must_use]
    pub fn reusing(mut buffer: BytesMut, payload_bytes: usize) -> Self {
        buffer.clear();
        buffer.reserve(padded(FRAME_HEADER_BYTES + payload_bytes));
        buffer.put_bytes(0, FRAME_HEADER_BYTES);
        Self { buffer, count: 0 }
    }

    /// A frame of these records, as [`super::record`] laid them out.
    #[must_use]
    pub fn of(records: &[BytesMut]) -> Self {
        let mut builder = Self::with_capacity(records.iter().map(BytesMut::len).sum());
        for record in records {
            builder.push_all(record, 1);
        }
        builder
    }

    /// Appends an event as a record.
    pub fn push(&mut self, event: &domain::Event) {
        super::record::append(event, &mut self.buffer);
        self.count += 1;
    }

    /// Appends a whole payload of `count` records.
    pub fn push_all(&mut self, payload: &[u8], count: u32) {
        self.buffer.extend_from_slice(payload);
        self.count += count;
    }

    /// The records so far.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.buffer[FRAME_HEADER_BYTES..]
    }

    /// How many records there are so far.
    #[must_use]
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// The bytes it takes as a whole, padding and all.
    #[must_use]
    pub fn stride(&self) -> u64 {
        padded(self.buffer.len()) as u64
    }

    /// Bytes of memory it takes, used or not.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.buffer.capacity()
    }

    /// Gives back memory that it has no use for: frames are kept for readers, and a small one must not
    /// hold the room of a large one. What it keeps is less than half as much again as it needs.
    pub fn shrink(&mut self) {
        let needed = padded(self.buffer.len());
        if self.buffer.capacity() > needed + needed / 2 {
            let mut exact = BytesMut::with_capacity(needed);
            exact.extend_from_slice(&self.buffer);
            self.buffer = exact;
        }
    }

    /// The records so far; for filling in what is known only now.
    pub fn payload_mut(&mut self) -> &mut [u8] {
        &mut self.buffer[FRAME_HEADER_BYTES..]
    }

    /// Fills in the header and the padding. Returns the header and the bytes to write.
    #[must_use]
    pub fn finish(
        mut self,
        salt: &Salt,
        first: Seq,
        synced_through: Seq,
        previous: u32,
    ) -> (FrameHeader, Bytes) {
        let payload_len = self.buffer.len() - FRAME_HEADER_BYTES;
        let head = &mut self.buffer[..FRAME_HEADER_BYTES];
        let payload_len = u32::try_from(payload_len).unwrap_or(u32::MAX);
        head[0..4].copy_from_slice(&payload_len.to_le_bytes());
        head[4..8].copy_from_slice(&self.count.to_le_bytes());
        head[8..16].copy_from_slice(&first.0.to_le_bytes());
        head[16..24].copy_from_slice(&synced_through.0.to_le_bytes());
        head[28..32].copy_from_slice(&previous.to_le_bytes());
        let mut digest = salted(salt);
        digest.update(&self.buffer[..32]);
        digest.update(&self.buffer[FRAME_HEADER_BYTES..]);
        let checksum = finish(&digest);
        self.buffer[32..36].copy_from_slice(&checksum.to_le_bytes());
        let mut digest = salted(salt);
        digest.update(&self.buffer[..36]);
        let header_checksum = finish(&digest);
        self.buffer[36..40].copy_from_slice(&header_checksum.to_le_bytes());
        let padding = padded(self.buffer.len()) - self.buffer.len();
        self.buffer.put_bytes(0, padding);
        let header = FrameHeader {
            payload_len,
            count: self.count,
            first,
            synced_through,
            flags: 0,
            previous,
            checksum,
        };
        (header, self.buffer.freeze())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SALT: Salt = [9; 16];

    fn frame(records: &[Vec<u8>], first: u64) -> (FrameHeader, Bytes) {
        let mut builder = FrameBuilder::with_capacity(0);
        for record in records {
            builder.push_all(record, 1);
        }
        builder.finish(&SALT, Seq(first), Seq(first - 1), 77)
    }

    proptest! {
        #[test]
        fn a_frame_reads_back_and_any_flipped_bit_is_noticed(
            records in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..80), 1..6),
            first in 1_u64..u64::MAX / 2,
            flip in any::<prop::sample::Index>(),
        ) {
            let (header, bytes) = frame(&records, first);
            let (read, payload) = decode(&SALT, &bytes).unwrap();
            prop_assert_eq!(read, header);
            prop_assert_eq!(&payload[..], &records.concat()[..]);
            prop_assert_eq!(header.stride(), bytes.len() as u64);
            prop_assert_eq!(bytes.len() % 8, 0);
            let covered = (FRAME_HEADER_BYTES + payload.len()) * 8;
            let bit = flip.index(covered);
            let mut bad = bytes.to_vec();
            bad[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(decode(&SALT, &bad.into()).is_err());
            prop_assert_eq!(decode(&[8; 16], &bytes), Err(FrameError::BadHeader));
        }

        #[test]
        fn odd_bytes_are_never_a_frame(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(decode(&SALT, &bytes.into()).is_err());
        }
    }

    #[test]
    fn zeros_are_not_a_frame_under_any_salt() {
        for salt in [[0; 16], SALT] {
            assert_eq!(
                decode(&salt, &Bytes::from(vec![0; 4096])),
                Err(FrameError::BadHeader)
            );
        }
    }

    #[test]
    fn a_damaged_payload_still_tells_which_numbers_it_took() {
        let (header, bytes) = frame(&[vec![1; 50], vec![2; 50]], 10);
        let mut bad = bytes.to_vec();
        bad[60] ^= 1;
        assert_eq!(
            decode(&SALT, &bad.into()),
            Err(FrameError::BadPayload(header))
        );
        assert_eq!(
            decode(&SALT, &bytes.slice(..100)),
            Err(FrameError::BadPayload(header))
        );
        assert_eq!((header.first, header.last()), (Seq(10), Seq(11)));
    }

    #[test]
    fn an_end_mark_claims_all_before_it() {
        let (header, bytes) = FrameBuilder::with_capacity(0).finish(&SALT, Seq(12), Seq(11), 5);
        assert!(header.is_end_mark());
        assert_eq!(header.last(), Seq(11));
        assert_eq!(bytes.len(), FRAME_HEADER_BYTES);
        assert!(decode(&SALT, &bytes).is_ok());
    }
}
