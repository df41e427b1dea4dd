//! The reference of the configuration, `docs/configuration.md`, made from the code.
//!
//! Only tests use it. The words are in [`super::keys`]; names, defaults and limits are held to what the parser
//! really takes, so that the page cannot say what is not so. To write the page anew:
//! `FOREBAY_UPDATE=1 cargo test -p forebay reference`.

mod sample;
mod tests;

use std::fmt::Write as _;

use domain::policy::{BreakerPolicy, DeadLetterPolicy, OnOutage, Order, RetryPolicy};
use ingest::options::RespondOptions;
use ingest::verify::{About, SCHEMES};
use ingest::{AcmeOptions, ListenerOptions, SourceOptions, TlsOptions};
use serde_json::{Value, json};

use super::keys::{Key, SECTIONS, Section};
use super::notification_keys::NOTIFICATION_KEYS;
use super::options::{JOURNAL_KEYS, LogOptions, SERVER_KEYS, ServerOptions, SubscriptionOptions};

const HEAD: &str = "\
# Configuration

<!-- Made from the code by a test. To change it, change crates/forebay/src/config/keys.rs and run
     FOREBAY_UPDATE=1 cargo test -p forebay reference -->

One TOML file. `forebay check` reads it and names one mistake at a time, with file, line, key and what would be right;
`serve` does the same before it binds a port, and exits with code 2. A key that is not on this page is refused.
[config/forebay.example.toml](../config/forebay.example.toml) is a whole file to start from.

## Where values come from

The file is the one that `--config` names; else `./forebay.toml`; else `/etc/forebay/forebay.toml`; else there is
none, and what is built in is used: source `default` at `/in/default` and `/webhook`, route `default`, destination
`events` (SQLite, `./forebay-data/events.db`). A file without any source, destination and route gets these three
as well.

A flag (`--listen`, `--admin`, `--data-dir`) overrides an environment variable, which overrides the file, which
overrides the default.

In any string of the file, `${NAME}` is replaced by an environment variable and `${NAME:-default}` by the default if
the variable is unset or empty. A variable that is missing and has no default is an error. `$${` stands for `${`.

A secret may stand in a file of its own instead: `secret_files`, `url_file`, `admin_token_file`. On SIGHUP the
server reads secret files, the admin token's file and those of `[server.tls]` again; everything else needs a restart.

A **duration** is a number with a unit, in quotes: `\"2.5s\"`, `\"15m\"`, `\"1h 30m\"`, `\"30d\"`. A **size** is one too:
`\"64MiB\"` (1024²), `\"10MB\"` (1000²), or a number of bytes, `\"512\"`. A **name** (of a source, route or destination) is
made of `a-z`, `0-9`, `.`, `_`, `-`, starts with a letter or digit, and has at most 64 characters.

";

const OTHER_VARIABLES: &str = "\
The commands that ask a running server (`status`, `events`, `dlq`, `quarantine`, `routes list|pause|resume`, `sources list`) read two more:

| variable | what |
|---|---|
| `FOREBAY_ADMIN_URL` | where the admin API is; `--admin-url` overrides it. Default `http://127.0.0.1:8081` |
| `FOREBAY_ADMIN_TOKEN` | the token they send, if it is set |
";

/// The whole page.
fn page() -> String {
    let mut page = HEAD.to_owned();
    for section in SECTIONS {
        let level = if is_table(section) { "###" } else { "##" };
        heading(&mut page, level, section);
        let defaults = defaults(section);
        table(&mut page, section.keys, |key| {
            shown(section, key, &defaults)
        });
        if section.title == "[sources.NAME]" {
            schemes(&mut page);
            queues(&mut page);
        }
    }
    destinations(&mut page);
    variables(&mut page);
    page
}

fn is_table(section: &Section) -> bool {
    section.title.ends_with('}')
}

fn heading(page: &mut String, level: &str, section: &Section) {
    let _ = writeln!(page, "{level} `{}`\n\n{}\n", section.title, section.about);
}

fn table(page: &mut String, keys: &[Key], default: impl Fn(&Key) -> String) {
    page.push_str("| key | value | default | limit | effect |\n|---|---|---|---|---|\n");
    for key in keys {
        row(
            page,
            key.name,
            key.value,
            &default(key),
            key.limit,
            key.effect,
        );
    }
    page.push('\n');
}

fn row(page: &mut String, name: &str, value: &str, default: &str, limit: &str, effect: &str) {
    let _ = write!(page, "| `{name}` |");
    for cell in [value, default, limit, effect] {
        let cell = cell.replace('|', "\\|");
        let _ = if cell.is_empty() {
            write!(page, " |")
        } else {
            write!(page, " {cell} |")
        };
    }
    page.push('\n');
}

fn schemes(page: &mut String) {
    page.push_str(
        "### `verify = { scheme = \"…\", … }`\n\nExamples of each scheme are in [sources](sources.md).\n\n",
    );
    for scheme in SCHEMES {
        let _ = writeln!(page, "#### `{}`\n\n{}\n", scheme.name, scheme.about);
        let said = known(scheme);
        if !said.is_empty() {
            let _ = writeln!(page, "{}\n", said.join("; "));
        }
        if !scheme.keys.is_empty() {
            page.push_str("| key | value | default | limit | effect |\n|---|---|---|---|---|\n");
            for key in scheme.keys {
                let default = match key.default {
                    "" if sample::needs(scheme, key.name) => "required".into(),
                    "" => String::new(),
                    default => code(default),
                };
                row(page, key.name, key.value, &default, key.limit, key.effect);
            }
            page.push('\n');
        }
    }
}

