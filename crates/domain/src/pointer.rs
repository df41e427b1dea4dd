//! A JSON pointer (RFC 6901) looked up in a body, with the value's own text kept.
//!
//! Numbers are taken as they were written, so that no digit is lost on the way to a `numeric` column.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::value::RawValue;

/// A checked pointer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pointer(Vec<String>);

/// A text that is no JSON pointer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a JSON pointer begins with \"/\", as in \"/conversationId\" or \"/items/0/id\"; in a name, ~ is written ~0, and / is ~1"
)]
pub struct PointerError;

/// A body, or a part of the pointed-to value, that is not JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotJson;

impl Pointer {
    /// Reads a pointer; the empty one points to the whole body.
    ///
    /// # Errors
    /// [`PointerError`] when it does not begin with a slash, or has a `~` that stands for nothing.
    pub fn parse(text: &str) -> Result<Self, PointerError> {
        if text.is_empty() {
            return Ok(Self(Vec::new()));
        }
        let Some(path) = text.strip_prefix('/') else {
            return Err(PointerError);
        };
        let mut escapes = path.split('~').skip(1);
        if !escapes.all(|rest| rest.starts_with(['0', '1'])) {
            return Err(PointerError);
        }
        let parts = path.split('/');
        Ok(Self(
            parts
                .map(|part| part.replace("~1", "/").replace("~0", "~"))
                .collect(),
        ))
    }

    /// The value's text: a string without its quotes and escapes, anything else as JSON. `None` when it
    /// is not there or null.
    ///
    /// # Errors
    /// [`NotJson`] when the body, or a part on the way, is none.
    pub fn find<'a>(&self, body: &'a [u8]) -> Result<Option<Cow<'a, str>>, NotJson> {
        let mut at: &'a RawValue = serde_json::from_slice(body).map_err(|_| NotJson)?;
        for part in &self.0 {
            let text = at.get();
            let next = match text.as_bytes().first() {
                Some(b'{') => {
                    let members: BTreeMap<Cow<'_, str>, &'a RawValue> =
                        serde_json::from_str(text).map_err(|_| NotJson)?;
                    members.get(part.as_str()).copied()
                }
                Some(b'[') => {
                    let items: Vec<&'a RawValue> =
                        serde_json::from_str(text).map_err(|_| NotJson)?;
                    index(part).and_then(|index| items.get(index).copied())
                }
                _ => None,
            };
            let Some(next) = next else { return Ok(None) };
            at = next;
        }
        let text = at.get();
        match text.as_bytes().first() {
            Some(b'"') => serde_json::from_str::<String>(text)
                .map(|text| Some(Cow::Owned(text)))
                .map_err(|_| NotJson),
            _ if text == "null" => Ok(None),
            _ => Ok(Some(Cow::Borrowed(text))),
        }
    }
}

impl std::fmt::Display for Pointer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for part in &self.0 {
            write!(f, "/{}", part.replace('~', "~0").replace('/', "~1"))?;
        }
        Ok(())
    }
}

/// RFC 6901: digits without a leading zero.
fn index(part: &str) -> Option<usize> {
    let plain = part.bytes().all(|byte| byte.is_ascii_digit());
    (plain && (part == "0" || !part.starts_with('0'))).then(|| part.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_with_their_own_text() {
        let body = br#"{"a": {"b/c": [1, 2.50000000000000000000001, "x\"\u00e4"]}, "n": null, "t": true, "": 7, "a~b": {"x": 1}, "esc\u0061ped": 5}"#;
        let find = |pointer: &str| {
            Pointer::parse(pointer)
                .unwrap()
                .find(body)
                .unwrap()
                .map(Cow::into_owned)
        };
        let cases = [
            ("/a/b~1c/0", Some("1")),
            ("/a/b~1c/1", Some("2.50000000000000000000001")),
            ("/a/b~1c/2", Some("x\"ä")),
            ("/a/b~1c/3", None),
            ("/a/b~1c/01", None),
            ("/a/b~1c/-", None),
            ("/n", None),
            ("/n/x", None),
            ("/t", Some("true")),
            ("/", Some("7")),
            ("/a~0b", Some("{\"x\": 1}")),
            ("/escaped", Some("5")),
            ("/missing", None),
        ];
        for (pointer, value) in cases {
            assert_eq!(find(pointer).as_deref(), value, "{pointer}");
        }
        assert!(find("").unwrap().starts_with("{\"a\""));
        assert!(Pointer::parse("a").is_err());
    }

    #[test]
    fn what_is_not_json_is_said_so() {
        let pointer = Pointer::parse("/a").unwrap();
        for body in [&b""[..], b"nope", b"{\"a\":", b"{\"a\":\"\xff\"}"] {
            assert_eq!(pointer.find(body), Err(NotJson), "{body:?}");
        }
        assert_eq!(pointer.find(br#"{"a":"\ud800"}"#), Err(NotJson));
    }
}
