//! The user's own SQL: finds its named parameters (`$id`) and turns them into the database's own.
//!
//! Knows just enough of SQL to leave strings, quoted names, comments and dollar-quoted bodies alone, as each
//! database writes them. Values are bound by the client and never become part of the text.

use crate::OptionsError;
use crate::field::Field;

/// Whose SQL a text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// PostgreSQL's and SQLite's: parameters have numbers.
    Numbered,
    /// MySQL's and MariaDB's: a parameter is a question mark. Names stand in backticks, a backslash in a string
    /// hides what follows, and there are no dollar-quoted bodies.
    Mysql,
}

/// A statement with parameters as the database writes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Statement {
    /// The text with `$1`, `$2`, … in place of the names, or `?`.
    pub(crate) sql: String,
    /// What each parameter stands for: with numbers no field twice, with question marks one for each.
    pub(crate) fields: Vec<Field>,
}

impl Statement {
    pub(crate) fn parse(text: &str, dialect: Dialect) -> Result<Self, OptionsError> {
        let refuse = |reason: String| Err(OptionsError::new("statement", reason));
        let mut statement = Self {
            sql: String::with_capacity(text.len()),
            fields: Vec::new(),
        };
        let mut rest = text;
        while !rest.is_empty() {
            let plain = skip(rest, dialect);
            if plain > 0 {
                let (copied, after) = rest.split_at(plain);
                statement.sql.push_str(copied);
                rest = after;
                continue;
            }
            // Here `rest` starts with the `$` of a parameter.
            let name: String = rest.chars().skip(1).take_while(is_name).collect();
            let Some(field) = Field::parse(&name) else {
                return refuse(format!(
                    "${name} is not a part of an event; there are {}",
                    Field::listed()
                ));
            };
            match dialect {
                Dialect::Numbered => {
                    let number = statement.number(field).to_string();
                    statement.sql.push('$');
                    statement.sql.push_str(&number);
                }
                Dialect::Mysql => {
                    statement.fields.push(field);
                    statement.sql.push('?');
                }
            }
            rest = &rest[1 + name.len()..];
        }
        if statement.fields.is_empty() {
            return refuse(format!(
                "it uses nothing of the event; name what it should write, as in \"CALL write_event($id, $body)\"; there are {}",
                Field::listed()
            ));
        }
        Ok(statement)
    }

    fn number(&mut self, field: Field) -> usize {
        let known = self.fields.iter().position(|one| *one == field);
        known.map_or_else(
            || {
                self.fields.push(field);
                self.fields.len()
            },
            |at| at + 1,
        )
    }
}

fn is_name(c: &char) -> bool {
    c.is_ascii_alphanumeric() || *c == '_'
}

/// How many bytes from the start of `rest` are no parameter; 0 when one starts there.
fn skip(rest: &str, dialect: Dialect) -> usize {
    let bytes = rest.as_bytes();
    let until = |from: usize, end: &str| {
        let found = rest.get(from..).and_then(|text| text.find(end));
        found.map_or(rest.len(), |at| from + at + end.len())
    };
    let mysql = dialect == Dialect::Mysql;
    match bytes {
        // To MySQL `5--3` is 8: a comment's two dashes end in white space.
        [b'-', b'-', next, ..] if mysql && !next.is_ascii_whitespace() => 1,
        [b'#', ..] if mysql => until(1, "\n"),
        [b'`', ..] if mysql => until(1, "`"),
        [quote @ (b'\'' | b'"'), ..] if mysql => escape_string(rest, *quote, 1),
        // A dollar that begins no name of ours is part of whatever MySQL makes of it.
        [b'$', next, ..] if mysql && !is_name(&char::from(*next)) => 1,
        [b'$', _, ..] if mysql => 0,
        [b'-', b'-', ..] => until(2, "\n"),
        [b'/', b'*', ..] => until(2, "*/"),
        [b'e' | b'E', b'\'', ..] if !mysql => escape_string(rest, b'\'', 2),
        [b'\'', ..] => until(1, "'"),
        [b'"', ..] => until(1, "\""),
        [b'$', ..] => {
            let tag = 1 + rest.chars().skip(1).take_while(is_name).count();
            if bytes.get(tag) == Some(&b'$') {
                until(tag + 1, &rest[..=tag])
            } else if tag == 1 {
                1
            } else {
                0
            }
        }
        // A word is skipped whole: `a$b` is one name to PostgreSQL, and the E of a word is no E''.
        [first, ..] if first.is_ascii_alphanumeric() || *first == b'_' => rest
            .char_indices()
            .find(|(_, c)| !(is_name(c) || *c == '$'))
            .map_or(rest.len(), |(at, _)| at),
        _ => rest.chars().next().map_or(1, char::len_utf8),
    }
}

