//! A configuration with every section in it, and what the parser says to changes of it.

use ingest::verify::About;
use serde_json::{Value, json};
use tempfile::TempDir;
use testbed::certificate::Files;

use crate::config::keys::{Key, Section};
use crate::config::{Config, ConfigError, Flags, parse};

thread_local! {
    /// The certificates of this test, and where they are as long as it runs.
    static CERTIFICATES: (TempDir, Files) = {
        let directory = TempDir::new().unwrap();
        let files = testbed::certificate::write(directory.path()).unwrap();
        (directory, files)
    };
}

/// A configuration with every section in it.
pub(super) fn sample() -> Value {
    let files = CERTIFICATES.with(|(_, files)| files.clone());
    json!({
        "server": {
            "limits": {},
            "tls": { "cert_file": files.certificate, "key_file": files.key, "acme": {} },
        },
        "log": {},
        "journal": {},
        "state": {},
        "dispatch": {},
        "sources": { "in": { "type": "http", "respond": {} } },
        "destinations": { "db": { "type": "sqlite" } },
        "routes": { "r": { "from": ["in"], "to": "db", "retry": {}, "breaker": {}, "dead_letter": {} } },
        "subscriptions": {},
    })
}

/// As little as the scheme can do with.
pub(super) fn least(scheme: &About) -> Value {
    let options: toml::Table = format!("x = {{ {} }}", scheme.least).parse().unwrap();
    let mut options = serde_json::to_value(&options["x"]).unwrap();
    options["scheme"] = scheme.name.into();
    options
}

/// A source with a scheme, and with what the scheme needs of its source.
pub(super) fn verified(scheme: &About) -> Value {
    let mut sample = sample();
    sample["sources"]["in"]["verify"] = least(scheme);
    sample["sources"]["in"]["public_url"] = "https://hooks.example.com".into();
    let authorities = CERTIFICATES.with(|(_, files)| files.ca.clone());
    sample["server"]["tls"]["client_ca_file"] = json!(authorities);
    sample["server"]["tls"]["client_auth"] = "optional".into();
    sample
}

pub(super) fn read(sample: &Value) -> Result<Config, ConfigError> {
    let text = toml::to_string(sample).unwrap();
    parse(None, &text, &Flags::default(), &|_| None)
}

pub(super) fn at<'v>(sample: &'v mut Value, path: &[&str]) -> &'v mut Value {
    path.iter()
        .fold(sample, |value, segment| &mut value[*segment])
}

/// A value as written in TOML.
pub(super) fn literal(text: &str) -> Value {
    let table: toml::Table = format!("x = {text}").parse().unwrap();
    serde_json::to_value(&table["x"]).unwrap()
}

/// The keys that the parser knows in this table, from what it says to one that it does not know.
pub(super) fn known(sample: &Value, path: &[&str]) -> Vec<String> {
    let mut sample = sample.clone();
    at(&mut sample, path)["no_such_key"] = json!(1);
    let reason = read(&sample).unwrap_err().reason;
    let (_, keys) = reason.split_once("keys here are ").unwrap();
    let mut keys: Vec<_> = keys
        .split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect();
    keys.sort_unstable();
    keys
}

/// Whether the configuration cannot do without the key.
pub(super) fn is_required(section: &Section, key: &Key) -> bool {
    let mut sample = sample();
    let table = at(&mut sample, section.at).as_object_mut().unwrap();
    table.remove(key.name).is_some()
        && read(&sample).is_err_and(|error| {
            error.reason.contains("is missing: add") || error.reason.starts_with("has no type")
        })
}

/// Whether the scheme cannot do without the key, whatever else there is.
pub(super) fn needs(scheme: &About, key: &str) -> bool {
    let mut sample = verified(scheme);
    let verify = at(&mut sample, &["sources", "in", "verify"]);
    verify.as_object_mut().unwrap().remove(key).is_some()
        && read(&sample).is_err_and(|error| error.reason.contains("is missing: add"))
}
