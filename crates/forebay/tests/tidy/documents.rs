//! Documents keep up with the tree: links lead somewhere, and lists of the code's words are whole.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use crate::tree::{Fault, Text, Tree, assert_at, assert_none};

/// Where each metric and each code of an answer is told of.
const METRICS: &str = "docs/operating.md";
const CODES: &str = "docs/http-api.md";

/// Links within the tree that lead to no file or no heading.
pub(crate) fn dead_links(tree: &Tree) -> Vec<Fault> {
    let mut faults = Vec::new();
    for text in documents(tree) {
        for (number, line) in prose(&text.content) {
            for link in links(line) {
                if let Some(why) = dead(tree, text, link) {
                    faults.push(text.fault(number, format!("the link to {link}: {why}")));
                }
            }
        }
    }
    faults
}

/// Metrics and codes that the code has and the documents do not, and metrics that only the documents have.
pub(crate) fn untold(tree: &Tree) -> Vec<Fault> {
    let mut faults = Vec::new();
    let told = words(tree, METRICS, |word| word.starts_with("forebay_"));
    let mut known = BTreeSet::new();
    for text in sources(tree) {
        for name in registered(&text.content) {
            let spelt = ["", "_total", "_info"].map(|suffix| format!("{name}{suffix}"));
            if spelt.iter().all(|name| !told.contains(name)) {
                faults.push(text.fault(0, format!("{METRICS} does not tell of the metric {name}")));
            }
            known.extend(spelt);
        }
        for code in codes(&text.content) {
            if words(tree, CODES, |word| word == code).is_empty() {
                faults.push(text.fault(0, format!("{CODES} does not tell of the code {code}")));
            }
        }
    }
    let page = tree.text(Path::new(METRICS));
    for gone in told.difference(&known) {
        faults.extend(page.map(|page| page.fault(0, format!("there is no metric {gone}"))));
    }
    faults
}

fn documents(tree: &Tree) -> impl Iterator<Item = &Text> {
    let is_one = |text: &&Text| text.path.extension().is_some_and(|kind| kind == "md");
    tree.texts.iter().filter(is_one)
}

fn sources(tree: &Tree) -> impl Iterator<Item = &Text> {
    tree.rust()
        .filter(|text| text.path.iter().any(|part| part == "src"))
}

/// The lines outside of code blocks, with their numbers.
fn prose(content: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut in_code = false;
    content.lines().enumerate().filter_map(move |(at, line)| {
        let fence = line.trim_start().starts_with("```");
        in_code ^= fence;
        (!in_code && !fence).then_some((at + 1, line))
    })
}

/// The targets of `[text](target)`.
fn links(line: &str) -> impl Iterator<Item = &str> {
    line.split("](")
        .skip(1)
        .filter_map(|rest| rest.split_once(')').map(|(target, _)| target))
}

fn dead(tree: &Tree, from: &Text, link: &str) -> Option<String> {
    if link.contains("://") {
        return None;
    }
    let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
    let path = match file {
        "" => from.path.clone(),
        file => plain(&from.path.parent()?.join(file)),
    };
    // Files without an extension (a licence) are not read.
    path.extension()?;
    let Some(target) = tree.text(&path) else {
        return Some(format!("there is no {}", path.display()));
    };
    let there = anchor.is_empty()
        || prose(&target.content).any(|(_, line)| slug(line).as_deref() == Some(anchor));
    (!there).then(|| format!("{} has no heading for #{anchor}", path.display()))
}

/// The path without `..`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        if part == Component::ParentDir {
            plain.pop();
        } else {
            plain.push(part);
        }
    }
    plain
}

/// A heading's anchor, as the usual renderers make it.
fn slug(line: &str) -> Option<String> {
    let heading = line.trim_start_matches('#');
    if heading.len() == line.len() {
        return None;
    }
    let kept = heading.trim().to_lowercase();
    let kept = kept.replace(' ', "-");
    Some(kept.replace(|c: char| !c.is_alphanumeric() && c != '-' && c != '_', ""))
}

