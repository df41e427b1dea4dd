//! How far long work is, for a person: a bar on standard error where that is a terminal, else nothing.

use indicatif::{ProgressBar, ProgressStyle};

/// A bar for so many letters.
pub(super) fn bar(count: u64) -> ProgressBar {
    let bar = ProgressBar::new(count);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} {per_sec} {eta}") {
        bar.set_style(style);
    }
    bar
}

/// A count of messages, of which nobody knows how many there are.
pub(super) fn counter() -> ProgressBar {
    let counter = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {pos} messages, {per_sec}") {
        counter.set_style(style);
    }
    counter
}
