//! What a Forebay is started with: configuration, environment, arguments, and what comes between it and
//! the kernel.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::{Forebay, Output};
use crate::error::Doing;
use crate::port::Lease;
use crate::{DEADLINE, Error, Result, scratch};

/// Everything a Forebay is started with. It has a directory and its ports from the beginning, so that a
/// configuration can name them.
#[derive(Debug)]
pub struct Launch {
    binary: PathBuf,
    config: String,
    args: Vec<OsString>,
    env: BTreeMap<String, String>,
    strace: Option<Strace>,
    pub(super) ingest: Lease,
    pub(super) admin: Lease,
    pub(super) data_dir: PathBuf,
    dir: TempDir,
}

impl Launch {
    /// Prepares to run `binary`, which is `env!("CARGO_BIN_EXE_forebay")` in the binary's own tests.
    ///
    /// # Errors
    ///
    /// When no directory or port is to be had.
    pub fn new(binary: impl Into<PathBuf>) -> Result<Self> {
        let dir = scratch::own("process")?;
        Ok(Self {
            binary: binary.into(),
            config: String::new(),
            args: Vec::new(),
            env: BTreeMap::new(),
            strace: None,
            ingest: Lease::take()?,
            admin: Lease::take()?,
            data_dir: dir.path().join("data"),
            dir,
        })
    }

    /// The text of the configuration file. Listeners and data directory are given as flags, which
    /// override it.
    #[must_use]
    pub fn config(mut self, toml: impl Into<String>) -> Self {
        self.config = toml.into();
        self
    }

    /// Takes the place of the configuration at the next start.
    pub fn set_config(&mut self, toml: impl Into<String>) {
        self.config = toml.into();
    }

    /// Sets an environment variable. Those named `FOREBAY_…` are not inherited from the test.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.insert(name.into(), value.into());
        self
    }

    /// Adds an argument to `serve`.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Takes the place of all arguments added to `serve` at the next start.
    pub fn set_args<A: Into<OsString>>(&mut self, args: impl IntoIterator<Item = A>) {
        self.args = args.into_iter().map(Into::into).collect();
    }

    /// Keeps the data here instead of in the directory of its own: on a [`crate::disk::SmallDisk`].
    #[must_use]
    pub fn data_dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.data_dir = path.into();
        self
    }

    /// Runs it under `strace` from the next start on, or no longer.
    pub fn set_strace(&mut self, strace: Option<Strace>) {
        self.strace = strace;
    }

    /// Runs it under `strace`, which makes system calls fail or slow.
    #[must_use]
    pub fn strace(mut self, strace: Strace) -> Self {
        self.strace = Some(strace);
        self
    }

    /// The port that it will take events on.
    #[must_use]
    pub fn ingest_port(&self) -> u16 {
        self.ingest.port()
    }

    /// A directory that lives as long as the process's: for files that a configuration names.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The program that is run.
    #[must_use]
    pub fn binary(&self) -> &Path {
        &self.binary
    }

    /// Starts it and waits until it is ready.
    ///
    /// # Errors
    ///
    /// As [`Forebay::ready`].
    pub async fn start(self) -> Result<Forebay> {
        let mut forebay = self.spawn()?;
        forebay.ready().await?;
        Ok(forebay)
    }

    /// Starts it and does not wait: for one that is to fail.
    ///
    /// # Errors
    ///
    /// When the program cannot be run.
    pub fn spawn(self) -> Result<Forebay> {
        let mut forebay = Forebay {
            process: None,
            launch: self,
        };
        forebay.spawn()?;
        Ok(forebay)
    }

    /// Writes the configuration file and makes the command.
    pub(super) fn command(&self) -> Result<Command> {
        let config = self.dir().join("forebay.toml");
        std::fs::write(&config, &self.config).doing(|| format!("write {}", config.display()))?;
        let mut command = match &self.strace {
            Some(strace) => strace.command(&self.binary, &self.dir().join("strace.log"))?,
            None => Command::new(&self.binary),
        };
        clean_environment(&mut command, &self.env, self.dir());
        command.arg("serve").arg("--config").arg(config);
        command.arg("--listen").arg(self.ingest.addr().to_string());
        command.arg("--admin").arg(self.admin.addr().to_string());
        command.arg("--data-dir").arg(&self.data_dir);
        command.args(&self.args);
        Ok(command)
    }
}

/// Faults that `strace` injects into the system calls of a process and all its threads.
///
/// Only the named system calls are slowed by the tracing.
#[derive(Debug, Clone, Default)]
pub struct Strace {
    injections: Vec<String>,
    path: Option<PathBuf>,
}

impl Strace {
    /// Injects nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Injects as `strace -e inject=` has it: `fdatasync:error=EIO:when=3+`,
    /// `fdatasync:delay_enter=200000`. `when` counts the calls of each thread on its own.
    #[must_use]
    pub fn inject(mut self, what: impl Into<String>) -> Self {
        self.injections.push(what.into());
        self
    }

    /// Only for calls on this path, or on a file opened by it.
    #[must_use]
    pub fn only_path(mut self, path: impl Into<PathBuf>) -> Self {
        self.path = Some(path.into());
        self
    }

    fn command(&self, program: &Path, log: &Path) -> Result<Command> {
        if !Path::new("/usr/bin/strace").exists() && !on_path("strace") {
            return Err(Error::Missing {
                program: "strace".to_owned(),
                package: "strace",
            });
        }
        let mut command = Command::new("strace");
        // `--daemonize=grandchild`: the traced process stays our own child, with its own process id and
        // exit code.
        command.args([
            "--daemonize=grandchild",
            "--follow-forks",
            "--quiet=all",
            "--output",
        ]);
        command.arg(log);
        let calls: Vec<&str> = self
            .injections
            .iter()
            .filter_map(|one| one.split(':').next())
            .collect();
        command.arg(format!("--trace={}", calls.join(",")));
        match &self.path {
            Some(path) => command.arg("--trace-path").arg(path),
            None => command.arg("--seccomp-bpf"),
        };
        for injection in &self.injections {
            command.arg(format!("--inject={injection}"));
        }
        command.arg("--").arg(program);
        Ok(command)
    }
}

fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).exists())
}

/// Runs `binary` to its end.
pub(super) async fn run(
    binary: &Path,
    args: &[&str],
    env: &BTreeMap<String, String>,
    dir: &Path,
) -> Result<Output> {
    let mut command = Command::new(binary);
    clean_environment(&mut command, env, dir);
    command.args(args).stdin(Stdio::null());
    let mut command = tokio::process::Command::from(command);
    command.kill_on_drop(true);
    let name = format!("{} {}", binary.display(), args.join(" "));
    let output = tokio::time::timeout(DEADLINE, command.output()).await;
    let late = |_| Error::Deadline {
        what: format!("{name} ends"),
        deadline: DEADLINE,
        seen: "still running".to_owned(),
    };
    let output = output.map_err(late)?.doing(|| format!("run {name}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(Output {
        code: output.status.code(),
        stdout: text(&output.stdout),
        stderr: text(&output.stderr),
    })
}

fn clean_environment(command: &mut Command, env: &BTreeMap<String, String>, dir: &Path) {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("FOREBAY_") {
            command.env_remove(name);
        }
    }
    // Its working directory is where it looks for `forebay.toml`: not the source tree.
    command.envs(env).current_dir(dir);
}
