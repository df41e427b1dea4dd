//! How many messages are asked for at once. An answer is in memory as a whole, and how large it will be nobody says: it is
//! judged by how large the last ones were.

use std::sync::atomic::{AtomicUsize, Ordering};

/// As large is taken to be what nothing is known of.
const GUESS: usize = 1 << 20;

/// The largest message of late, in bytes.
#[derive(Debug)]
pub(super) struct Sizes(AtomicUsize);

impl Default for Sizes {
    fn default() -> Self {
        Self(AtomicUsize::new(GUESS))
    }
}

impl Sizes {
    /// So many are about so many bytes: at least one, and no more than `limit`.
    pub(super) fn count(&self, bytes: usize, limit: usize) -> usize {
        let one = self.0.load(Ordering::Relaxed).max(1);
        (bytes / one).clamp(1, limit.max(1))
    }

    /// Takes note of an answer. Large ones are forgotten slowly, so that one that is small among them changes little.
    pub(super) fn note(&self, sizes: impl Iterator<Item = usize>) {
        if let Some(largest) = sizes.max() {
            let before = self.0.load(Ordering::Relaxed);
            self.0.store(largest.max(before / 2), Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_small_ones_come_at_once_and_few_large_ones() {
        let (sizes, enough) = (Sizes::default(), 8 << 20);
        assert_eq!(sizes.count(enough, 100), 8, "nothing is known");
        for _ in 0..10 {
            sizes.note([10, 20].into_iter());
        }
        assert_eq!(sizes.count(enough, 100), 100);
        sizes.note([4 << 20, 1].into_iter());
        sizes.note(std::iter::empty());
        assert_eq!(sizes.count(enough, 100), 2);
        sizes.note([64 << 20].into_iter());
        assert_eq!(sizes.count(enough, 100), 1);
        assert_eq!(sizes.count(0, 0), 1);
    }
}
