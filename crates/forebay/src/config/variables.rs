//! `FOREBAY_SERVER_…` and `FOREBAY_JOURNAL_…`: what the environment sets in place of the file.

use super::document::{Document, Origin};
use super::error::ConfigError;
use super::options::{JOURNAL_KEYS, SERVER_KEYS};

const SECTIONS: [(&str, &[&str]); 2] = [("server", SERVER_KEYS), ("journal", JOURNAL_KEYS)];

/// How many variables are named to whoever misspelt one.
const NEAREST: usize = 3;

fn prefix(section: &str) -> String {
    format!("FOREBAY_{}_", section.to_uppercase())
}

fn variable(section: &str, key: &str) -> String {
    prefix(section) + &key.to_uppercase()
}

/// Puts what the environment says over what the file says.
pub(super) fn put(document: &mut Document<'_>, environment: &dyn Fn(&str) -> Option<String>) {
    for (section, keys) in SECTIONS {
        for key in keys {
            let variable = variable(section, key);
            if let Some(value) = environment(&variable) {
                document.set(section, key, value, Origin::Variable(variable));
            }
        }
    }
    document.settle("server", ["admin_token", "admin_token_file"]);
}

/// A variable of ours that sets nothing was meant to set something.
///
/// # Errors
/// The first one, with those it may have been meant for. Never a value.
pub(super) fn check(names: &[String]) -> Result<(), ConfigError> {
    for (section, keys) in SECTIONS {
        let prefix = prefix(section);
        // Kubernetes tells every container of its services. One named `forebay-server` or `forebay-journal`
        // begins as our own variables do.
        let service = names.contains(&format!("{prefix}SERVICE_HOST"));
        let is_a_services = |rest: &str| {
            service && (rest.starts_with("SERVICE_") || rest == "PORT" || rest.starts_with("PORT_"))
        };
        for name in names {
            let Some(rest) = name.strip_prefix(&prefix) else {
                continue;
            };
            let known = keys.iter().any(|key| key.to_uppercase() == rest);
            if !known && !is_a_services(rest) {
                return Err(unknown(name, section, rest, keys));
            }
        }
    }
    Ok(())
}

fn unknown(name: &str, section: &str, rest: &str, keys: &[&str]) -> ConfigError {
    let mut keys = keys.to_vec();
    keys.sort_by_cached_key(|key| distance(&key.to_uppercase(), rest));
    let nearest: Vec<String> = keys
        .iter()
        .take(NEAREST)
        .map(|key| variable(section, key))
        .collect();
    ConfigError {
        place: "environment".into(),
        key: name.into(),
        reason: format!(
            "there is no such variable; the nearest are {}. Unset it, or set that key in the file's [{section}]",
            nearest.join(", ")
        ),
    }
}

/// How many letters have to be put in, taken out or changed to make one of the other.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (at, letter) in one.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = at + 1;
        for (to, with) in other.iter().enumerate() {
            let changed = diagonal + usize::from(letter != *with);
            diagonal = row[to + 1];
            row[to + 1] = changed.min(diagonal + 1).min(row[to] + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(names: &[&str]) -> Result<(), String> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        check(&names).map_err(|error| error.to_string())
    }

    #[test]
    fn a_misspelt_variable_is_refused_with_the_nearest_there_are() {
        for (name, nearest) in [
            (
                "FOREBAY_SERVER_LISTN",
                "the nearest are FOREBAY_SERVER_LISTEN, ",
            ),
            (
                "FOREBAY_SERVER_ADMIN_TOKENS",
                "the nearest are FOREBAY_SERVER_ADMIN_TOKEN, ",
            ),
            (
                "FOREBAY_JOURNAL_RETAINS",
                "the nearest are FOREBAY_JOURNAL_RETAIN, ",
            ),
            ("FOREBAY_SERVER_", "FOREBAY_SERVER_"),
            ("FOREBAY_SERVER_listen", "FOREBAY_SERVER_LISTEN"),
        ] {
            let error = checked(&["PATH", name]).unwrap_err();
            let start = format!("environment: {name}: there is no such variable");
            assert!(error.starts_with(&start), "{error}");
            assert!(error.contains(nearest), "{error}");
        }
    }

    #[test]
    fn what_others_say_is_left_alone() {
        checked(&[
            "FOREBAY_SERVER_LISTEN",
            "FOREBAY_JOURNAL_MAX_BYTES",
            "FOREBAY_ADMIN_URL",
            "FOREBAY_ADMIN_TOKEN",
            "FOREBAY_DEEP",
            "FOREBAY_SERVERS",
        ])
        .unwrap();
        let service = ["FOREBAY_SERVER_PORT", "FOREBAY_SERVER_PORT_80_TCP"];
        assert!(checked(&service).is_err());
        checked(&[&service[..], &["FOREBAY_SERVER_SERVICE_HOST"]].concat()).unwrap();
    }

    #[test]
    fn a_distance_counts_letters() {
        for (one, other, wanted) in [("", "", 0), ("LISTEN", "LISTN", 1), ("A", "BC", 2)] {
            assert_eq!(distance(one, other), wanted);
            assert_eq!(distance(other, one), wanted);
        }
    }
}
