//! Finds RabbitMQ and Erlang on this machine, and the account the node runs under.
//!
//! Debian's `rabbitmq-server` on the `PATH` is a wrapper that writes to `/var/log` and insists on one place for its
//! files, so the script behind it is run. A test run by root lends the node the account `rabbitmq` or `nobody`.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::Doing;
use crate::{Error, Result};

const DEBIAN: &str = "/usr/lib/rabbitmq/lib";
const PACKAGE: &str = "rabbitmq-server";

/// The programs, and who runs them.
#[derive(Debug, Clone)]
pub(super) struct Install {
    /// The script that becomes the node.
    server: PathBuf,
    /// User and group; `None` when the test itself is not root.
    account: Option<(u32, u32)>,
}

impl Install {
    pub(super) fn find() -> Result<Self> {
        let server = debian(Path::new(DEBIAN)).ok_or_else(|| Error::Missing {
            program: "RabbitMQ".to_owned(),
            package: PACKAGE,
        })?;
        let account = if rustix::process::geteuid().is_root() {
            Some(lent_account()?)
        } else {
            None
        };
        Ok(Self { server, account })
    }

    /// A command that becomes the node.
    pub(super) fn server(&self) -> Command {
        self.command(&self.server)
    }

    /// A program of Erlang's or RabbitMQ's, run under the account, with nothing of the test's environment but `PATH`.
    pub(super) fn command(&self, program: &Path) -> Command {
        use std::os::unix::process::CommandExt as _;
        let mut command = Command::new(program);
        command
            .current_dir("/")
            .env_clear()
            .env("LC_ALL", "C.UTF-8");
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        if let Some((uid, gid)) = self.account {
            command.uid(uid).gid(gid);
        }
        command
    }

    /// Gives a file or directory to the account.
    pub(super) fn hand_over(&self, path: &Path) -> Result<()> {
        let Some((uid, gid)) = self.account else {
            return Ok(());
        };
        std::os::unix::fs::chown(path, Some(uid), Some(gid))
            .doing(|| format!("give {} to user {uid}", path.display()))
    }
}

/// The newest in Debian's folder, `rabbitmq_server-3.10.8/sbin/rabbitmq-server`.
fn debian(versions: &Path) -> Option<PathBuf> {
    std::fs::read_dir(versions)
        .ok()?
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let name = entry.file_name();
            let version = name.to_str()?.strip_prefix("rabbitmq_server-")?;
            let version: Vec<u32> = version.split('.').map_while(|n| n.parse().ok()).collect();
            let server = entry.path().join("sbin/rabbitmq-server");
            server.exists().then_some((version, server))
        })
        .max()
        .map(|(_, server)| server)
}

fn lent_account() -> Result<(u32, u32)> {
    let users = std::fs::read_to_string("/etc/passwd").doing(|| "read /etc/passwd")?;
    ["rabbitmq", "nobody"]
        .into_iter()
        .find_map(|name| {
            let line = users
                .lines()
                .find(|line| line.split(':').next() == Some(name))?;
            let mut ids = line.split(':').skip(2);
            Some((ids.next()?.parse().ok()?, ids.next()?.parse().ok()?))
        })
        .ok_or_else(|| Error::Misuse("there is no user rabbitmq or nobody".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_version_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        for version in ["3.9.13", "3.10.8", "3.10.10"] {
            let sbin = dir.path().join(format!("rabbitmq_server-{version}/sbin"));
            std::fs::create_dir_all(&sbin).unwrap();
            std::fs::write(sbin.join("rabbitmq-server"), "").unwrap();
        }
        let newest = dir
            .path()
            .join("rabbitmq_server-3.10.10/sbin/rabbitmq-server");
        assert_eq!(debian(dir.path()), Some(newest));
    }
}
