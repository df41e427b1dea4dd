//! The index as a file, `{first_seq:020}.index`. All integers little-endian.
//!
//! The head can be read alone: it is all that a start needs of a segment. It names the segment's
//! salt, so an index of another life of a recycled file is never taken for this one's.
//!
//! | part | content |
//! |---|---|
//! | head | magic `FBYINDEX`, version, head length; salt, last seq, data end, last checksum, missing, frames, records, first and last id; sources with counts; CRC-32C of the head |
//! | body | frames: first seq, offset, records before; records: id, key, source; CRC-32C of the body |

use std::io;

use bytes::{Buf, BufMut};
use domain::{DedupKey, EventId, Seq};

use super::{FrameRef, RecordRef, SegmentIndex, SourceCount};
use crate::format::Salt;
use crate::storage::{File, Storage, read_full};

const MAGIC: [u8; 8] = *b"FBYINDEX";
const VERSION: u32 = 1;
/// Magic, version, head length.
const PREFIX_BYTES: usize = 16;
/// A head is small; anything larger is not one.
const MAX_HEAD_BYTES: usize = 8 << 20;
const FRAME_BYTES: usize = 20;
const RECORD_BYTES: usize = 34;

/// What a start needs to know of a sealed segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// The last sequence number in the segment.
    pub last: Seq,
    /// Where its frames end.
    pub data_end: u64,
    /// Checksum of its last frame.
    pub last_checksum: u32,
    /// Sequence numbers within it that are missing.
    pub missing: u64,
    /// Id of its first record, if it has one.
    pub first_id: Option<EventId>,
    /// Id of its last record, if it has one.
    pub last_id: Option<EventId>,
    /// Its sources, with counts.
    pub sources: Vec<SourceCount>,
}

impl SegmentIndex {
    /// The part of the index that stays in memory for a sealed segment.
    #[must_use]
    pub fn summary(&self) -> Summary {
        Summary {
            last: self.last,
            data_end: self.data_end,
            last_checksum: self.last_checksum,
            missing: self.missing,
            first_id: self.records.first().map(|record| record.id),
            last_id: self.records.last().map(|record| record.id),
            sources: self.sources.clone(),
        }
    }

    fn encode(&self, salt: &Salt) -> Vec<u8> {
        let nil = EventId::from_bytes([0; 16]);
        let mut out = Vec::with_capacity(
            256 + self.frames.len() * FRAME_BYTES + self.records.len() * RECORD_BYTES,
        );
        out.put_slice(&MAGIC);
        out.put_u32_le(VERSION);
        out.put_u32_le(0);
        out.put_slice(salt);
        out.put_u64_le(self.last.0);
        out.put_u64_le(self.data_end);
        out.put_u32_le(self.last_checksum);
        out.put_u64_le(self.missing);
        out.put_u32_le(u32::try_from(self.frames.len()).unwrap_or(u32::MAX));
        out.put_u32_le(u32::try_from(self.records.len()).unwrap_or(u32::MAX));
        out.put_slice(
            self.records
                .first()
                .map_or(nil, |record| record.id)
                .as_bytes(),
        );
        out.put_slice(
            self.records
                .last()
                .map_or(nil, |record| record.id)
                .as_bytes(),
        );
        out.put_u16_le(u16::try_from(self.sources.len()).unwrap_or(u16::MAX));
        for source in &self.sources {
            out.put_u8(u8::try_from(source.name.len()).unwrap_or(u8::MAX));
            out.put_slice(source.name.as_bytes());
            out.put_u64_le(source.events);
        }
        let head_len = out.len() + 4;
        out[12..16].copy_from_slice(&u32::try_from(head_len).unwrap_or(u32::MAX).to_le_bytes());
        out.put_u32_le(crc_fast::crc32_iscsi(&out));
        for frame in &self.frames {
            out.put_u64_le(frame.first.0);
            out.put_u64_le(frame.offset);
            out.put_u32_le(frame.records_before);
        }
        for record in &self.records {
            out.put_slice(record.id.as_bytes());
            out.put_slice(&record.key.map_or([0; 16], |key| key.0));
            out.put_u16_le(record.source);
        }
        let crc = crc_fast::crc32_iscsi(&out[head_len..]);
        out.put_u32_le(crc);
        out
    }

