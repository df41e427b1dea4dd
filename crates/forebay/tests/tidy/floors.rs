//! Imports go down the floors, and siblings never see each other.
//!
//! Cargo keeps a crate from using what its manifest does not name; this keeps the manifests. What a test
//! needs is held to the same floors, but for the testbed, which is for tests alone.

use std::collections::BTreeSet;
use std::path::Path;

use crate::outline::{Outline, is_word};
use crate::tree::{Fault, Package, Tree, assert_at, assert_none};

/// Every crate's floor. A crate may name those on floors below its own.
const FLOORS: [(&str, u8); 9] = [
    ("domain", 0),
    ("journal", 1),
    ("state", 1),
    ("connectors", 1),
    ("genesys", 1),
    ("ingest", 2),
    ("dispatch", 2),
    ("admin", 2),
    ("forebay", 3),
];
/// For tests alone; stands beside the floors and imports none of them.
const TESTBED: &str = "testbed";

fn floor(name: &str) -> Option<u8> {
    FLOORS
        .iter()
        .find(|(own, _)| *own == name)
        .map(|(_, floor)| *floor)
}

/// The crate's name without the prefix that its package has.
fn short(package: &str) -> &str {
    package.strip_prefix("forebay-").unwrap_or(package)
}

pub(crate) fn faults(tree: &Tree) -> Vec<Fault> {
    let crates = tree
        .packages
        .iter()
        .filter(|package| package.dir.starts_with("crates"));
    crates
        .flat_map(|package| [manifest_faults(package), use_faults(tree, package)].concat())
        .collect()
}

fn manifest_faults(package: &Package) -> Vec<Fault> {
    let file = package.dir.join("Cargo.toml");
    let fault = |what: String| Fault {
        file: file.clone(),
        line: 0,
        what,
    };
    let own = name(package);
    let mut faults = Vec::new();
    if floor(own).is_none() && own != TESTBED {
        faults.push(fault(format!(
            "{own} has no floor: give it one in this check"
        )));
    }
    let lints = package
        .manifest
        .get("lints")
        .and_then(|lints| lints.get("workspace"));
    if lints.and_then(toml::Value::as_bool) != Some(true) {
        faults.push(fault("does not take the workspace's lints".to_owned()));
    }
    for (table, for_tests) in [
        ("dependencies", false),
        ("build-dependencies", false),
        ("dev-dependencies", true),
    ] {
        for dependency in dependencies(package, table) {
            if !may_see(own, &dependency, for_tests) {
                faults.push(fault(format!("{own} may not see {dependency} ({table})")));
            }
        }
    }
    faults
}

fn may_see(own: &str, other: &str, for_tests: bool) -> bool {
    if other == TESTBED {
        return for_tests;
    }
    // The testbed has no floor and so sees none.
    matches!((floor(own), floor(other)), (Some(own), Some(other)) if other < own)
}

/// The workspace's crates that a table of the manifest names, by their short names.
fn dependencies(package: &Package, table: &str) -> BTreeSet<String> {
    let table = package.manifest.get(table).and_then(toml::Value::as_table);
    let entries = table.into_iter().flatten();
    entries
        .map(|(key, value)| {
            value
                .get("package")
                .and_then(toml::Value::as_str)
                .unwrap_or(key)
        })
        .map(|name| short(name).to_owned())
        .filter(|name| floor(name).is_some() || name == TESTBED)
        .collect()
}

fn name(package: &Package) -> &str {
    let name = package.manifest["package"]
        .get("name")
        .and_then(toml::Value::as_str);
    short(name.unwrap_or_default())
}

