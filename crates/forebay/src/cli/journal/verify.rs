//! `forebay journal verify`

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressStyle};

use crate::cli::output;
use crate::cli::serve::ConfigArgs;
use crate::exit::{Exit, Failure, Outcome};

/// Read every byte of the journal and say what is damaged, also while a server runs; exit code 4 if anything is
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub fn run(args: &Args) -> Outcome {
    let directory = super::directory(&args.config)?;
    let bar = if std::io::stderr().is_terminal() {
        ProgressBar::no_length()
    } else {
        ProgressBar::hidden()
    };
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes} {eta}") {
        bar.set_style(style);
    }
    let verification = journal::verify::verify_with_progress(&directory, &mut |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    })?;
    bar.finish_and_clear();
    if args.json {
        output::line(&serde_json::to_string(&verification)?)?;
    } else {
        if verification.held {
            output::line("a process holds this journal: its last frame may be on its way")?;
        }
        for (file, finding) in verification.findings() {
            output::line(&format!("{}: {}", file.unwrap_or("journal"), finding.words))?;
        }
        output::line(&format!(
            "{} segments, {} events: {}",
            verification.segments.len(),
            verification.records(),
            if verification.is_damaged() {
                "DAMAGED"
            } else {
                "sound"
            }
        ))?;
    }
    if verification.is_damaged() {
        return Err(Failure::say(
            Exit::Damage,
            "damage was found; routes that had not settled what it took count it as damaged, and everything else is served",
        ));
    }
    Ok(())
}
