//! Finds PostgreSQL on this machine, and the account it runs under.
//!
//! Debian keeps every version's programs in a folder of its own, off the `PATH`; the newest is taken.
//! PostgreSQL refuses to run as root, so a test run by root lends it the account `postgres` or `nobody`.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::Doing;
use crate::{Error, Result};

const DEBIAN: &str = "/usr/lib/postgresql";
const PACKAGE: &str = "postgresql";

/// A user and group that PostgreSQL runs as instead of root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

/// The programs of one PostgreSQL version.
#[derive(Debug, Clone)]
pub(super) struct Install {
    bin: PathBuf,
    /// `None` when the test itself is not root and PostgreSQL runs as the same user.
    pub(super) account: Option<Account>,
}

impl Install {
    /// The newest PostgreSQL in Debian's folders, else the one on the `PATH`.
    pub(super) fn find() -> Result<Self> {
        let missing = || Error::Missing {
            program: "PostgreSQL".to_owned(),
            package: PACKAGE,
        };
        let bin = newest(Path::new(DEBIAN))
            .or_else(on_path)
            .ok_or_else(missing)?;
        let account = if rustix::process::geteuid().is_root() {
            Some(lent_account()?)
        } else {
            None
        };
        Ok(Self { bin, account })
    }

    /// The folder of the programs; it tells one version from another.
    pub(super) fn bin(&self) -> &Path {
        &self.bin
    }

    /// A command of this version that runs under the account PostgreSQL may run under.
    pub(super) fn command(&self, program: &str) -> Command {
        use std::os::unix::process::CommandExt as _;
        let mut command = Command::new(self.bin.join(program));
        // The account need not be able to enter the directory that the test was started in.
        command.current_dir("/").env("LC_ALL", "C");
        for name in ["PGDATA", "PGHOST", "PGPORT", "PGUSER", "PGOPTIONS"] {
            command.env_remove(name);
        }
        if let Some(Account { uid, gid }) = self.account {
            command.uid(uid).gid(gid);
        }
        command
    }

    /// Gives a file or directory to the account, which is what lets PostgreSQL use it.
    pub(super) fn hand_over(&self, path: &Path) -> Result<()> {
        let Some(Account { uid, gid }) = self.account else {
            return Ok(());
        };
        std::os::unix::fs::chown(path, Some(uid), Some(gid))
            .doing(|| format!("give {} to user {uid}", path.display()))
    }
}

fn newest(versions: &Path) -> Option<PathBuf> {
    std::fs::read_dir(versions)
        .ok()?
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let version: u32 = entry.file_name().to_str()?.parse().ok()?;
            let bin = entry.path().join("bin");
            bin.join("postgres").exists().then_some((version, bin))
        })
        .max()
        .map(|(_, bin)| bin)
}

fn on_path() -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?)
        .find(|folder| folder.join("postgres").exists() && folder.join("initdb").exists())
}

fn lent_account() -> Result<Account> {
    let users = std::fs::read_to_string("/etc/passwd").doing(|| "read /etc/passwd")?;
    ["postgres", "nobody"]
        .into_iter()
        .find_map(|name| account(&users, name))
        .ok_or_else(|| {
            Error::Misuse(
                "PostgreSQL refuses to run as root, and there is no user postgres or nobody"
                    .to_owned(),
            )
        })
}

fn account(users: &str, name: &str) -> Option<Account> {
    let line = users
        .lines()
        .find(|line| line.split(':').next() == Some(name))?;
    let mut fields = line.split(':').skip(2);
    let uid = fields.next()?.parse().ok()?;
    let gid = fields.next()?.parse().ok()?;
    Some(Account { uid, gid })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_as_numbers() {
        let dir = tempfile::tempdir().unwrap();
        for version in ["9", "15", "not-a-version"] {
            let bin = dir.path().join(version).join("bin");
            std::fs::create_dir_all(&bin).unwrap();
            std::fs::write(bin.join("postgres"), "").unwrap();
        }
        std::fs::create_dir_all(dir.path().join("17/bin")).unwrap();
        assert_eq!(newest(dir.path()), Some(dir.path().join("15/bin")));
    }

    #[test]
    fn an_account_is_found_by_its_whole_name() {
        let users = "root:x:0:0::/root:/bin/sh\npostgresql:x:7:8::/:/bin/sh\npostgres:x:101:104::/:/bin/sh\n";
        assert_eq!(
            account(users, "postgres"),
            Some(Account { uid: 101, gid: 104 })
        );
        assert_eq!(account(users, "nobody"), None);
    }
}
