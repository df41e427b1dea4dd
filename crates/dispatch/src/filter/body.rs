//! An event's body as a value that an expression can be asked about.
//!
//! Whatever is JSON comes to a value: numbers that no integer holds are floats, half of a surrogate pair is U+FFFD, what lies
//! deeper than [`DEEPEST`] is `null`. What is not asked for is passed over, since a tree takes many times its text.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use cel::Value;
use cel::objects::{Key, Map};
use serde::de::IgnoredAny;

/// Lists and maps within each other, as deep as they are built. Building, comparing and dropping are recursive.
const DEEPEST: usize = 256;

/// What was made of a body.
pub(super) struct Built {
    pub value: Value,
    /// The most items that any list or map in it has.
    pub widest: usize,
}

/// The body, or of an object only these of its fields. `null`: it is no JSON.
pub(super) fn build(body: &[u8], fields: Option<&BTreeSet<String>>) -> Built {
    let nothing = Built {
        value: Value::Null,
        widest: 0,
    };
    let Ok(text) = std::str::from_utf8(body) else {
        return nothing;
    };
    if serde_json::from_str::<IgnoredAny>(text).is_err() {
        return nothing;
    }
    let mut builder = Builder {
        text,
        at: 0,
        widest: 0,
    };
    let value = builder.value(0, fields);
    Built {
        value,
        widest: builder.widest,
    }
}

/// Reads a text that is known to be JSON.
struct Builder<'t> {
    text: &'t str,
    at: usize,
    widest: usize,
}

impl<'t> Builder<'t> {
    /// The next byte that is no white space. 0 at the end, where no JSON has one.
    fn peek(&mut self) -> u8 {
        let rest = &self.text.as_bytes()[self.at..];
        let blanks = rest.iter().take_while(|byte| byte.is_ascii_whitespace());
        self.at += blanks.count();
        self.text.as_bytes().get(self.at).copied().unwrap_or(0)
    }

    fn value(&mut self, depth: usize, fields: Option<&BTreeSet<String>>) -> Value {
        match self.peek() {
            b'{' | b'[' if depth >= DEEPEST => {
                self.skip();
                Value::Null
            }
            b'{' => self.map(depth, fields),
            // It has no fields to be asked for.
            b'[' if fields.is_some() => {
                self.skip();
                Value::List(Arc::default())
            }
            b'[' => self.list(depth),
            b'"' => Value::String(Arc::new(self.string())),
            _ => scalar(self.scalar()),
        }
    }

    fn map(&mut self, depth: usize, fields: Option<&BTreeSet<String>>) -> Value {
        let mut map = HashMap::new();
        self.at += 1;
        while self.peek() == b'"' {
            let name = self.string();
            self.peek();
            self.at += 1; // the colon
            if fields.is_some_and(|fields| !fields.contains(&name)) {
                self.skip();
            } else {
                // The last of several with one name counts.
                let value = self.value(depth + 1, None);
                map.insert(Key::String(Arc::new(name)), value);
            }
            self.comma();
        }
        self.at += 1;
        self.widest = self.widest.max(map.len());
        Value::Map(Map { map: Arc::new(map) })
    }

    fn list(&mut self, depth: usize) -> Value {
        let mut items = Vec::new();
        self.at += 1;
        while self.peek() != b']' {
            items.push(self.value(depth + 1, None));
            self.comma();
        }
        self.at += 1;
        self.widest = self.widest.max(items.len());
        Value::List(Arc::new(items))
    }

    fn comma(&mut self) {
        if self.peek() == b',' {
            self.at += 1;
        }
    }

    /// A string as it is spelt, with its quotes.
    fn spelt(&mut self) -> &'t str {
        let from = self.at;
        let bytes = self.text.as_bytes();
        self.at += 1;
        while let Some(&byte) = bytes.get(self.at) {
            self.at += if byte == b'\\' { 2 } else { 1 };
            if byte == b'"' {
                break;
            }
        }
        &self.text[from..self.at]
    }

    fn string(&mut self) -> String {
        let spelt = self.spelt();
        let plain = spelt.trim_matches('"');
        if !spelt.contains('\\') {
            return plain.to_owned();
        }
        let read = serde_json::from_str(spelt);
        read.unwrap_or_else(|_| serde_json::from_str(&paired(spelt)).unwrap_or_default())
    }

    /// A number, or one of the three words, as it is spelt.
    fn scalar(&mut self) -> &'t str {
        let from = self.at;
        let rest = &self.text.as_bytes()[from..];
        let ends = |byte: &u8| matches!(byte, b',' | b']' | b'}') || byte.is_ascii_whitespace();
        self.at += rest.iter().position(ends).unwrap_or(rest.len());
        &self.text[from..self.at]
    }

    /// Passes over the next value, whatever is in it.
    fn skip(&mut self) {
        let mut open = 0_usize;
        loop {
            match self.peek() {
                b'"' => {
                    self.spelt();
                }
                b'{' | b'[' => {
                    open += 1;
                    self.at += 1;
                }
                b'}' | b']' => {
                    open = open.saturating_sub(1);
                    self.at += 1;
                }
                b',' | b':' => self.at += 1,
                0 => return,
                _ => {
                    self.scalar();
                }
            }
            if open == 0 {
                return;
            }
        }
    }
}

