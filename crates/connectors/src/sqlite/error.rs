//! What SQLite's errors mean in the words of the outcome table.
//!
//! SQLite's messages can hold what a trigger raised, and so a payload: of an error met while writing, only
//! the code's own words are kept, with the constraint as SQLite names it (table and column).

use domain::{Cause, Outcome, Unavailable};
use rusqlite::ffi;

/// What an error is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// Never this event.
    Reject,
    /// Not now.
    Retry,
    /// The file as a whole.
    Unavailable,
}

pub(super) fn class(error: &rusqlite::Error) -> Class {
    let Some(failure) = error.sqlite_error() else {
        return Class::Retry;
    };
    // The row it points to may be on its way.
    if failure.extended_code == ffi::SQLITE_CONSTRAINT_FOREIGNKEY {
        return Class::Retry;
    }
    match failure.extended_code & 0xff {
        ffi::SQLITE_CONSTRAINT | ffi::SQLITE_MISMATCH | ffi::SQLITE_TOOBIG => Class::Reject,
        ffi::SQLITE_FULL
        | ffi::SQLITE_IOERR
        | ffi::SQLITE_CANTOPEN
        | ffi::SQLITE_READONLY
        | ffi::SQLITE_BUSY
        | ffi::SQLITE_LOCKED
        | ffi::SQLITE_PERM
        | ffi::SQLITE_AUTH
        | ffi::SQLITE_CORRUPT
        | ffi::SQLITE_NOTADB
        | ffi::SQLITE_NOMEM
        | ffi::SQLITE_NOLFS
        | ffi::SQLITE_SCHEMA
        | ffi::SQLITE_PROTOCOL
        | ffi::SQLITE_INTERRUPT => Class::Unavailable,
        _ => Class::Retry,
    }
}

/// What became of one event that met this error.
pub(super) fn outcome(error: &rusqlite::Error) -> Outcome {
    match class(error) {
        Class::Reject => Outcome::Reject {
            cause: cause(error),
        },
        Class::Retry | Class::Unavailable => Outcome::Retry {
            cause: cause(error),
            after: None,
        },
    }
}

/// Why the file is not there.
pub(super) fn unavailable(error: &rusqlite::Error) -> Unavailable {
    Unavailable {
        cause: cause(error),
    }
}

pub(super) fn cause(error: &rusqlite::Error) -> Cause {
    let Some(failure) = error.sqlite_error() else {
        return Cause::new("sqlite", "the statement does not fit what is bound to it");
    };
    let code = failure.extended_code;
    let mut detail = match code {
        ffi::SQLITE_CONSTRAINT_FOREIGNKEY => "a foreign key points to a row that is not there",
        code => ffi::code_to_str(code),
    }
    .to_owned();
    if let Some(name) = constraint(error) {
        detail = format!("{detail}: {name}");
    }
    Cause::new(format!("sqlite {code}"), detail)
}

/// The table and column, or the CHECK's name, out of SQLite's own message. A trigger's message is not
/// SQLite's own.
fn constraint(error: &rusqlite::Error) -> Option<&str> {
    let rusqlite::Error::SqliteFailure(failure, Some(message)) = error else {
        return None;
    };
    let own = [
        ffi::SQLITE_CONSTRAINT_UNIQUE,
        ffi::SQLITE_CONSTRAINT_PRIMARYKEY,
        ffi::SQLITE_CONSTRAINT_NOTNULL,
        ffi::SQLITE_CONSTRAINT_CHECK,
    ];
    if !own.contains(&failure.extended_code) {
        return None;
    }
    let (_, name) = message.split_once("constraint failed: ")?;
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(code: i32, message: &str) -> rusqlite::Error {
        rusqlite::Error::SqliteFailure(ffi::Error::new(code), Some(message.to_owned()))
    }

    #[test]
    fn codes_have_their_class() {
        let cases = [
            (ffi::SQLITE_CONSTRAINT_CHECK, Class::Reject),
            (ffi::SQLITE_CONSTRAINT_UNIQUE, Class::Reject),
            (ffi::SQLITE_CONSTRAINT_FOREIGNKEY, Class::Retry),
            (ffi::SQLITE_TOOBIG, Class::Reject),
            (ffi::SQLITE_FULL, Class::Unavailable),
            (ffi::SQLITE_IOERR_FSYNC, Class::Unavailable),
            (ffi::SQLITE_CANTOPEN, Class::Unavailable),
            (ffi::SQLITE_READONLY_DBMOVED, Class::Unavailable),
            (ffi::SQLITE_BUSY_SNAPSHOT, Class::Unavailable),
            (ffi::SQLITE_ERROR, Class::Retry),
            (ffi::SQLITE_MISUSE, Class::Retry),
        ];
        for (code, expected) in cases {
            assert_eq!(class(&failure(code, "x")), expected, "{code}");
        }
    }

    #[test]
    fn a_constraint_is_named_and_a_triggers_words_are_not_kept() {
        let named = cause(&failure(
            ffi::SQLITE_CONSTRAINT_UNIQUE,
            "UNIQUE constraint failed: t.a",
        ));
        assert!(named.detail.ends_with(": t.a"), "{named}");
        let raised = cause(&failure(ffi::SQLITE_CONSTRAINT_TRIGGER, "secret"));
        assert!(!raised.to_string().contains("secret"), "{raised}");
    }
}
