//! One server's life: started, stopped, killed, paused, made read-only.

use std::fs::File;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;

use rustix::process::Signal;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::install::Install;
use super::template;
use crate::certificate;
use crate::command::run;
use crate::error::Doing;
use crate::port::Lease;
use crate::{DEADLINE, Error, Result, scratch, signal, until};

const LOG_TAIL: usize = 4096;

/// What a server is like. The default syncs every commit, has no TLS and PostgreSQL's own settings.
#[derive(Debug, Clone)]
pub struct Options {
    fsync: bool,
    tls: bool,
    settings: Vec<(String, String)>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            fsync: true,
            tls: false,
            settings: Vec::new(),
        }
    }
}

impl Options {
    /// Leaves out every sync. Faster, but then a killed *machine* would lose commits, and Forebay names
    /// the setting: only for tests that look at neither.
    #[must_use]
    pub fn without_fsync(mut self) -> Self {
        self.fsync = false;
        self
    }

    /// Offers TLS with a certificate for `localhost` and 127.0.0.1 from a CA of the server's own
    /// ([`Server::ca`]), and refuses roles other than the superuser without it.
    #[must_use]
    pub fn with_tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// Sets a parameter of `postgresql.conf`; the last value given for a name counts.
    #[must_use]
    pub fn with_setting(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.push((name.into(), value.into()));
        self
    }
}

