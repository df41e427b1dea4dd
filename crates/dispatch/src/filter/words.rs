//! What is said of an expression that is none: what was most likely meant, where that can be told, in one line.

use cel::ParseErrors;

/// What other languages write, and what CEL does.
const MEANT: [(&str, &str); 9] = [
    ("=", "=="),
    ("===", "=="),
    ("!==", "!="),
    ("<>", "!="),
    ("&", "&&"),
    ("|", "||"),
    ("and", "&&"),
    ("or", "||"),
    ("not", "!"),
];

/// In words.
pub(super) fn of_errors(text: &str, errors: &ParseErrors) -> String {
    if text.trim().is_empty() {
        return "is empty: leave `when` out if the route wants every event".into();
    }
    if let Some((at, token, right)) = meant(text) {
        let at = place(text, at);
        return format!("is not an expression of CEL: {at} write `{right}`, not `{token}`");
    }
    if let Some((at, _)) = tokens(text).into_iter().find(|(_, token)| is_open(token)) {
        let at = place(text, at);
        return format!("is not an expression of CEL: {at} what is in quotes has no end");
    }
    let Some(first) = errors.errors.first() else {
        return "is not an expression of CEL".into();
    };
    let said = first.msg.replace('\n', " ");
    // What could stand there instead is a list of tokens that helps nobody.
    let said = said.split(" expecting ").next().unwrap_or_default();
    let input = said.split_once("input '").map(|(_, input)| input);
    let input = input.or_else(|| said.split_once("error at: '").map(|(_, input)| input));
    let said = match input.map(|input| input.trim_end_matches('\'').trim()) {
        Some("<EOF>") => "it ends too early".to_owned(),
        Some(input) => format!("`{input}` cannot stand there"),
        None => said.to_owned(),
    };
    let (line, column) = first.pos;
    match text.trim().contains('\n') {
        true => format!("is not an expression of CEL: line {line}, column {column}: {said}"),
        false => format!("is not an expression of CEL: at character {column}: {said}"),
    }
}

/// The first token that another language has and CEL has not: where it stands, it, and what is written instead.
fn meant(text: &str) -> Option<(usize, &str, &'static str)> {
    tokens(text).into_iter().find_map(|(at, token)| {
        let (_, right) = MEANT.iter().find(|(wrong, _)| *wrong == token)?;
        Some((at, token, *right))
    })
}

/// Words and runs of operators, each with its place; what stands in quotes is passed over.
fn tokens(text: &str) -> Vec<(usize, &str)> {
    let is_operator = |c: char| matches!(c, '=' | '!' | '<' | '>' | '&' | '|');
    let is_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.');
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        let rest = &text[at..];
        let length = match c {
            '"' | '\'' => quoted(rest, c),
            c if is_operator(c) => rest.find(|c| !is_operator(c)).unwrap_or(rest.len()),
            c if is_word(c) => rest.find(|c| !is_word(c)).unwrap_or(rest.len()),
            c => c.len_utf8(),
        };
        tokens.push((at, &text[at..at + length]));
        at += length;
    }
    tokens
}

/// Whether a token is text in quotes without an end.
fn is_open(token: &str) -> bool {
    let quote = token.chars().next().filter(|c| matches!(c, '"' | '\''));
    quote.is_some_and(|quote| token.len() == 1 || !token.ends_with(quote))
}

/// How long a text in quotes is, the quotes included.
fn quoted(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + c.len_utf8(),
            _ => {}
        }
    }
    rest.len()
}

/// A place in the text, for people: characters count from 1.
fn place(text: &str, at: usize) -> String {
    let before = &text[..at];
    let column = before
        .rsplit('\n')
        .next()
        .unwrap_or_default()
        .chars()
        .count()
        + 1;
    match text.contains('\n') {
        true => format!(
            "line {}, column {column}:",
            before.matches('\n').count() + 1
        ),
        false => format!("at character {column}:"),
    }
}

#[cfg(test)]
mod tests {
    use crate::filter::Filter;

    #[test]
    fn a_mistake_is_one_line_that_says_what_to_write() {
        for (text, wanted) in [
            (
                "",
                "is empty: leave `when` out if the route wants every event",
            ),
            (
                "  ",
                "is empty: leave `when` out if the route wants every event",
            ),
            (
                "type = 'a'",
                "is not an expression of CEL: at character 6: write `==`, not `=`",
            ),
            (
                "type == 'a and b' and source == 'x'",
                "is not an expression of CEL: at character 19: write `&&`, not `and`",
            ),
            (
                "type == 'it\\'s or' or true",
                "is not an expression of CEL: at character 20: write `||`, not `or`",
            ),
            (
                "not true",
                "is not an expression of CEL: at character 1: write `!`, not `not`",
            ),
            (
                "type == 'a' &&\nmethod === 'b'",
                "is not an expression of CEL: line 2, column 8: write `==`, not `===`",
            ),
            (
                "type ==",
                "is not an expression of CEL: at character 8: it ends too early",
            ),
            (
                "type == 'a",
                "is not an expression of CEL: at character 9: what is in quotes has no end",
            ),
            (
                "type == 'a' b",
                "is not an expression of CEL: at character 13: `b` cannot stand there",
            ),
        ] {
            let told = Filter::parse(text).unwrap_err();
            assert_eq!(told, wanted, "{text}");
        }
        for text in ["(type == 'a'", "type == == 'a'", "a b", "\u{e4} ?"] {
            let told = Filter::parse(text).unwrap_err();
            assert!(!told.contains('\n') && told.len() < 120, "{told}");
            println!("{text}: {told}");
        }
    }
}
