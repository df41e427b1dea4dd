//! Looks at JSON without building it: its compact form, and the value at a pointer.
//!
//! A body may be hundreds of thousands of tiny values, which take fifty times their text once they are
//! a tree. Nothing here takes more than a few KiB beside the body, except for the one value that is asked for.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// Whether this is one JSON value and nothing else, in UTF-8: a parser that skips a string does not look at
/// its bytes.
pub(crate) fn is_json(text: &[u8]) -> bool {
    std::str::from_utf8(text).is_ok_and(|text| serde_json::from_str::<IgnoredAny>(text).is_ok())
}

/// The text that a pointer finds: a string without its escapes, or a number as it is spelt. `None` for everything
/// else, and for no JSON.
pub(crate) fn text_at(text: &[u8], pointer: &str) -> Option<String> {
    let found = Pointer::new(pointer).find(text)?;
    match &*found {
        [b'"', ..] => serde_json::from_slice(&found).ok(),
        [b'-' | b'0'..=b'9', ..] => String::from_utf8(found.into_owned()).ok(),
        _ => None,
    }
}

/// Whether these bytes stand in it anywhere: far cheaper than to look where.
pub(crate) fn speaks_of(text: &[u8], word: &str) -> bool {
    memchr::memmem::find(text, word.as_bytes()).is_some()
}

/// The same of several fields of an object, by name, in one pass: on the way of every acknowledgement each pass counts.
/// The last of several fields with one name counts.
pub(crate) fn texts<const N: usize>(text: &[u8], names: [&str; N]) -> [Option<String>; N] {
    struct Fields<'n, const N: usize>([&'n str; N]);

    impl<'de, const N: usize> Visitor<'de> for Fields<'_, N> {
        type Value = [Option<&'de RawValue>; N];

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut found = [None; N];
            while let Some(place) = map.next_key_seed(OneOf(&self.0))? {
                match place {
                    Some(place) => found[place] = Some(map.next_value()?),
                    None => {
                        map.next_value::<IgnoredAny>()?;
                    }
                }
            }
            Ok(found)
        }
    }

    let mut json = serde_json::Deserializer::from_slice(text);
    let found = json.deserialize_map(Fields(names));
    let found = found.and_then(|found| json.end().map(|()| found));
    let spelt = |found: &RawValue| {
        let found = found.get();
        match found.as_bytes() {
            [b'"', ..] => serde_json::from_str(found)
                .ok()
                .filter(|text: &String| !text.is_empty()),
            [b'-' | b'0'..=b'9', ..] => Some(found.to_owned()),
            _ => None,
        }
    };
    match found {
        Ok(found) => found.map(|found| found.and_then(spelt)),
        Err(_) => [const { None }; N],
    }
}

/// Hands on the text in pieces, less the white space between its tokens: what `JSON.stringify` makes of
/// it if its numbers and strings are spelt the usual way. Does not check that it is JSON.
pub(crate) fn compact(text: &[u8], mut sink: impl FnMut(&[u8])) {
    let mut piece = [0; 4 << 10];
    let mut filled = 0;
    let (mut in_string, mut escaped) = (false, false);
    for &byte in text {
        if in_string {
            in_string = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
        } else if matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
            continue;
        } else {
            in_string = byte == b'"';
        }
        if filled == piece.len() {
            sink(&piece);
            filled = 0;
        }
        piece[filled] = byte;
        filled += 1;
    }
    sink(&piece[..filled]);
}

/// A JSON pointer (RFC 6901), taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pointer(Vec<String>);

impl Pointer {
    /// Takes a pointer apart. Whatever stands before the first `/` is not looked at.
    pub(crate) fn new(text: &str) -> Self {
        let tokens = text.split('/').skip(1);
        Self(
            tokens
                .map(|token| token.replace("~1", "/").replace("~0", "~"))
                .collect(),
        )
    }

