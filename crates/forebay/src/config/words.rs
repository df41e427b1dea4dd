//! What is said of a value that does not fit: the parser's words turned into plain ones, with the right way to write
//! it as the reference has it. No value is quoted that may be secret.

use super::keys::SECTIONS;
use super::notification_keys::NOTIFICATION_KEYS;

/// How a key is documented.
#[derive(Debug, Clone, Copy)]
pub(super) struct Doc {
    /// What kind of value.
    value: &'static str,
    /// What is allowed.
    limit: &'static str,
}

/// How the key at this path is documented. `kind`: the `type` or `scheme` that says which keys there are, if it does.
pub(super) fn documented(path: &[String], kind: Option<&str>) -> Option<Doc> {
    let (key, table) = path.split_last()?;
    let table: Vec<&str> = table.iter().map(String::as_str).collect();
    let of_type = |all: &[(&str, &'static [connectors::OptionDoc])]| {
        let (_, options) = all.iter().find(|(name, _)| Some(*name) == kind)?;
        let option = options.iter().find(|option| option.key == key)?;
        Some(Doc {
            value: option.value,
            limit: option.limit,
        })
    };
    let of_section = || {
        let section = SECTIONS.iter().find(|section| is_at(section.at, &table))?;
        let found = section.keys.iter().find(|found| found.name == key)?;
        Some(Doc {
            value: found.value,
            limit: found.limit,
        })
    };
    match table[..] {
        ["destinations", _] => of_type(&connectors::reference()),
        ["sources", _] => of_type(connectors::QUEUE_REFERENCES)
            .or_else(|| of_type(&[(genesys::KIND, NOTIFICATION_KEYS)]))
            .or_else(of_section),
        ["sources", _, "verify"] => {
            let schemes = ingest::verify::SCHEMES;
            let scheme = schemes.iter().find(|scheme| Some(scheme.name) == kind)?;
            let found = scheme.keys.iter().find(|found| found.name == key)?;
            Some(Doc {
                value: found.value,
                limit: found.limit,
            })
        }
        _ => of_section(),
    }
}

/// Whether a section's place is this one, whatever the operator has named it.
fn is_at(place: &[&str], path: &[&str]) -> bool {
    let is_named = |at: usize| at == 1 && matches!(path[0], "sources" | "routes");
    place.len() == path.len() && (0..path.len()).all(|at| place[at] == path[at] || is_named(at))
}

impl Doc {
    /// The value, as an operator would write it; where only words will do, without an equals sign.
    fn example(&self, key: &str) -> String {
        let first = self.limit.split(';').next().unwrap_or_default();
        let limit = match self.limit {
            "" => String::new(),
            limit => format!(" ({limit})"),
        };
        match self.value {
            "duration" => format!("write {key} = \"10s\", a number with a unit in quotes"),
            "size" => format!("write {key} = \"10MiB\", a number with a unit in quotes"),
            "boolean" => format!("write {key} = true or {key} = false, without quotes"),
            "integer" => format!("it must be a whole number without quotes{limit}"),
            "number" => format!("it must be a number without quotes{limit}"),
            value if value.contains(" or ") => format!("it must be one of {first}"),
            value if value.starts_with("list") => format!("write {key} = [\"…\"]{limit}"),
            value if value.starts_with("table") => match first.contains('{') {
                true => format!("write {key} = {}", first.trim_matches('`')),
                false => format!("it must be a {value}, as in {key} = {{ … }}{limit}"),
            },
            _ => format!("write {key} = \"…\", in quotes{limit}"),
        }
    }
}

/// Turns a parser's message on this key into plain words. `doc_of` knows the keys of a table that stands here.
pub(super) fn plain(
    message: &str,
    key: &str,
    doc: Option<Doc>,
    doc_of: impl Fn(&str) -> Option<Doc>,
) -> String {
    let message = message.trim();
    if let Some(field) = between(message, "missing field `", "`") {
        let written = match doc_of(field) {
            Some(doc) => doc.example(field),
            // What is below a table that has an example needs no other.
            None => match doc {
                Some(doc) => return format!("`{field}` is missing: {}", doc.example(key)),
                None => format!("write {field} = …"),
            },
        };
        return match written.strip_prefix("write ") {
            Some(written) => format!("`{field}` is missing: add {written}"),
            None => format!("`{field}` is missing: add {field}; {written}"),
        };
    }
    if let Some(value) = between(message, "unknown variant `", "`") {
        return match doc {
            // It may be a table as well, and the parser lists keys of tables among the words.
            Some(doc) if doc.value.contains(" or ") => {
                format!("there is no {value:?}; {}", doc.example(key))
            }
            _ => unknown(value, message),
        };
    }
    // A table that stands for one of several, with two keys or none.
    if message.starts_with("wanted exactly 1 element") {
        let one = doc.map_or_else(|| "write one key".into(), |doc| doc.example(key));
        return format!("must have one key: {one}");
    }
    if let (Some(doc), true) = (doc, message.starts_with("wanted ")) {
        return doc.example(key);
    }
    let Some((found, expected)) = mismatch(message) else {
        return message.replace('\n', " ");
    };
    let right = match doc {
        Some(doc) => doc.example(key),
        None => format!("it must be {}", of_rust(expected)),
    };
    match found {
        "" => right,
        found => format!("is {found}; {right}"),
    }
}

fn between<'m>(message: &'m str, start: &str, end: &str) -> Option<&'m str> {
    message
        .strip_prefix(start)?
        .split_once(end)
        .map(|(it, _)| it)
}

