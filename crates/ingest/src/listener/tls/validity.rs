//! From when to when a certificate is valid, which its library checks and does not tell.

use domain::Timestamp;
use rustls_pki_types::CertificateDer;

use crate::der::{SEQUENCE, take};

/// Tags: the version, which may be left out; a serial number; both kinds of time.
const VERSION: u8 = 0xa0;
const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// The first and the last moment of a certificate; `None` where it cannot be read.
pub(super) fn validity(certificate: &CertificateDer<'_>) -> Option<[Timestamp; 2]> {
    let (certificate, _) = take(certificate, &[SEQUENCE])?;
    let (signed, _) = take(certificate, &[SEQUENCE])?;
    let signed = take(signed, &[VERSION]).map_or(signed, |(_, rest)| rest);
    let (_serial, rest) = take(signed, &[INTEGER])?;
    let (_algorithm, rest) = take(rest, &[SEQUENCE])?;
    let (_issuer, rest) = take(rest, &[SEQUENCE])?;
    let (times, _) = take(rest, &[SEQUENCE])?;
    let (first, rest) = time(times)?;
    let (last, _) = time(rest)?;
    Some([first, last])
}

/// A time of either kind, `YYMMDDhhmmssZ` or `YYYYMMDDhhmmssZ`, and what is behind it.
fn time(der: &[u8]) -> Option<(Timestamp, &[u8])> {
    let (text, rest) = take(der, &[UTC_TIME, GENERALIZED_TIME])?;
    let text = std::str::from_utf8(text).ok()?;
    if !text.is_ascii() {
        return None;
    }
    let (year, text) = match text.len() {
        13 => {
            let (year, rest) = text.split_at(2);
            let century = if year >= "50" { "19" } else { "20" };
            ([century, year].concat(), rest)
        }
        15 => (text[..4].to_owned(), &text[4..]),
        _ => return None,
    };
    let part = |at: usize| &text[at..at + 2];
    let time = format!(
        "{year}-{}-{}T{}:{}:{}{}",
        part(0),
        part(2),
        part(4),
        part(6),
        part(8),
        &text[10..]
    );
    Some((time.parse().ok()?, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    #[test]
    fn a_certificate_says_from_when_to_when_it_is_valid() {
        for (year, text) in [
            (2026, "2026-02-01T00:00:00Z"),
            (2061, "2061-02-01T00:00:00Z"),
        ] {
            let mut params = CertificateParams::new(["a".to_owned()]).unwrap();
            params.not_before = date_time_ymd(1999, 12, 31);
            params.not_after = date_time_ymd(year, 2, 1);
            let made = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
            let expected = ["1999-12-31T00:00:00Z", text].map(|time| time.parse().unwrap());
            assert_eq!(validity(made.der()), Some(expected));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(der in prop::collection::vec(any::<u8>(), 0..40), text in "\\PC{0,16}") {
            let _ = validity(&der.into());
            let length = u8::try_from(text.len()).unwrap_or(0);
            let _ = time(&[&[UTC_TIME, length], text.as_bytes()].concat());
        }
    }
}
