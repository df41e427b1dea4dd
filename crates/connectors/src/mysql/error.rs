//! What the server's and the connection's errors mean in the words of the outcome table.
//!
//! MySQL gives most of its own errors the SQLSTATE HY000, so that the number decides first and the SQLSTATE where
//! the number says nothing. While events are written, number, SQLSTATE and the names of constraint and column are
//! kept: the message quotes values ("Duplicate entry 'secret' for key 'paths'"). The server's message is kept where
//! no event takes part: while connecting and setting up.

use std::error::Error as _;

use domain::{Cause, Outcome, Unavailable};
use mysql_async::{DriverError, Error, ServerError};

/// What an error is about.
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
pub(super) fn class(number: u16, sqlstate: &str) -> Class {
    match number {
        // A foreign key's row may be on its way; locks, deadlocks, and statements that were cancelled or took too long.
        1216 | 1217 | 1451 | 1452 | 1205 | 1206 | 1213 | 1317 | 1969 | 3024 | 3572 => Class::Retry,
        // Refusals of a row's values that have no SQLSTATE of their own, checks, partitions, and a row that is too
        // large for its table.
        1118 | 1265 | 1300 | 1366 | 1411 | 1525 | 1526 | 1748 | 3819 | 3854 | 3988 | 4025 => {
            Class::Reject
        }
        // The operating system's own words: a file that cannot be written, a full disk.
        1..1000 => Class::Unavailable,
        // Who, where and what is not there: told without an SQLSTATE while connecting.
        1040..=1047
        | 1049
        | 1053
        | 1054
        | 1129
        | 1130
        | 1142
        | 1143
        | 1146
        | 1203
        | 1226
        | 1227
        | 1370
        | 1698
        | 1820
        | 1862
        | 3118 => Class::Unavailable,
        // Read-only, full, out of something, a column that nobody fills, or a session that is of no more use.
        1016
        | 1021
        | 1026
        | 1030
        | 1036..=1038
        | 1114
        | 1135
        | 1243
        | 1267
        | 1270
        | 1290
        | 1364
        | 1598
        | 1615
        | 1637
        | 1665
        | 1792
        | 1836
        | 1874
        | 1927
        | 3100
        | 3169
        | 4031 => Class::Unavailable,
        _ => match (sqlstate, sqlstate.get(..2)) {
            // No database is selected; the transaction is read-only.
            ("3D000" | "25006", _) => Class::Unavailable,
            (_, Some("22" | "23" | "45")) => Class::Reject,
            (_, Some("08" | "28" | "42" | "53" | "57")) => Class::Unavailable,
            _ => Class::Retry,
        },
    }
}

/// Whether the server may have refused a body for what it is, and would take it as bytes: text that is not JSON
/// or not in its character set, too deep, too long for the column.
fn is_about_text(number: u16) -> bool {
    matches!(
        number,
        1300 | 1366 | 1406 | 3140 | 3141 | 3143 | 3144 | 3157 | 3819 | 3854 | 3988 | 4025
    )
}

/// A conflict on some unique index.
fn is_duplicate(number: u16) -> bool {
    matches!(number, 1022 | 1062 | 1169 | 1586)
}

/// After these no transaction is open any more.
fn ends_the_transaction(number: u16) -> bool {
    matches!(number, 1206 | 1213)
}

/// An error met while events were written.
#[derive(Debug)]
pub(super) enum Fault {
    /// Nothing is known of what was not confirmed before; the connection is of no more use.
    Gone(Unavailable),
    /// The server refused, and is there.
    Refused(Refusal),
}

/// A refusal, and what can be tried after it.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) outcome: Outcome,
    /// [`is_about_text`].
    pub(super) text: bool,
    /// [`is_duplicate`].
    pub(super) duplicate: bool,
    /// [`ends_the_transaction`].
    pub(super) undone: bool,
    /// A lock was not to be had: by a setting of the server's that ends the transaction as well.
    pub(super) locked: bool,
}

