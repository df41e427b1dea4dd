//! `forebay bench`: measured comparisons, as ratios within one run.

mod ack;
mod drain;
mod load;

use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::exit::Outcome;

/// Measure this machine: durable acknowledgements against a no-op, draining against plain COPY
#[derive(Debug, clap::Args)]
#[command(arg_required_else_help = true)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    Ack(ack::Args),
    Drain(drain::Args),
}

/// Runs it.
pub fn run(args: &Args) -> Outcome {
    match &args.verb {
        Verb::Ack(args) => ack::run(args),
        Verb::Drain(args) => drain::run(args),
    }
}

/// Runs `measure` in a directory of its own below `parent`, and removes that one, however it ended. What is in
/// `parent` is not ours: it may be somebody's data directory.
fn in_scratch<T>(
    parent: Option<&Path>,
    measure: impl FnOnce(&Path) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let parent = parent.map_or_else(|| PathBuf::from("."), Path::to_owned);
    let scratch = parent.join(format!("forebay-bench-{}", std::process::id()));
    std::fs::create_dir(&scratch).with_context(|| format!("cannot make {}", scratch.display()))?;
    let measured = measure(&scratch);
    std::fs::remove_dir_all(&scratch)
        .with_context(|| format!("cannot remove {}", scratch.display()))?;
    measured
}

/// The middle one, or the mean of the two in the middle.
fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        len if len % 2 == 1 => sorted[len / 2],
        len => f64::midpoint(sorted[len / 2 - 1], sorted[len / 2]),
    }
}
