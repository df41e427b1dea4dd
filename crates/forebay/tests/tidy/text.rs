//! What no line may have, in code or in prose.

use crate::outline::Outline;
use crate::tree::{Fault, Tree, assert_at, assert_none};

/// Code that stands for work not done, or for a test that does not run.
const UNFINISHED: [(&str, &str); 3] = [
    (
        "#[ignore",
        "a test that never runs shows nothing: make it run, or delete it",
    ),
    ("todo!", "finish it, or leave it out"),
    ("unimplemented!", "finish it, or leave it out"),
];

/// Folders of somebody's machine, which mean nothing to anybody else. Taken apart, so that this file does
/// not have them itself.
const ONE_MACHINE: [[&str; 2]; 2] = [["/wo", "rk/"], ["/ro", "ot/"]];

pub(crate) fn unfinished(tree: &Tree) -> Vec<Fault> {
    let mut faults = Vec::new();
    for text in tree.rust() {
        let code = Outline::of(&text.content).code;
        for (number, line) in code.lines().enumerate() {
            let found = UNFINISHED.iter().find(|(mark, _)| line.contains(mark));
            faults.extend(
                found.map(|(mark, why)| text.fault(number + 1, format!("`{mark}`: {why}"))),
            );
        }
    }
    faults
}

pub(crate) fn untidy_lines(tree: &Tree) -> Vec<Fault> {
    let mut faults = Vec::new();
    for text in &tree.texts {
        for (number, line) in text.content.split('\n').enumerate() {
            if line.ends_with([' ', '\t', '\r']) {
                faults.push(text.fault(number + 1, "white space at the end of the line"));
            }
        }
        if !text.content.is_empty() && !text.content.ends_with('\n') {
            faults.push(text.fault(0, "no line break at the end"));
        }
    }
    faults
}

pub(crate) fn machine_paths(tree: &Tree) -> Vec<Fault> {
    let mut faults = Vec::new();
    for text in &tree.texts {
        for (number, line) in text.content.lines().enumerate() {
            if let Some(path) = ONE_MACHINE
                .map(|parts| parts.concat())
                .iter()
                .find(|path| line.contains(*path))
            {
                faults.push(text.fault(number + 1, format!("`{path}` is a path of one machine")));
            }
        }
    }
    faults
}

#[test]
fn nothing_is_unfinished_and_no_test_is_left_out() {
    assert_none(&unfinished(&Tree::own()));
}

#[test]
fn lines_end_where_they_end() {
    assert_none(&untidy_lines(&Tree::own()));
}

#[test]
fn nothing_names_a_path_of_one_machine() {
    assert_none(&machine_paths(&Tree::own()));
}

#[test]
fn unfinished_code_is_caught_and_talk_of_it_is_not() {
    let tree = Tree::example(&[(
        "src/lib.rs",
        "fn a() { todo!() }\n// todo!\n#[ignore = \"slow\"]\nfn b() { unimplemented!(\"x\") }\n\
         const C: &str = \"todo!\";\n#[must_use]\nfn ignore() {}\n",
    )]);
    assert_at(
        unfinished(&tree),
        &["src/lib.rs:1", "src/lib.rs:3", "src/lib.rs:4"],
    );
}

#[test]
fn white_space_at_the_end_is_caught() {
    let tree = Tree::example(&[
        ("README.md", "good\nbad \n"),
        ("a.toml", "a = 1\t\nb = 2"),
        ("dev/script", "x\r\n"),
        ("data.bin", "ignored \n"),
    ]);
    assert_at(
        untidy_lines(&tree),
        &["README.md:2", "a.toml:0", "a.toml:1", "dev/script:1"],
    );
}

#[test]
fn a_path_of_one_machine_is_caught() {
    let bad = format!("fine\nsee {}notes\n", ONE_MACHINE[0].concat());
    let tree = Tree::example(&[("docs/a.md", &bad), ("docs/b.md", "network/worker\n")]);
    assert_at(machine_paths(&tree), &["docs/a.md:2"]);
}
