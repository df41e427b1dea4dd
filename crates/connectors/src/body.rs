//! Whether a body is what a column can hold, found out before a database is asked.
//!
//! A body that does not fit goes to `body_raw` and is never a reason to reject, so what is too careful
//! here costs nothing but the column. What is not careful enough, the server refuses, and its client
//! then moves that one body.

use serde::de::IgnoredAny;

/// How deep arrays and objects may nest for `body`. PostgreSQL's own limit depends on its stack, and is
/// several times this by default; most readers stop far earlier.
pub(crate) const MAX_DEPTH: usize = 1000;

/// PostgreSQL's `numeric`, which `jsonb` keeps numbers in: digits before and after the point.
const NUMERIC_WHOLE_DIGITS: i64 = 131_072;
const NUMERIC_FRACTION_DIGITS: i64 = 16_383;

/// What a column or parameter takes as a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holds {
    /// JSON, kept as its text.
    Json,
    /// JSON, taken apart: PostgreSQL's `jsonb`.
    Jsonb,
    /// UTF-8 without a NUL byte.
    Text,
    /// Anything.
    Bytes,
}

/// Whether `body` can be written where `holds` says.
pub(crate) fn fits(body: &[u8], holds: Holds) -> bool {
    match holds {
        Holds::Bytes => true,
        Holds::Text => !body.contains(&0) && std::str::from_utf8(body).is_ok(),
        Holds::Json => is_json(body),
        Holds::Jsonb => is_json(body) && escapes_fit_jsonb(body) && numbers_fit_jsonb(body),
    }
}

fn is_json(body: &[u8]) -> bool {
    std::str::from_utf8(body).is_ok()
        && serde_json::from_slice::<IgnoredAny>(body).is_ok()
        && !is_too_deep(body)
}

/// Of valid JSON. Most bodies have so few brackets that they need not be looked at in order.
fn is_too_deep(body: &[u8]) -> bool {
    let opens = body
        .iter()
        .filter(|byte| matches!(byte, b'[' | b'{'))
        .count();
    if opens <= MAX_DEPTH {
        return false;
    }
    let (mut depth, mut deepest) = (0_usize, 0_usize);
    outside_strings(body, |byte| match byte {
        b'[' | b'{' => {
            depth += 1;
            deepest = deepest.max(depth);
        }
        b']' | b'}' => depth = depth.saturating_sub(1),
        _ => {}
    });
    deepest > MAX_DEPTH
}

fn outside_strings(body: &[u8], mut see: impl FnMut(u8)) {
    let mut bytes = body.iter();
    let mut inside = false;
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' if inside => {
                bytes.next();
            }
            b'"' => inside = !inside,
            other if !inside => see(*other),
            _ => {}
        }
    }
}

/// `jsonb` decodes escapes: it has no NUL, and no half of a surrogate pair.
fn escapes_fit_jsonb(body: &[u8]) -> bool {
    let mut rest = body;
    let mut high = false;
    while let Some(at) = rest.iter().position(|byte| *byte == b'\\') {
        // A low half must follow its high half at once.
        if high && at > 0 {
            return false;
        }
        let escape = &rest[at + 1..];
        if escape.first() != Some(&b'u') {
            if high {
                return false;
            }
            rest = escape.get(1..).unwrap_or_default();
            continue;
        }
        let Some(unit) = escape.get(1..5).and_then(hex) else {
            return false;
        };
        match unit {
            0 => return false,
            0xd800..=0xdbff if !high => high = true,
            0xdc00..=0xdfff if high => high = false,
            0xd800..=0xdfff => return false,
            _ if high => return false,
            _ => {}
        }
        rest = escape.get(5..).unwrap_or_default();
    }
    !high
}

fn hex(digits: &[u8]) -> Option<u16> {
    let text = std::str::from_utf8(digits).ok()?;
    u16::from_str_radix(text, 16).ok()
}

fn numbers_fit_jsonb(body: &[u8]) -> bool {
    // Only an exponent or very many digits can be out of range.
    let mut number = Number::default();
    let mut all_fit = true;
    outside_strings(body, |byte| {
        if matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E') {
            number.see(byte);
        } else {
            all_fit &= std::mem::take(&mut number).fits();
        }
    });
    all_fit && number.fits()
}

