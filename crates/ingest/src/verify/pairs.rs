//! A header of pairs, as Stripe and Paddle spell it: `t=1492774577,v1=5257…,v1=a3f2…`.

use super::Refusal;
use super::signature::Encoding;

/// More signatures than this in one header are refused: a sender needs one for each of its secrets.
const SIGNATURES: usize = 16;

/// The time as it was spelt, and every signature of the asked kind that can be read.
#[derive(Debug)]
pub(super) struct Pairs<'a> {
    pub time: &'a str,
    pub signatures: Vec<Vec<u8>>,
}

/// Takes the header apart. Pairs of other names are passed over, and so are signatures that are no hex: they fit no
/// key.
///
/// # Errors
/// [`Refusal::Malformed`]: no time, two times, no signature of the kind, or too many.
pub(super) fn read<'a>(
    header: &'a str,
    separator: char,
    time: &str,
    signature: &str,
) -> Result<Pairs<'a>, Refusal> {
    let mut found = None;
    let mut signatures = Vec::new();
    let mut of_kind = 0;
    for pair in header.split(separator) {
        let (name, value) = pair.trim().split_once('=').ok_or(Refusal::Malformed)?;
        if name == time {
            if found.replace(value).is_some() {
                return Err(Refusal::Malformed);
            }
        } else if name == signature {
            of_kind += 1;
            if of_kind > SIGNATURES {
                return Err(Refusal::Malformed);
            }
            signatures.extend(Encoding::Hex.decode(value));
        }
    }
    match found {
        Some(time) if of_kind > 0 => Ok(Pairs { time, signatures }),
        _ => Err(Refusal::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_kinds_are_passed_over_and_doubts_refused() {
        let pairs = read("t=1, v1=00,v0=zz,v1=ff,v1=x", ',', "t", "v1").unwrap();
        assert_eq!(
            (pairs.time, pairs.signatures),
            ("1", vec![vec![0], vec![255]])
        );
        let many = format!("t=1{}", ",v1=00".repeat(17));
        for bad in [
            "",
            "t=1",
            "v1=00",
            "t=1,t=2,v1=00",
            "t=1,v1",
            "t=1;v1=00",
            &many,
        ] {
            assert!(read(bad, ',', "t", "v1").is_err(), "{bad}");
        }
    }
}