    /// The value it points to, as it is spelt. `None`: no JSON, or nothing there. The last of several fields with one
    /// name counts.
    pub(crate) fn raw<'a>(&self, text: &'a [u8]) -> Option<&'a RawValue> {
        let mut json = serde_json::Deserializer::from_slice(text);
        let found = Descent(&self.0).deserialize(&mut json).ok()?;
        json.end().ok()?;
        found
    }

    /// The value it points to, spelt one way however it came: strings with the escapes they need and no
    /// more, everything else without white space. `None`: no JSON, nothing there, or nothing in it (`null`,
    /// `""`, `{}`, `[]`). The last of several fields with one name counts.
    pub(crate) fn find<'a>(&self, text: &'a [u8]) -> Option<Cow<'a, [u8]>> {
        let found = self.raw(text)?.get();
        match found.as_bytes() {
            b"null" | b"\"\"" => None,
            [b'"', ..] if found.contains('\\') => {
                let plain: String = serde_json::from_str(found).ok()?;
                serde_json::to_vec(&plain).ok().map(Cow::Owned)
            }
            [b'{' | b'[', ..] => {
                let mut spelt = Vec::with_capacity(found.len());
                compact(found.as_bytes(), |piece| spelt.extend_from_slice(piece));
                (spelt.len() > 2).then_some(Cow::Owned(spelt))
            }
            scalar => Some(Cow::Borrowed(scalar)),
        }
    }
}

/// The way that is left to go.
struct Descent<'p>(&'p [String]);

impl<'de> DeserializeSeed<'de> for Descent<'_> {
    type Value = Option<&'de RawValue>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        if self.0.is_empty() {
            serde::Deserialize::deserialize(json).map(Some)
        } else {
            json.deserialize_any(self)
        }
    }
}

impl<'de> Visitor<'de> for Descent<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let Some((name, rest)) = self.0.split_first() else {
            return Ok(None);
        };
        let mut found = None;
        while let Some(is_it) = map.next_key_seed(Is(name))? {
            if is_it {
                found = map.next_value_seed(Descent(rest))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let Some((place, rest)) = self.0.split_first() else {
            return Ok(None);
        };
        let digits = !place.is_empty() && place.bytes().all(|byte| byte.is_ascii_digit());
        let plain = digits && (place == "0" || !place.starts_with('0'));
        let place: Option<usize> = plain.then(|| place.parse().ok()).flatten();
        let mut found = None;
        for at in 0.. {
            if Some(at) == place {
                match seq.next_element_seed(Descent(rest))? {
                    Some(value) => found = value,
                    None => break,
                }
            } else if seq.next_element::<IgnoredAny>()?.is_none() {
                break;
            }
        }
        Ok(found)
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Self::Value, E> {
        Ok(None)
    }
}

/// Whether a field has this name.
struct Is<'p>(&'p str);

impl<'de> DeserializeSeed<'de> for Is<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<bool, D::Error> {
        json.deserialize_str(self)
    }
}

/// Which of these names a field has.
struct OneOf<'n>(&'n [&'n str]);

impl<'de> DeserializeSeed<'de> for OneOf<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Option<usize>, D::Error> {
        json.deserialize_str(self)
    }
}

impl Visitor<'_> for OneOf<'_> {
    type Value = Option<usize>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a field's name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Option<usize>, E> {
        Ok(self.0.iter().position(|known| *known == name))
    }
}

