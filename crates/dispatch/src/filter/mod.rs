//! `when`: which events of its sources a route wants, as an expression of the Common Expression Language
//! (github.com/google/cel-spec) over the event.
//!
//! An expression that fails on an event, for a field that is not there for one, does not want it; that is counted and
//! shown, as the words for it may be wrong. Errors name fields and never values: those are the sender's. How long it takes
//! is bounded, since the sender says how long the lists are that its loops go through.

mod body;
mod shape;
mod wanted;
mod words;

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use cel::{Context, ExecutionError, Program, Value};
use domain::{Event, SourceName};

use shape::Shape;

pub(crate) use wanted::Answers;
pub use wanted::Wanted;

use crate::mistakes;

/// What an expression may speak of.
const VARIABLES: [&str; 6] = ["source", "type", "method", "path", "headers", "body"];

/// A route's `when`.
pub struct Filter {
    text: String,
    program: Program,
    /// Which of [`VARIABLES`] it speaks of: nothing else is made of an event.
    speaks_of: [bool; VARIABLES.len()],
    shape: Shape,
}

impl std::fmt::Debug for Filter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Filter").field(&self.text).finish()
    }
}

/// Why an expression could not be asked of an event. Holds nothing of the event but names of fields.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("when: {0}")]
pub struct FilterError(String);

impl Filter {
    /// Reads an expression and tries it on an empty event, which finds a result that is no truth value.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        // The parser is another's, and is given what somebody typed.
        let compiled = catch_unwind(|| Program::compile(text));
        let compiled = compiled.map_err(|_| "is not an expression of CEL".to_owned())?;
        let program = compiled.map_err(|errors| words::of_errors(text, &errors))?;
        let references = program.references();
        let shape = Shape::of(program.expression());
        let own = |name: &str| shape.items.iter().any(|own| own == name);
        let unknown = |name: &&str| !VARIABLES.contains(name) && !own(name);
        if let Some(variable) = references.variables().into_iter().find(unknown) {
            let known = VARIABLES.join(", ");
            return Err(format!("speaks of {variable:?}, and there is only {known}"));
        }
        let items: Vec<&str> = shape.items.iter().map(String::as_str).collect();
        mistakes::none_in(program.expression(), &items)?;
        let speaks_of = VARIABLES.map(|name| references.has_variable(name));
        let filter = Self {
            text: text.to_owned(),
            program,
            speaks_of,
            shape,
        };
        let nowhere = SourceName::new("nowhere").map_err(|error| error.to_string())?;
        match filter.run(&empty(nowhere)) {
            Ok(Value::Bool(_)) => Ok(filter),
            Err(Failure::Run(ExecutionError::UndeclaredReference(name))) => {
                Err(format!("calls {name:?}, which there is not"))
            }
            // Types that do not fit may fit with a body, and so may what is not there.
            Err(_) => Ok(filter),
            Ok(_) => Err("must be true or false, as `type == \"message\"` is".into()),
        }
    }

    /// The expression.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it wants the event.
    ///
    /// # Errors
    /// [`FilterError`]: it could not be asked of this one.
    pub fn wants(&self, event: &Event) -> Result<bool, FilterError> {
        match self.run(event) {
            Ok(Value::Bool(wants)) => Ok(wants),
            Ok(_) => Err(FilterError("the result is neither true nor false".into())),
            Err(Failure::Run(ExecutionError::NoSuchKey(key))) => Err(FilterError(format!(
                "an event has no {key:?}; ask has(…) first"
            ))),
            Err(Failure::TooMuch { widest }) => Err(FilterError(format!(
                "an event's body has a list of {widest}, too many for its loops within loops"
            ))),
            Err(Failure::Run(_)) => {
                Err(FilterError("it does not fit the types of an event".into()))
            }
        }
    }

    /// Whether it is so quick over so many bytes of bodies that nobody else need wait for it.
    fn is_quick(&self, bytes: usize) -> bool {
        !self.speaks_of("body") || self.shape.is_quick(bytes)
    }

    fn speaks_of(&self, name: &str) -> bool {
        let mut all = VARIABLES.iter().zip(self.speaks_of);
        all.any(|(variable, speaks_of)| *variable == name && speaks_of)
    }

    fn run(&self, event: &Event) -> Result<Value, Failure> {
        let mut context = Context::default();
        for (name, speaks_of) in VARIABLES.iter().zip(self.speaks_of) {
            if speaks_of {
                context.add_variable_from_value(*name, self.value(name, event)?);
            }
        }
        let run = catch_unwind(AssertUnwindSafe(|| self.program.execute(&context)));
        // A defect of the library's is that of this one expression and event.
        let run = run.unwrap_or(Err(ExecutionError::MissingArgumentOrTarget));
        run.map_err(Failure::Run)
    }

    fn value(&self, name: &str, event: &Event) -> Result<Value, Failure> {
        let text = |text: &str| Value::from(text.to_owned());
        Ok(match name {
            "source" => text(event.source.as_str()),
            "type" => text(event.event_type.as_deref().unwrap_or_default()),
            "method" => text(&event.method),
            "path" => text(&event.path),
            "headers" => headers(event),
            _ => {
                let body = body::build(&event.body, self.shape.fields.as_ref());
                let widest = body.widest;
                if !self.shape.gets_through(widest) {
                    return Err(Failure::TooMuch { widest });
                }
                body.value
            }
        })
    }
}

