//! One server's life: configured, started, stopped, killed, paused, watched by a sentinel.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::ask::ask;
use super::process::Process;
use crate::error::Doing;
use crate::port::Lease;
use crate::{DEADLINE, Error, Result, certificate, scratch, until};

/// What a server is like. The default syncs its append-only file before it answers, has no password and no TLS.
#[derive(Debug, Clone)]
pub struct Options {
    append_only: bool,
    password: Option<String>,
    tls: bool,
    cluster: bool,
    replica_of: Option<SocketAddr>,
    settings: Vec<(String, String)>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            append_only: true,
            password: None,
            tls: false,
            cluster: false,
            replica_of: None,
            settings: Vec::new(),
        }
    }
}

impl Options {
    /// Keeps everything in memory only: what a server does that nobody has set up.
    #[must_use]
    pub fn without_append_only_file(mut self) -> Self {
        self.append_only = false;
        self
    }

    /// Asks the default user for a password.
    #[must_use]
    pub fn with_password(mut self, password: impl Into<String>) -> Self {
        self.password = Some(password.into());
        self
    }

    /// Offers TLS on a port of its own ([`Server::tls_addr`]), with a certificate for `localhost` and 127.0.0.1 from a
    /// CA of the server's own ([`Server::ca`]). Clients need no certificate.
    #[must_use]
    pub fn with_tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// Makes it a node of a cluster, which has no slots yet.
    #[must_use]
    pub fn with_cluster(mut self) -> Self {
        self.cluster = true;
        self
    }

    /// Makes it a replica of another server.
    #[must_use]
    pub fn replica_of(mut self, master: &Server) -> Self {
        self.replica_of = Some(master.addr());
        self
    }

    /// Sets a line of `redis.conf`; the last value given for a name counts.
    #[must_use]
    pub fn with_setting(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.push((name.into(), value.into()));
        self
    }
}

/// A Redis server. Dropping it ends its process and deletes its directory.
#[derive(Debug)]
pub struct Server {
    process: Process,
    port: Lease,
    tls: Option<(Lease, certificate::Files)>,
    /// Of a node of a cluster: where nodes talk to each other.
    bus: Option<Lease>,
    password: Option<String>,
    // The last field: the directory goes after everything that may use it.
    dir: TempDir,
}

