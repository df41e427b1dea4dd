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

/// Why a body was not taken apart. Holds places and nothing of the body.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotSplit {
    /// The body is not JSON.
    #[error("the body is not JSON, and this source takes an array of events out of it")]
    NotJson,
    /// There is no array at this JSON pointer.
    #[error(
        "there is no array at {0:?} of the body (\"\" is the whole), where this source has its events"
    )]
    NoArray(String),
    /// Something is no event.
    #[error(
        "{place} {at}, counted from 1, is {what} and no event; nothing of the request was stored"
    )]
    Bad {
        /// What is counted.
        place: &'static str,
        /// Its place, from 1.
        at: usize,
        /// What it is.
        what: &'static str,
    },
    /// More than [`MOST`].
    #[error("the body holds more than {MOST} events")]
    TooMany,
}

const NULL: &str = "null";
const NOT_JSON: &str = "not JSON";
const NOT_TEXT: &str = "not UTF-8";

/// The items of a body, in order.
///
/// # Errors
/// [`NotSplit`].
pub(crate) fn items(body: &Bytes, split: &Split) -> Result<Vec<Bytes>, NotSplit> {
    match split {
        Split::Lines => lines(body),
        Split::Array(pointer) => array(body, pointer),
        Split::Batch(_) => array(body, ""),
    }
}

/// White space is trimmed and empty lines are passed over, as the last one is in most files of this kind. Lines are
/// counted as an editor does.
fn lines(body: &Bytes) -> Result<Vec<Bytes>, NotSplit> {
    let mut items = Vec::new();
    for (before, line) in body.split(|byte| *byte == b'\n').enumerate() {
        let line = line.trim_ascii();
        if line.is_empty() {
            continue;
        }
        if items.len() == MOST {
            return Err(NotSplit::TooMany);
        }
        let what = match line {
            b"null" => NULL,
            line if !json::is_json(line) => NOT_JSON,
            line => {
                items.push(body.slice_ref(line));
                continue;
            }
        };
        let (place, at) = ("line", before + 1);
        return Err(NotSplit::Bad { place, at, what });
    }
    Ok(items)
}

fn array(body: &Bytes, pointer: &str) -> Result<Vec<Bytes>, NotSplit> {
    let none = || match json::is_json(body) {
        true => NotSplit::NoArray(pointer.to_owned()),
        false => NotSplit::NotJson,
    };
    let found = Pointer::new(pointer).raw(body).ok_or_else(none)?;
    let mut json = serde_json::Deserializer::from_str(found.get());
    let found = json.deserialize_seq(AtMost).map_err(|_| none())?;
    let found = found.ok_or(NotSplit::TooMany)?;
    let mut items = Vec::with_capacity(found.len());
    for (before, item) in found.into_iter().enumerate() {
        let text = item.get().as_bytes();
        let what = match text {
            b"null" => NULL,
            text if std::str::from_utf8(text).is_err() => NOT_TEXT,
            text => {
                items.push(body.slice_ref(text));
                continue;
            }
        };
        let (place, at) = ("item", before + 1);
        return Err(NotSplit::Bad { place, at, what });
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
        let said = |body: &str, by: &Split| split(body, by).unwrap_err().to_string();
        let item = said("[1,null,2]", &array_at(""));
        assert!(
            item.starts_with("item 2, counted from 1, is null"),
            "{item}"
        );
        let line = said("{}\n\n{\n{}", &Split::Lines);
        assert!(
            line.starts_with("line 3, counted from 1, is not JSON"),
            "{line}"
        );
        for none in ["{}", "{\"a\":{}}", "1", "[1]"] {
            let none = said(none, &array_at("/a"));
            assert!(none.starts_with("there is no array at \"/a\""), "{none}");
        }
        for odd in ["", "[1,]", "[1] x", "{\"a\":[1],}"] {
            assert_eq!(split(odd, &array_at("/a")), Err(NotSplit::NotJson), "{odd}");
        }
        let whole = said("{}", &array_at(""));
        assert!(whole.contains("is the whole"), "{whole}");
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
