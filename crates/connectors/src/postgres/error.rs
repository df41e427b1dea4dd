//! What the server's and the connection's errors mean in the words of the outcome table.
//!
//! While events are written, only SQLSTATE and the names of constraint, table and column are kept: the
//! message and DETAIL quote values. The server's message is kept where no event takes part: while
//! connecting and setting up.

use std::error::Error as _;

use domain::{Cause, Outcome, Unavailable};
use tokio_postgres::error::DbError;

/// What an SQLSTATE is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// Never this event.
    Reject,
    /// Not now.
    Retry,
    /// The server as a whole, or something somebody must mend.
    Unavailable,
}

/// The outcomes table of ARCHITECTURE.md.
pub(super) fn class(sqlstate: &str) -> Class {
    match sqlstate {
        "40001" | "40P01" | "55P03" | "57014" | "23503" => return Class::Retry,
        // The server is there, the session is of no more use: what was prepared in it is gone (a pooler that
        // hands out others' connections), or a transaction in it was left aborted.
        "25006" | "25P02" | "26000" => return Class::Unavailable,
        "P0001" => return Class::Reject,
        _ => {}
    }
    match sqlstate.get(..2) {
        Some("22" | "23" | "54") => Class::Reject,
        Some("08" | "28" | "53" | "57" | "42") => Class::Unavailable,
        _ => Class::Retry,
    }
}

/// Whether the server may have refused a body for what it is, and would take it as bytes: text that is
/// not JSON or not UTF-8 to it, an escape or number it has no room for, too deep, too large.
pub(super) fn is_about_text(sqlstate: &str) -> bool {
    matches!(
        sqlstate,
        "22P02" | "22P05" | "22021" | "22003" | "22030" | "22032" | "54000" | "54001"
    )
}

/// An error met while events were written.
#[derive(Debug)]
pub(super) enum Fault {
    /// Nothing is known of what was not confirmed before; the connection is of no more use.
    Gone(Unavailable),
    /// The server refused, and is there.
    Refused {
        outcome: Outcome,
        /// [`is_about_text`].
        text: bool,
    },
}

impl Fault {
    pub(super) fn of(error: &tokio_postgres::Error) -> Self {
        let Some(refusal) = error.as_db_error() else {
            return Self::Gone(lost(error));
        };
        let (sqlstate, cause) = (refusal.code().code(), cause(refusal));
        if is_out_of_date(refusal) {
            let detail = "the table or function changed since the statement was prepared";
            return Self::Gone(Unavailable::new(cause.code, detail));
        }
        let outcome = match class(sqlstate) {
            Class::Unavailable => return Self::Gone(Unavailable { cause }),
            Class::Reject => Outcome::Reject { cause },
            Class::Retry => Outcome::Retry { cause, after: None },
        };
        Self::Refused {
            outcome,
            text: is_about_text(sqlstate),
        }
    }
}

/// "cached plan must not change result type": of a session's prepared statement and of no event, though the
/// SQLSTATE is that of anything not supported. The words are translated, the routine's name is not.
fn is_out_of_date(refusal: &DbError) -> bool {
    refusal.code().code() == "0A000" && refusal.routine() == Some("RevalidateCachedQuery")
}

/// The server's refusal without a word of any value.
fn cause(error: &DbError) -> Cause {
    let sqlstate = error.code().code();
    let mut detail = meaning(sqlstate).to_owned();
    let names = [
        ("constraint", error.constraint()),
        ("table", error.table()),
        ("column", error.column()),
    ];
    for (what, name) in names {
        if let Some(name) = name {
            detail.push_str(&format!(", {what} {name}"));
        }
    }
    Cause::new(format!("sqlstate {sqlstate}"), detail)
}

