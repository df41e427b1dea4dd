//! `forebay sources schemes`

use ingest::verify::{About, SCHEMES};
use serde_json::{Value, json};

use crate::cli::output;
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
        let header = [
            "scheme",
            "needs",
            "a repeat is",
            "challenge",
            "waits",
            "tries for",
        ];
        output::table(&header, rows)?;
    }
    Ok(())
}

fn find(name: &str) -> Outcome<&'static About> {
    let found = SCHEMES.iter().find(|about| about.name == name);
    found.copied().ok_or_else(|| {
        let known: Vec<_> = SCHEMES.iter().map(|about| about.name).collect();
        let error = format!("there is no scheme {name:?}; there is {}", known.join(", "));
        Failure::say(Exit::Usage, error)
    })
}

/// Without the marks of Markdown.
fn plain(text: &str) -> String {
    text.replace('`', "")
}

fn seconds(time: Option<std::time::Duration>) -> String {
    match time {
        Some(time) if time.is_zero() => "once".into(),
        Some(time) => domain::HumanDuration(time).to_string(),
        None => String::new(),
    }
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
        plain(about.dedup),
        plain(about.handshake),
        seconds(about.sender.timeout),
        seconds(about.sender.window),
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
    output::line(&format!("{}: {}", about.name, plain(about.about)))?;
    output::line("")?;
    output::line(&example(about))?;
    let facts = facts(about);
    if !facts.is_empty() {
        output::line("")?;
    }
    facts.iter().try_for_each(|fact| output::line(fact))?;
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

/// What is known of the sender, a line each. Of one that tries once there is no time to say.
fn facts(about: &About) -> Vec<String> {
    let sender = &about.sender;
    let window = sender.window.filter(|window| !window.is_zero());
    let facts = [
        ("a repeat is", plain(about.dedup)),
        ("challenge", plain(about.handshake)),
        ("the sender waits", seconds(sender.timeout)),
        ("then tries again", plain(sender.retries)),
        ("for in all", seconds(window)),
    ];
    let known = facts.iter().filter(|(_, words)| !words.is_empty());
    known
        .map(|(what, words)| format!("{what:<18}{words}"))
        .collect()
}

/// A section to start from. Secrets come from the environment.
fn example(about: &About) -> String {
    let name = about.name.to_uppercase().replace('-', "_");
    let options = about
        .least
        .split(", ")
        .map(|pair| match pair.split_once(" = ") {
            Some(("secrets", _)) => format!("secrets = [\"${{{name}_SECRET}}\"]"),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_known_of_a_sender_is_said() {
        assert!(facts(find("hmac").unwrap()).is_empty());
        let github = facts(find("github").unwrap());
        assert_eq!(github[0], "a repeat is       X-GitHub-Delivery");
        assert!(github.iter().all(|fact| !fact.starts_with("for in all")));
        let slack = facts(find("slack").unwrap());
        assert_eq!(slack.last().unwrap(), "for in all        6m 12s");
        assert!(find("nobody").is_err());
    }
}
