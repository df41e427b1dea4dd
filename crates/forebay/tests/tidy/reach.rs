//! Every Rust file is part of some crate: a file that no `mod` reaches is never even compiled.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::outline::{Module, Outline};
use crate::tree::{Fault, Package, Tree, assert_at, assert_none};

pub(crate) fn orphans(tree: &Tree) -> Vec<Fault> {
    let mut reached = BTreeSet::new();
    for package in &tree.packages {
        for root in roots(tree, package) {
            follow(tree, &root, true, &mut reached);
        }
    }
    tree.rust()
        .filter(|text| !reached.contains(&text.path))
        .map(|text| text.fault(0, "no `mod` reaches it"))
        .collect()
}

/// The files that cargo itself compiles: those at the usual places, and those the manifest names.
fn roots(tree: &Tree, package: &Package) -> Vec<PathBuf> {
    let usual = tree.rust().map(|text| &text.path).filter(|path| {
        let Ok(inside) = path.strip_prefix(&package.dir) else {
            return false;
        };
        let parts: Vec<&str> = inside.iter().filter_map(|part| part.to_str()).collect();
        matches!(
            parts[..],
            ["build.rs"]
                | ["src", "lib.rs" | "main.rs"]
                | ["src", "bin", _]
                | ["src", "bin", _, "main.rs"]
                | ["tests" | "benches" | "examples", _]
                | ["tests" | "benches" | "examples", _, "main.rs"]
        )
    });
    let mut roots: Vec<PathBuf> = usual.cloned().collect();
    for kind in ["lib", "bin", "test", "bench", "example"] {
        let Some(targets) = package.manifest.get(kind) else {
            continue;
        };
        let targets = targets
            .as_array()
            .map_or(std::slice::from_ref(targets), Vec::as_slice);
        let paths = targets
            .iter()
            .filter_map(|target| target.get("path")?.as_str());
        roots.extend(paths.map(|path| package.dir.join(path)));
    }
    roots
}

fn follow(tree: &Tree, file: &Path, is_root: bool, reached: &mut BTreeSet<PathBuf>) {
    let Some(text) = tree.text(file) else { return };
    if !reached.insert(file.to_owned()) {
        return;
    }
    for module in Outline::of(&text.content).modules {
        for place in places(file, &module, is_root) {
            follow(tree, &place, false, reached);
        }
    }
}

/// Where the contents of a `mod NAME;` item may be, one of which must exist for the crate to compile.
pub(crate) fn places(file: &Path, module: &Module, is_root: bool) -> Vec<PathBuf> {
    if !module.elsewhere {
        return Vec::new();
    }
    let parent = file.parent().unwrap_or(Path::new(""));
    let own_dir = if is_root || file.ends_with("mod.rs") || file.ends_with("lib.rs") {
        parent.to_owned()
    } else {
        file.with_extension("")
    };
    if let Some(path) = &module.path {
        // Relative to the file's folder, or inside an inline module to that module's.
        let base = if module.inside.is_empty() {
            parent.to_owned()
        } else {
            own_dir
        };
        return vec![
            base.join(module.inside.iter().collect::<PathBuf>())
                .join(path),
        ];
    }
    let dir = own_dir.join(module.inside.iter().collect::<PathBuf>());
    vec![
        dir.join(format!("{}.rs", module.name)),
        dir.join(&module.name).join("mod.rs"),
    ]
}

#[test]
fn every_file_is_compiled() {
    assert_none(&orphans(&Tree::own()));
}

#[test]
fn a_file_that_no_mod_reaches_is_caught() {
    let tree = Tree::example(&[
        (
            "a/Cargo.toml",
            "[package]\nname = \"a\"\n[[bin]]\nname = \"x\"\npath = \"odd/place.rs\"\n",
        ),
        ("a/odd/place.rs", ""),
        ("a/odd/other.rs", ""),
        (
            "a/src/lib.rs",
            "mod b;\nmod c { mod d; }\n#[path = \"moved.rs\"]\nmod e;\n// mod f;\n",
        ),
        ("a/src/b.rs", "mod g;\n"),
        ("a/src/b/g.rs", ""),
        ("a/src/b/h.rs", ""),
        ("a/src/c/d/mod.rs", "mod i;"),
        ("a/src/c/d/i.rs", ""),
        ("a/src/moved.rs", ""),
        ("a/src/f.rs", ""),
        ("a/tests/it/main.rs", "mod j;"),
        ("a/tests/it/j.rs", ""),
        ("a/tests/it/k.rs", ""),
    ]);
    assert_at(
        orphans(&tree),
        &[
            "a/odd/other.rs:0",
            "a/src/b/h.rs:0",
            "a/src/f.rs:0",
            "a/tests/it/k.rs:0",
        ],
    );
}
