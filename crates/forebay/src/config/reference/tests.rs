//! Holds the reference to what the parser takes, and the page to the reference.

use super::sample::{at, known, literal, read, sample, verified};
use super::*;
use crate::config::{Flags, parse};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md");
const EXAMPLE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../config/forebay.example.toml"
);

fn named(keys: &[Key]) -> Vec<String> {
    let mut names: Vec<_> = keys.iter().map(|key| key.name.to_owned()).collect();
    names.sort_unstable();
    names
}

#[test]
fn every_key_that_is_taken_is_described_and_the_other_way_round() {
    assert_eq!(
        known(&sample(), &[]),
        [
            "destinations",
            "dispatch",
            "journal",
            "log",
            "routes",
            "server",
            "sources",
            "state",
            "subscriptions"
        ]
    );
    for section in SECTIONS {
        assert_eq!(
            known(&sample(), section.at),
            named(section.keys),
            "{}",
            section.title
        );
    }
    for scheme in SCHEMES.iter().filter(|scheme| !scheme.keys.is_empty()) {
        let known = known(&verified(scheme), &["sources", "in", "verify"]);
        let mut described: Vec<_> = scheme.keys.iter().map(|key| key.name).collect();
        described.sort_unstable();
        assert_eq!(known, described, "{}", scheme.name);
    }
}

#[test]
fn every_key_of_notifications_is_described_and_the_other_way_round() {
    let odd = format!("type = \"{}\"\nno_such_key = 1", genesys::KIND);
    let read = toml::from_str::<genesys::SourceOptions>(&odd).unwrap_err();
    let (_, known) = read.message().split_once("expected one of ").unwrap();
    let mut known: Vec<_> = known.split('`').skip(1).step_by(2).collect();
    known.sort_unstable();
    let mut described: Vec<_> = NOTIFICATION_KEYS.iter().map(|key| key.key).collect();
    described.sort_unstable();
    assert_eq!(known, described);
}

#[test]
fn every_scheme_is_described_and_the_other_way_round() {
    let mut sample = sample();
    sample["sources"]["in"]["verify"] = json!({ "scheme": "no-such-scheme" });
    let reason = read(&sample).unwrap_err().reason;
    let (_, known) = reason.split_once("it must be one of ").unwrap();
    let known: Vec<_> = known.split('`').skip(1).step_by(2).collect();
    let described: Vec<_> = SCHEMES.iter().map(|scheme| scheme.name).collect();
    assert_eq!(known, described);
}

#[test]
fn what_is_described_as_the_default_is_the_default() {
    let plain = read(&sample()).unwrap();
    for section in SECTIONS {
        let defaults = defaults(section);
        for key in section.keys {
            let shown = shown(section, key, &defaults);
            let text = shown.trim_matches('`');
            if text.is_empty() || text == "required" {
                continue;
            }
            let mut sample = sample();
            at(&mut sample, section.at)[key.name] = literal(text);
            let mut written = read(&sample).unwrap();
            // A default that is written does nothing, and some say so.
            written.warnings.clear();
            assert_eq!(
                format!("{written:?}"),
                format!("{plain:?}"),
                "{} {}",
                section.title,
                key.name
            );
        }
    }
}

#[test]
fn what_is_described_as_a_schemes_default_is_its_default() {
    for scheme in SCHEMES {
        let verify = |key: Option<&ingest::verify::KeyDoc>| {
            let mut sample = verified(scheme);
            let verify = at(&mut sample, &["sources", "in", "verify"]);
            if let Some(key) = key {
                verify[key.name] = literal(key.default);
            }
            read(&sample)
                .unwrap()
                .sources
                .into_values()
                .next()
                .unwrap()
                .verify
                .unwrap()
        };
        for key in scheme.keys.iter().filter(|key| !key.default.is_empty()) {
            assert_eq!(
                verify(Some(key)),
                verify(None),
                "{} {}",
                scheme.name,
                key.name
            );
        }
    }
}

