//! One event as one line.
//!
//! The body stands in one of three keys: `body` when it is JSON in one line, byte for byte; else `body_text` when it is
//! UTF-8, as a JSON string; else `body_base64`. A dead letter has its attributes among the headers.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::ports::Delivery;

use crate::body::{self, Holds};
use crate::headers;

/// Appends the event's line, with its end.
pub(super) fn write(delivery: &Delivery, out: &mut Vec<u8>) {
    let stored = &delivery.stored;
    let event = &*stored.event;
    out.reserve(event.body.len() + event.headers.bytes() + 256);
    for (key, text) in [
        ("{\"id\":", stored.id.to_string().as_str()),
        (",\"source\":", event.source.as_str()),
        (
            ",\"received_at\":",
            format!("{:.6}", event.received_at).as_str(),
        ),
        (",\"method\":", event.method.as_str()),
        (",\"path\":", event.path.as_str()),
    ] {
        out.extend_from_slice(key.as_bytes());
        headers::string(text, out);
    }
    out.extend_from_slice(b",\"headers\":");
    headers::write(&event.headers, delivery.letter.as_deref(), out);
    out.extend_from_slice(b",\"content_type\":");
    match event.content_type() {
        Some(text) => headers::string(text, out),
        None => out.extend_from_slice(b"null"),
    }
    write_body(&event.body, out);
    out.extend_from_slice(b"}\n");
}

fn write_body(body: &[u8], out: &mut Vec<u8>) {
    let one_line = !body.iter().any(|byte| matches!(byte, b'\n' | b'\r'));
    if one_line && body::fits(body, Holds::Json) {
        out.extend_from_slice(b",\"body\":");
        out.extend_from_slice(body);
    } else if let Ok(text) = std::str::from_utf8(body) {
        out.extend_from_slice(b",\"body_text\":");
        headers::string(text, out);
    } else {
        out.extend_from_slice(b",\"body_base64\":\"");
        out.extend_from_slice(STANDARD.encode(body).as_bytes());
        out.push(b'"');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(body: &[u8]) -> String {
        let mut out = b"{\"x\":0".to_vec();
        write_body(body, &mut out);
        out.push(b'}');
        let text = String::from_utf8(out).unwrap();
        assert!(
            serde_json::from_str::<serde_json::Value>(&text).is_ok(),
            "{text}"
        );
        text
    }

    #[test]
    fn a_body_stands_where_it_keeps_its_bytes() {
        for (body, expected) in [
            (&br#"{"a": 1,"a":2.50}"#[..], r#","body":{"a": 1,"a":2.50}"#),
            (b" [1] ", r#","body": [1] "#),
            (b"{\n}", r#","body_text":"{\u000a}""#),
            (b"1\r", r#","body_text":"1\u000d""#),
            (b"a=1", r#","body_text":"a=1""#),
            (b"", r#","body_text":"""#),
            (b"\0", r#","body_text":"\u0000""#),
            (b"\xff", r#","body_base64":"/w==""#),
            (b"\"\xff\"", r#","body_base64":"Iv8i""#),
        ] {
            assert_eq!(written(body), format!("{{\"x\":0{expected}}}"));
        }
    }
}