/// A PostgreSQL server. Its superuser `postgres` needs no password; any other role does.
///
/// Dropping it ends every process of it and deletes its directory.
#[derive(Debug)]
pub struct Server {
    install: Install,
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
    /// [`Error::Missing`] with the package's name when PostgreSQL is not installed; otherwise what it
    /// printed when it did not start.
    pub async fn start_new(options: Options) -> Result<Self> {
        let install = Install::find()?;
        let dir = scratch::own("postgres")?;
        let data = dir.path().join("data");
        template::copy_to(&install, &data)?;
        let tls = if options.tls {
            Some(certificate::write(&data)?)
        } else {
            None
        };
        if let Some(files) = &tls {
            for file in [&files.ca, &files.certificate, &files.key] {
                install.hand_over(file)?;
                scratch::set_mode(file, 0o600)?;
            }
            // Clients read the CA, and they may not enter the data directory.
            let public = dir.path().join("ca.pem");
            std::fs::copy(&files.ca, &public).doing(|| "copy the CA")?;
            scratch::set_mode(&public, 0o644)?;
        }
        let mut server = Self {
            install,
            port: Lease::take()?,
            process: None,
            tls,
            dir,
        };
        server.configure(&options)?;
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

    /// A URL for the superuser and the database `postgres`.
    #[must_use]
    pub fn url(&self) -> String {
        self.url_through(self.addr())
    }

    /// The same by way of `addr`: a proxy's address.
    #[must_use]
    pub fn url_through(&self, addr: SocketAddr) -> String {
        format!("postgres://postgres@{addr}/postgres")
    }

    /// The CA that signed the server's certificate, in PEM. `None` without TLS.
    #[must_use]
    pub fn ca(&self) -> Option<PathBuf> {
        self.tls.as_ref().map(|_| self.dir.path().join("ca.pem"))
    }

    /// The directory with its data, log and certificates.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
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
    /// When it is running already, ends at once, or does not answer within a minute; the error has the
    /// end of its log.
    pub async fn start(&mut self) -> Result<()> {
        if self.process.is_some() {
            return Err(Error::Misuse("the server is running already".to_owned()));
        }
        let log = File::options().create(true).append(true).open(self.log());
        let log = log.doing(|| "open the server's log")?;
        let log_too = log.try_clone().doing(|| "share the server's log")?;
        let mut command = Command::from(self.install.command("postgres"));
        command.arg("-D").arg(self.data());
        command.stdin(Stdio::null()).stdout(log).stderr(log_too);
        self.process = Some(command.spawn().doing(|| "start postgres")?);
        let url = self.url();
        until("postgres answers", DEADLINE, async || {
            if let Some(status) = self.ended() {
                return Ok(Err(status));
            }
            match tokio_postgres::connect(&url, tokio_postgres::NoTls).await {
                Ok(_answered) => Ok(Ok(())),
                Err(error) => Err(format!("{error:?}\n{}", self.log_tail())),
            }
        })
        .await?
        .map_err(|status| Error::Command {
            command: "postgres".to_owned(),
            status,
            output: self.log_tail(),
        })
    }

    /// `pg_ctl stop -m immediate`: every process quits at once, and the next start has to recover.
    ///
    /// # Errors
    ///
    /// When it is not running, or has not gone within a minute.
    pub async fn stop_immediate(&mut self) -> Result<()> {
        self.stop("immediate").await
    }

    /// `pg_ctl stop -m fast`: sessions are told to leave, and everything is written out.
    ///
    /// # Errors
    ///
    /// As [`Server::stop_immediate`].
    pub async fn stop_fast(&mut self) -> Result<()> {
        self.stop("fast").await
    }

    /// Kills every process of it (SIGKILL), also when it is paused.
    ///
    /// # Errors
    ///
    /// When it is not running, or a process outlives the signal by a minute.
    pub async fn kill(&mut self) -> Result<()> {
        signal::kill_tree(self.pid()?).await?;
        self.collect().await
    }

    /// Stops every process of it (SIGSTOP): connections stay open and nothing answers.
    ///
    /// # Errors
    ///
    /// When it is not running, or a process is not stopped within a minute.
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

    /// Refuses writes with SQLSTATE 25006 as a standby would after a failover, or allows them again.
    ///
    /// Holds for existing sessions too: from their next transaction on, once this has returned.
    ///
    /// # Errors
    ///
    /// When the server cannot be asked, or does not take up the setting within a minute.
    pub async fn set_read_only(&self, read_only: bool) -> Result<()> {
        let wanted = if read_only { "on" } else { "off" };
        self.execute(&format!(
            "ALTER SYSTEM SET default_transaction_read_only = {wanted}"
        ))
        .await?;
        self.execute("SELECT pg_reload_conf()").await?;
        // The postmaster tells all sessions before it makes the next one, so once a new session has the
        // new value, every existing one has been told.
        until(
            "the server has taken up default_transaction_read_only",
            DEADLINE,
            async || match self.text("SHOW default_transaction_read_only").await {
                Ok(shown) if shown == wanted => Ok(()),
                Ok(shown) => Err(shown),
                Err(error) => Err(error.to_string()),
            },
        )
        .await
    }

    async fn stop(&mut self, mode: &str) -> Result<()> {
        self.pid()?;
        let mut command = self.install.command("pg_ctl");
        command
            .args(["stop", "--wait", "--silent", "--mode", mode, "--pgdata"])
            .arg(self.data());
        let stopped = tokio::task::spawn_blocking(move || run(&mut command)).await;
        stopped.map_err(|error| Error::Misuse(format!("waiting for pg_ctl: {error}")))??;
        self.collect().await
    }

    /// Waits for the postmaster, which is on its way out.
    async fn collect(&mut self) -> Result<()> {
        if let Some(mut process) = self.process.take() {
            process.wait().await.doing(|| "wait for postgres")?;
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

    /// Settings go to the file and not to the command line, which `ALTER SYSTEM` could not override.
    fn configure(&self, options: &Options) -> Result<()> {
        let mut settings = vec![
            ("listen_addresses".to_owned(), "127.0.0.1".to_owned()),
            ("port".to_owned(), self.port().to_string()),
            ("unix_socket_directories".to_owned(), String::new()),
            (
                "fsync".to_owned(),
                if options.fsync { "on" } else { "off" }.to_owned(),
            ),
        ];
        let mut access = "host all postgres 127.0.0.1/32 trust\n".to_owned();
        if let Some(files) = &self.tls {
            settings.push(("ssl".to_owned(), "on".to_owned()));
            let name = |path: &Path| path.to_string_lossy().into_owned();
            settings.push(("ssl_cert_file".to_owned(), name(&files.certificate)));
            settings.push(("ssl_key_file".to_owned(), name(&files.key)));
            access.push_str("hostssl all all 127.0.0.1/32 scram-sha-256\n");
        } else {
            access.push_str("host all all 127.0.0.1/32 scram-sha-256\n");
        }
        settings.extend(options.settings.iter().cloned());
        let lines: String = settings
            .iter()
            .map(|(name, value)| format!("{name} = '{}'\n", value.replace('\'', "''")))
            .collect();
        let data = self.data();
        File::options()
            .append(true)
            .open(data.join("postgresql.conf"))
            .and_then(|mut file| file.write_all(lines.as_bytes()))
            .doing(|| "write postgresql.conf")?;
        std::fs::write(data.join("pg_hba.conf"), access).doing(|| "write pg_hba.conf")
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
        // An immediate shutdown, which frees the shared memory that SIGKILL would leave behind.
        let _paused_or_not = signal::continue_tree(pid);
        let _told = signal::send(pid, Signal::QUIT);
        let start = Instant::now();
        while matches!(process.try_wait(), Ok(None)) {
            if start.elapsed() > signal::GRACE {
                signal::kill_tree_now(pid);
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
    }
}