/// What of a number's text decides whether `numeric` can hold it. The letters of `true` and `false` pass
/// through it without harm: there is an `e` in them, but no digit.
#[derive(Debug, Default)]
struct Number {
    whole: i64,
    fraction: i64,
    exponent: i64,
    part: Part,
    negative_exponent: bool,
}

#[derive(Debug, Default, Clone, Copy)]
enum Part {
    #[default]
    Whole,
    Fraction,
    Exponent,
}

impl Number {
    fn see(&mut self, byte: u8) {
        match (byte, self.part) {
            (b'.', _) => self.part = Part::Fraction,
            (b'e' | b'E', _) => self.part = Part::Exponent,
            (b'-', Part::Exponent) => self.negative_exponent = true,
            (b'0'..=b'9', Part::Whole) => self.whole += 1,
            (b'0'..=b'9', Part::Fraction) => self.fraction += 1,
            (b'0'..=b'9', Part::Exponent) => {
                let digit = i64::from(byte - b'0');
                self.exponent = (self.exponent * 10 + digit).min(1_000_000_000);
            }
            _ => {}
        }
    }

    fn fits(&self) -> bool {
        let exponent = if self.negative_exponent {
            -self.exponent
        } else {
            self.exponent
        };
        self.whole + exponent <= NUMERIC_WHOLE_DIGITS
            && self.fraction - exponent <= NUMERIC_FRACTION_DIGITS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nested(depth: usize) -> Vec<u8> {
        let mut text = "[".repeat(depth);
        text.push_str(&"]".repeat(depth));
        text.into_bytes()
    }

    #[test]
    fn json_is_what_rfc_8259_says_in_utf_8() {
        for good in [
            r#"{"a": [1, -2.5e3, true, null, "x\u0000\ud800"]}"#,
            " 1 ",
            "\"\"",
            "1e999999",
            r#"{"a":1,"a":2}"#,
        ] {
            assert!(fits(good.as_bytes(), Holds::Json), "{good}");
        }
        for bad in [
            &b""[..],
            b" ",
            b"{",
            b"{}{}",
            b"nope",
            b"\"\xff\"",
            b"\"\0\"",
            b"\xef\xbb\xbf{}",
            b"'a'",
            b"NaN",
            b"01",
            b"\"\\u12g4\"",
            b"[1,]",
        ] {
            assert!(!fits(bad, Holds::Json), "{bad:?}");
        }
    }

    #[test]
    fn depth_is_bounded_and_brackets_in_strings_do_not_count() {
        assert!(fits(&nested(MAX_DEPTH), Holds::Json));
        assert!(!fits(&nested(MAX_DEPTH + 1), Holds::Json));
        assert!(!fits(&nested(1_000_000), Holds::Json));
        let text = format!("\"\\\"{}\"", "[".repeat(5000));
        assert!(fits(text.as_bytes(), Holds::Json));
        let wide = format!("[{}[]]", "[],".repeat(5000));
        assert!(fits(wide.as_bytes(), Holds::Json));
    }

    #[test]
    fn jsonb_takes_no_nul_no_half_pairs_and_no_boundless_numbers() {
        for good in [
            r#""\ud83d\ude00""#,
            r#""\\u0000""#,
            r#""\u0001\n\u00e4""#,
            "[1e131071, 1e-16383, true, false]",
            r#"{"e": 12345678901234567890.5}"#,
        ] {
            assert!(fits(good.as_bytes(), Holds::Jsonb), "{good}");
        }
        for bad in [
            r#""\u0000""#,
            r#""\ud83d""#,
            r#""\ud83d x\ude00""#,
            r#""\ud83d\n""#,
            r#""\ud83d\u0041""#,
            r#""\ude00""#,
            r#"["\ud83d","\ude00"]"#,
            "1e131072",
            "[1e-16384]",
            "1e99999999999999999999",
        ] {
            assert!(!fits(bad.as_bytes(), Holds::Jsonb), "{bad}");
            assert!(fits(bad.as_bytes(), Holds::Json), "{bad}");
        }
    }

    #[test]
    fn text_is_utf_8_without_nul() {
        assert!(fits(b"", Holds::Text));
        assert!(fits("ä".as_bytes(), Holds::Text));
        assert!(!fits(b"a\0b", Holds::Text));
        assert!(!fits(b"\xff", Holds::Text));
        assert!(fits(b"\xff\0", Holds::Bytes));
    }
}
