//! `${NAME}` and `${NAME:-default}` in string values. `$${` is a `${` that stays.

use std::borrow::Cow;

use toml::de::{DeTable, DeValue};

/// A variable that is not there.
#[derive(Debug)]
pub(super) struct Missing {
    pub path: Vec<String>,
    pub at: usize,
    pub reason: String,
}

/// Replaces in every string of the table; the first thing that is wrong ends it.
fn table(
    table: &mut DeTable<'_>,
    path: &mut Vec<String>,
    environment: &dyn Fn(&str) -> Option<String>,
    wrong: &mut Option<Missing>,
) {
    for (key, found) in table.iter_mut() {
        path.push(key.get_ref().to_string());
        let at = key.span().start;
        value(found.get_mut(), at, path, environment, wrong);
        path.pop();
    }
}

/// The same in a value of any kind.
pub(super) fn value(
    value_: &mut DeValue<'_>,
    at: usize,
    path: &mut Vec<String>,
    environment: &dyn Fn(&str) -> Option<String>,
    wrong: &mut Option<Missing>,
) {
    match value_ {
        DeValue::String(text) if text.contains("${") => match replaced(text, environment) {
            Ok(new) => *text = Cow::Owned(new),
            Err(reason) if wrong.is_none() => {
                *wrong = Some(Missing {
                    path: path.clone(),
                    at,
                    reason,
                });
            }
            Err(_) => {}
        },
        DeValue::Array(items) => {
            for item in items.iter_mut() {
                let at = item.span().start;
                value(item.get_mut(), at, path, environment, wrong);
            }
        }
        DeValue::Table(inner) => table(inner, path, environment, wrong),
        _ => {}
    }
}

/// The text with the environment put in.
///
/// # Errors
/// What is missing, and what would be right.
pub(super) fn replaced(
    text: &str,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        if rest[..at].ends_with('$') {
            out.push_str(&rest[..at - 1]);
            out.push_str("${");
            rest = &rest[at + 2..];
            continue;
        }
        out.push_str(&rest[..at]);
        let inside = &rest[at + 2..];
        let end = inside
            .find('}')
            .ok_or("a ${ has no closing brace; write $${ for the two characters themselves")?;
        let (name, default) = match inside[..end].split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (&inside[..end], None),
        };
        let valid = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.is_empty() || !name.chars().all(valid) {
            return Err("between ${ and } stands the name of an environment variable: letters, digits and _".into());
        }
        // As in a shell: a variable that is set and empty is as good as none.
        match environment(name)
            .filter(|found| !found.is_empty())
            .or_else(|| default.map(str::to_owned))
        {
            Some(found) => out.push_str(&found),
            None => {
                return Err(format!(
                    "the environment variable {name} is not set, or empty: set it, or write ${{{name}:-default}}"
                ));
            }
        }
        rest = &inside[end + 1..];
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_defaults_and_dollars_are_told_apart() {
        let environment = |name: &str| match name {
            "A" => Some("one".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        for (text, wanted) in [
            ("${A}", "one"),
            ("x${A}y${A}", "xoneyone"),
            ("${B:-two}", "two"),
            ("${EMPTY:-two}", "two"),
            ("${A:-two}", "one"),
            ("${B:-}", ""),
            ("$${A}", "${A}"),
            ("$A $ {A}", "$A $ {A}"),
        ] {
            assert_eq!(
                replaced(text, &environment).as_deref(),
                Ok(wanted),
                "{text}"
            );
        }
        for text in ["${B}", "${A", "${}", "${A-B}"] {
            assert!(replaced(text, &environment).is_err(), "{text}");
        }
    }
}