impl Server {
    /// Makes a new, empty server and waits until it answers.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`] with the package's name when Redis is not installed; otherwise what it printed when it did
    /// not start.
    pub async fn start_new(options: Options) -> Result<Self> {
        let dir = scratch::own("redis")?;
        let tls = if options.tls {
            Some((Lease::take()?, certificate::write(dir.path())?))
        } else {
            None
        };
        let bus = options.cluster.then(Lease::take).transpose()?;
        let arguments = vec![dir.path().join("redis.conf")];
        let mut server = Self {
            process: Process::new(arguments, dir.path().join("log")),
            port: Lease::take()?,
            tls,
            bus,
            password: options.password.clone(),
            dir,
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

    /// The address it listens on for TLS. `None` without TLS.
    #[must_use]
    pub fn tls_addr(&self) -> Option<SocketAddr> {
        self.tls.as_ref().map(|(port, _)| port.addr())
    }

    /// The CA that signed the server's certificate, in PEM. `None` without TLS.
    #[must_use]
    pub fn ca(&self) -> Option<PathBuf> {
        self.tls.as_ref().map(|(_, files)| files.ca.clone())
    }

    /// A URL with the default user's password, if it has one.
    #[must_use]
    pub fn url(&self) -> String {
        match &self.password {
            Some(password) => format!("redis://:{password}@{}", self.addr()),
            None => format!("redis://{}", self.addr()),
        }
    }

    /// The directory with its data, log and certificates.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The last 4 KiB of what the server has logged.
    #[must_use]
    pub fn log_tail(&self) -> String {
        self.process.log_tail()
    }

    pub(super) fn password(&self) -> Option<&str> {
        self.password.as_deref()
    }

    /// Starts it and waits until it answers, which is once it has read its append-only file.
    ///
    /// # Errors
    ///
    /// When it is running already, ends at once, or does not answer within a minute; the error has the end of its log.
    pub async fn start(&mut self) -> Result<()> {
        self.start_without_waiting()?;
        let (addr, password) = (self.addr(), self.password.clone());
        answers(&mut self.process, addr, password.as_deref()).await
    }

    /// Starts it, and does not wait until it has read its data: until then it answers `-LOADING`.
    ///
    /// # Errors
    ///
    /// When it is running already or cannot be started.
    pub fn start_without_waiting(&mut self) -> Result<()> {
        self.process.start()
    }

    /// SIGTERM: it writes out what it has and ends.
    ///
    /// # Errors
    ///
    /// When it is not running.
    pub async fn stop(&mut self) -> Result<()> {
        self.process.stop().await
    }

    /// Kills it (SIGKILL), also when it is paused.
    ///
    /// # Errors
    ///
    /// When it is not running, or outlives the signal by a minute.
    pub async fn kill(&mut self) -> Result<()> {
        self.process.kill().await
    }

    /// Stops its process (SIGSTOP): connections stay open and nothing answers.
    ///
    /// # Errors
    ///
    /// When it is not running, or is not stopped within a minute.
    pub async fn pause(&mut self) -> Result<()> {
        self.process.pause().await
    }

    /// Undoes [`Server::pause`]. What was sent meanwhile is worked on now.
    ///
    /// # Errors
    ///
    /// When it is not running.
    pub fn resume(&mut self) -> Result<()> {
        self.process.resume()
    }

    /// Makes it and others, which are nodes without slots, one cluster, and shares the slots out evenly in the order
    /// that they stand in.
    ///
    /// # Errors
    ///
    /// When one refuses, or does not find the cluster whole within a minute.
    pub async fn join_into_cluster(nodes: &[&Self]) -> Result<()> {
        let first = nodes
            .first()
            .ok_or_else(|| Error::Misuse("a cluster of no nodes".to_owned()))?;
        let share = 16384 / nodes.len();
        for (at, node) in nodes.iter().enumerate() {
            let from = at * share;
            let to = if at + 1 == nodes.len() {
                16383
            } else {
                from + share - 1
            };
            let range = [
                "CLUSTER",
                "ADDSLOTSRANGE",
                &from.to_string(),
                &to.to_string(),
            ];
            node.execute(&range).await?;
            let (port, bus) = (first.addr().port(), first.bus_port()?);
            let (port, bus) = (port.to_string(), bus.to_string());
            let meet = ["CLUSTER", "MEET", "127.0.0.1", &port, &bus];
            node.execute(&meet).await?;
        }
        for node in nodes {
            until("the cluster is whole", DEADLINE, async || {
                let info: String = node
                    .ask(&["CLUSTER", "INFO"])
                    .await
                    .map_err(|error| error.to_string())?;
                let whole = info.contains("cluster_state:ok")
                    && info.contains(&format!("cluster_known_nodes:{}", nodes.len()));
                if whole { Ok(()) } else { Err(info) }
            })
            .await?;
        }
        Ok(())
    }

    fn bus_port(&self) -> Result<u16> {
        let bus = self.bus.as_ref();
        let bus = bus.ok_or_else(|| Error::Misuse("the server is no node of a cluster".into()))?;
        Ok(bus.port())
    }

    fn configure(&self, options: &Options) -> Result<()> {
        let always = if options.append_only { "yes" } else { "no" };
        let mut settings = vec![
            ("bind".to_owned(), "127.0.0.1".to_owned()),
            ("port".to_owned(), self.addr().port().to_string()),
            ("dir".to_owned(), self.dir.path().display().to_string()),
            ("save".to_owned(), "\"\"".to_owned()),
            ("appendonly".to_owned(), always.to_owned()),
            ("appendfsync".to_owned(), "always".to_owned()),
            // A replica that is away must not hold up the end of a test.
            ("shutdown-timeout".to_owned(), "0".to_owned()),
            ("repl-diskless-sync-delay".to_owned(), "0".to_owned()),
        ];
        if let Some(password) = &options.password {
            settings.push(("requirepass".to_owned(), format!("\"{password}\"")));
        }
        if let Some(master) = options.replica_of {
            let place = format!("{} {}", master.ip(), master.port());
            settings.push(("replicaof".to_owned(), place));
        }
        if let Some((port, files)) = &self.tls {
            let name = |path: &Path| path.display().to_string();
            settings.push(("tls-port".to_owned(), port.port().to_string()));
            settings.push(("tls-cert-file".to_owned(), name(&files.certificate)));
            settings.push(("tls-key-file".to_owned(), name(&files.key)));
            settings.push(("tls-ca-cert-file".to_owned(), name(&files.ca)));
            settings.push(("tls-auth-clients".to_owned(), "no".to_owned()));
        }
        if let Some(bus) = &self.bus {
            settings.push(("cluster-enabled".to_owned(), "yes".to_owned()));
            settings.push(("cluster-port".to_owned(), bus.port().to_string()));
        }
        settings.extend(options.settings.iter().cloned());
        write(&self.dir.path().join("redis.conf"), &settings)
    }
}

/// A sentinel that watches one server, alone.
#[derive(Debug)]
pub struct Sentinel {
    // Ends before its directory goes.
    _process: Process,
    port: Lease,
    _dir: TempDir,
}

impl Sentinel {
    /// Starts one that knows `master` by that name, and waits until it answers.
    ///
    /// # Errors
    ///
    /// As [`Server::start_new`].
    pub async fn start_new(master: &Server, name: &str) -> Result<Self> {
        let dir = scratch::own("sentinel")?;
        let port = Lease::take()?;
        let watched = format!("{name} 127.0.0.1 {} 1", master.addr().port());
        let settings = [
            ("bind", "127.0.0.1".to_owned()),
            ("port", port.port().to_string()),
            ("dir", dir.path().display().to_string()),
            ("sentinel monitor", watched),
            ("sentinel down-after-milliseconds", format!("{name} 1000")),
        ];
        let settings: Vec<(String, String)> = settings
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value))
            .collect();
        let file = dir.path().join("sentinel.conf");
        write(&file, &settings)?;
        let arguments = vec![file, "--sentinel".into()];
        let mut process = Process::new(arguments, dir.path().join("log"));
        process.start()?;
        answers(&mut process, port.addr(), None).await?;
        Ok(Self {
            _process: process,
            port,
            _dir: dir,
        })
    }

    /// The address it listens on.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.port.addr()
    }

    /// Runs one command, and gives its answer as `T`.
    ///
    /// # Errors
    ///
    /// As [`Server::ask`].
    pub async fn ask<T: redis::FromRedisValue>(&self, words: &[&str]) -> Result<T> {
        ask(self.addr(), None, words).await
    }
}

fn write(path: &Path, settings: &[(String, String)]) -> Result<()> {
    let lines: String = settings
        .iter()
        .map(|(name, value)| format!("{name} {value}\n"))
        .collect();
    std::fs::write(path, lines).doing(|| format!("write {}", path.display()))
}

async fn answers(process: &mut Process, addr: SocketAddr, password: Option<&str>) -> Result<()> {
    until("redis answers", DEADLINE, async || {
        if let Some(error) = process.ended() {
            return Ok(Err(error));
        }
        match ask::<String>(addr, password, &["PING"]).await {
            Ok(_) => Ok(Ok(())),
            Err(error) => Err(format!("{error}\n{}", process.log_tail())),
        }
    })
    .await?
}
