//! The segment header.
//!
//! | bytes | field |
//! |---|---|
//! | 0..8 | magic `FOREBAY\0` |
//! | 8..12 | format version |
//! | 12..16 | flags; none is known, so anything but 0 refuses to start |
//! | 16..24 | segment number, one above that of the segment before |
//! | 24..32 | first sequence number |
//! | 32..48 | salt |
//! | 48..52 | checksum of the last frame of the segment before; 0 for the first |
//! | 52..56 | key id of the encryption; 0: not encrypted |
//! | 56..60 | zero |
//! | 60..64 | CRC-32C of bytes 0..60 |

use domain::Seq;

use super::{Salt, VERSION, take, u32_at, u64_at};

/// The size of one copy of the header, in bytes.
pub const HEADER_BYTES: usize = 64;

const MAGIC: [u8; 8] = *b"FOREBAY\0";

/// What a segment says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Its number in the chain.
    pub number: u64,
    /// The first sequence number it may hold.
    pub first: Seq,
    /// Its salt.
    pub salt: Salt,
    /// The checksum of the last frame of the segment before.
    pub previous: u32,
}

/// Why bytes are not a segment header.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Too short, wrong magic or wrong checksum: damaged, or not a segment.
    #[error("the header is damaged")]
    Damaged,
    /// Written by another version.
    #[error(
        "format version {0} is not known to this version of Forebay, which reads version {VERSION}"
    )]
    Version(u32),
    /// Written with a feature that this version does not have.
    #[error(
        "the segment uses a feature (flags {0:#x}) that is not known to this version of Forebay"
    )]
    Flags(u32),
}

impl SegmentHeader {
    /// The header as bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut out = [0; HEADER_BYTES];
        out[0..8].copy_from_slice(&MAGIC);
        out[8..12].copy_from_slice(&VERSION.to_le_bytes());
        out[16..24].copy_from_slice(&self.number.to_le_bytes());
        out[24..32].copy_from_slice(&self.first.0.to_le_bytes());
        out[32..48].copy_from_slice(&self.salt);
        out[48..52].copy_from_slice(&self.previous.to_le_bytes());
        let crc = crc_fast::crc32_iscsi(&out[..60]);
        out[60..64].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads one copy.
    ///
    /// # Errors
    /// [`HeaderError`]. Version and flags are believed only if the checksum is right, or if the
    /// magic is and the version is another (whose checksum may stand elsewhere).
    pub fn decode(bytes: &[u8]) -> Result<Self, HeaderError> {
        if bytes.len() < HEADER_BYTES || bytes[0..8] != MAGIC {
            return Err(HeaderError::Damaged);
        }
        if crc_fast::crc32_iscsi(&bytes[..60]) != u32_at(bytes, 60) {
            return Err(HeaderError::Damaged);
        }
        match (u32_at(bytes, 8), u32_at(bytes, 12), u32_at(bytes, 52)) {
            (VERSION, 0, 0) => Ok(Self {
                number: u64_at(bytes, 16),
                first: Seq(u64_at(bytes, 24)),
                salt: take(bytes, 32),
                previous: u32_at(bytes, 48),
            }),
            (VERSION, 0, _) => Err(HeaderError::Flags(0)),
            (VERSION, flags, _) => Err(HeaderError::Flags(flags)),
            (version, _, _) => Err(HeaderError::Version(version)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> SegmentHeader {
        SegmentHeader {
            number: 7,
            first: Seq(99),
            salt: [5; 16],
            previous: 0xdead_beef,
        }
    }

    #[test]
    fn a_header_reads_back_and_any_flipped_bit_is_noticed() {
        let bytes = header().encode();
        assert_eq!(SegmentHeader::decode(&bytes), Ok(header()));
        for bit in 0..HEADER_BYTES * 8 {
            let mut bad = bytes;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(
                SegmentHeader::decode(&bad),
                Err(HeaderError::Damaged),
                "bit {bit}"
            );
        }
        assert_eq!(SegmentHeader::decode(&[0; 64]), Err(HeaderError::Damaged));
        assert_eq!(
            SegmentHeader::decode(&bytes[..63]),
            Err(HeaderError::Damaged)
        );
    }

    #[test]
    fn another_version_or_an_unknown_flag_is_told_apart_from_damage() {
        let resealed = |at: usize, value: u32| {
            let mut bytes = header().encode();
            bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
            let crc = crc_fast::crc32_iscsi(&bytes[..60]);
            bytes[60..64].copy_from_slice(&crc.to_le_bytes());
            SegmentHeader::decode(&bytes)
        };
        assert_eq!(resealed(8, 2), Err(HeaderError::Version(2)));
        assert_eq!(resealed(12, 1), Err(HeaderError::Flags(1)));
    }
}
