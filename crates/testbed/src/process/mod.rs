//! The real `forebay` binary, run as a supervisor would run it and killed as no supervisor would.
//!
//! Owns its directory (configuration, data, what it printed), two free ports and its process. Judges it
//! by its outside alone: ports, exit code, metrics, status and log. Never links any of Forebay's crates.

mod exposition;
mod launch;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::process::{Child, Command};

use crate::error::Doing;
use crate::{DEADLINE, Error, Result, http, scratch, signal, until};

pub use exposition::Metrics;
pub use launch::{Launch, Strace};

const LOG_TAIL: usize = 4096;

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// Its exit code, unless a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
}

impl From<ExitStatus> for Exit {
    fn from(status: ExitStatus) -> Self {
        use std::os::unix::process::ExitStatusExt as _;
        Self {
            code: status.code(),
            signal: status.signal(),
        }
    }
}

/// A Forebay, running or stopped. Its ports and its data stay while it is down.
///
/// Dropping it kills it and deletes its directory.
#[derive(Debug)]
pub struct Forebay {
    process: Option<Child>,
    // The last field: the directory goes after the process that uses it.
    launch: Launch,
}

impl Forebay {
    /// Starts it again, after it was killed or has ended, and waits until it is ready.
    ///
    /// # Errors
    ///
    /// When it is running already, or as [`Forebay::ready`].
    pub async fn start(&mut self) -> Result<()> {
        self.spawn()?;
        self.ready().await
    }

    /// Starts it again and does not wait.
    ///
    /// # Errors
    ///
    /// When it is running already, or the program cannot be run.
    pub fn spawn(&mut self) -> Result<()> {
        if self.process.is_some() {
            return Err(Error::Misuse("forebay is running already".to_owned()));
        }
        let log = |path: PathBuf| File::options().create(true).append(true).open(path);
        let mut command = Command::from(self.launch.command()?);
        command.stdin(Stdio::null());
        command.stdout(log(self.stdout_path()).doing(|| "open the file for stdout")?);
        command.stderr(log(self.stderr_path()).doing(|| "open the file for stderr")?);
        command.kill_on_drop(true);
        self.process = Some(command.spawn().doing(|| "start forebay")?);
        Ok(())
    }

    /// Waits until `/readyz` on the ingest listener answers 200.
    ///
    /// # Errors
    ///
    /// When the process ends first, or it is not ready within a minute; the error has the end of what it
    /// printed.
    pub async fn ready(&mut self) -> Result<()> {
        let url = self.ingest("/readyz");
        until("forebay is ready", DEADLINE, async || {
            if let Some(exit) = self.try_wait() {
                return Ok(Err(exit));
            }
            match http::get(&url).await {
                Ok(answer) if answer.status == 200 => Ok(Ok(())),
                Ok(answer) => Err(format!(
                    "{}: {}\n{}",
                    answer.status,
                    answer.text(),
                    self.tail()
                )),
                Err(error) => Err(format!("{error}\n{}", self.tail())),
            }
        })
        .await?
        .map_err(|exit| Error::Command {
            command: "forebay serve".to_owned(),
            status: format!("{exit:?}"),
            output: self.tail(),
        })
    }

    /// The URL of a path of the ingest listener.
    #[must_use]
    pub fn ingest(&self, path: &str) -> String {
        format!("http://{}{path}", self.launch.ingest.addr())
    }

    /// The URL of a path of the admin listener.
    #[must_use]
    pub fn admin(&self, path: &str) -> String {
        format!("http://{}{path}", self.launch.admin.addr())
    }