/// Why there is no result.
enum Failure {
    Run(ExecutionError),
    /// It would take too long.
    TooMuch {
        widest: usize,
    },
}

fn headers(event: &Event) -> Value {
    let mut headers: HashMap<String, String> = HashMap::new();
    for header in event.headers.iter() {
        // The first of a name counts, as elsewhere.
        let value = || String::from_utf8_lossy(header.value).into_owned();
        headers.entry(header.name.to_owned()).or_insert_with(value);
    }
    Value::from(headers)
}

/// An event with nothing in it.
fn empty(source: SourceName) -> Event {
    Event {
        source,
        received_at: domain::Timestamp::UNIX_EPOCH,
        method: "POST".into(),
        path: "/".into(),
        headers: domain::Headers::default(),
        body: bytes::Bytes::from_static(b"{}"),
        event_type: None,
        remote: None,
        dedup: None,
        only: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(body: &'static str) -> Event {
        Event {
            headers: [("x-kind", &b"order"[..]), ("x-kind", b"other")]
                .into_iter()
                .collect(),
            event_type: Some("order.paid".into()),
            path: "/in/shop?a=1".into(),
            body: bytes::Bytes::from_static(body.as_bytes()),
            ..empty(SourceName::new("shop").unwrap())
        }
    }

    fn wants(text: &str, body: &'static str) -> Result<bool, FilterError> {
        Filter::parse(text).unwrap().wants(&event(body))
    }

    #[test]
    fn an_expression_speaks_of_every_part_of_an_event() {
        let body =
            r#"{"amount":120.5,"items":[{"sku":"a"},{"sku":"b"}],"name":"Ä","n":3,"nil":null}"#;
        for (text, expected) in [
            ("source == \"shop\"", true),
            ("type == \"order.paid\"", true),
            ("type.startsWith(\"order.\") && method == \"POST\"", true),
            ("path.contains(\"a=1\")", true),
            ("headers[\"x-kind\"] == \"order\"", true),
            ("\"x-none\" in headers", false),
            ("has(headers.host) && headers.host == \"h\"", false),
            ("body.amount > 100.0", true),
            ("body.n > 2", true),
            ("body.items.exists(item, item.sku == \"b\")", true),
            ("body.items.size() == 2", true),
            ("body.name == \"Ä\" && body.nil == null", true),
            ("has(body.refund)", false),
            ("type.matches(\"^order\\\\.(paid|sent)$\")", true),
            ("true", true),
        ] {
            assert_eq!(wants(text, body), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_json_has_a_body_of_null() {
        assert_eq!(wants("body == null", "not json"), Ok(true));
        assert_eq!(wants("body != null && body.a == 1", "not json"), Ok(false));
    }

    #[test]
    fn one_that_fails_on_an_event_says_why_without_its_values() {
        let missing = wants("body.amount > 100", r#"{"other":1}"#).unwrap_err();
        assert_eq!(
            missing.to_string(),
            "when: an event has no \"amount\"; ask has(…) first"
        );
        let types = wants("body.amount > 100", r#"{"amount":"secret"}"#).unwrap_err();
        assert!(!types.to_string().contains("secret"), "{types}");
        let other = wants("body.amount", r#"{"amount":7}"#).unwrap_err();
        assert!(
            other.to_string().contains("neither true nor false"),
            "{other}"
        );
    }

    #[test]
    fn mistakes_are_found_when_it_is_read() {
        for (text, words) in [
            ("", "leave `when` out"),
            ("type ==", "not an expression"),
            (
                "tpye == \"a\"",
                "speaks of \"tpye\", and there is only source, type",
            ),
            ("type", "must be true or false"),
            ("1 + 1", "must be true or false"),
            ("nosuch(type)", "calls \"nosuch\""),
        ] {
            let error = Filter::parse(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    /// JSON that others write and read: half of an emoji, numbers that no float holds, deep nesting, a name twice.
    #[test]
    fn a_body_that_is_json_is_never_null_whatever_stands_beside_what_is_asked_for() {
        let digits = "9".repeat(400);
        let deep = format!("{}1{}", "[".repeat(3000), "]".repeat(3000));
        for beside in [
            r#""cut off \ud83d""#,
            r#""\udc00 and \ud83d\ude00""#,
            "1e400",
            "-1e400",
            &digits,
            &deep,
        ] {
            let body = format!("{{\"beside\":{beside},\"type\":1,\"type\":\"order\"}}");
            let body: &'static str = Box::leak(body.into_boxed_str());
            for text in [
                "body.type == 'order'",
                "body != null && body['type'] == 'order'",
            ] {
                assert_eq!(wants(text, body), Ok(true), "{text} {body:.60}");
            }
        }
        let emoji = r#"{"text":"\ud83d\ude00 \ud83d"}"#;
        assert_eq!(wants("body.text == '😀 \u{fffd}'", emoji), Ok(true));
        assert_eq!(wants("body.n > 1e308", r#"{"n":1e400}"#), Ok(true));
    }

    #[test]
    fn numbers_can_be_reckoned_with() {
        let body = r#"{"n":4,"minus":-4,"large":18446744073709551615,"price":1.5}"#;
        for text in [
            "body.n % 2 == 0",
            "body.n + 1 == 5",
            "body.n - 5 < 0",
            "body.n + body.minus == 0",
            "body.large > body.n",
            "body.price * 2.0 == 3.0",
            "body.n > body.price",
        ] {
            assert_eq!(wants(text, body), Ok(true), "{text}");
        }
    }

    /// Of the sender's numbers and the operator's loops the product counts: it may be years.
    #[test]
    fn loops_within_loops_over_more_than_they_can_get_through_are_an_error() {
        let list = format!("[{}0]", "0,".repeat(50_000));
        let body = format!("{{\"a\":{list},\"b\":{list}}}");
        let body: &'static str = Box::leak(body.into_boxed_str());
        for text in [
            "body.a.exists(x, body.b.exists(y, x + y == 1))",
            "body.a.all(x, body.b.filter(y, y > x).size() == 0)",
            "body.a.exists(x, !(x in body.b))",
        ] {
            let error = wants(text, body).unwrap_err();
            assert!(error.to_string().contains("loops"), "{text}: {error}");
        }
        let once = "body.a.filter(x, x == 0).exists(x, x == 1) || body.b.all(y, y in [0])";
        assert_eq!(wants(once, body), Ok(true));
        let small = r#"{"a":[1,2],"b":[2,3]}"#;
        assert_eq!(wants("body.a.exists(x, x in body.b)", small), Ok(true));
    }

    #[test]
    fn deep_and_hostile_bodies_are_asked_like_any_other() {
        let deep: &'static str = Box::leak("[".repeat(100_000).into_boxed_str());
        assert_eq!(wants("body == null", deep), Ok(true));
        let wide: &'static str = Box::leak(format!("[{}0]", "0,".repeat(50_000)).into_boxed_str());
        assert_eq!(wants("body.size() == 50001", wide), Ok(true));
        assert_eq!(
            wants("body.a == 9007199254740993", r#"{"a":9007199254740993}"#),
            Ok(true)
        );
    }
}