impl Refusal {
    /// Of an event that cannot be sent at all.
    pub(super) fn unsent(cause: Cause) -> Self {
        Self {
            outcome: Outcome::Reject { cause },
            text: false,
            duplicate: false,
            undone: false,
            locked: false,
        }
    }
}

impl Fault {
    pub(super) fn of(error: &Error) -> Self {
        let Error::Server(refusal) = error else {
            return Self::Gone(lost(error));
        };
        let (number, cause) = (refusal.code, cause(refusal));
        let outcome = match class(number, &refusal.state) {
            Class::Unavailable => return Self::Gone(Unavailable { cause }),
            Class::Reject => Outcome::Reject { cause },
            Class::Retry => Outcome::Retry { cause, after: None },
        };
        Self::Refused(Refusal {
            outcome,
            text: is_about_text(number),
            duplicate: is_duplicate(number),
            undone: ends_the_transaction(number),
            locked: number == 1205,
        })
    }
}

/// As MySQL's own clients write it.
fn code(error: &ServerError) -> String {
    format!("mysql {} ({})", error.code, error.state)
}

/// The server's refusal without a word of any value.
fn cause(error: &ServerError) -> Cause {
    let mut detail = meaning(error.code, &error.state).to_owned();
    if let Some((what, name)) = name(error.code, &error.message) {
        detail.push_str(&format!(", {what} {name}"));
    }
    Cause::new(code(error), detail)
}

/// The name of constraint or column, where the server's English words have it behind any value.
fn name(number: u16, message: &str) -> Option<(&'static str, &str)> {
    let (what, before, after) = match number {
        1062 | 1586 => ("constraint", "for key '", "'"),
        1452 | 1216 => ("constraint", "CONSTRAINT `", "` FOREIGN KEY"),
        3819 => ("constraint", "Check constraint '", "' is violated"),
        4025 => ("constraint", "CONSTRAINT `", "` failed"),
        1048 => ("column", "Column '", "' cannot be null"),
        1364 => ("column", "Field '", "' doesn't have a default value"),
        1264 | 1265 | 1292 | 1366 | 1406 => ("column", "for column ", " at row "),
        _ => return None,
    };
    // The last one: a value that has these words in it stands before.
    let (_, rest) = message.rsplit_once(before)?;
    let (name, _) = rest.rsplit_once(after)?;
    let name = name.rsplit('.').next().unwrap_or(name);
    let name = name.trim_matches(['`', '\'']);
    // A message that was cut, or is not in English, may have a piece of a value here.
    let whole = message.len() < 400 && name.len() <= 64;
    let is_name = !name.is_empty() && !name.contains(['\'', '`', '"', ' ']);
    (whole && is_name).then_some((what, name))
}

/// The connection's own failure. The library's texts hold addresses and the system's words only.
fn lost(error: &Error) -> Unavailable {
    let detail = match error {
        Error::Io(inner) => inner.source().map(ToString::to_string),
        Error::Driver(DriverError::NoClientSslFlagFromServer) => Some(
            "the server has no TLS: set it up there, or write ssl-mode=disabled or preferred"
                .into(),
        ),
        Error::Driver(inner) => Some(inner.to_string()),
        _ => None,
    };
    let detail = detail.unwrap_or_else(|| "the connection failed".to_owned());
    Unavailable::new("connection", detail)
}

/// While connecting or setting up: everything is the server's or the configuration's doing.
pub(super) fn setup(doing: &str, error: &Error) -> Unavailable {
    match error {
        Error::Server(refusal) => {
            let remedy = meaning(refusal.code, &refusal.state);
            let message = &refusal.message;
            Unavailable::new(
                code(refusal),
                format!("cannot {doing}: {remedy}: {message}"),
            )
        }
        _ => {
            let cause = lost(error).cause;
            Unavailable::new(cause.code, format!("cannot {doing}: {}", cause.detail))
        }
    }
}

