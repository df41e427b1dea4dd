//! Signals to a process and everything it has started.
//!
//! A database is many processes: one that is stopped while its siblings run is a fault no machine shows.
//! Only processes that the testbed started, and their descendants, are ever signalled.

use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::error::Doing;
use crate::{DEADLINE, Error, Result, until};

/// What `/proc` says of one process.
#[derive(Debug, Clone, Copy)]
struct Entry {
    pid: i32,
    parent: i32,
    state: char,
}

impl Entry {
    /// Stopped, or dead and only waiting to be collected.
    fn is_still(self) -> bool {
        matches!(self.state, 'T' | 't' | 'Z' | 'X')
    }
}

/// Stops `root` and all its descendants (SIGSTOP), and returns once every one of them has stopped.
///
/// # Errors
///
/// When a process may not be signalled, or keeps running for a minute.
pub(crate) async fn stop_tree(root: i32) -> Result<()> {
    // A process that is not stopped yet may still fork, so the whole tree is looked through until a
    // look finds everything still.
    until(
        "every process of the server is stopped",
        DEADLINE,
        async || {
            let running: Vec<Entry> = tree(root)
                .into_iter()
                .filter(|process| !process.is_still())
                .collect();
            for process in &running {
                send(process.pid, Signal::STOP).map_err(|error| error.to_string())?;
            }
            if running.is_empty() {
                Ok(())
            } else {
                Err(format!("running: {running:?}"))
            }
        },
    )
    .await
}

/// Lets `root` and all its descendants run on (SIGCONT); the children first.
pub(crate) fn continue_tree(root: i32) -> Result<()> {
    tree(root)
        .iter()
        .rev()
        .try_for_each(|process| send(process.pid, Signal::CONT))
}

/// Kills `root` and all its descendants (SIGKILL), and returns once all descendants are gone.
///
/// `root` itself stays a zombie until its parent, the caller, has waited for it.
pub(crate) async fn kill_tree(root: i32) -> Result<()> {
    stop_tree(root).await?;
    let victims = tree(root);
    for victim in &victims {
        send(victim.pid, Signal::KILL)?;
    }
    until(
        "every process of the server is gone",
        DEADLINE,
        async || {
            let left: Vec<Entry> = victims
                .iter()
                .filter_map(|victim| read(victim.pid))
                .collect();
            let left: Vec<Entry> = left
                .into_iter()
                .filter(|one| !matches!(one.state, 'Z' | 'X'))
                .collect();
            if left.is_empty() {
                Ok(())
            } else {
                Err(format!("alive: {left:?}"))
            }
        },
    )
    .await
}

/// As [`kill_tree`] without waiting, for destructors: best effort, no error.
pub(crate) fn kill_tree_now(root: i32) {
    for victim in tree(root) {
        let _gone = send(victim.pid, Signal::KILL);
    }
}

/// Sends `signal` to one process. A process that is already gone is no error.
pub(crate) fn send(pid: i32, signal: Signal) -> Result<()> {
    let target = Pid::from_raw(pid)
        .ok_or_else(|| Error::Misuse(format!("process id {pid} cannot be signalled")))?;
    match kill_process(target, signal) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(error) => Err(std::io::Error::from(error)).doing(|| format!("signal process {pid}")),
    }
}

/// The process id as the system calls take it.
pub(crate) fn pid(id: Option<u32>) -> Result<i32> {
    id.and_then(|id| i32::try_from(id).ok())
        .ok_or_else(|| Error::Misuse("the process has ended and has no id any more".to_owned()))
}

/// How long a destructor gives a server to leave by itself.
pub(crate) const GRACE: Duration = Duration::from_secs(5);

/// `root` and its living descendants, parents before children. Empty when `root` is gone.
fn tree(root: i32) -> Vec<Entry> {
    let all = processes();
    let mut found: Vec<Entry> = all.iter().copied().filter(|one| one.pid == root).collect();
    let mut looked_at = 0;
    while let Some(parent) = found.get(looked_at).map(|one| one.pid) {
        found.extend(all.iter().copied().filter(|one| one.parent == parent));
        looked_at += 1;
    }
    found
}

fn processes() -> Vec<Entry> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(read)
        .collect()
}

fn read(pid: i32) -> Option<Entry> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in parentheses and may itself contain any character: look behind the last one.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?.chars().next()?;
    let parent = fields.next()?.parse().ok()?;
    Some(Entry { pid, parent, state })
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use super::*;

    fn family() -> Child {
        let mut child = Command::new("sh")
            .args(["-c", "sleep 1000 & sleep 1000 & echo ready; wait"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut ready = [0; 6];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut ready).unwrap();
        child
    }

    #[tokio::test]
    async fn stopping_stops_the_children_too() {
        let mut child = family();
        let root = i32::try_from(child.id()).unwrap();
        assert_eq!(tree(root).len(), 3);
        stop_tree(root).await.unwrap();
        assert!(
            tree(root).iter().all(|process| process.state == 'T'),
            "{:?}",
            tree(root)
        );
        continue_tree(root).unwrap();
        until("they run again", DEADLINE, async || {
            let still = tree(root)
                .into_iter()
                .filter(|process| process.is_still())
                .count();
            if still == 0 {
                Ok(())
            } else {
                Err(format!("{still} are stopped"))
            }
        })
        .await
        .unwrap();
        let family = tree(root);
        kill_tree(root).await.unwrap();
        child.wait().unwrap();
        assert!(
            family
                .iter()
                .all(|one| read(one.pid).is_none_or(|now| now.state == 'Z'))
        );
    }
}
