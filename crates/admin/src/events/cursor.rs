//! The opaque cursor of a list: where the page before ended.
//!
//! A version byte and the sequence number, big-endian, as base64url without padding. Clients pass it
//! back as it is; only this file knows what is inside.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::Seq;

const VERSION: u8 = 1;

pub(super) fn write(below: Seq) -> String {
    let mut bytes = [VERSION; 9];
    bytes[1..].copy_from_slice(&below.0.to_be_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

pub(super) fn read(text: &str) -> Option<Seq> {
    let bytes: [u8; 9] = URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()?;
    let (version, number) = bytes.split_first()?;
    let number = u64::from_be_bytes(number.try_into().ok()?);
    (*version == VERSION).then_some(Seq(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back_and_anything_else_does_not() {
        for seq in [0, 1, 77, u64::MAX] {
            assert_eq!(read(&write(Seq(seq))), Some(Seq(seq)));
        }
        let cut = &write(Seq(5))[..10];
        for odd in ["", "5", cut, "AAAAAAAAAAAA", "not base64!"] {
            assert_eq!(read(odd), None, "{odd}");
        }
    }
}