    /// Writes the index as `name`, whole or not at all.
    ///
    /// # Errors
    /// As the system reports. Without an index nothing is lost but time.
    pub fn write(&self, storage: &dyn Storage, name: &str, salt: &Salt) -> io::Result<()> {
        let temporary = format!("{name}.tmp");
        match storage.remove(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = storage.create(&temporary)?;
        let written = file
            .write_at(&self.encode(salt), 0)
            .and_then(|()| file.sync());
        written
            .and_then(|()| storage.rename(&temporary, name))
            .inspect_err(|_| {
                // The leftover is removed at the next start too.
                let _ = storage.remove(&temporary);
            })
    }
}

/// Reads the head alone; `None` when it is not a valid head for the segment with this salt.
#[must_use]
pub fn read_summary(file: &dyn File, salt: &Salt) -> Option<Summary> {
    read_head(file, salt).map(|head| head.summary)
}

/// Reads the whole index; `None` when it is not valid for the segment with this salt.
#[must_use]
pub fn read(file: &dyn File, salt: &Salt) -> Option<SegmentIndex> {
    let Head {
        len,
        frames,
        records,
        summary,
    } = read_head(file, salt)?;
    let body_len = frames
        .checked_mul(FRAME_BYTES)?
        .checked_add(records.checked_mul(RECORD_BYTES)?)?;
    if file.size().ok()? < (len + body_len + 4) as u64 {
        return None;
    }
    let mut bytes = vec![0; body_len + 4];
    if read_full(file, &mut bytes, len as u64).ok()? < bytes.len() {
        return None;
    }
    let (mut body, mut crc) = bytes.split_at(body_len);
    if crc_fast::crc32_iscsi(body) != crc.get_u32_le() {
        return None;
    }
    let mut index = SegmentIndex {
        frames: Vec::with_capacity(frames),
        records: Vec::with_capacity(records),
        sources: summary.sources,
        last: summary.last,
        data_end: summary.data_end,
        last_checksum: summary.last_checksum,
        missing: summary.missing,
    };
    for _ in 0..frames {
        index.frames.push(FrameRef {
            first: Seq(body.get_u64_le()),
            offset: body.get_u64_le(),
            records_before: body.get_u32_le(),
        });
    }
    for _ in 0..records {
        let id = take_id(&mut body);
        let mut key = [0; 16];
        body.copy_to_slice(&mut key);
        let source = body.get_u16_le();
        if usize::from(source) >= index.sources.len() {
            return None;
        }
        index.records.push(RecordRef {
            id,
            key: (key != [0; 16]).then_some(DedupKey(key)),
            source,
        });
    }
    Some(index)
}

struct Head {
    len: usize,
    frames: usize,
    records: usize,
    summary: Summary,
}

fn read_head(file: &dyn File, salt: &Salt) -> Option<Head> {
    let mut prefix = [0; PREFIX_BYTES];
    if read_full(file, &mut prefix, 0).ok()? < PREFIX_BYTES || prefix[..8] != MAGIC {
        return None;
    }
    let mut rest = &prefix[8..];
    let (version, len) = (rest.get_u32_le(), rest.get_u32_le() as usize);
    if version != VERSION || !(PREFIX_BYTES + 4..MAX_HEAD_BYTES).contains(&len) {
        return None;
    }
    let mut bytes = vec![0; len];
    if read_full(file, &mut bytes, 0).ok()? < len {
        return None;
    }
    let (content, mut crc) = bytes.split_at(len - 4);
    if crc_fast::crc32_iscsi(content) != crc.get_u32_le() {
        return None;
    }
    parse_head(&content[PREFIX_BYTES..], salt).map(|(frames, records, summary)| Head {
        len,
        frames,
        records,
        summary,
    })
}

/// The content's checksum was right, so what it holds is what [`SegmentIndex::encode`] wrote.
fn parse_head(mut content: &[u8], salt: &Salt) -> Option<(usize, usize, Summary)> {
    const FIXED: usize = 16 + 8 + 8 + 4 + 8 + 4 + 4 + 16 + 16 + 2;
    if content.len() < FIXED || content[..16] != *salt {
        return None;
    }
    content.advance(16);
    let (last, data_end) = (Seq(content.get_u64_le()), content.get_u64_le());
    let (last_checksum, missing) = (content.get_u32_le(), content.get_u64_le());
    let (frames, records) = (content.get_u32_le() as usize, content.get_u32_le() as usize);
    let (first_id, last_id) = (take_id(&mut content), take_id(&mut content));
    let mut sources = Vec::new();
    for _ in 0..content.get_u16_le() {
        let len = usize::from(content.try_get_u8().ok()?);
        if content.len() < len + 8 {
            return None;
        }
        let name = std::str::from_utf8(&content[..len]).ok()?.into();
        content.advance(len);
        sources.push(SourceCount {
            name,
            events: content.get_u64_le(),
        });
    }
    let some = records > 0;
    let summary = Summary {
        last,
        data_end,
        last_checksum,
        missing,
        first_id: some.then_some(first_id),
        last_id: some.then_some(last_id),
        sources,
    };
    Some((frames, records, summary))
}

fn take_id(bytes: &mut &[u8]) -> EventId {
    let mut id = [0; 16];
    bytes.copy_to_slice(&mut id);
    EventId::from_bytes(id)
}

#[cfg(test)]
mod tests {
    use super::super::tests::sample;
    use super::*;
    use crate::storage::disk::DiskStorage;

    #[test]
    fn an_index_reads_back_and_is_refused_for_another_salt_or_when_damaged() {
        let directory = tempfile::tempdir().unwrap();
        let storage = DiskStorage::open(directory.path()).unwrap();
        let index = sample();
        index.write(&storage, "x.index", &[4; 16]).unwrap();
        let file = storage.open("x.index").unwrap();
        assert_eq!(read_summary(&*file, &[4; 16]), Some(index.summary()));
        assert_eq!(read(&*file, &[4; 16]), Some(index.clone()));
        assert_eq!(read(&*file, &[5; 16]), None);

        let whole = index.encode(&[4; 16]);
        for at in 0..whole.len() {
            let mut bad = whole.clone();
            bad[at] ^= 0x10;
            file.write_at(&bad, 0).unwrap();
            assert_eq!(read(&*file, &[4; 16]), None, "byte {at}");
        }
    }
}
