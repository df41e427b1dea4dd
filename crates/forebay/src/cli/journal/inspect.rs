//! `forebay journal inspect`

use crate::cli::output;
use crate::cli::serve::ConfigArgs;
use crate::exit::Outcome;

/// List the journal's files and what each holds, also while a server runs
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// One JSON object a line, sizes in bytes
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub fn run(args: &Args) -> Outcome {
    let inspection = journal::verify::inspect(&super::directory(&args.config)?)?;
    if args.json {
        for segment in &inspection.segments {
            output::line(&serde_json::to_string(segment)?)?;
        }
        return Ok(());
    }
    if let Some(installation) = inspection.installation {
        output::line(&format!("installation {installation}"))?;
    }
    if inspection.held {
        output::line("a process holds this journal: what is listed changes meanwhile")?;
    }
    let number = |number: Option<u64>| number.map_or("-".into(), |number| number.to_string());
    let rows = inspection.segments.iter().map(|segment| {
        vec![
            segment.file.clone(),
            serde_json::to_value(segment.state).map_or_else(
                |_| String::new(),
                |state| state.as_str().unwrap_or_default().to_owned(),
            ),
            number(segment.number),
            number(segment.first.map(|seq| seq.0)),
            number(segment.last.map(|seq| seq.0)),
            number(segment.frames),
            number(segment.records),
            domain::ByteSize(segment.bytes).to_string(),
        ]
    });
    output::table(
        &[
            "file", "state", "number", "first", "last", "frames", "events", "size",
        ],
        rows,
    )?;
    Ok(())
}