/// What is known of a scheme's sender, in words.
fn known(scheme: &About) -> Vec<String> {
    let mut said = Vec::new();
    let mut say = |what: &str, words: &str| {
        if !words.is_empty() {
            said.push(format!("{what}: {words}"));
        }
    };
    say("A repeat is", scheme.dedup);
    say("Its challenge", scheme.handshake);
    let sender = &scheme.sender;
    let long = |time: Option<std::time::Duration>| match time {
        Some(time) if !time.is_zero() => domain::HumanDuration(time).to_string(),
        _ => String::new(),
    };
    say("The sender waits for an answer", &long(sender.timeout));
    say("After a bad one", sender.retries);
    say("From its first try to its last", &long(sender.window));
    said
}

/// The sources that nobody posts to.
fn queues(page: &mut String) {
    for (kind, options) in connectors::QUEUE_REFERENCES {
        let _ = writeln!(
            page,
            "### `type = \"{kind}\"`, as a source\n\nA queue that is read. See [queues as sources](queues.md). It has these keys and no others.\n"
        );
        documented(page, options);
    }
    let kind = genesys::KIND;
    let _ = writeln!(
        page,
        "### `type = \"{kind}\"`, as a source\n\nNotification channels of Genesys Cloud that are listened to. See [Genesys Cloud](genesys.md#notification-channels). It has these keys and no others.\n"
    );
    documented(page, NOTIFICATION_KEYS);
}

fn destinations(page: &mut String) {
    page.push_str(
        "## `[destinations.NAME]`\n\nWhere events go. `type` says which kind; the other keys depend on it.\n\n",
    );
    for (kind, options) in connectors::reference() {
        let _ = writeln!(
            page,
            "### `type = \"{kind}\"`\n\nSee [{kind}](destinations/{kind}.md) for examples, what is written, and what errors mean.\n"
        );
        documented(page, options);
    }
}

fn documented(page: &mut String, options: &[connectors::OptionDoc]) {
    page.push_str("| key | value | default | limit | effect |\n|---|---|---|---|---|\n");
    for option in options {
        let default = if option.default.is_empty() {
            String::new()
        } else {
            code(option.default)
        };
        row(
            page,
            option.key,
            option.value,
            &default,
            option.limit,
            option.effect,
        );
    }
    page.push('\n');
}

fn variables(page: &mut String) {
    page.push_str("## Environment variables\n\nEach sets the key of the same name, whatever the file says:\n\n");
    for (section, keys) in [("server", SERVER_KEYS), ("journal", JOURNAL_KEYS)] {
        for key in keys {
            let variable = format!("FOREBAY_{}_{}", section.to_uppercase(), key.to_uppercase());
            let _ = writeln!(page, "- `{variable}`: `{section}.{key}`");
        }
    }
    page.push('\n');
    page.push_str(OTHER_VARIABLES);
}

/// What the code takes for each key that is left out; null or nothing where it is left out for good.
fn defaults(section: &Section) -> Value {
    let value = match section.title {
        "[server]" => serde_json::to_value(ServerOptions::default()),
        "[server.tls]" => serde_json::to_value(TlsOptions::default()),
        "[server.tls.acme]" => serde_json::to_value(AcmeOptions::default()),
        "[server.limits]" => serde_json::to_value(ListenerOptions::default()),
        "[log]" => serde_json::to_value(LogOptions::default()),
        "[journal]" => serde_json::to_value(journal::Options::default()),
        "[state]" => serde_json::to_value(state::Options::default()),
        "[dispatch]" => serde_json::to_value(dispatch::Options::default()),
        "[sources.NAME]" => serde_json::to_value(SourceOptions::default()),
        "respond = { … }" => serde_json::to_value(RespondOptions::default()),
        "[routes.NAME]" => {
            let parked_max = dispatch::RoutePolicies::default().parked_max;
            Ok(json!({
                "order": Order::default(), "on_outage": OnOutage::default(),
                "parked_max": parked_max,
            }))
        }
        "breaker = { … }" => serde_json::to_value(BreakerPolicy::default()),
        "dead_letter = { … }" => serde_json::to_value(DeadLetterPolicy::default()),
        "retry = { … }" => serde_json::to_value(RetryPolicy::default()),
        "[subscriptions]" => serde_json::to_value(SubscriptionOptions::default()),
        other => unreachable!("no defaults for {other}"),
    };
    value.unwrap()
}

/// A default as it would be written in the file.
fn shown(section: &Section, key: &Key, defaults: &Value) -> String {
    if sample::is_required(section, key) {
        return "required".into();
    }
    match &defaults[key.name] {
        Value::Null | Value::Object(_) => String::new(),
        // Sizes print as people read them, `64.0 MiB`; this is how people write them.
        Value::String(text) if key.value == "size" => {
            code(&format!("{:?}", text.replace(".0 ", "")))
        }
        value => code(&value.to_string()),
    }
}

fn code(text: &str) -> String {
    format!("`{text}`")
}
