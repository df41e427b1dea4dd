//! How far long work is, for a person: a bar on standard error where that is a terminal, else nothing.

use indicatif::{ProgressBar, ProgressState, ProgressStyle};

/// A bar for so many letters.
pub(super) fn bar(count: u64) -> ProgressBar {
    let bar = ProgressBar::new(count);
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len}, {rate} a second, ETA {eta}");
    if let Ok(style) = style {
        bar.set_style(style.with_key("rate", rate));
    }
    bar
}

/// A count of messages, of which nobody knows how many there are.
pub(super) fn counter() -> ProgressBar {
    let counter = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {pos} messages, {rate}/s") {
        counter.set_style(style.with_key("rate", rate));
    }
    counter
}

/// Whole letters: fractions of one say nothing.
fn rate(state: &ProgressState, out: &mut dyn std::fmt::Write) {
    let _ = write!(out, "{:.0}", state.per_sec());
}