/// In words, for those an operator meets; the class's otherwise.
fn meaning(number: u16, sqlstate: &str) -> &'static str {
    match number {
        1021 => "the server's disk is full: make room there",
        1030 => "the server's storage failed: see its log, and whether its disk is full",
        1040 => "the server has no connection left: raise max_connections, or lower `concurrency`",
        1044 => {
            "the account has no rights in the database, or there is no such database: grant INSERT and SELECT on the table, and CREATE if Forebay is to make it, or correct the URL"
        }
        1142 | 1143 | 1227 | 1370 => {
            "the account has not the right to: grant INSERT and SELECT on the table, and CREATE if Forebay is to make it"
        }
        1045 | 1698 => "the server refused the user or its password: correct the URL",
        1046 => "no database is named: name it in the URL, or write `table` as database.table",
        1048 => "a column that may not be null got nothing",
        1049 => "no such database: make it, or correct the URL",
        1053 => "the server is being shut down",
        1054 => "no such column",
        1062 | 1022 | 1169 | 1586 => "a unique value is there already",
        1114 => "the table or the server's disk is full: make room there",
        1118 => "the row is larger than the table's limit, or a tenth of the server's redo log",
        1129 => "the server has blocked this host after failed connections: run FLUSH HOSTS there",
        1130 => "the server takes no connections from this host: correct the account's host part",
        1146 => "no such table",
        1153 => "larger than the server's max_allowed_packet",
        1203 | 1226 => {
            "the account has reached its limit at the server: raise it, or lower `concurrency`"
        }
        1205 => "a lock was not to be had",
        1213 => "a deadlock",
        1216 | 1217 | 1451 | 1452 => "a foreign key points to a row that is not there",
        1243 | 1615 => {
            "what the session had prepared is gone: a pooler between must keep sessions apart"
        }
        1264 => "a number is out of range",
        1265 | 1366 | 1411 | 1525 => "a value is not what its column's type can read",
        1290 | 1792 | 1836 | 1874 => {
            "the server is read-only: a replica, or one that is being switched over"
        }
        1292 => "not a date, time or number",
        1300 => "a character that the column's character set has not",
        1305 => {
            "no such procedure, function or savepoint: the statement may not end the transaction"
        }
        1317 => "the server cancelled the statement",
        1364 => {
            "a column must be filled, has no default and is not written: give it a default or name it in `columns`"
        }
        1406 => "a value is too long for its column",
        1526 | 1748 => "the table has no partition for the row",
        1644 => "a procedure or trigger raised an error",
        1665 => {
            "the binary log's format does not go with READ COMMITTED: set binlog_format = ROW or MIXED"
        }
        1820 | 1862 => "the account's password has expired: set a new one",
        1927 | 3169 => "the server ended the session",
        1969 | 3024 => "the statement took longer than the server allows",
        3118 => "the account is locked",
        3140 | 3141 | 3143 | 3144 | 3157 => "not what the server takes for JSON",
        3819 | 4025 => "a check refused it",
        4031 => "the server ended the session, which was idle",
        1..1000 => "the server cannot use a file: see its log, and whether its disk is full",
        _ => match sqlstate.get(..2) {
            Some("08") => "the connection failed",
            Some("22") => "a value does not fit",
            Some("23") => "a constraint refused it",
            Some("28") => "the server refused the user or its password: correct the URL",
            Some("40") => "the transaction met another one's changes",
            Some("42") => "the statement does not fit the database",
            Some("45") => "a procedure or trigger raised an error",
            Some("53") => "the server is out of something",
            Some("57") => "the server was told to stop",
            _ => "the server refused",
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(code: u16, state: &str, message: &str) -> ServerError {
        ServerError {
            code,
            state: state.to_owned(),
            message: message.to_owned(),
        }
    }

    #[test]
    fn errors_have_the_class_of_the_outcomes_table() {
        let cases = [
            (
                Class::Retry,
                "1205/HY000 1213/40001 1206/HY000 1452/23000 1216/23000 3024/HY000 1969/70100 1317/70100 3572/HY000 1105/HY000 1197/HY000 1180/HY000 1442/HY000 3101/40000",
            ),
            (
                Class::Reject,
                "1062/23000 1048/23000 3819/HY000 4025/23000 1406/22001 1264/22003 1292/22007 1366/HY000 1366/22007 1265/01000 1300/HY000 1526/HY000 1118/42000 1644/45000 3140/22032 1365/22012",
            ),
            (
                Class::Unavailable,
                "1040/08004 1040/HY000 1045/HY000 1044/42000 1045/28000 1142/42000 1049/42000 1046/3D000 1146/42S02 1054/42S22 1064/42000 1290/HY000 1836/HY000 1792/25006 1874/HY000 1114/HY000 1021/HY000 1030/HY000 1053/08S01 1047/08S01 1129/HY000 1130/HY000 1203/42000 1226/42000 1698/28000 1243/HY000 1461/42000 1927/70100 4031/HY000 3/HY000 28/HY000 1665/HY000 1364/HY000 1305/42000",
            ),
        ];
        for (expected, codes) in cases {
            for one in codes.split(' ') {
                let (number, state) = one.split_once('/').unwrap();
                assert_eq!(class(number.parse().unwrap(), state), expected, "{one}");
            }
        }
    }

    #[test]
    fn only_refusals_of_an_event_can_be_about_its_text() {
        for number in 1..5000 {
            if is_about_text(number) {
                assert_ne!(class(number, "22000"), Class::Unavailable, "{number}");
            }
            if is_duplicate(number) {
                assert_eq!(class(number, "23000"), Class::Reject, "{number}");
            }
        }
    }

    #[test]
    fn constraints_and_columns_are_named() {
        for (code, message, expected) in [
            (
                1062,
                "Duplicate entry 'secret' for key 'hooks.paths'",
                Some(("constraint", "paths")),
            ),
            (
                1062,
                "Duplicate entry 'x' for key 'leak' for key 'paths'",
                Some(("constraint", "paths")),
            ),
            (
                4025,
                "CONSTRAINT `good` failed for `d`.`webhook_events`",
                Some(("constraint", "good")),
            ),
            (
                3819,
                "Check constraint 'good' is violated.",
                Some(("constraint", "good")),
            ),
            (
                1366,
                "Incorrect integer value: 'secret' for column `d`.`t`.`n` at row 1",
                Some(("column", "n")),
            ),
            (
                1366,
                "Incorrect integer value: 'secret' for column 'n' at row 1",
                Some(("column", "n")),
            ),
            (
                1406,
                "Data too long for column 'v' at row 12",
                Some(("column", "v")),
            ),
            (1048, "Column 'a' cannot be null", Some(("column", "a"))),
            (
                1452,
                "Cannot add or update a child row: a foreign key constraint fails (`d`.`t`, CONSTRAINT `fk` FOREIGN KEY (`a`) REFERENCES `b` (`c`))",
                Some(("constraint", "fk")),
            ),
            // Not in English, cut, or not a name: a value may be in it.
            (
                1062,
                "Doppelter Eintrag 'x' for key 'secret' für Schlüssel 'paths'",
                None,
            ),
            (
                1366,
                "Incorrect integer value: 'for column secret secret at row 1",
                None,
            ),
            (1644, "secret", None),
        ] {
            assert_eq!(name(code, message), expected, "{message}");
        }
        let cut = format!("Duplicate entry '{}' for key 'secret'", "x".repeat(400));
        assert_eq!(name(1062, &cut), None);
    }

    #[test]
    fn no_value_is_kept() {
        let error = Error::Server(server(
            1062,
            "23000",
            "Duplicate entry 'secret' for key 'paths'",
        ));
        let Fault::Refused(refusal) = Fault::of(&error) else {
            panic!("refused, not gone");
        };
        assert!(refusal.duplicate && !refusal.text);
        let Outcome::Reject { cause } = refusal.outcome else {
            panic!("rejected");
        };
        assert_eq!(cause.code, "mysql 1062 (23000)");
        assert_eq!(
            cause.detail,
            "a unique value is there already, constraint paths"
        );
    }
}
