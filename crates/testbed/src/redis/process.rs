//! One `redis-server` process, started, stopped, killed and paused, with its log.

use std::fs::File;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Instant;

use rustix::process::Signal;
use tokio::process::{Child, Command};

use crate::error::Doing;
use crate::{Error, Result, scratch, signal};

const PROGRAM: &str = "redis-server";
const PACKAGE: &str = "redis-server";
const LOG_TAIL: usize = 4096;

/// A process that is running or not, and how it is started.
#[derive(Debug)]
pub(super) struct Process {
    /// The configuration file, and what goes behind it on the command line.
    arguments: Vec<PathBuf>,
    log: PathBuf,
    child: Option<Child>,
}

impl Process {
    pub(super) fn new(arguments: Vec<PathBuf>, log: PathBuf) -> Self {
        Self {
            arguments,
            log,
            child: None,
        }
    }

    pub(super) fn start(&mut self) -> Result<()> {
        if self.child.is_some() {
            return Err(Error::Misuse("the server is running already".to_owned()));
        }
        let log = File::options().create(true).append(true).open(&self.log);
        let log = log.doing(|| "open the server's log")?;
        let log_too = log.try_clone().doing(|| "share the server's log")?;
        let mut command = Command::new(PROGRAM);
        command.args(&self.arguments).current_dir("/");
        command.stdin(Stdio::null()).stdout(log).stderr(log_too);
        let child = command.spawn().map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Error::Missing {
                program: PROGRAM.to_owned(),
                package: PACKAGE,
            },
            _ => Error::Io {
                doing: format!("start {PROGRAM}"),
                source: error,
            },
        })?;
        self.child = Some(child);
        Ok(())
    }

    /// An error that says how it ended, if it has.
    pub(super) fn ended(&mut self) -> Option<Error> {
        let status = self.child.as_mut()?.try_wait().ok()??;
        self.child = None;
        Some(Error::Command {
            command: PROGRAM.to_owned(),
            status: status.to_string(),
            output: self.log_tail(),
        })
    }

    /// Tells it to end (SIGTERM), and waits until it has.
    pub(super) async fn stop(&mut self) -> Result<()> {
        signal::send(self.pid()?, Signal::TERM)?;
        self.collect().await
    }

    pub(super) async fn kill(&mut self) -> Result<()> {
        signal::kill_tree(self.pid()?).await?;
        self.collect().await
    }

    pub(super) async fn pause(&mut self) -> Result<()> {
        signal::stop_tree(self.pid()?).await
    }

    pub(super) fn resume(&mut self) -> Result<()> {
        signal::continue_tree(self.pid()?)
    }

    pub(super) fn log_tail(&self) -> String {
        scratch::tail(&self.log, LOG_TAIL)
    }

    async fn collect(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            child.wait().await.doing(|| format!("wait for {PROGRAM}"))?;
        }
        Ok(())
    }

    fn pid(&self) -> Result<i32> {
        let child = self.child.as_ref();
        let child = child.ok_or_else(|| Error::Misuse("the server is not running".to_owned()))?;
        signal::pid(child.id())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let Some(mut child) = self.child.take() else {
            return;
        };
        let Ok(pid) = signal::pid(child.id()) else {
            return;
        };
        // Nothing of it is needed any more, a rewrite that it may have forked off included.
        signal::kill_tree_now(pid);
        let start = Instant::now();
        while matches!(child.try_wait(), Ok(None)) && start.elapsed() < signal::GRACE {
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
    }
}
