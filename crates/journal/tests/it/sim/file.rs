//! One file: what the page cache shows, what the disk has, and what lies between them.

use std::collections::BTreeMap;

use super::Dice;

/// A disk writes no less than this at once.
const SECTOR: usize = 512;

/// What a power cut may do to unsynced pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PageLoss {
    /// All of them are lost.
    All,
    /// None is: the background had written them.
    None,
    /// Each page is any version that it had.
    Pages,
    /// Each sector is.
    Sectors,
}

#[derive(Debug, Clone)]
pub(super) struct SimFile {
    page: usize,
    cache: Vec<u8>,
    disk: Vec<u8>,
    /// Versions of each page since the last sync, oldest first.
    dirty: BTreeMap<usize, Vec<Vec<u8>>>,
    /// Lengths since the last sync.
    lengths: Vec<usize>,
    /// Reading any byte of these fails.
    pub(super) unreadable: Vec<std::ops::Range<usize>>,
}

impl SimFile {
    pub(super) fn new(page: usize) -> Self {
        Self {
            page,
            cache: Vec::new(),
            disk: Vec::new(),
            dirty: BTreeMap::new(),
            lengths: Vec::new(),
            unreadable: Vec::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.cache.len()
    }

    /// `None`: the stretch cannot be read.
    pub(super) fn read(&self, buffer: &mut [u8], offset: usize) -> Option<usize> {
        let start = offset.min(self.cache.len());
        let end = (start + buffer.len()).min(self.cache.len());
        let bad = |range: &std::ops::Range<usize>| range.start < end && start < range.end;
        if self.unreadable.iter().any(bad) {
            return None;
        }
        buffer[..end - start].copy_from_slice(&self.cache[start..end]);
        Some(end - start)
    }

    pub(super) fn write(&mut self, bytes: &[u8], offset: usize) {
        if bytes.is_empty() {
            return;
        }
        let end = offset + bytes.len();
        if end > self.cache.len() {
            self.cache.resize(end, 0);
            self.lengths.push(end);
        }
        self.cache[offset..end].copy_from_slice(bytes);
        for page in offset / self.page..=(end - 1) / self.page {
            let range = self.range(page, self.cache.len());
            self.dirty
                .entry(page)
                .or_default()
                .push(self.cache[range].to_vec());
        }
    }

    fn range(&self, page: usize, len: usize) -> std::ops::Range<usize> {
        let start = page * self.page;
        start.min(len)..(start + self.page).min(len)
    }

    pub(super) fn sync(&mut self) {
        self.disk.resize(self.cache.len(), 0);
        for (page, versions) in std::mem::take(&mut self.dirty) {
            let newest = &versions[versions.len() - 1];
            let start = page * self.page;
            self.disk[start..start + newest.len()].copy_from_slice(newest);
        }
        self.lengths.clear();
    }

    /// Some of the dirty pages reach the disk; those that do not are no longer dirty.
    pub(super) fn sync_failing(&mut self, dice: &mut Dice) {
        let cache = self.cache.clone();
        self.lose(dice, PageLoss::Pages);
        // A length that did not get through is not forgotten: it is metadata, tried again.
        if cache.len() > self.disk.len() {
            self.lengths.push(cache.len());
        }
        self.cache = cache;
    }

    pub(super) fn lose(&mut self, dice: &mut Dice, loss: PageLoss) {
        let dirty = std::mem::take(&mut self.dirty);
        let lengths = std::mem::take(&mut self.lengths);
        let len = match loss {
            PageLoss::All => self.disk.len(),
            PageLoss::None => self.cache.len(),
            _ => match dice.index(lengths.len() + 1).checked_sub(1) {
                Some(at) => lengths[at],
                None => self.disk.len(),
            },
        };
        self.disk.resize(len, 0);
        for (page, versions) in dirty {
            let range = self.range(page, len);
            let piece = match loss {
                PageLoss::All => continue,
                PageLoss::Sectors => SECTOR,
                PageLoss::None | PageLoss::Pages => self.page,
            };
            for start in range.clone().step_by(piece) {
                let chosen = match loss {
                    PageLoss::None => versions.len(),
                    _ => dice.index(versions.len() + 1),
                };
                let Some(version) = chosen.checked_sub(1).map(|at| &versions[at]) else {
                    continue;
                };
                let from = start - page * self.page;
                // Shorter: the file ended before this piece when the version was written.
                if let Some(written) = version.get(from..) {
                    let count = piece.min(written.len()).min(len - start);
                    self.disk[start..start + count].copy_from_slice(&written[..count]);
                }
            }
        }
        self.cache.clone_from(&self.disk);
    }

    /// Changes what is stored behind everybody's back.
    pub(super) fn damage(&mut self, damage: impl FnOnce(&mut Vec<u8>)) {
        self.sync();
        self.disk.clone_from(&self.cache);
        damage(&mut self.disk);
        self.cache.clone_from(&self.disk);
    }
}