fn scalar(spelt: &str) -> Value {
    match spelt {
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        "null" => Value::Null,
        number => {
            // A literal of an expression is a signed integer, and reckons with no other.
            let int = number.parse().map(Value::Int);
            let int = int.or_else(|_| number.parse().map(Value::UInt));
            int.or_else(|_| number.parse().map(Value::Float))
                .unwrap_or(Value::Null)
        }
    }
}

/// A spelt string whose escapes for halves of a surrogate pair that stand alone are the one for U+FFFD.
fn paired(spelt: &str) -> String {
    let half = |at: usize| {
        let escape = spelt.get(at..at + 6)?;
        let digits = escape.strip_prefix("\\u")?;
        let code = u16::from_str_radix(digits, 16).ok()?;
        (0xD800..0xE000).contains(&code).then_some(code)
    };
    let mut mended = String::with_capacity(spelt.len());
    let mut at = 0;
    while let Some(rest) = spelt.get(at..).filter(|rest| !rest.is_empty()) {
        let taken = match (half(at), half(at + 6)) {
            (Some(..0xDC00), Some(0xDC00..)) => 12,
            (Some(_), _) => {
                mended.push_str("\\ufffd");
                at += 6;
                continue;
            }
            // Whatever is escaped, the backslash of it begins no other.
            (None, _) if rest.starts_with('\\') => 2,
            (None, _) => rest.chars().next().map_or(1, char::len_utf8),
        };
        mended.push_str(&spelt[at..at + taken]);
        at += taken;
    }
    mended
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn built(text: &str) -> Value {
        build(text.as_bytes(), None).value
    }

    #[test]
    fn halves_of_a_pair_are_replaced_and_pairs_are_not() {
        for (text, expected) in [
            (r#""\ud83d\ude00""#, "😀"),
            (r#""\ud83d""#, "\u{fffd}"),
            (r#""\ude00\ud83d""#, "\u{fffd}\u{fffd}"),
            (r#""a\ud83d\ud83d\ude00ä""#, "a\u{fffd}😀ä"),
            (r#""\\ud83d\ud83d""#, "\\ud83d\u{fffd}"),
            (r#""\"\ud83d\n""#, "\"\u{fffd}\n"),
        ] {
            assert_eq!(built(text), Value::from(expected), "{text}");
        }
    }

    #[test]
    fn only_the_fields_that_are_asked_for_are_built() {
        let fields = BTreeSet::from(["a".to_owned()]);
        let text = r#" {"b" : {"a":[1,"]}"]} , "a" : 1 , "a":2, "\u0061":{"x":[]} , "c":"\"," }"#;
        let Value::Map(map) = build(text.as_bytes(), Some(&fields)).value else {
            panic!("no map");
        };
        assert_eq!(map.map.len(), 1);
        assert!(matches!(map.get(&Key::from("a")), Some(Value::Map(_))));
        let wide = build(b"[1,2,3]", Some(&fields));
        assert_eq!((wide.value, wide.widest), (Value::List(Arc::default()), 0));
        assert_eq!(build(b"[[1,2,3],{\"a\":1}]", None).widest, 3);
    }

    fn tree() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            any::<f64>().prop_map(Into::into),
            ".*".prop_map(Into::into),
        ];
        leaf.prop_recursive(4, 40, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Into::into),
                prop::collection::vec(("[ab\"\\\\ ]{0,2}", inner), 0..5)
                    .prop_map(|fields| { serde_json::Value::Object(fields.into_iter().collect()) }),
            ]
        })
    }

    /// As the library's own conversion has it, but for integers' signs.
    fn converted(tree: &serde_json::Value) -> Value {
        match tree {
            serde_json::Value::Number(number) => match number.as_i64() {
                Some(int) => Value::Int(int),
                None => cel::to_value(number).unwrap(),
            },
            serde_json::Value::Array(items) => {
                Value::List(Arc::new(items.iter().map(converted).collect()))
            }
            serde_json::Value::Object(fields) => {
                let fields = fields.iter();
                let fields = fields.map(|(name, value)| (name.clone(), converted(value)));
                Value::from(fields.collect::<HashMap<String, Value>>())
            }
            other => cel::to_value(other).unwrap(),
        }
    }

    proptest! {
        #[test]
        fn a_body_is_what_a_parser_makes_of_it(tree in tree(), pretty in any::<bool>()) {
            let text = if pretty { serde_json::to_string_pretty(&tree).unwrap() } else { tree.to_string() };
            prop_assert_eq!(built(&text), converted(&tree));
        }

        #[test]
        fn nothing_makes_it_panic(bytes in prop::collection::vec(prop::sample::select(&b"{}[]\",:\\ud8300 1-e."[..]), 0..60)) {
            build(&bytes, None);
            build(&bytes, Some(&BTreeSet::from(["d".to_owned()])));
        }
    }
}
