//! `forebay bench`: measured comparisons, as ratios within one run.

mod ack;
mod drain;
mod load;

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
