//! `forebay sources schemes`

use ingest::verify::{About, SCHEMES, Sender};
use serde_json::{Value, json};

use crate::cli::output;
use crate::config;
use crate::exit::{Exit, Failure, Outcome};

/// List the verification schemes, or show what one of them needs
///
/// What is said of a sender's patience is the provider's own word.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The scheme to show
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub fn run(args: &Args) -> Outcome {
    let shown: Vec<&About> = match &args.name {
        Some(name) => vec![find(name)?],
        None => SCHEMES.to_vec(),
    };
    if args.json {
        let lines: Vec<Value> = shown.iter().map(|about| object(about)).collect();
        output::json_lines(&lines)?;
    } else if args.name.is_some() {
        for about in shown {
            show(about)?;
        }
    } else {
        let rows = shown.iter().map(|about| row(about));
        output::table(&["scheme", "needs", "waits", "tries for"], rows)?;
        output::line("")?;
        output::line("`forebay sources schemes NAME` shows one, with a section to start from")?;
    }
    Ok(())
}

fn find(name: &str) -> Outcome<&'static About> {
    let found = SCHEMES.iter().find(|about| about.name == name);
    found.copied().ok_or_else(|| {
        let known: Vec<_> = SCHEMES.iter().map(|about| about.name).collect();
        let error = match config::closest(name, known.iter().copied()) {
            Some(meant) => format!("there is no scheme {name:?}; did you mean {meant:?}?"),
            None => format!("there is no scheme {name:?}; there is {}", known.join(", ")),
        };
        Failure::say(Exit::Usage, error)
    })
}

/// Without the marks of Markdown.
fn plain(text: &str) -> String {
    text.replace('`', "")
}

fn unknown() -> String {
    "not known".into()
}

/// The keys that it cannot do without, and what it needs of its source.
fn needs(about: &About) -> String {
    let least = about.least.split(", ");
    let keys = least.filter_map(|pair| Some(pair.split_once(" = ")?.0));
    let url = about.signs_url.then_some("public_url");
    keys.chain(url).collect::<Vec<_>>().join(", ")
}

fn row(about: &About) -> Vec<String> {
    vec![
        about.name.to_owned(),
        needs(about),
        about.sender.timeout.map_or_else(unknown, output::in_units),
        match about.sender.window {
            Some(window) if window.is_zero() => "once".into(),
            Some(window) => output::in_units(window),
            None => unknown(),
        },
    ]
}

fn object(about: &About) -> Value {
    let keys = about.keys.iter().map(|key| {
        json!({ "name": key.name, "value": key.value, "limit": key.limit, "default": key.default, "effect": key.effect })
    });
    json!({
        "name": about.name,
        "about": about.about,
        "keys": keys.collect::<Vec<_>>(),
        "needs_public_url": about.signs_url,
        "repeat": about.dedup,
        "challenge": about.handshake,
        "timeout_seconds": about.sender.timeout.map(|time| time.as_secs()),
        "retries": about.sender.retries,
        "window_seconds": about.sender.window.map(|time| time.as_secs()),
    })
}

fn show(about: &About) -> Outcome {
    output::line(&plain(about.about))?;
    output::line("")?;
    output::line(&example(about))?;
    output::line("")?;
    let sender = &about.sender;
    for (what, words) in [
        ("a repeat is", plain(about.dedup)),
        ("challenge", plain(about.handshake)),
        (
            "the sender waits",
            sender.timeout.map_or_else(unknown, output::in_units),
        ),
        ("then tries again", plain(sender.retries)),
        ("gives up after", gives_up(sender)),
    ] {
        if !words.is_empty() {
            output::line(&format!("{what:<18}{words}"))?;
        }
    }
    if !about.keys.is_empty() {
        output::line("")?;
    }
    let rows = about.keys.iter().map(|key| {
        let key = [key.name, key.value, key.default, key.limit, key.effect];
        key.map(plain).to_vec()
    });
    if !about.keys.is_empty() {
        output::table(&["key", "value", "default", "limit", "effect"], rows)?;
    }
    Ok(())
}

fn gives_up(sender: &Sender) -> String {
    match sender.window {
        Some(window) if window.is_zero() => "the first try: it sends once".into(),
        Some(window) => output::in_units(window),
        None => unknown(),
    }
}

/// A section to start from. Secrets come from the environment.
fn example(about: &About) -> String {
    let name = about.name.to_uppercase().replace('-', "_");
    let options = about
        .least
        .split(", ")
        .map(|pair| match pair.split_once(" = ") {
            Some(("secrets", _)) => format!("secrets = [\"${{{name}_SECRET}}\"]"),
            Some(("verify_token", _)) => format!("verify_token = \"${{{name}_VERIFY_TOKEN}}\""),
            _ => pair.to_owned(),
        });
    let options: Vec<_> = std::iter::once(format!("scheme = \"{}\"", about.name))
        .chain(options.filter(|pair| !pair.is_empty()))
        .collect();
    let url = if about.signs_url {
        "public_url = \"https://hooks.example.com\"\n"
    } else {
        ""
    };
    format!(
        "[sources.{}]\ntype = \"http\"\n{url}verify = {{ {} }}",
        about.name,
        options.join(", ")
    )
}
