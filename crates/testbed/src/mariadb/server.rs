//! One server's life: started, stopped, killed, paused, made read-only.

use std::fs::File;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use mysql_async::prelude::Queryable as _;
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::install::Install;
use super::template::{self, LOG_FILE_SIZE};
use crate::certificate;
use crate::error::Doing;
use crate::port::Lease;
use crate::{DEADLINE, Error, Result, scratch, signal, until};

const LOG_TAIL: usize = 4096;

/// The database of the tests.
pub(super) const DATABASE: &str = "forebay";

/// What a server is like. The default syncs every commit, has no TLS and MariaDB's own settings.
#[derive(Debug, Clone, Default)]
pub struct Options {
    tls: bool,
    slow_syncs: Option<Duration>,
    settings: Vec<(String, String)>,
}

impl Options {
    /// Offers TLS with a certificate for `localhost` and 127.0.0.1 from a CA of the server's own ([`Server::ca`]).
    #[must_use]
    pub fn with_tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// Holds up every sync of a file for so long, as a disk in trouble does. What is committed meanwhile is to be seen,
    /// and not yet safe.
    #[must_use]
    pub fn with_slow_syncs(mut self, delay: Duration) -> Self {
        self.slow_syncs = Some(delay);
        self
    }

    /// Sets a variable of the server; the last value given for a name counts.
    #[must_use]
    pub fn with_setting(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.push((name.into(), value.into()));
        self
    }
}

/// A MariaDB server with a database `forebay`, which is all that its account `app` may use.
///
/// Dropping it ends its process and deletes its directory.
#[derive(Debug)]
pub struct Server {
    install: Install,
    options: Options,
    port: Lease,
    process: Option<Child>,
    tls: Option<certificate::Files>,
    // The last field: the directory goes after everything that may use it.
    dir: TempDir,
}

impl Server {
    /// Makes a new, empty server and waits until it answers.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`] with the package's name when MariaDB is not installed; otherwise what it printed when it did
    /// not start.
    pub async fn start_new(options: Options) -> Result<Self> {
        let install = Install::find()?;
        let dir = scratch::own("mariadb")?;
        let data = dir.path().join("data");
        template::copy_to(&install, &data)?;
        let tls = if options.tls {
            Some(certificate::write(dir.path())?)
        } else {
            None
        };
        if let Some(files) = &tls {
            for file in [&files.certificate, &files.key] {
                install.hand_over(file)?;
                scratch::set_mode(file, 0o600)?;
            }
            scratch::set_mode(&files.ca, 0o644)?;
        }
        let mut server = Self {
            install,
            options,
            port: Lease::take()?,
            process: None,
            tls,
            dir,
        };
        server.start().await?;
        Ok(server)
    }

