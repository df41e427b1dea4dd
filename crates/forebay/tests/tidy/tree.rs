//! The source tree as the checks see it: its crates and its text files.

use std::fmt;
use std::path::{Path, PathBuf};

use walkdir::{DirEntry, WalkDir};

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Fault {
    /// Relative to the tree.
    pub(crate) file: PathBuf,
    /// From 1; 0 for the file as a whole.
    pub(crate) line: usize,
    pub(crate) what: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file.display(), self.line, self.what)
    }
}

/// A package of the tree.
#[derive(Debug)]
pub(crate) struct Package {
    /// The folder of its `Cargo.toml`, relative to the tree.
    pub(crate) dir: PathBuf,
    pub(crate) manifest: toml::Table,
}

/// A text file, with its path relative to the tree.
#[derive(Debug)]
pub(crate) struct Text {
    pub(crate) path: PathBuf,
    pub(crate) content: String,
}

impl Text {
    pub(crate) fn is_rust(&self) -> bool {
        self.path
            .extension()
            .is_some_and(|extension| extension == "rs")
    }

    pub(crate) fn fault(&self, line: usize, what: impl Into<String>) -> Fault {
        Fault {
            file: self.path.clone(),
            line,
            what: what.into(),
        }
    }
}

/// A source tree, read into memory.
#[derive(Debug)]
pub(crate) struct Tree {
    pub(crate) packages: Vec<Package>,
    pub(crate) texts: Vec<Text>,
}

/// What the checks read. Other files are data: fixtures, snapshots, images.
const EXTENSIONS: [&str; 9] = [
    "rs", "toml", "md", "sql", "sh", "html", "css", "yml", "yaml",
];
/// Scripts have no extension; these folders and files are read whatever their names.
const SCRIPTS: [&str; 2] = ["dev", ".ci"];
const HIDDEN: [&str; 4] = [".ci", ".config", ".cargo", ".gitignore"];

impl Tree {
    /// The project's own tree.
    pub(crate) fn own() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let tree = Self::read(&root);
        // A check of an empty tree would pass.
        assert!(
            tree.packages.len() > 5,
            "only {} packages found",
            tree.packages.len()
        );
        tree
    }

    /// A tree of these files, for a check to find fault with.
    pub(crate) fn example(files: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        Self::read(dir.path())
    }

    fn read(root: &Path) -> Self {
        let mut tree = Self {
            packages: Vec::new(),
            texts: Vec::new(),
        };
        let entries = WalkDir::new(root).min_depth(1).sort_by_file_name();
        for entry in entries.into_iter().filter_entry(is_ours) {
            let entry = entry.unwrap();
            let path = entry.path().strip_prefix(root).unwrap().to_owned();
            if !entry.file_type().is_file() || !is_text(&path) {
                continue;
            }
            let content = std::fs::read_to_string(entry.path()).unwrap();
            if path.ends_with("Cargo.toml") {
                let manifest: toml::Table = content.parse().unwrap();
                if manifest.contains_key("package") {
                    let dir = path.parent().unwrap().to_owned();
                    tree.packages.push(Package { dir, manifest });
                }
            }
            tree.texts.push(Text { path, content });
        }
        tree
    }

    pub(crate) fn rust(&self) -> impl Iterator<Item = &Text> {
        self.texts.iter().filter(|text| text.is_rust())
    }

    pub(crate) fn text(&self, path: &Path) -> Option<&Text> {
        self.texts.iter().find(|text| text.path == path)
    }
}

fn is_ours(entry: &DirEntry) -> bool {
    let name = entry.file_name().to_string_lossy();
    name != "target" && (!name.starts_with('.') || HIDDEN.contains(&name.as_ref()))
}

fn is_text(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    let first = path.iter().next().and_then(|part| part.to_str());
    match extension {
        Some(extension) => EXTENSIONS.contains(&extension),
        None => first.is_some_and(|first| SCRIPTS.contains(&first)),
    }
}

/// Fails with every fault on a line of its own.
pub(crate) fn assert_none(faults: &[Fault]) {
    let lines: Vec<String> = faults.iter().map(ToString::to_string).collect();
    assert!(
        faults.is_empty(),
        "{} faults:\n{}",
        faults.len(),
        lines.join("\n")
    );
}

/// Fails unless these, as `path:line`, are where the faults are.
pub(crate) fn assert_at(mut faults: Vec<Fault>, places: &[&str]) {
    faults.sort();
    let found: Vec<String> = faults
        .iter()
        .map(|fault| format!("{}:{}", fault.file.display(), fault.line))
        .collect();
    assert_eq!(found, places, "{faults:?}");
}