/// `unknown variant `x`, expected one of `a`, `b`` in plain words. It is one of a few words, so that it is no secret.
fn unknown(value: &str, message: &str) -> String {
    let known = message.split_once(", expected ").map_or("", |(_, it)| it);
    let known = known.trim_start_matches("one of ");
    let known: Vec<&str> = known.split('`').skip(1).step_by(2).collect();
    let meant = match closest(value, known.iter().copied()) {
        Some(meant) => format!("; did you mean \"{meant}\"?"),
        None => "; it must be".into(),
    };
    match (meant.ends_with('?'), &known[..]) {
        (true, many) if many.len() > MANY => format!("there is no {value:?}{meant}"),
        (true, many) => format!("there is no {value:?}{meant} It may be {}", quoted(many)),
        (false, [one]) => format!("there is no {value:?}{meant} \"{one}\""),
        (false, many) => format!("there is no {value:?}{meant} one of {}", quoted(many)),
    }
}

/// So many are listed beside a guess.
const MANY: usize = 12;

fn quoted(words: &[&str]) -> String {
    let words: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    words.join(", ")
}

/// The one of these words that was most likely meant: the closest, if it is close.
pub fn closest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let alike = |word: &str| word.to_lowercase().replace('-', "_");
    let distance = |known: &str| strsim::osa_distance(&alike(word), &alike(known));
    let closest = known
        .into_iter()
        .map(|known| (distance(known), known))
        .min()?;
    (closest.0 <= (word.len() / 3).clamp(1, 3)).then_some(closest.1)
}

/// What was found, in words, and what was expected: of `invalid type: string "hunter2", expected a sequence`.
fn mismatch(message: &str) -> Option<(&'static str, &str)> {
    let starts = ["invalid type: ", "invalid value: ", "invalid length "];
    let rest = starts
        .iter()
        .find_map(|start| message.strip_prefix(start))?;
    let (found, expected) = rest.rsplit_once(", expected ")?;
    let kind = found.split(['"', '`', '\'']).next().unwrap_or_default();
    let is_value = message.starts_with("invalid value");
    let found = match kind.trim() {
        "integer" if is_value => "out of bounds",
        "string" if is_value => "not right",
        "string" => "text",
        "integer" => "a number",
        "floating point" => "a number with a fraction",
        "boolean" => "true or false",
        "map" => "a table",
        "sequence" => "a list",
        "datetime" => "a time without quotes",
        _ => "",
    };
    Some((found, expected))
}

/// A type as Rust calls it, in words.
fn of_rust(expected: &str) -> String {
    match expected {
        "u8" | "u16" | "u32" | "u64" | "usize" => {
            "a whole number, 0 or more, without quotes".into()
        }
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number, without quotes".into(),
        "f32" | "f64" => "a number, without quotes".into(),
        "a boolean" => "true or false, without quotes".into(),
        "a string" | "a borrowed string" | "str" | "variant identifier" => "text, in quotes".into(),
        "a sequence" => "a list, as in [\"…\"]".into(),
        "a map" => "a table, as in { key = \"…\" }".into(),
        of if of.starts_with("struct ") || of.contains("enum ") => {
            "a table, as in { key = \"…\" }".into()
        }
        other => other.trim_start_matches("must be ").to_owned(),
    }
}

#[cfg(test)]
mod tests;
