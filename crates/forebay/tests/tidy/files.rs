//! Files are short, say what they are for, and have names that mean something.

use crate::outline::Outline;
use crate::tree::{Fault, Text, Tree, assert_at, assert_none};

/// Lines of a file, those of its inline `#[cfg(test)]` modules not counted.
const LONGEST: usize = 800;

/// Names that say nothing of what is inside.
const MEANINGLESS: [&str; 9] = [
    "utils", "util", "common", "helpers", "helper", "manager", "managers", "imp", "misc",
];

pub(crate) fn too_long(tree: &Tree) -> Vec<Fault> {
    let tests: Vec<_> = tree.rust().flat_map(test_files).collect();
    tree.rust()
        .filter(|text| !tests.contains(&text.path))
        .filter_map(|text| {
            let lines = text.content.lines().count() - Outline::of(&text.content).test_lines;
            (lines > LONGEST)
                .then(|| text.fault(0, format!("{lines} lines without tests, over {LONGEST}")))
        })
        .collect()
}

/// The files that a file's `#[cfg(test)] mod NAME;` items name: they are its tests, moved out.
fn test_files(text: &Text) -> Vec<std::path::PathBuf> {
    let modules = Outline::of(&text.content).modules;
    modules
        .iter()
        .filter(|module| module.for_tests && module.elsewhere)
        .flat_map(|module| crate::reach::places(&text.path, module, false))
        .collect()
}

pub(crate) fn without_head(tree: &Tree) -> Vec<Fault> {
    tree.rust()
        .filter_map(|text| {
            let head = text.content.lines().next().unwrap_or_default();
            let what = match head.strip_prefix("//!") {
                None => "has no `//!` head that says what it is for",
                Some(rest) if rest.trim().is_empty() => "begins with an empty `//!` line",
                Some(rest) if rest.trim().starts_with("Placeholder") => "is a placeholder",
                Some(_) => return None,
            };
            Some(text.fault(1, what))
        })
        .collect()
}

pub(crate) fn meaningless_names(tree: &Tree) -> Vec<Fault> {
    let mut faults = Vec::new();
    for text in tree.rust() {
        for module in Outline::of(&text.content).modules {
            if MEANINGLESS.contains(&module.name.as_str()) {
                faults.push(text.fault(
                    module.line,
                    format!("module `{}`: name it for what it does", module.name),
                ));
            }
        }
    }
    for package in &tree.packages {
        let name = package.manifest["package"]
            .get("name")
            .and_then(toml::Value::as_str);
        if let Some(name) =
            name.filter(|name| MEANINGLESS.contains(&name.trim_start_matches("forebay-")))
        {
            let file = package.dir.join("Cargo.toml");
            faults.push(Fault {
                file,
                line: 0,
                what: format!("crate `{name}`: name it for what it does"),
            });
        }
    }
    faults
}

#[test]
fn no_file_is_too_long() {
    assert_none(&too_long(&Tree::own()));
}

#[test]
fn every_file_says_what_it_is_for() {
    assert_none(&without_head(&Tree::own()));
}

#[test]
fn every_module_has_a_name_that_means_something() {
    assert_none(&meaningless_names(&Tree::own()));
}

#[test]
fn a_long_file_is_caught_and_its_tests_are_not_counted() {
    let body = "fn f() {}\n".repeat(LONGEST);
    let tested = format!("{body}#[cfg(test)]\nmod tests {{\n{body}}}\n");
    let tree = Tree::example(&[
        ("src/fits.rs", &body),
        ("src/long.rs", &format!("{body}\n")),
        ("src/long_tested.rs", &tested.replacen("fn f", "\nfn f", 1)),
        ("src/moved.rs", "#[cfg(test)]\nmod tests;\n"),
        ("src/moved/tests.rs", &body.repeat(2)),
    ]);
    assert_at(too_long(&tree), &["src/long.rs:0", "src/long_tested.rs:0"]);
}

#[test]
fn a_missing_head_is_caught() {
    let tree = Tree::example(&[
        ("src/good.rs", "//! Says it.\n"),
        ("src/none.rs", "use std::fmt;\n//! Too late.\n"),
        ("src/outer.rs", "/// Of the next item.\n"),
        ("src/empty.rs", "//!\n//! Late.\n"),
        ("src/stub.rs", "//! Placeholder head.\n"),
    ]);
    assert_at(
        without_head(&tree),
        &[
            "src/empty.rs:1",
            "src/none.rs:1",
            "src/outer.rs:1",
            "src/stub.rs:1",
        ],
    );
}

#[test]
fn a_meaningless_name_is_caught_inline_or_not() {
    let tree = Tree::example(&[
        ("Cargo.toml", "[package]\nname = \"forebay-common\"\n"),
        (
            "src/lib.rs",
            "mod utils;\nmod a { mod imp {} }\nmod utilities;\nfn common() {}\n// mod misc;\n",
        ),
    ]);
    assert_at(
        meaningless_names(&tree),
        &["Cargo.toml:0", "src/lib.rs:1", "src/lib.rs:2"],
    );
}