/// The connection's own failure. The client library's texts hold addresses and the system's words only.
fn lost(error: &tokio_postgres::Error) -> Unavailable {
    let detail = match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    };
    // The library's own text often ends in the source's already.
    let detail = match error.source().map(ToString::to_string) {
        Some(source) if error.to_string().ends_with(&source) => error.to_string(),
        _ => detail,
    };
    Unavailable::new("connection", detail)
}

/// While connecting or setting up: everything is the server's or the configuration's doing.
pub(super) fn setup(doing: &str, error: &tokio_postgres::Error) -> Unavailable {
    match error.as_db_error() {
        Some(refusal) => Unavailable::new(
            format!("sqlstate {}", refusal.code().code()),
            format!("cannot {doing}: {}", refusal.message()),
        ),
        None => {
            let cause = lost(error).cause;
            Unavailable::new(cause.code, format!("cannot {doing}: {}", cause.detail))
        }
    }
}

/// In words, for those an operator meets; the class's otherwise.
fn meaning(sqlstate: &str) -> &'static str {
    match sqlstate {
        "22001" => "a value is too long for its column",
        "22003" => "a number is out of range",
        "22007" | "22008" => "not a date or time",
        "22021" => "a character that the database's encoding has not",
        "22P02" => "a value is not what its column's type can read",
        "22P05" => "a character that the column's type cannot hold",
        "23502" => "a column that may not be null got nothing",
        "23503" => "a foreign key points to a row that is not there",
        "23505" => "a unique value is there already",
        "23514" => "a check refused it",
        "23P01" => "an exclusion refused it",
        "25006" => "the server is read-only",
        "25P02" => "the session's transaction was aborted",
        "26000" => {
            "what the session had prepared is gone: a pooler between must keep sessions apart"
        }
        "40001" => "the transaction met another one's changes",
        "40P01" => "a deadlock",
        "42501" => "the role has not the right to",
        "42703" => "no such column",
        "42883" => "no such function",
        "42P01" => "no such table",
        "53100" => "the server's disk is full",
        "53200" => "the server is out of memory",
        "53300" => "the server has no connection left",
        "54001" => "too deep for the server's stack",
        "55P03" => "a lock was not to be had",
        "57014" => "the server cancelled the statement",
        "57P01" => "the server is being shut down",
        "57P02" => "the server crashed",
        "57P03" => "the server is starting up or recovering",
        "P0001" => "a function or trigger raised an error",
        _ => match sqlstate.get(..2) {
            Some("08") => "the connection failed",
            Some("22") => "a value does not fit",
            Some("23") => "a constraint refused it",
            Some("28") => "the server refused the role or its password",
            Some("42") => "the statement does not fit the database",
            Some("53") => "the server is out of something",
            Some("54") => "over one of the server's limits",
            Some("57") => "the server was told to stop",
            _ => "the server refused",
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sqlstates_have_the_class_of_the_outcomes_table() {
        let cases = [
            (
                Class::Retry,
                "40001 40P01 55P03 57014 23503 XX000 0A000 25P01 40002 55000 3D000 F0000 HV000 99999",
            ),
            (
                Class::Reject,
                "22001 22021 22P02 22P05 23502 23505 23514 23P01 23000 54000 54001 P0001",
            ),
            (
                Class::Unavailable,
                "08000 08006 08P01 28000 28P01 53100 53200 53300 57000 57P01 57P02 57P03 57P05 25006 25P02 26000 42501 42601 42703 42P01 42P10 42883",
            ),
        ];
        for (expected, codes) in cases {
            for code in codes.split(' ') {
                assert_eq!(class(code), expected, "{code}");
            }
        }
    }

    #[test]
    fn only_refusals_of_an_event_can_be_about_its_text() {
        for code in [
            "22P02", "22P05", "22021", "22003", "22030", "22032", "54000", "54001",
        ] {
            assert!(
                is_about_text(code) && class(code) == Class::Reject,
                "{code}"
            );
        }
        assert!(!is_about_text("23505") && !is_about_text("42P01"));
    }
}
