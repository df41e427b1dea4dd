//! The opaque cursor of a list: where the page before ended.
//!
//! A byte that says which list's it is and the number that it ended with, big-endian, as base64url without
//! padding. Clients pass it back as it is; only this file knows what is inside.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// The lists that have pages. A cursor of one is none of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum List {
    Events = 1,
    DeadLetters = 2,
    Redrives = 3,
    Subscriptions = 4,
    Quarantine = 5,
    Gaps = 6,
    Backfills = 7,
}

impl List {
    pub(crate) fn cursor(self, below: u64) -> String {
        self.pack(&below.to_be_bytes())
    }

    /// The number in a cursor of this list.
    pub(crate) fn read(self, text: &str) -> Option<u64> {
        self.unpack(text).map(u64::from_be_bytes)
    }

    /// Of a list that goes by ids.
    pub(crate) fn wide_cursor(self, below: u128) -> String {
        self.pack(&below.to_be_bytes())
    }

    pub(crate) fn read_wide(self, text: &str) -> Option<u128> {
        self.unpack(text).map(u128::from_be_bytes)
    }

    fn pack(self, number: &[u8]) -> String {
        URL_SAFE_NO_PAD.encode([&[self as u8], number].concat())
    }

    fn unpack<const BYTES: usize>(self, text: &str) -> Option<[u8; BYTES]> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (list, number) = bytes.split_first()?;
        let number = number.try_into().ok()?;
        (*list == self as u8).then_some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back_and_anything_else_does_not() {
        for number in [0, 1, 77, u64::MAX] {
            let cursor = List::Events.cursor(number);
            assert_eq!(List::Events.read(&cursor), Some(number));
            assert_eq!(List::DeadLetters.read(&cursor), None, "of another list");
        }
        let wide = List::Subscriptions.wide_cursor(u128::MAX);
        assert_eq!(List::Subscriptions.read_wide(&wide), Some(u128::MAX));
        assert_eq!(List::Subscriptions.read(&wide), None, "too long");
        let cut = &List::Events.cursor(5)[..10];
        for odd in ["", "5", cut, "AAAAAAAAAAAA", "not base64!"] {
            assert_eq!(List::Events.read(odd), None, "{odd}");
        }
    }
}
