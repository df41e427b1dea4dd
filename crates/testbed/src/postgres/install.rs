//! Finds PostgreSQL on this machine, and the account it runs under.
//!
//! Debian keeps every version's programs in a folder of its own, off the `PATH`; the newest is taken.
//! PostgreSQL refuses to run as root, so a test run by root lends it the account `postgres` or `nobody`.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::account::Account;
use crate::{Error, Result};

const DEBIAN: &str = "/usr/lib/postgresql";
const PACKAGE: &str = "postgresql";

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
        let account = Account::lent("PostgreSQL", &["postgres", "nobody"])?;
        Ok(Self { bin, account })
    }

    /// The folder of the programs; it tells one version from another.
    pub(super) fn bin(&self) -> &Path {
        &self.bin
    }

    /// A command of this version that runs under the account PostgreSQL may run under.
    pub(super) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.bin.join(program));
        // The account need not be able to enter the directory that the test was started in.
        command.current_dir("/").env("LC_ALL", "C");
        for name in ["PGDATA", "PGHOST", "PGPORT", "PGUSER", "PGOPTIONS"] {
            command.env_remove(name);
        }
        if let Some(account) = self.account {
            account.runs(&mut command);
        }
        command
    }

    /// Gives a file or directory to the account, which is what lets PostgreSQL use it.
    pub(super) fn hand_over(&self, path: &Path) -> Result<()> {
        self.account.map_or(Ok(()), |account| account.owns(path))
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
}