    /// Where it keeps its data.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        &self.launch.data_dir
    }

    /// What starts it. Changes take effect at the next start.
    pub fn launch(&mut self) -> &mut Launch {
        &mut self.launch
    }

    /// Its process id.
    ///
    /// # Errors
    ///
    /// When it is not running.
    pub fn pid(&self) -> Result<i32> {
        signal::pid(self.process.as_ref().and_then(Child::id))
    }

    /// Kills it (SIGKILL) and waits until it is gone. What it had written to files stays: the page cache
    /// survives.
    ///
    /// # Errors
    ///
    /// When it is not running.
    pub async fn kill9(&mut self) -> Result<()> {
        signal::send(self.pid()?, Signal::KILL)?;
        self.wait().await.map(|_killed| ())
    }

    /// Asks it to stop (SIGTERM) and returns at once.
    ///
    /// # Errors
    ///
    /// When it is not running.
    pub fn terminate(&self) -> Result<()> {
        signal::send(self.pid()?, Signal::TERM)
    }

    /// Tells it to read secret files again (SIGHUP).
    ///
    /// # Errors
    ///
    /// When it is not running.
    pub fn reload(&self) -> Result<()> {
        signal::send(self.pid()?, Signal::HUP)
    }

    /// Waits until it has ended, for a minute at most.
    ///
    /// # Errors
    ///
    /// When it is not running or does not end.
    pub async fn wait(&mut self) -> Result<Exit> {
        let tail = self.tail();
        let Some(process) = self.process.as_mut() else {
            return Err(Error::Misuse("forebay is not running".to_owned()));
        };
        let waited = tokio::time::timeout(DEADLINE, process.wait()).await;
        let late = |_| Error::Deadline {
            what: "forebay ends".to_owned(),
            deadline: DEADLINE,
            seen: tail.clone(),
        };
        let status = waited.map_err(late)?.doing(|| "wait for forebay")?;
        self.process = None;
        Ok(status.into())
    }

    /// How it ended, if it has.
    pub fn try_wait(&mut self) -> Option<Exit> {
        let status = self.process.as_mut()?.try_wait().ok()??;
        self.process = None;
        Some(status.into())
    }

    /// Stops it in order (SIGTERM), and starts it again.
    ///
    /// # Errors
    ///
    /// When it is not running, does not end with exit code 0, or is not ready again.
    pub async fn restart(&mut self) -> Result<()> {
        self.terminate()?;
        let exit = self.wait().await?;
        if exit.code != Some(0) {
            return Err(Error::Command {
                command: "forebay serve".to_owned(),
                status: format!("{exit:?} on SIGTERM"),
                output: self.tail(),
            });
        }
        self.start().await
    }

    /// The metrics now.
    ///
    /// # Errors
    ///
    /// When the admin listener does not answer with 200.
    pub async fn metrics(&self) -> Result<Metrics> {
        Ok(Metrics::parse(&self.ask("/metrics").await?.text()))
    }

    /// The answer of `/api/v1/status` now.
    ///
    /// # Errors
    ///
    /// When the admin listener does not answer with 200 and JSON.
    pub async fn status(&self) -> Result<serde_json::Value> {
        self.ask("/api/v1/status").await?.json()
    }

    /// Waits, for a minute at most, until the status is as wanted, and returns it.
    ///
    /// `deadline` is [`DEADLINE`] in most tests; draining a large backlog may need more.
    ///
    /// # Errors
    ///
    /// When it never is; the error shows the last one.
    pub async fn status_until(
        &self,
        what: &str,
        deadline: Duration,
        wanted: impl Fn(&serde_json::Value) -> bool,
    ) -> Result<serde_json::Value> {
        until(what, deadline, async || match self.status().await {
            Ok(status) if wanted(&status) => Ok(status),
            Ok(status) => Err(status.to_string()),
            Err(error) => Err(error.to_string()),
        })
        .await
    }

    async fn ask(&self, path: &str) -> Result<http::Response> {
        let url = self.admin(path);
        let answer = http::get(&url).await?;
        if answer.status == 200 {
            return Ok(answer);
        }
        Err(Error::Http(format!(
            "{url}: {}: {}",
            answer.status,
            answer.text()
        )))
    }

    /// Runs another command of the same binary to its end, told where this one's admin listener is.
    ///
    /// # Errors
    ///
    /// When it cannot be run or takes longer than a minute. An exit code is no error.
    pub async fn cli(&self, args: &[&str]) -> Result<Output> {
        let env = BTreeMap::from([("FOREBAY_ADMIN_URL".to_owned(), self.admin(""))]);
        launch::run(self.launch.binary(), args, &env, self.launch.dir()).await
    }

    /// Resident memory of the process now, and the highest so far, in bytes.
    ///
    /// # Errors
    ///
    /// When it is not running.
    pub fn memory(&self) -> Result<Memory> {
        let path = format!("/proc/{}/status", self.pid()?);
        let status = std::fs::read_to_string(&path).doing(|| format!("read {path}"))?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let kib =
                line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
            kib.map(|kib| kib * 1024)
                .ok_or_else(|| Error::Misuse(format!("no {name} in {path}")))
        };
        Ok(Memory {
            resident: field("VmRSS:")?,
            peak: field("VmHWM:")?,
        })
    }

    /// All it has printed to stdout, over all its starts.
    #[must_use]
    pub fn stdout(&self) -> String {
        scratch::tail(&self.stdout_path(), usize::MAX)
    }

    /// All it has printed to stderr, over all its starts.
    #[must_use]
    pub fn stderr(&self) -> String {
        scratch::tail(&self.stderr_path(), usize::MAX)
    }

    /// The last 4 KiB of stderr.
    #[must_use]
    pub fn tail(&self) -> String {
        scratch::tail(&self.stderr_path(), LOG_TAIL)
    }

    fn stdout_path(&self) -> PathBuf {
        self.launch.dir().join("stdout.log")
    }

    fn stderr_path(&self) -> PathBuf {
        self.launch.dir().join("stderr.log")
    }
}

impl Drop for Forebay {
    fn drop(&mut self) {
        let Some(mut process) = self.process.take() else {
            return;
        };
        let Ok(pid) = signal::pid(process.id()) else {
            return;
        };
        let _gone_already = signal::send(pid, Signal::KILL);
        let start = Instant::now();
        while matches!(process.try_wait(), Ok(None)) && start.elapsed() < signal::GRACE {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// Resident memory, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// Now.
    pub resident: u64,
    /// The most since the process started.
    pub peak: u64,
}

/// What a command that ran to its end has left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Its exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// What it printed as data.
    pub stdout: String,
    /// What it printed beside.
    pub stderr: String,
}

/// Runs `binary` with these arguments to its end, in `dir`, with no Forebay variables but `env`.
///
/// # Errors
///
/// When it cannot be run or takes longer than a minute. An exit code is no error.
pub async fn run(
    binary: impl AsRef<Path>,
    args: &[&str],
    env: &BTreeMap<String, String>,
    dir: &Path,
) -> Result<Output> {
    launch::run(binary.as_ref(), args, env, dir).await
}
