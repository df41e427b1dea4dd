//! Mistakes in a `when` that the empty event does not show: it would be read, and then want nothing, or fail on every
//! event. Patterns that are no regular expression, and text compared with what is no text.

use cel::common::ast::{Expr, LiteralValue, operators};
use cel::{Context, IdedExpr, Program};

/// What is text in every event.
const TEXTS: [&str; 4] = ["source", "type", "method", "path"];

const COMPARISONS: [&str; 6] = [
    operators::EQUALS,
    operators::NOT_EQUALS,
    operators::LESS,
    operators::LESS_EQUALS,
    operators::GREATER,
    operators::GREATER_EQUALS,
];

/// Looks through an expression. `own` are the names that it gives to items itself.
///
/// # Errors
/// The first mistake, and what would be right.
pub(crate) fn none_in(expression: &IdedExpr, own: &[&str]) -> Result<(), String> {
    if let Expr::Call(call) = &expression.expr {
        let operands: Vec<&IdedExpr> = call
            .target
            .as_deref()
            .into_iter()
            .chain(&call.args)
            .collect();
        match (&*call.func_name, &*operands) {
            ("matches", [_, pattern]) => is_pattern(pattern)?,
            (operators::IN, [one, all]) => {
                if let Expr::List(list) = &all.expr {
                    for other in &list.elements {
                        both_text(one, other, own)?;
                    }
                }
            }
            (name, [one, other]) if COMPARISONS.contains(&name) => {
                both_text(one, other, own)?;
                both_text(other, one, own)?;
            }
            _ => {}
        }
    }
    for part in parts(expression) {
        none_in(part, own)?;
    }
    Ok(())
}

/// What an expression is made of.
fn parts(expression: &IdedExpr) -> Vec<&IdedExpr> {
    match &expression.expr {
        Expr::Call(call) => call
            .target
            .as_deref()
            .into_iter()
            .chain(&call.args)
            .collect(),
        Expr::Comprehension(over) => vec![
            &over.iter_range,
            &over.loop_cond,
            &over.loop_step,
            &over.result,
        ],
        Expr::List(list) => list.elements.iter().collect(),
        Expr::Select(select) => vec![&select.operand],
        _ => Vec::new(),
    }
}

/// A pattern that stands there is one that can be matched with.
fn is_pattern(pattern: &IdedExpr) -> Result<(), String> {
    let Expr::Literal(LiteralValue::String(text)) = &pattern.expr else {
        return Ok(());
    };
    let mut context = Context::default();
    context.add_variable_from_value("pattern", text.inner().to_owned());
    let matches = Program::compile("''.matches(pattern)");
    match matches.map(|program| program.execute(&context)) {
        Ok(Err(_)) => Err(format!(
            "matches({:?}): this is no regular expression, or one with look-around or back-references, which there are not",
            text.inner()
        )),
        _ => Ok(()),
    }
}

/// What is text is compared with text.
fn both_text(one: &IdedExpr, other: &IdedExpr, own: &[&str]) -> Result<(), String> {
    let Some(name) = text(one, own) else {
        return Ok(());
    };
    let what = match &other.expr {
        Expr::Literal(LiteralValue::String(_)) => return Ok(()),
        Expr::Literal(LiteralValue::Null) => "null",
        Expr::Literal(LiteralValue::Boolean(_)) => "true or false",
        Expr::Literal(LiteralValue::Bytes(_)) => "bytes",
        Expr::Literal(_) => "a number",
        _ => return Ok(()),
    };
    Err(format!(
        "compares `{name}` with {what}, and it is text: put what it is compared with in quotes (without a value it is \"\")"
    ))
}

/// The name of what is text in every event.
fn text<'e>(expression: &'e IdedExpr, own: &[&str]) -> Option<&'e str> {
    match &expression.expr {
        Expr::Ident(name) if TEXTS.contains(&&**name) && !own.contains(&&**name) => Some(name),
        Expr::Select(select) if !select.test && is_headers(&select.operand, own) => Some("headers"),
        Expr::Call(call) if call.func_name == operators::INDEX => {
            is_headers(call.args.first()?, own).then_some("headers")
        }
        _ => None,
    }
}

fn is_headers(expression: &IdedExpr, own: &[&str]) -> bool {
    matches!(&expression.expr, Expr::Ident(name) if name == "headers") && !own.contains(&"headers")
}

#[cfg(test)]
mod tests {
    use crate::Filter;

    #[test]
    fn what_no_event_could_fit_is_a_mistake() {
        for (text, words) in [
            ("body.s.matches('[')", "matches(\"[\"): this is no regular"),
            ("type.matches('(?=a)')", "no regular expression"),
            (
                "has(body.s) && matches(body.s, '(')",
                "no regular expression",
            ),
            ("type == 1", "compares `type` with a number"),
            ("1.5 != path", "compares `path` with a number"),
            ("source == null", "compares `source` with null"),
            (
                "method == true || true",
                "compares `method` with true or false",
            ),
            ("type in ['a', 2]", "compares `type` with a number"),
            ("headers['x-n'] == 1", "compares `headers` with a number"),
            ("has(headers.n) && headers.n > 1", "compares `headers`"),
            ("body.items.exists(item, type == 1)", "compares `type`"),
        ] {
            let error = Filter::parse(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    #[test]
    fn what_some_event_could_fit_is_none() {
        for text in [
            "body.s.matches('^a+$')",
            "body.s.matches(body.pattern)",
            "body.type == 1",
            "body == null",
            "body.list.exists(type, type == 1)",
            "has(headers.n) == true",
            "headers.n == '1'",
            "type in ['a', 'b']",
            "type == body.type",
        ] {
            assert!(
                Filter::parse(text).is_ok(),
                "{text}: {:?}",
                Filter::parse(text)
            );
        }
    }
}