    /// The port it listens on, also while it is down.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port.port()
    }

    /// The address it listens on, also while it is down.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.port.addr()
    }

    /// A URL for the account `app` and the database `forebay`.
    #[must_use]
    pub fn url(&self) -> String {
        self.url_through(self.addr())
    }

    /// The same by way of `addr`: a proxy's address.
    #[must_use]
    pub fn url_through(&self, addr: SocketAddr) -> String {
        format!("mysql://app:right@{addr}/{DATABASE}")
    }

    /// The CA that signed the server's certificate, in PEM. `None` without TLS.
    #[must_use]
    pub fn ca(&self) -> Option<PathBuf> {
        self.tls.as_ref().map(|files| files.ca.clone())
    }

    /// Its Unix socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.data().join("socket")
    }

    /// The last 4 KiB of what the server has logged.
    #[must_use]
    pub fn log_tail(&self) -> String {
        scratch::tail(&self.log(), LOG_TAIL)
    }

    /// Starts it and waits until it answers, which after a crash is after its recovery.
    ///
    /// # Errors
    ///
    /// When it is running already, ends at once, or does not answer within a minute; the error has the end of its log.
    pub async fn start(&mut self) -> Result<()> {
        if self.process.is_some() {
            return Err(Error::Misuse("the server is running already".to_owned()));
        }
        let log = File::options().create(true).append(true).open(self.log());
        let log = log.doing(|| "open the server's log")?;
        let log_too = log.try_clone().doing(|| "share the server's log")?;
        let command = match self.options.slow_syncs {
            Some(delay) => self.install.slow_server(delay)?,
            None => self.install.server(),
        };
        let mut command = Command::from(command);
        command.args(self.arguments());
        command.stdin(Stdio::null()).stdout(log).stderr(log_too);
        self.process = Some(command.spawn().doing(|| "start mariadbd")?);
        until("mariadb answers", DEADLINE, async || {
            if let Some(status) = self.ended() {
                return Ok(Err(status));
            }
            match self.client().await {
                Ok(client) => {
                    drop(client);
                    Ok(Ok(()))
                }
                Err(error) => Err(format!("{error}\n{}", self.log_tail())),
            }
        })
        .await?
        .map_err(|status| Error::Command {
            command: "mariadbd".to_owned(),
            status,
            output: self.log_tail(),
        })
    }

    /// Kills it at once (SIGKILL), also when it is paused: the next start has to recover.
    ///
    /// # Errors
    ///
    /// When it is not running, or outlives the signal by a minute.
    pub async fn stop_immediate(&mut self) -> Result<()> {
        signal::kill_tree(self.pid()?).await?;
        self.collect().await
    }

    /// Tells it to end (SIGTERM): sessions are told to leave, and everything is written out.
    ///
    /// # Errors
    ///
    /// When it is not running.
    pub async fn stop(&mut self) -> Result<()> {
        signal::send(self.pid()?, Signal::TERM)?;
        self.collect().await
    }

    /// Stops it (SIGSTOP): connections stay open and nothing answers.
    ///
    /// # Errors
    ///
    /// When it is not running, or is not stopped within a minute.
    pub async fn pause(&mut self) -> Result<()> {
        signal::stop_tree(self.pid()?).await
    }

    /// Undoes [`Server::pause`]. What was sent meanwhile is worked on now.
    ///
    /// # Errors
    ///
    /// When it is not running.
    pub fn resume(&mut self) -> Result<()> {
        signal::continue_tree(self.pid()?)
    }

    /// Refuses writes as a replica would, or allows them again. Holds for existing sessions too.
    ///
    /// # Errors
    ///
    /// What the server said.
    pub async fn set_read_only(&self, read_only: bool) -> Result<()> {
        let sql = format!("SET GLOBAL read_only = {}", u8::from(read_only));
        Ok(self.client().await?.query_drop(sql).await?)
    }

    fn arguments(&self) -> Vec<String> {
        let path = |name: &str, path: PathBuf| format!("--{name}={}", path.display());
        let mut arguments = vec![
            path("datadir", self.data()),
            path("socket", self.socket()),
            path("pid-file", self.data().join("pid")),
            format!("--port={}", self.port()),
            LOG_FILE_SIZE.to_owned(),
        ];
        let small = [
            "--bind-address=127.0.0.1",
            "--skip-name-resolve",
            "--performance-schema=OFF",
            "--innodb-buffer-pool-size=32M",
            "--aria-pagecache-buffer-size=8M",
            "--key-buffer-size=1M",
        ];
        arguments.extend(small.map(str::to_owned));
        if let Some(files) = &self.tls {
            arguments.push(path("ssl-cert", files.certificate.clone()));
            arguments.push(path("ssl-key", files.key.clone()));
        }
        let settings = self.options.settings.iter();
        arguments.extend(settings.map(|(name, value)| format!("--{name}={value}")));
        arguments
    }

    /// Waits for the process, which is on its way out.
    async fn collect(&mut self) -> Result<()> {
        if let Some(mut process) = self.process.take() {
            process.wait().await.doing(|| "wait for mariadbd")?;
        }
        Ok(())
    }

    fn ended(&mut self) -> Option<String> {
        let status = self.process.as_mut()?.try_wait().ok()??;
        self.process = None;
        Some(status.to_string())
    }

    fn pid(&self) -> Result<i32> {
        let process = self.process.as_ref();
        let process =
            process.ok_or_else(|| Error::Misuse("the server is not running".to_owned()))?;
        signal::pid(process.id())
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("log")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let Some(mut process) = self.process.take() else {
            return;
        };
        let Ok(pid) = signal::pid(process.id()) else {
            return;
        };
        // Its files go with it: nothing has to be written out.
        signal::kill_tree_now(pid);
        while matches!(process.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}
