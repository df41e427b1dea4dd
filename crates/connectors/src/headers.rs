//! An event's headers as one JSON object.
//!
//! A name (lower case) has its value as a string, or an array of them in the order they came when it
//! came more than once. A value that JSON text cannot hold everywhere (not UTF-8, or with a NUL byte) is
//! the object `{"base64": "…"}`, so that nothing is lost and nothing is mistaken for text. A dead letter has its
//! attributes among them, in the place of any header of the same name.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::{Envelope, Header, Headers};

/// Appends the object to `out`.
pub(crate) fn write(headers: &Headers, letter: Option<&Envelope>, out: &mut Vec<u8>) {
    out.push(b'{');
    let mut first = true;
    let attributes = letter.map(Envelope::attributes).unwrap_or_default();
    // A header already, and perhaps more than once.
    let own = |name: &str| name != "content-type" && attributes.iter().any(|(own, _)| *own == name);
    for (at, header) in headers.iter().enumerate() {
        let same = |other: &Header<'_>| other.name == header.name;
        if own(header.name) || headers.iter().take(at).any(|other| same(&other)) {
            continue;
        }
        if !first {
            out.push(b',');
        }
        first = false;
        string(header.name, out);
        out.push(b':');
        let mut rest = headers.iter().skip(at + 1).filter(same).peekable();
        if rest.peek().is_none() {
            value(header.value, out);
            continue;
        }
        out.push(b'[');
        value(header.value, out);
        for other in rest {
            out.push(b',');
            value(other.value, out);
        }
        out.push(b']');
    }
    for (name, text) in attributes.iter().filter(|(name, _)| own(name)) {
        if !first {
            out.push(b',');
        }
        first = false;
        string(name, out);
        out.push(b':');
        value(text.as_bytes(), out);
    }
    out.push(b'}');
}

fn value(bytes: &[u8], out: &mut Vec<u8>) {
    match std::str::from_utf8(bytes) {
        Ok(text) if !bytes.contains(&0) => string(text, out),
        _ => {
            out.extend_from_slice(b"{\"base64\":\"");
            out.extend_from_slice(STANDARD.encode(bytes).as_bytes());
            out.extend_from_slice(b"\"}");
        }
    }
}

/// Appends `text` as a JSON string.
pub(crate) fn string(text: &str, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut start = 0;
    for (at, byte) in bytes.iter().enumerate() {
        if *byte >= 0x20 && *byte != b'"' && *byte != b'\\' {
            continue;
        }
        out.extend_from_slice(&bytes[start..at]);
        start = at + 1;
        if *byte < 0x20 {
            out.extend_from_slice(b"\\u00");
            out.push(HEX[usize::from(byte >> 4)]);
            out.push(HEX[usize::from(byte & 15)]);
        } else {
            out.extend_from_slice(&[b'\\', *byte]);
        }
    }
    out.extend_from_slice(&bytes[start..]);
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(headers: &[(&str, &'static [u8])]) -> String {
        let headers: Headers = headers.iter().copied().collect();
        let mut out = Vec::new();
        write(&headers, None, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn one_value_is_a_string_and_several_are_an_array_in_order() {
        let json = shown(&[("a", b"1"), ("b", b"2"), ("a", b"3"), ("a", b"1")]);
        assert_eq!(json, r#"{"a":["1","3","1"],"b":"2"}"#);
        assert_eq!(shown(&[]), "{}");
    }

    #[test]
    fn odd_bytes_are_kept() {
        assert_eq!(shown(&[("a", b"\xff\x00")]), r#"{"a":{"base64":"/wA="}}"#);
        assert_eq!(shown(&[("a", b"x\0y")]), r#"{"a":{"base64":"eAB5"}}"#);
    }

    #[test]
    fn every_text_reads_back() {
        let text = "quote \" backslash \\ tab \t escape \u{1b} del \u{7f} ä 😀 {\"base64\":\"x\"}";
        let mut out = Vec::new();
        string(text, &mut out);
        assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
    }
}
