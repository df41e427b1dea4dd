//! Floor 3: the `forebay` binary.
//!
//! Owns the command line ([`cli`]), the configuration ([`config`]) and the composition root ([`app`]),
//! which alone knows which journal, state and destination stand behind the ports.

#![expect(
    unreachable_pub,
    reason = "a binary has no outside; `pub` says what its modules owe each other"
)]

mod app;
mod cli;
mod config;
mod exit;

use std::process::ExitCode;

/// The system's allocator keeps what a burst of events took; this one gives it back, and is faster under
/// threads.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match cli::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.logged {
                eprintln!("forebay: {failure}");
            }
            failure.exit.into()
        }
    }
}
