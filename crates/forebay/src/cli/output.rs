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
    // The two largest units say enough.
    let shown = in_units(duration);
    shown.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

/// A length of time to the second, in days at most: `1d 3h 35m 5s`.
pub fn in_units(duration: std::time::Duration) -> String {
    let seconds = duration.as_secs();
    let units = [
        (seconds / 86_400, "d"),
        (seconds / 3600 % 24, "h"),
        (seconds / 60 % 60, "m"),
        (seconds % 60, "s"),
    ];
    let said = units.iter().filter(|(count, _)| *count > 0);
    let said: Vec<String> = said.map(|(count, unit)| format!("{count}{unit}")).collect();
    match said.is_empty() {
        true => "0s".into(),
        false => said.join(" "),
    }
}

/// Names in a cell of a table, some a line.
pub fn names(names: &[&str]) -> String {
    let mut cell = String::new();
    let mut width = 0;
    for (at, name) in names.iter().enumerate() {
        if at > 0 {
            cell.push(',');
            width += 2 + name.len();
            let line = if width > NAMES { '\n' } else { ' ' };
            cell.push(line);
        }
        if at == 0 || cell.ends_with('\n') {
            width = name.len();
        }
        cell.push_str(name);
    }
    cell
}

/// So wide is a line of names.
const NAMES: usize = 60;

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
    fn lengths_of_time_are_in_days_at_most_and_names_in_lines() {
        for (seconds, said) in [(0, "0s"), (99_305, "1d 3h 35m 5s"), (2_592_000, "30d")] {
            assert_eq!(in_units(std::time::Duration::from_secs(seconds)), said);
        }
        assert_eq!(names(&["a", "b"]), "a, b");
        let many = vec!["a-source-of-mine"; 9];
        let cell = names(&many);
        assert_eq!(cell.lines().count(), 3);
        assert!(cell.lines().all(|line| line.len() <= NAMES + 1), "{cell}");
        assert_eq!(cell.replace('\n', " "), many.join(", "));
    }

    #[test]
    fn seconds_are_said_in_two_units() {
        for (value, wanted) in [
            (0.0, "-"),
            (0.4, "<1s"),
            (61.9, "1m 1s"),
            (90_061.0, "1d 1h"),
        ] {
            assert_eq!(seconds(value), wanted);
        }
    }
}
