//! A data directory made once by `mariadb-install-db` and copied for every server.
//!
//! Making one takes seconds, a copy takes milliseconds. The template is shared by all test processes of a user and by
//! all runs; a lock keeps two from making it at once, and it takes its place by a rename, so that a half-made one is
//! never copied.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::install::Install;
use crate::command::run;
use crate::error::Doing;
use crate::{Result, scratch};

/// Raise this when what `make` does changes: an older template is then not used any more.
const FORMAT: u32 = 1;

/// Small, because it is copied for every server.
pub(super) const LOG_FILE_SIZE: &str = "--innodb-log-file-size=24M";

/// The database, and the account that a client of the tests has: no right of the server's, so that `read_only` holds
/// for it.
const ACCOUNTS: &str = "FLUSH PRIVILEGES;
CREATE DATABASE forebay;
CREATE USER 'app'@'%' IDENTIFIED BY 'right';
GRANT ALL ON forebay.* TO 'app'@'%';
";

/// Makes `target` a fresh data directory, owned by the account that MariaDB runs under.
pub(super) fn copy_to(install: &Install, target: &Path) -> Result<()> {
    let template = ensure(install)?;
    run(Command::new("cp")
        .args(["--archive", "--reflink=auto", "--sparse=always"])
        .arg(&template)
        .arg(target))
}

fn ensure(install: &Install) -> Result<PathBuf> {
    let shared = scratch::shared("mariadb")?;
    let version = install.path().to_string_lossy().replace(['/', '.'], "-");
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
    let accounts = unfinished.path().join("accounts.sql");
    std::fs::write(&accounts, ACCOUNTS).doing(|| format!("write {}", accounts.display()))?;
    scratch::set_mode(&accounts, 0o644)?;
    let argument = |name: &str, path: &Path| format!("--{name}={}", path.display());
    let mut setup = install.setup();
    setup.args(["--auth-root-authentication-method=normal", "--skip-test-db"]);
    setup.args(["--skip-name-resolve", LOG_FILE_SIZE]);
    setup.arg(argument("datadir", &data));
    setup.arg(argument("extra-file", &accounts));
    run(&mut setup)?;
    std::fs::rename(&data, template).doing(|| format!("rename {}", data.display()))
}