#[test]
fn what_is_described_as_a_destinations_default_is_its_default() {
    for (kind, options) in connectors::reference() {
        let destination = |option: Option<&connectors::OptionDoc>| {
            let mut sample = sample();
            sample["destinations"]["db"] = match kind {
                "http" => json!({ "type": kind, "url": "https://h/in" }),
                "postgres" => json!({ "type": kind, "url": "postgres://db/app" }),
                "mysql" => json!({ "type": kind, "url": "mysql://db/app" }),
                "file" => json!({ "type": kind, "path": "/tmp/events.ndjson" }),
                "sqs" => json!({ "type": kind, "queue_url": "https://h/1/q.fifo" }),
                "s3" => json!({ "type": kind, "bucket": "letters" }),
                "redis" => json!({ "type": kind, "url": "redis://h", "list": "events" }),
                "rabbitmq" => {
                    json!({ "type": kind, "url": "amqp://h", "routing_key": "events" })
                }
                "nats" => json!({ "type": kind, "url": "nats://h", "subject": "events" }),
                _ => json!({ "type": kind }),
            };
            if let Some(option) = option {
                sample["destinations"]["db"][option.key] = literal(option.default);
            }
            format!("{:?}", read(&sample).unwrap().destinations)
        };
        // A default with a brace is words for what depends on something else.
        for option in options
            .iter()
            .filter(|option| !option.default.is_empty() && !option.default.contains('{'))
        {
            assert_eq!(
                destination(Some(option)),
                destination(None),
                "{kind} {}",
                option.key
            );
        }
    }
}

#[test]
fn what_is_described_as_a_limit_is_the_limit() {
    for section in SECTIONS {
        for key in section.keys {
            let with = |text: &str| {
                let mut sample = sample();
                at(&mut sample, section.at)[key.name] = literal(text);
                if ["segment_bytes", "max_in_flight_bytes"].contains(&key.name) {
                    // Or the default would not fit into it.
                    sample["sources"]["in"]["max_body"] = json!("1");
                }
                read(&sample)
            };
            for text in key.taken {
                let taken = with(text);
                assert!(
                    taken.is_ok(),
                    "{} {} = {text}: {}",
                    section.title,
                    key.name,
                    taken.unwrap_err()
                );
            }
            for text in key.refused {
                let Err(error) = with(text) else {
                    panic!("{} {} = {text} is taken", section.title, key.name);
                };
                let path = section.at.join(".");
                assert!(
                    error.key.starts_with(&path),
                    "{} {} = {text}: {error}",
                    section.title,
                    key.name
                );
            }
        }
    }
}

#[test]
fn every_key_of_its_section_has_a_variable() {
    for (title, variables, except) in [
        (
            "[server]",
            SERVER_KEYS,
            &[
                "limits",
                "tls",
                "trusted_proxies",
                "proxy_protocol",
                "forwarded_header",
            ][..],
        ),
        ("[journal]", JOURNAL_KEYS, &[]),
    ] {
        let section = SECTIONS
            .iter()
            .find(|section| section.title == title)
            .unwrap();
        let mut variables: Vec<_> = variables
            .iter()
            .chain(except)
            .map(|key| (*key).to_owned())
            .collect();
        variables.sort_unstable();
        assert_eq!(variables, named(section.keys));
    }
}

#[test]
fn the_page_is_what_the_code_says() {
    let made = page();
    if std::env::var_os("FOREBAY_UPDATE").is_some() {
        std::fs::write(PAGE, &made).unwrap();
    }
    let written = std::fs::read_to_string(PAGE).unwrap();
    assert!(
        written == made,
        "docs/configuration.md is not what the code says; write it anew: FOREBAY_UPDATE=1 cargo test -p forebay reference"
    );
}

#[test]
fn the_example_is_valid_and_a_whole_one() {
    let text = std::fs::read_to_string(EXAMPLE).unwrap();
    let environment = |name: &str| match name {
        "DATABASE_URL" => Some("postgres://app:password@db.example.com/app".to_owned()),
        "FOREBAY_ADMIN_TOKEN" => Some("a-token".to_owned()),
        "GITHUB_WEBHOOK_SECRET" | "ORDERS_SECRET" => Some("a-secret-of-many-letters".to_owned()),
        "GENESYS_WEBHOOK_SECRET" => Some("a-secret-of-many-letters".to_owned()),
        _ => None,
    };
    let config = parse(None, &text, &Flags::default(), &environment).unwrap();
    assert!(!config.built_in_route && !config.routes.is_empty());
    // What is commented out must be right as well.
    let whole: String = text
        .lines()
        .map(|line| format!("{}\n", line.strip_prefix("#: ").unwrap_or(line)))
        .collect();
    parse(None, &whole, &Flags::default(), &environment).unwrap();
}
