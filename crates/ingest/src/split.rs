//! Taking a body apart into the events that it holds.
//!
//! An item is a slice of the body, byte for byte as it was spelt. It is all or nothing: one item that is none refuses
//! the whole request, with its place.

use std::fmt;

use bytes::Bytes;
use serde::de::{Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::json::{self, Pointer};
use crate::verify::Split;

/// The most events of one request: each is answered for, and all of them are in memory at once.
pub(crate) const MOST: usize = 10_000;

/// Why a body was not taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotSplit {
    /// There is no array where the items should be, or the body is not JSON.
    #[error("the body holds no array of events where this source has them")]
    NoArray,
    /// This one, counted from 0, is no event.
    #[error("item {0} is not an event; nothing of the request was stored")]
    Bad(usize),
    /// More than [`MOST`].
    #[error("the body holds more than {MOST} events")]
    TooMany,
}

/// The items of a body, in order.
///
/// # Errors
/// [`NotSplit`].
pub(crate) fn items(body: &Bytes, split: &Split) -> Result<Vec<Bytes>, NotSplit> {
    match split {
        Split::Lines => lines(body),
        Split::Array(pointer) => array(body, pointer),
    }
}

/// White space is trimmed and empty lines are passed over, as the last one is in most files of this kind.
fn lines(body: &Bytes) -> Result<Vec<Bytes>, NotSplit> {
    let mut items = Vec::new();
    for line in body.split(|byte| *byte == b'\n') {
        let line = line.trim_ascii();
        if line.is_empty() {
            continue;
        }
        if items.len() < MOST && (line == b"null" || !json::is_json(line)) {
            return Err(NotSplit::Bad(items.len()));
        }
        if items.len() == MOST {
            return Err(NotSplit::TooMany);
        }
        items.push(body.slice_ref(line));
    }
    Ok(items)
}

fn array(body: &Bytes, pointer: &str) -> Result<Vec<Bytes>, NotSplit> {
    let found = Pointer::new(pointer).raw(body).ok_or(NotSplit::NoArray)?;
    let mut json = serde_json::Deserializer::from_str(found.get());
    let found = json
        .deserialize_seq(AtMost)
        .map_err(|_| NotSplit::NoArray)?;
    let found = found.ok_or(NotSplit::TooMany)?;
    let mut items = Vec::with_capacity(found.len());
    for (at, item) in found.into_iter().enumerate() {
        let text = item.get().as_bytes();
        if text == b"null" || std::str::from_utf8(text).is_err() {
            return Err(NotSplit::Bad(at));
        }
        items.push(body.slice_ref(text));
    }
    Ok(items)
}

/// The items of an array as they are spelt; `None` if they are more than [`MOST`], whose places are not made then.
struct AtMost;

impl<'de> Visitor<'de> for AtMost {
    type Value = Option<Vec<&'de RawValue>>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            if items.len() == MOST {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                return Ok(None);
            }
            items.push(item);
        }
        Ok(Some(items))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn split(body: &str, split: &Split) -> Result<Vec<String>, NotSplit> {
        let items = items(&Bytes::copy_from_slice(body.as_bytes()), split)?;
        let text = |item: Bytes| String::from_utf8(item.to_vec()).unwrap();
        Ok(items.into_iter().map(text).collect())
    }

    fn array_at(pointer: &str) -> Split {
        Split::Array(pointer.into())
    }

    #[test]
    fn items_are_the_bodys_own_bytes() {
        let body = r#" [ {"a" : 1.50} , "x\u0041",[ ] ] "#;
        let whole = split(body, &array_at("")).unwrap();
        assert_eq!(whole, [r#"{"a" : 1.50}"#, r#""x\u0041""#, "[ ]"]);
        let inner = split(r#"{"v":{"entries":[1,2]},"w":3}"#, &array_at("/v/entries"));
        assert_eq!(inner.unwrap(), ["1", "2"]);
        assert!(split("[]", &array_at("")).unwrap().is_empty());
        let lines = split("{\"a\":1}\r\n\n  [2] \n", &Split::Lines).unwrap();
        assert_eq!(lines, ["{\"a\":1}", "[2]"]);
    }

    #[test]
    fn what_is_no_event_is_named_by_its_place() {
        assert_eq!(split("[1,null,2]", &array_at("")), Err(NotSplit::Bad(1)));
        assert_eq!(split("{}\n{\n{}", &Split::Lines), Err(NotSplit::Bad(1)));
        for none in ["", "{}", "{\"a\":{}}", "[1,]", "[1] x", "1"] {
            assert_eq!(
                split(none, &array_at("/a")),
                Err(NotSplit::NoArray),
                "{none}"
            );
        }
        assert_eq!(split("{}", &array_at("")), Err(NotSplit::NoArray));
        let many = format!("[{}0]", "0,".repeat(MOST));
        assert_eq!(split(&many, &array_at("")), Err(NotSplit::TooMany));
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic_and_items_are_json(body in prop::collection::vec(any::<u8>(), 0..300), pointer in "(/[a-c0-2~]{0,2}){0,2}") {
            let body = Bytes::from(body);
            for split in [Split::Lines, Split::Array(pointer)] {
                for item in items(&body, &split).unwrap_or_default() {
                    prop_assert!(json::is_json(&item));
                }
            }
        }

        #[test]
        fn an_array_is_its_items(values in prop::collection::vec("[a-z\"\\\\]{0,9}", 0..20), pretty in any::<bool>()) {
            let tree = serde_json::json!({ "a": { "b": values } });
            let text = if pretty { serde_json::to_string_pretty(&tree).unwrap() } else { tree.to_string() };
            let items = split(&text, &array_at("/a/b")).unwrap();
            let read: Vec<String> = items.iter().map(|item| serde_json::from_str(item).unwrap()).collect();
            prop_assert_eq!(read, values);
        }
    }
}
