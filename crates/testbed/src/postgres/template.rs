//! A database cluster made once by `initdb` and copied for every server.
//!
//! `initdb` takes seconds, a copy takes milliseconds. The template is shared by all test processes of a
//! user and by all runs; a lock keeps two from making it at once, and it takes its place by a rename,
//! so that a half-made one is never copied.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::install::Install;
use crate::command::run;
use crate::error::Doing;
use crate::{Result, scratch};

/// Raise this when what `make` does changes: an older template is then not used any more.
const FORMAT: u32 = 1;

/// Makes `target` a fresh cluster, owned by the account that PostgreSQL runs under.
pub(super) fn copy_to(install: &Install, target: &Path) -> Result<()> {
    let template = ensure(install)?;
    run(Command::new("cp")
        .args(["--archive", "--reflink=auto"])
        .arg(&template)
        .arg(target))
}

fn ensure(install: &Install) -> Result<PathBuf> {
    let shared = scratch::shared("postgres")?;
    let version = install.bin().to_string_lossy().replace(['/', '.'], "-");
    let template = shared.join(format!("template{version}-{FORMAT}"));
    let lock = shared.join("lock");
    let lock = File::create(&lock).doing(|| format!("create {}", lock.display()))?;
    lock.lock().doing(|| "lock the template")?;
    if !template.exists() {
        make(install, &shared, &template)?;
    }
    Ok(template)
}

fn make(install: &Install, shared: &Path, template: &Path) -> Result<()> {
    let unfinished = tempfile::Builder::new()
        .prefix("unfinished-")
        .tempdir_in(shared)
        .doing(|| format!("create a directory in {}", shared.display()))?;
    scratch::set_mode(unfinished.path(), 0o711)?;
    let data = unfinished.path().join("data");
    std::fs::create_dir(&data).doing(|| format!("create {}", data.display()))?;
    install.hand_over(&data)?;
    let mut initdb = install.command("initdb");
    initdb.args([
        "--username=postgres",
        "--auth=trust",
        "--encoding=UTF8",
        "--locale=C",
    ]);
    initdb
        .args(["--no-sync", "--no-instructions", "--pgdata"])
        .arg(&data);
    run(&mut initdb)?;
    std::fs::rename(&data, template).doing(|| format!("rename {}", data.display()))
}
