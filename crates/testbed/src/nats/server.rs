//! One server's life: started, stopped, killed, paused.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use rustix::process::Signal;
use tempfile::TempDir;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::error::Doing;
use crate::port::Lease;
use crate::{DEADLINE, Error, Result, certificate, scratch, signal, until};

const LOG_TAIL: usize = 4096;

/// Who may do everything.
pub const USER: &str = "forebay";

/// The password of [`USER`] and of `reader`.
pub const PASSWORD: &str = "correct-horse";

/// What a server is like. The default has JetStream, users and no TLS.
#[derive(Debug, Clone)]
pub struct Options {
    jetstream: bool,
    tls: bool,
    lines: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            jetstream: true,
            tls: false,
            lines: Vec::new(),
        }
    }
}

impl Options {
    /// Without JetStream: messages are passed on and not kept.
    #[must_use]
    pub fn without_jetstream(mut self) -> Self {
        self.jetstream = false;
        self
    }

    /// Takes TLS only, with a certificate for `localhost` and 127.0.0.1 from a CA of the server's own
    /// ([`Server::ca`]).
    #[must_use]
    pub fn with_tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// Adds a line to the configuration.
    #[must_use]
    pub fn with_line(mut self, line: impl Into<String>) -> Self {
        self.lines.push(line.into());
        self
    }
}

/// A NATS server. [`USER`] has every right, and `reader` may publish nothing but what a client needs to ask JetStream.
///
/// Dropping it ends its process and deletes its directory.
#[derive(Debug)]
pub struct Server {
    port: Lease,
    tls: bool,
    process: Option<Child>,
    // The last field: the directory goes after everything that may use it.
    dir: TempDir,
}

impl Server {
    /// Makes a new, empty server and waits until it answers.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`] with the package's name when NATS is not installed; otherwise what it printed when it did
    /// not start.
    pub async fn start_new(options: Options) -> Result<Self> {
        let mut server = Self {
            port: Lease::take()?,
            tls: options.tls,
            process: None,
            dir: scratch::own("nats")?,
        };
        server.configure(&options)?;
        server.start().await?;
        Ok(server)
    }

    /// The address it listens on, also while it is down.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.port.addr()
    }

    /// The CA that signed the server's certificate, in PEM. `None` without TLS.
    #[must_use]
    pub fn ca(&self) -> Option<PathBuf> {
        self.tls.then(|| self.dir.path().join("ca.pem"))
    }

    /// A URL for [`USER`].
    #[must_use]
    pub fn url(&self) -> String {
        self.url_through(self.addr())
    }

    /// The same by way of `addr`: a proxy's address.
    #[must_use]
    pub fn url_through(&self, addr: SocketAddr) -> String {
        let scheme = if self.tls { "tls" } else { "nats" };
        format!("{scheme}://{USER}:{PASSWORD}@{addr}")
    }

    /// The last 4 KiB of what the server has logged.
    #[must_use]
    pub fn log_tail(&self) -> String {
        scratch::tail(&self.dir.path().join("log"), LOG_TAIL)
    }

    /// Starts it and waits until it answers, which is after JetStream has read its store.
    ///
    /// # Errors
    ///
    /// When it is running already, ends at once, or does not answer within a minute; the error has the end of its log.
    pub async fn start(&mut self) -> Result<()> {
        if self.process.is_some() {
            return Err(Error::Misuse("the server is running already".to_owned()));
        }
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.dir.path().join("log"))
            .doing(|| "open the server's log")?;
        let log_too = log.try_clone().doing(|| "share the server's log")?;
        let mut command = Command::new(program());
        command.arg("-c").arg(self.dir.path().join("nats.conf"));
        command.stdin(Stdio::null()).stdout(log).stderr(log_too);
        let spawned = command.spawn();
        if let Err(error) = &spawned
            && error.kind() == io::ErrorKind::NotFound
        {
            return Err(Error::Missing {
                program: "NATS".to_owned(),
                package: "nats-server",
            });
        }
        self.process = Some(spawned.doing(|| "start nats-server")?);
        let addr = self.addr();
        until("nats answers", DEADLINE, async || {
            if let Some(status) = self.ended() {
                return Ok(Err(status));
            }
            match greeting(addr).await {
                Ok(()) => Ok(Ok(())),
                Err(error) => Err(format!("{error}\n{}", self.log_tail())),
            }
        })
        .await?
        .map_err(|status| Error::Command {
            command: "nats-server".to_owned(),
            status,
            output: self.log_tail(),
        })
    }

    /// Shuts it down in good order.
    ///
    /// # Errors
    ///
    /// When it is not running, or has not gone within a minute.
    pub async fn stop(&mut self) -> Result<()> {
        self.end(Signal::TERM).await
    }

    /// Kills it (SIGKILL), also when it is paused.
    ///
    /// # Errors
    ///
    /// As [`Server::stop`].
    pub async fn kill(&mut self) -> Result<()> {
        self.end(Signal::KILL).await
    }

    /// Stops it (SIGSTOP): connections stay open and nothing answers.
    ///
    /// # Errors
    ///
    /// When it is not running, or is not stopped within a minute.
    pub async fn pause(&mut self) -> Result<()> {
        signal::stop_tree(self.pid()?).await
    }

    /// Undoes [`Server::pause`].
    ///
    /// # Errors
    ///
    /// When it is not running.
    pub fn resume(&mut self) -> Result<()> {
        signal::continue_tree(self.pid()?)
    }

    async fn end(&mut self, with: Signal) -> Result<()> {
        signal::send(self.pid()?, with)?;
        until("nats has ended", DEADLINE, async || {
            self.ended().map(drop).ok_or_else(|| self.log_tail())
        })
        .await
    }

    fn configure(&self, options: &Options) -> Result<()> {
        let dir = self.dir.path();
        let mut lines = vec![
            format!("listen: \"{}\"", self.addr()),
            format!(
                "authorization {{ users: [
                    {{ user: {USER}, password: {PASSWORD} }},
                    {{ user: reader, password: {PASSWORD}, permissions: {{
                        publish: [\"$JS.API.>\"], subscribe: [\">\"] }} }} ] }}"
            ),
        ];
        if options.jetstream {
            let store = shown(&dir.join("store"));
            lines.push(format!(
                "jetstream {{ store_dir: \"{store}\", max_mem: 64MB, max_file: 1GB }}"
            ));
        }
        if options.tls {
            let files = certificate::write(dir)?;
            lines.push(format!(
                "tls {{ cert_file: \"{}\", key_file: \"{}\" }}",
                shown(&files.certificate),
                shown(&files.key)
            ));
        }
        lines.extend(options.lines.iter().cloned());
        std::fs::write(dir.join("nats.conf"), lines.join("\n")).doing(|| "write nats.conf")
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
}

impl Drop for Server {
    fn drop(&mut self) {
        let process = self.process.take();
        if let Some(pid) = process.and_then(|one| signal::pid(one.id()).ok()) {
            signal::kill_tree_now(pid);
        }
    }
}

/// A server says who it is as soon as it is connected to.
async fn greeting(addr: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect(addr).await?;
    let mut word = [0; 4];
    stream.read_exact(&mut word).await?;
    if &word == b"INFO" {
        Ok(())
    } else {
        Err(io::Error::other("not a NATS server"))
    }
}

/// Debian puts it where only root's `PATH` leads to.
fn program() -> PathBuf {
    let debian = Path::new("/usr/sbin/nats-server");
    if debian.exists() {
        return debian.to_owned();
    }
    "nats-server".into()
}

fn shown(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
