//! `when`: which events of its sources a route wants, as an expression of the Common Expression Language
//! (github.com/google/cel-spec) over the event.
//!
//! An expression that fails on an event, for a field that is not there for one, does not want it; that is counted and
//! shown, as the words for it may be wrong. Errors name fields and never values: those are the sender's.

mod words;

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use cel::common::ast::Expr;
use cel::{Context, ExecutionError, IdedExpr, Program, Value};
use domain::ports::RouteRecord;
use domain::{Event, RouteId, SourceName};

use crate::mistakes;

/// What an expression may speak of.
const VARIABLES: [&str; 6] = ["source", "type", "method", "path", "headers", "body"];

/// A route's `when`.
pub struct Filter {
    text: String,
    program: Program,
    /// Which of [`VARIABLES`] it speaks of: nothing else is made of an event.
    speaks_of: [bool; VARIABLES.len()],
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
        let mut own = Vec::new();
        loop_variables(program.expression(), &mut own);
        let unknown = |name: &&str| !VARIABLES.contains(name) && !own.contains(name);
        if let Some(variable) = references.variables().into_iter().find(unknown) {
            let known = VARIABLES.join(", ");
            return Err(format!("speaks of {variable:?}, and there is only {known}"));
        }
        mistakes::none_in(program.expression(), &own)?;
        let speaks_of = VARIABLES.map(|name| references.has_variable(name));
        let filter = Self {
            text: text.to_owned(),
            program,
            speaks_of,
        };
        let nowhere = SourceName::new("nowhere").map_err(|error| error.to_string())?;
        match filter.run(&empty(nowhere)) {
            Ok(Value::Bool(_)) | Err(ExecutionError::NoSuchKey(_)) => Ok(filter),
            Err(ExecutionError::UndeclaredReference(name)) => {
                Err(format!("calls {name:?}, which there is not"))
            }
            // Types that do not fit may fit with a body.
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
            Err(ExecutionError::NoSuchKey(key)) => Err(FilterError(format!(
                "an event has no {key:?}; ask has(…) first"
            ))),
            Err(_) => Err(FilterError("it does not fit the types of an event".into())),
        }
    }

    fn run(&self, event: &Event) -> Result<Value, ExecutionError> {
        let mut context = Context::default();
        for (name, speaks_of) in VARIABLES.iter().zip(self.speaks_of) {
            if speaks_of {
                context.add_variable_from_value(*name, value(name, event));
            }
        }
        let run = catch_unwind(AssertUnwindSafe(|| self.program.execute(&context)));
        // A defect of the library's is that of this one expression and event.
        run.unwrap_or(Err(ExecutionError::MissingArgumentOrTarget))
    }
}

/// The names that `exists`, `map` and the like give to items.
fn loop_variables<'e>(expression: &'e IdedExpr, names: &mut Vec<&'e str>) {
    if let Expr::Comprehension(over) = &expression.expr {
        names.push(&over.iter_var);
        names.extend(over.iter_var2.as_deref());
    }
    for part in mistakes::parts(expression) {
        loop_variables(part, names);
    }
}

fn value(name: &str, event: &Event) -> Value {
    let text = |text: &str| Value::from(text.to_owned());
    match name {
        "source" => text(event.source.as_str()),
        "type" => text(event.event_type.as_deref().unwrap_or_default()),
        "method" => text(&event.method),
        "path" => text(&event.path),
        "headers" => {
            let mut headers: HashMap<String, String> = HashMap::new();
            for header in event.headers.iter() {
                // The first of a name counts, as elsewhere.
                let value = || String::from_utf8_lossy(header.value).into_owned();
                headers.entry(header.name.to_owned()).or_insert_with(value);
            }
            cel::to_value(headers).unwrap_or(Value::Null)
        }
        _ => {
            let body: Result<serde_json::Value, _> = serde_json::from_slice(&event.body);
            let body = body.ok().and_then(|body| cel::to_value(body).ok());
            body.unwrap_or(Value::Null)
        }
    }
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

/// Which of its sources' events a route wants.
#[derive(Debug, Default)]
pub struct Wanted {
    /// Its number in state: an event may be for one route only.
    pub route: Option<RouteId>,
    /// Its `when`.
    pub filter: Option<Arc<Filter>>,
}

impl Wanted {
    /// What a route in state wanted when it last ran. An expression that cannot be read any more wants everything:
    /// nothing is to be lost for it.
    #[must_use]
    pub fn of(record: &RouteRecord) -> Self {
        let filter = record.filter.as_deref().map(Filter::parse);
        Self {
            route: Some(record.id),
            filter: filter.and_then(Result::ok).map(Arc::new),
        }
    }

    /// Whether it wants everything that is for all routes.
    pub(crate) const fn is_all(&self) -> bool {
        self.filter.is_none()
    }

    /// Whether the event is for this route, and is wanted.
    ///
    /// # Errors
    /// [`FilterError`]; then it is not wanted.
    pub fn wants(&self, event: &Event) -> Result<bool, FilterError> {
        match (event.only, &self.filter) {
            // It came back to this route by hand, or is another's.
            (Some(only), _) => Ok(self.route == Some(only)),
            (None, Some(filter)) => filter.wants(event),
            (None, None) => Ok(true),
        }
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