/// The length of a string, `from` bytes into which it begins, in which a backslash hides a quote.
fn escape_string(rest: &str, quote: u8, from: usize) -> usize {
    let mut bytes = rest.bytes().enumerate().skip(from);
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'\\' => {
                bytes.next();
            }
            end if end == quote => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_numbers_and_everything_else_stays() {
        let text = "INSERT INTO t VALUES ($id, $body::json, $id) -- $nope\n\
                    /* $nope */ ON CONFLICT (\"$nope\") DO UPDATE SET a = '$nope''$no', \
                    b = E'\\'$nope', c = $x$ $nope $x$, d = $$ $nope $$, e$f = $body";
        let statement = Statement::parse(text, Dialect::Numbered).unwrap();
        assert_eq!(statement.fields, [Field::Id, Field::Body]);
        let expected = text.replace("$id", "$1").replace("$body", "$2");
        assert_eq!(statement.sql, expected);
    }

    #[test]
    fn unknown_names_numbers_and_no_names_are_refused() {
        for (text, word) in [
            ("CALL f($ids)", "$ids"),
            ("CALL f($1)", "$1"),
            ("SELECT 1", "nothing of the event"),
            ("SELECT '$id'", "nothing of the event"),
            ("", "nothing of the event"),
        ] {
            let error = Statement::parse(text, Dialect::Numbered)
                .unwrap_err()
                .to_string();
            assert!(
                error.contains(word) && error.contains("$received_at"),
                "{error}"
            );
        }
    }

    #[test]
    fn what_does_not_end_is_left_to_the_database() {
        for text in [
            "$id '", "$id \"", "$id /*", "$id $$", "$id $", "$id E'\\", "$id ä",
        ] {
            let statement = Statement::parse(text, Dialect::Numbered).unwrap();
            assert_eq!(statement.sql, text.replace("$id", "$1"), "{text}");
        }
    }

    #[test]
    fn mysql_has_question_marks_and_strings_of_its_own() {
        let text = "INSERT INTO t VALUES ($id, $body, $id, 5--$body) # $nope\n\
                    -- $nope\n/* $nope */ SET `$nope` = '\\'$nope''$no', b = \"$nope\\\"$nope\", c$d = $$, e = $path";
        let statement = Statement::parse(text, Dialect::Mysql).unwrap();
        let fields = [Field::Id, Field::Body, Field::Id, Field::Body, Field::Path];
        assert_eq!(statement.fields, fields);
        let expected = text.replace("$id", "?").replace("$body", "?");
        assert_eq!(statement.sql, expected.replace("$path", "?"));
        for text in ["CALL f($ids)", "SELECT '$id'", "SELECT `$id`"] {
            assert!(Statement::parse(text, Dialect::Mysql).is_err(), "{text}");
        }
        for text in ["$id '", "$id `", "$id $", "$id --", "$id #", "$id '\\"] {
            let statement = Statement::parse(text, Dialect::Mysql).unwrap();
            assert_eq!(statement.sql, text.replace("$id", "?"), "{text}");
        }
    }
}
