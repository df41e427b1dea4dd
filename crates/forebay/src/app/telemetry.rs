//! The log: lines on standard error, for people or for collectors.

use std::io::IsTerminal;

use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{LogFormat, LogOptions};

/// Starts logging. Called once; later calls do nothing.
pub fn start(options: &LogOptions) {
    // The configuration was checked; what is left to fail is nobody's to mend.
    let level = options.level.parse::<Targets>().unwrap_or_default();
    let registry = tracing_subscriber::registry().with(level);
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
