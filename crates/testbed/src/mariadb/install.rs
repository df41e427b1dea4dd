//! Finds MariaDB on this machine, and the account it runs under.
//!
//! The server's program is off an ordinary user's `PATH` on Debian. It refuses to run as root without being told a
//! user, so a test run by root lends it the account `mysql` or `nobody`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::account::Account;
use crate::{Error, Result};

const PACKAGE: &str = "mariadb-server";

/// Where programs are besides the `PATH`.
const FOLDERS: [&str; 3] = ["/usr/sbin", "/usr/libexec", "/usr/local/sbin"];

/// The programs of MariaDB.
#[derive(Debug, Clone)]
pub(super) struct Install {
    server: PathBuf,
    setup: PathBuf,
    account: Option<Account>,
}

impl Install {
    pub(super) fn find() -> Result<Self> {
        Ok(Self {
            server: program("mariadbd", PACKAGE)?,
            setup: program("mariadb-install-db", PACKAGE)?,
            account: Account::lent("MariaDB", &["mysql", "nobody"])?,
        })
    }

    /// The server's program; it tells one installation from another.
    pub(super) fn path(&self) -> &Path {
        &self.server
    }

    pub(super) fn server(&self) -> Command {
        self.command(Command::new(&self.server))
    }

    /// The server with every sync of a file held up for so long, by `strace`.
    pub(super) fn slow_server(&self, delay: Duration) -> Result<Command> {
        let mut strace = Command::new(program("strace", "strace")?);
        let micros = delay.as_micros();
        strace.args([
            "-f",
            "-qq",
            "--seccomp-bpf",
            "-o",
            "/dev/null",
            "-e",
            "trace=fsync,fdatasync",
        ]);
        strace.args([
            "-e",
            &format!("inject=fsync,fdatasync:delay_enter={micros}"),
        ]);
        strace.arg("--").arg(&self.server);
        Ok(self.command(strace))
    }

    /// What makes a data directory.
    pub(super) fn setup(&self) -> Command {
        self.command(Command::new(&self.setup))
    }

    /// Reads none of the machine's own settings.
    fn command(&self, mut command: Command) -> Command {
        // The account need not be able to enter the directory that the test was started in.
        command
            .arg("--no-defaults")
            .current_dir("/")
            .env("LC_ALL", "C");
        for name in [
            "MYSQL_HOME",
            "MYSQL_TCP_PORT",
            "MYSQL_UNIX_PORT",
            "MYSQL_HOST",
        ] {
            command.env_remove(name);
        }
        if let Some(account) = self.account {
            account.runs(&mut command);
        }
        command
    }

    /// Gives a file or directory to the account, which is what lets MariaDB use it.
    pub(super) fn hand_over(&self, path: &Path) -> Result<()> {
        self.account.map_or(Ok(()), |account| account.owns(path))
    }
}

fn program(name: &str, package: &'static str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(FOLDERS.map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|program| program.exists())
        .ok_or_else(|| Error::Missing {
            program: name.to_owned(),
            package,
        })
}
