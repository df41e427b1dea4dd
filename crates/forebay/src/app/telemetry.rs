//! The log: lines on standard error, for people or for collectors.
//!
//! Only Forebay's own parts write to it, at any level: a library does not know that a value it was given is
//! a sender's payload, and says so at `debug`.

use std::io::IsTerminal;

use tracing::{Level, Metadata};
use tracing_subscriber::filter::{FilterFn, LevelFilter, Targets, filter_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{LogFormat, LogOptions, is_a_part};

/// Starts logging. Called once; later calls do nothing.
pub fn start(options: &LogOptions) {
    // The configuration was checked; what is left to fail is nobody's to mend.
    let level = options.level.parse::<Targets>().unwrap_or_default();
    let registry = tracing_subscriber::registry().with(ours(level));
    let started = match options.format {
        LogFormat::Text => registry
            .with(
                tracing_subscriber::fmt::layer()
                    .with_writer(std::io::stderr)
                    .with_ansi(std::io::stderr().is_terminal())
                    .with_target(false),
            )
            .try_init(),
        LogFormat::Json => registry
            .with(
                tracing_subscriber::fmt::layer()
                    .json()
                    .flatten_event(true)
                    .with_writer(std::io::stderr),
            )
            .try_init(),
    };
    drop(started);
}

/// What the level lets through of what Forebay's own parts say; what went wrong for good always passes. It is
/// asked once for each place in the code.
fn ours(level: Targets) -> FilterFn<impl Fn(&Metadata<'_>) -> bool> {
    let most = level.iter().map(|(_, level)| level);
    let most = most.chain(level.default_level()).max();
    let most = most.unwrap_or(LevelFilter::ERROR).max(LevelFilter::ERROR);
    filter_fn(move |metadata| {
        let (target, verbosity) = (metadata.target(), metadata.level());
        is_a_part(target) && (*verbosity == Level::ERROR || level.would_enable(target, verbosity))
    })
    .with_max_level_hint(most)
}