/// What the sources name, in case a crate reaches them by way of another's re-export or a renamed key.
fn use_faults(tree: &Tree, package: &Package) -> Vec<Fault> {
    let own = name(package);
    let sources: Vec<_> = tree
        .rust()
        .filter(|text| text.path.starts_with(&package.dir))
        .collect();
    let modules: BTreeSet<String> = sources
        .iter()
        .flat_map(|text| Outline::of(&text.content).modules)
        .map(|module| module.name)
        .collect();
    let mut faults = Vec::new();
    for text in sources {
        let for_tests = text.path.starts_with(package.dir.join("tests"));
        let code = Outline::of(&text.content).code;
        for (number, line) in code.lines().enumerate() {
            for other in FLOORS.iter().map(|(other, _)| *other).chain([TESTBED]) {
                // A module of the same name is its own, and so is the crate's own name.
                let foreign = other != own && !modules.contains(other);
                // Unit tests may use the testbed; Cargo keeps everything else from it.
                let allowed = may_see(own, other, for_tests) || other == TESTBED;
                if foreign && !allowed && imports(line, other) {
                    faults.push(text.fault(number + 1, format!("{own} may not use {other}")));
                }
            }
        }
    }
    faults
}

/// Whether a line has `use NAME::` or `extern crate NAME`.
fn imports(line: &str, name: &str) -> bool {
    let line = line.trim_start();
    let line = line.strip_prefix("pub ").unwrap_or(line);
    let Some(rest) = line
        .strip_prefix("use ")
        .or_else(|| line.strip_prefix("extern crate "))
    else {
        return false;
    };
    let rest = rest.trim_start_matches("::");
    rest.strip_prefix(name)
        .is_some_and(|after| !after.bytes().next().is_some_and(is_word))
}

#[test]
fn imports_go_down_the_floors() {
    let tree = Tree::own();
    assert!(
        tree.packages
            .iter()
            .any(|package| package.dir == Path::new("crates/domain"))
    );
    assert_none(&faults(&tree));
}

const LINTS: &str = "[lints]\nworkspace = true\n";

fn manifest(name: &str, rest: &str) -> String {
    format!("[package]\nname = \"forebay-{name}\"\n{LINTS}{rest}")
}

#[test]
fn an_import_upwards_or_sideways_is_caught() {
    let up = manifest(
        "journal",
        "[dependencies]\ningest.workspace = true\ndomain = \"1\"\n",
    );
    let sideways = manifest(
        "ingest",
        "[dev-dependencies]\nx = { package = \"forebay-admin\" }\n",
    );
    let fine = manifest(
        "dispatch",
        "[dependencies]\nstate = \"1\"\n[dev-dependencies]\ntestbed = \"1\"",
    );
    let tests_only = manifest("state", "[dependencies]\ntestbed.workspace = true\n");
    let back = manifest("testbed", "[dependencies]\ndomain.workspace = true\n");
    let stranger = manifest("stranger", "");
    let tree = Tree::example(&[
        ("crates/journal/Cargo.toml", &up),
        ("crates/ingest/Cargo.toml", &sideways),
        ("crates/dispatch/Cargo.toml", &fine),
        ("crates/state/Cargo.toml", &tests_only),
        ("crates/testbed/Cargo.toml", &back),
        ("crates/stranger/Cargo.toml", &stranger),
        (
            "crates/connectors/Cargo.toml",
            "[package]\nname = \"forebay-connectors\"\n",
        ),
    ]);
    let places = [
        "crates/connectors/Cargo.toml:0",
        "crates/ingest/Cargo.toml:0",
        "crates/journal/Cargo.toml:0",
        "crates/state/Cargo.toml:0",
        "crates/stranger/Cargo.toml:0",
        "crates/testbed/Cargo.toml:0",
    ];
    assert_at(faults(&tree), &places);
}

#[test]
fn a_use_upwards_is_caught_and_an_own_module_is_not() {
    let tree = Tree::example(&[
        ("crates/state/Cargo.toml", &manifest("state", "")),
        (
            "crates/state/src/lib.rs",
            "mod journal;\nuse journal::X;\nuse domain::Y;\nuse admin::Z;\n// use ingest::A;\n\
             pub use ::dispatch as d;\nuse admin_like::B;\n",
        ),
    ]);
    assert_at(
        faults(&tree),
        &["crates/state/src/lib.rs:4", "crates/state/src/lib.rs:6"],
    );
}