/// What stands in backticks in a table of the document, without labels in braces and what follows.
fn words(tree: &Tree, path: &str, wanted: impl Fn(&str) -> bool) -> BTreeSet<String> {
    let content = tree.text(Path::new(path)).map_or("", |text| &text.content);
    let rows = content.lines().filter(|line| line.starts_with('|'));
    let cells = rows.flat_map(|line| line.split('|').take(3));
    cells
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .map(|word| word.split(['{', ' ']).next().unwrap_or(word))
        .filter(|word| wanted(word))
        .map(str::to_owned)
        .collect()
}

/// The names that metrics are registered under, with their unit.
fn registered(content: &str) -> Vec<String> {
    let calls = content.split("registry.register").skip(1);
    calls
        .filter_map(|call| {
            let name = call.split('"').nth(1)?.strip_prefix("forebay_")?;
            let own = call.split(';').next()?;
            let unit = own.split("Unit::").nth(1).map_or(String::new(), |rest| {
                let unit = rest.split(|c: char| !c.is_alphanumeric()).next();
                format!("_{}", unit.unwrap_or_default().to_lowercase())
            });
            Some(format!("forebay_{name}{unit}"))
        })
        .collect()
}

/// The codes of answers: what functions called `code` give for each variant.
fn codes(content: &str) -> Vec<&str> {
    let bodies = [
        "pub(crate) fn code(&self) -> &'static str {",
        "pub const fn code(&self) -> &'static str {",
    ];
    let body = bodies.iter().find_map(|head| content.split_once(head));
    let body = body.and_then(|(_, rest)| rest.split_once("\n    }\n"));
    body.map_or(Vec::new(), |(body, _)| {
        body.split("=> \"")
            .skip(1)
            .filter_map(|rest| rest.split('"').next())
            .collect()
    })
}

#[test]
fn links_lead_somewhere() {
    assert_none(&dead_links(&Tree::own()));
}

#[test]
fn every_metric_and_every_code_is_told_of() {
    let tree = Tree::own();
    let (mut metrics, mut all_codes) = (0, 0);
    for text in sources(&tree) {
        metrics += registered(&text.content).len();
        all_codes += codes(&text.content).len();
    }
    // A check that finds nothing to check would pass.
    assert!(
        metrics > 15 && all_codes > 10,
        "{metrics} metrics, {all_codes} codes"
    );
    assert_none(&untold(&tree));
}

#[test]
fn a_dead_link_is_caught() {
    let tree = Tree::example(&[
        (
            "README.md",
            "# A b\n[x](docs/a.md#c-d)\n[y](docs/b.md) [z](#nothing)\n[w](#a-b) [v](https://x/y.md)\n",
        ),
        (
            "docs/a.md",
            "## C, `d`\n[up](../README.md#a-b)\n```\n[not](a-link.md)\n```\n[no](../a.md)\n",
        ),
    ]);
    assert_at(
        dead_links(&tree),
        &["README.md:3", "README.md:3", "docs/a.md:6"],
    );
}

#[test]
fn what_is_untold_or_gone_is_caught() {
    let code = "registry.register(\n\"forebay_told\", \"x\", y);\nregistry.register_with_unit(\"forebay_not\", \"x\", Unit::Seconds, y);\n\
                impl E {\n    pub(crate) fn code(&self) -> &'static str {\n        match self {\n            A => \"told\",\n            B => \"not\",\n        }\n    }\n}\n";
    let tree = Tree::example(&[
        ("src/lib.rs", code),
        (
            "docs/operating.md",
            "| `forebay_told_total{x}` | |\n| `forebay_gone` | |\n`forebay_prose`\n",
        ),
        ("docs/http-api.md", "| 400 | `told` | |\n"),
    ]);
    assert_at(
        untold(&tree),
        &["docs/operating.md:0", "src/lib.rs:0", "src/lib.rs:0"],
    );
}
