//! The account that a server runs under which refuses to run as root.
//!
//! A test run by root lends it one of its own or `nobody`; a test run by anyone else runs the server as the same user.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use crate::error::Doing;
use crate::{Error, Result};

/// A user and group that a server runs as instead of root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Account {
    uid: u32,
    gid: u32,
}

impl Account {
    /// The first of these users that the machine has; `None` when the test itself is not root.
    pub(crate) fn lent(server: &str, names: &[&str]) -> Result<Option<Self>> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        let users = std::fs::read_to_string("/etc/passwd").doing(|| "read /etc/passwd")?;
        let found = names.iter().find_map(|name| account(&users, name));
        found.map(Some).ok_or_else(|| {
            Error::Misuse(format!(
                "{server} refuses to run as root, and there is no user {}",
                names.join(" or ")
            ))
        })
    }

    /// Makes the command run under it.
    pub(crate) fn runs(self, command: &mut Command) {
        command.uid(self.uid).gid(self.gid);
    }

    /// Gives it a file or directory.
    pub(crate) fn owns(self, path: &Path) -> Result<()> {
        let Self { uid, gid } = self;
        std::os::unix::fs::chown(path, Some(uid), Some(gid))
            .doing(|| format!("give {} to user {uid}", path.display()))
    }
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
    fn an_account_is_found_by_its_whole_name() {
        let users = "root:x:0:0::/root:/bin/sh\npostgresql:x:7:8::/:/bin/sh\npostgres:x:101:104::/:/bin/sh\n";
        assert_eq!(
            account(users, "postgres"),
            Some(Account { uid: 101, gid: 104 })
        );
        assert_eq!(account(users, "nobody"), None);
    }
}
