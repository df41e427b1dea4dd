//! Format version 1, byte by byte: segment header, frame, record. All integers little-endian.
//!
//! A segment is two copies of its header, a page each, and then frames back to back, each padded to
//! [`ALIGNMENT`]. A frame is one group commit; its payload is records. Pure functions over bytes:
//! nothing here touches a file. The constants beside each layout are asserted against it in tests,
//! and `fixtures/` holds files that version 1 wrote.

pub mod frame;
pub mod header;
pub mod record;

use crc_fast::{CrcAlgorithm, Digest};

/// The version that this code writes, and the only one it reads.
pub const VERSION: u32 = 1;

/// Where the second copy of the segment header stands: a page of its own, so that one bad page
/// does not cost the segment.
pub const HEADER_COPY: u64 = 4096;

/// Where the first frame stands.
pub const FIRST_FRAME: u64 = 8192;

/// Frames start at multiples of this.
pub const ALIGNMENT: usize = 8;

/// The salt of a segment. It enters every checksum, so that what a recycled file held before, and
/// what a sender may have put into a body, cannot pass for a frame.
pub type Salt = [u8; 16];

/// Starts the checksum of something within a segment.
#[must_use]
pub(crate) fn salted(salt: &Salt) -> Digest {
    let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
    digest.update(salt);
    digest
}

/// The value of a CRC-32C digest.
#[must_use]
#[expect(clippy::cast_possible_truncation, reason = "a CRC-32 has 32 bits")]
pub(crate) fn finish(digest: &Digest) -> u32 {
    digest.finalize() as u32
}

/// The length with padding.
#[must_use]
pub(crate) const fn padded(len: usize) -> usize {
    len.next_multiple_of(ALIGNMENT)
}

/// Copies `N` bytes from `bytes` at `at`. The caller has checked the length.
pub(crate) fn take<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(take(bytes, at))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(take(bytes, at))
}
