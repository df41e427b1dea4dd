//! A real Flask application under gunicorn, as the integrator's of the forum thread, with its own database.
//!
//! Its moods are real ones as far as can be: without its database it answers 500 because SQLite fails.

use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::TempDir;

use crate::error::Doing;
use crate::port::Lease;
use crate::{DEADLINE, Result, http, until};

const APP: &str = include_str!("app.py");

/// Enough that those which hang keep nobody waiting.
const THREADS: &str = "64";

/// How the application fares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    /// It writes what comes into its database.
    Up,
    /// Its database is gone: 500 to everything.
    NoDatabase,
    /// 503 to everything.
    Unavailable,
    /// A bad deployment: 404 to everything.
    NotFound,
    /// It hangs on events that say `{"hang": true}`.
    Hangs,
}

/// The application. Dropping it ends it.
#[derive(Debug)]
pub struct Flask {
    port: Lease,
    process: Option<Child>,
    // The last field: the directory goes after the process that uses it.
    dir: TempDir,
}

impl Flask {
    /// Starts it with an empty database, and waits until it answers.
    ///
    /// # Errors
    ///
    /// When gunicorn is missing, with how to install it, or does not come up within a minute.
    pub async fn start() -> Result<Self> {
        let dir = tempfile::tempdir().doing(|| "make a directory")?;
        std::fs::write(dir.path().join("app.py"), APP).doing(|| "write the application")?;
        std::fs::create_dir(dir.path().join("db")).doing(|| "make the database's folder")?;
        let mut flask = Self {
            port: Lease::take()?,
            process: None,
            dir,
        };
        flask.set(Mood::Up)?;
        flask.spawn()?;
        let url = flask.url();
        until("gunicorn answers", DEADLINE, async || {
            match http::get(&url).await {
                Ok(_) => Ok(()),
                Err(error) => Err(error.to_string()),
            }
        })
        .await?;
        Ok(flask)
    }

    fn spawn(&mut self) -> Result<()> {
        let log = File::create(self.dir.path().join("log")).doing(|| "open gunicorn's log")?;
        let log_too = log.try_clone().doing(|| "share gunicorn's log")?;
        let mut command = Command::new(crate::installed::python("gunicorn")?);
        command
            .args(["--workers", "2", "--threads", THREADS, "--timeout", "0"])
            .args(["--bind", &self.port.addr().to_string(), "app:app"])
            .current_dir(self.dir.path())
            // Its workers with it: all are ended at once.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(log_too);
        self.process = Some(command.spawn().doing(|| "start gunicorn")?);
        Ok(())
    }

    /// Where it takes webhooks.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/hook", self.port.addr())
    }

    /// The application's own database, `events (id, n)`, wherever it is now.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        let there = self.dir.path().join("db");
        let folder = if there.is_dir() {
            there
        } else {
            self.dir.path().join("db.gone")
        };
        folder.join("events.db")
    }

    /// From now on it fares so.
    ///
    /// # Errors
    ///
    /// When its files cannot be written.
    pub fn set(&self, mood: Mood) -> Result<()> {
        let (here, gone) = (self.dir.path().join("db"), self.dir.path().join("db.gone"));
        let moved = match mood {
            Mood::NoDatabase if here.is_dir() => std::fs::rename(&here, &gone),
            Mood::NoDatabase => Ok(()),
            _ if gone.is_dir() => std::fs::rename(&gone, &here),
            _ => Ok(()),
        };
        moved.doing(|| "move the database")?;
        let word = match mood {
            Mood::Up | Mood::NoDatabase => "up",
            Mood::Unavailable => "503",
            Mood::NotFound => "404",
            Mood::Hangs => "hang",
        };
        // Renamed over the old one, so that no request reads half of it.
        let next = self.dir.path().join("mode.next");
        std::fs::write(&next, word)
            .and_then(|()| std::fs::rename(&next, self.dir.path().join("mode")))
            .doing(|| "write the mode")
    }

    /// Its directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }
}

impl Drop for Flask {
    fn drop(&mut self) {
        let Some(mut process) = self.process.take() else {
            return;
        };
        if let Ok(pid) = i32::try_from(process.id())
            && let Some(group) = Pid::from_raw(pid)
        {
            // Gone already is gone as well.
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = process.wait();
    }
}
