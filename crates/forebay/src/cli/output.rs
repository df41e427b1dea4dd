//! How commands print data: a table for people, one JSON object a line for scripts.

use std::io::{self, Write};

use comfy_table::{ColumnConstraint, ContentArrangement, Table, presets};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::Value;

/// A line on standard output. A reader that has gone (`| head`) is no error: whoever writes on and on asks
/// [`reader_has_gone`] as well.
pub fn line(text: &str) -> io::Result<()> {
    match writeln!(io::stdout().lock(), "{text}") {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// Whether standard output is a pipe that nobody reads any more. Never waits.
pub fn reader_has_gone() -> bool {
    let output = io::stdout();
    // What tells of the other end is told unasked.
    let mut asked = [PollFd::new(&output, PollFlags::empty())];
    let told = poll(&mut asked, Some(&Timespec::default()));
    let [output] = asked;
    told.is_ok() && output.revents().intersects(PollFlags::ERR | PollFlags::HUP)
}

/// One JSON object a line.
pub fn json_lines<'v>(values: impl IntoIterator<Item = &'v Value>) -> io::Result<()> {
    values
        .into_iter()
        .try_for_each(|value| line(&value.to_string()))
}

/// What a command did: as one JSON object, or as a line.
pub fn told(answer: &Value, line: &str, json: bool) -> crate::exit::Outcome {
    match json {
        true => json_lines([answer])?,
        false => self::line(line)?,
    }
    Ok(())
}

/// Columns that are copied into the next command: never broken, however narrow the terminal is.
const UNBROKEN: [&str; 2] = ["id", "newest"];

/// A table without a frame.
pub fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> io::Result<()> {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(header.to_vec());
    for row in rows {
        table.add_row(row);
    }
    for (column, name) in table.column_iter_mut().zip(header) {
        column.set_padding((0, 2));
        if UNBROKEN.contains(name) {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
    }
    for text in table.lines() {
        line(text.trim_end())?;
    }
    Ok(())
}

/// A field as text; missing or null is a dash.
pub fn text(value: &Value, field: &str) -> String {
    match &value[field] {
        Value::Null => "-".into(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A route's breaker, with whether an operator paused the route: the guard goes on under a pause.
pub fn breaker(route: &Value) -> String {
    let breaker = text(route, "breaker");
    match route["paused"] == true {
        true => format!("{breaker}, paused"),
        false => breaker,
    }
}

/// A time without its fraction.
pub fn time(value: &Value, field: &str) -> String {
    let text = text(value, field);
    match text.parse::<domain::Timestamp>() {
        Ok(time) => time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        Err(_) => text,
    }
}

/// Seconds as people say them: `4m 12s`.
pub fn seconds(value: f64) -> String {
    if value < 1.0 {
        return if value <= 0.0 {
            "-".into()
        } else {
            "<1s".into()
        };
    }
    let whole = std::time::Duration::from_secs_f64(value.min(1e12).floor());
    humantime(whole)
}

fn humantime(duration: std::time::Duration) -> String {
    let shown = domain::HumanDuration(duration).to_string();
    // The two largest units say enough.
    shown.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_does_not_hide_the_breakers_word() {
        let route = |paused: bool| serde_json::json!({ "breaker": "tripped", "paused": paused });
        assert_eq!(breaker(&route(false)), "tripped");
        assert_eq!(breaker(&route(true)), "tripped, paused");
    }

    #[test]
    fn seconds_are_said_in_two_units() {
        for (value, wanted) in [
            (0.0, "-"),
            (0.4, "<1s"),
            (61.9, "1m 1s"),
            (90_061.0, "1day 1h"),
        ] {
            assert_eq!(seconds(value), wanted);
        }
    }
}