impl Visitor<'_> for Is<'_> {
    type Value = bool;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a field's name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<bool, E> {
        Ok(name == self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn compacted(text: &[u8]) -> String {
        let mut all = Vec::new();
        compact(text, |piece| all.extend_from_slice(piece));
        String::from_utf8(all).unwrap()
    }

    fn find(pointer: &str, text: &str) -> Option<String> {
        let found = Pointer::new(pointer).find(text.as_bytes())?;
        Some(String::from_utf8(found.into_owned()).unwrap())
    }

    #[test]
    fn a_pointer_finds_what_it_points_to_and_nothing_else() {
        let text = r#"{"a": {"b": [10, {"c": "x"}], "": 1}, "a/b": 2, "m~n": 3, "n": null, "t": [true],
            "twice": 1, "twice": 2, "s": "s", "o": {"z": [1, "a b"], "y": 1.50}, "e": ["", { }, [ ], " "]}"#;
        for (pointer, value) in [
            ("/a/b/0", Some("10")),
            ("/a/b/1/c", Some("\"x\"")),
            ("/a/", Some("1")),
            ("/a~1b", Some("2")),
            ("/m~0n", Some("3")),
            ("/t/0", Some("true")),
            ("/twice", Some("2")),
            ("/o", Some(r#"{"z":[1,"a b"],"y":1.50}"#)),
            ("/n", None),
            ("/e/0", None),
            ("/e/1", None),
            ("/e/2", None),
            ("/e/3", Some("\" \"")),
            ("/none", None),
            ("/a/b/2", None),
            ("/a/b/00", None),
            ("/a/b/+1", None),
            ("/a/b/-", None),
            ("/s/x", None),
            ("/twice/x", None),
        ] {
            assert_eq!(find(pointer, text).as_deref(), value, "{pointer}");
        }
        for broken in ["", "{", r#"{"a":1"#, r#"{"a":1} x"#, "a", r#"{"a":1,}"#] {
            assert_eq!(find("/a", broken), None, "{broken}");
        }
    }

    #[test]
    fn several_fields_are_found_in_one_pass_as_they_are_found_one_by_one() {
        for text in [
            r#"{"id":"a\u0041","n":-1.50,"type":{"a":1},"s":"","twice":1,"twice":2,"nil":null,"b":true}"#,
            "{}",
            "[1]",
            "{\"id\":1",
            "{\"id\":1} x",
            "",
        ] {
            let names = ["id", "n", "type", "s", "twice", "nil", "b", "none"];
            let one_by_one = names.map(|name| text_at(text.as_bytes(), &format!("/{name}")));
            assert_eq!(texts(text.as_bytes(), names), one_by_one, "{text}");
        }
    }

    #[test]
    fn json_is_utf_8_within_strings_too() {
        assert!(is_json("{\"ä\":\"€\"}".as_bytes()));
        assert!(!is_json(b"{\"a\":\"\xff\"}") && !is_json(b"{\"\xc3\":1}"));
    }

    #[test]
    fn a_string_is_one_key_however_it_is_spelt_and_never_a_number() {
        let plain = find("/a", r#"{"a":"a/é"}"#);
        assert_eq!(find("/a", r#"{"a":"\u0061\/\u00e9"}"#), plain);
        assert_ne!(find("/a", r#"{"a":"1"}"#), find("/a", r#"{"a":1}"#));
    }

    /// As a tree the numbers would take thirty times their text, and a parser of trees gives up on the depth.
    #[test]
    fn what_is_not_asked_for_is_not_built() {
        let many = format!("{{\"x\":[{}0],\"id\":7}}", "0,".repeat(500_000));
        assert_eq!(find("/id", &many).as_deref(), Some("7"));
        let deep = format!(
            "{{\"x\":{}{},\"id\":7}}",
            "[".repeat(500_000),
            "]".repeat(500_000)
        );
        assert_eq!(find("/id", &deep).as_deref(), Some("7"));
    }

    fn tree() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            ".*".prop_map(Into::into),
        ];
        leaf.prop_recursive(4, 40, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Into::into),
                prop::collection::vec(("[ab~/\"\\\\ ]{0,2}", inner), 0..5)
                    .prop_map(|fields| { serde_json::Value::Object(fields.into_iter().collect()) }),
            ]
        })
    }

    proptest! {
        #[test]
        fn the_compact_form_is_what_a_parser_would_make(tree in tree()) {
            let pretty = serde_json::to_string_pretty(&tree).unwrap();
            prop_assert_eq!(compacted(pretty.as_bytes()), tree.to_string());
        }

        #[test]
        fn a_pointer_finds_what_it_finds_in_a_tree(
            tree in tree(),
            pointer in "(/([ab]|~0|~1|[0-3]|\"| ){0,2}){1,4}",
        ) {
            let nothing = [json!(null), json!(""), json!({}), json!([])];
            let expected = tree.pointer(&pointer).filter(|value| !nothing.contains(value));
            let pretty = serde_json::to_string_pretty(&tree).unwrap();
            prop_assert_eq!(find(&pointer, &pretty), expected.map(ToString::to_string));
        }
    }
}
