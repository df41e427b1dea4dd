//! One node's life: started, stopped, killed, paused, put into its memory alarm.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command as StdCommand, Stdio};

use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use super::install::Install;
use crate::error::Doing;
use crate::port::Lease;
use crate::{DEADLINE, Error, Result, certificate, scratch, signal, until};

const LOG_TAIL: usize = 4096;

/// The node's name; with a port mapper of its own it need not be unlike any other.
const NODE: &str = "forebay@localhost";

/// Who may do everything in the virtual host `/`.
pub const USER: &str = "forebay";

/// The password of [`USER`] and of `reader`.
pub const PASSWORD: &str = "correct-horse";

/// What a node is like. The default has RabbitMQ's own settings, no plugins and no TLS.
#[derive(Debug, Clone, Default)]
pub struct Options {
    tls: bool,
    settings: Vec<(String, String)>,
}

impl Options {
    /// Listens with TLS as well ([`Server::tls_addr`]), with a certificate for `localhost` and 127.0.0.1 from a CA of
    /// the node's own ([`Server::ca`]).
    #[must_use]
    pub fn with_tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// Sets a key of `rabbitmq.conf`.
    #[must_use]
    pub fn with_setting(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.push((name.into(), value.into()));
        self
    }
}

/// A RabbitMQ node. It has the virtual hosts `/` and `closed`, [`USER`] with every right in `/`, and `reader` who may
/// only read there; nobody has a right in `closed`.
///
/// Dropping it ends every process of it and deletes its directory.
#[derive(Debug)]
pub struct Server {
    install: Install,
    port: Lease,
    tls_port: Option<Lease>,
    /// Where other nodes, and who calls into this one, would reach it.
    between: Lease,
    mapper_port: Lease,
    cookie: String,
    mapper: Option<Child>,
    process: Option<Child>,
    // The last field: the directory goes after everything that may use it.
    dir: TempDir,
}

impl Server {
    /// Makes a new, empty node and waits until it takes connections. That takes seconds.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`] with the package's name when RabbitMQ is not installed; otherwise what it printed when it
    /// did not start.
    pub async fn start_new(options: Options) -> Result<Self> {
        let install = Install::find()?;
        let mut server = Self {
            install,
            port: Lease::take()?,
            tls_port: options.tls.then(Lease::take).transpose()?,
            between: Lease::take()?,
            mapper_port: Lease::take()?,
            cookie: uuid::Uuid::new_v4().simple().to_string(),
            mapper: None,
            process: None,
            dir: scratch::own("rabbitmq")?,
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

    /// The address it listens on with TLS. `None` without.
    #[must_use]
    pub fn tls_addr(&self) -> Option<SocketAddr> {
        self.tls_port.as_ref().map(Lease::addr)
    }

    /// The CA that signed the node's certificate, in PEM. `None` without TLS.
    #[must_use]
    pub fn ca(&self) -> Option<PathBuf> {
        let ca = self.dir.path().join("ca.pem");
        self.tls_port.as_ref().map(|_| ca)
    }

    /// A URL for [`USER`] and the virtual host `/`.
    #[must_use]
    pub fn url(&self) -> String {
        self.url_through(self.addr())
    }

    /// The same by way of `addr`: a proxy's address.
    #[must_use]
    pub fn url_through(&self, addr: SocketAddr) -> String {
        format!("amqp://{USER}:{PASSWORD}@{addr}/%2f")
    }

    /// The last 4 KiB of what the node has logged.
    #[must_use]
    pub fn log_tail(&self) -> String {
        scratch::tail(&self.dir.path().join("log"), LOG_TAIL)
    }

    /// Starts it and waits until it takes connections.
    ///
    /// # Errors
    ///
    /// When it is running already, ends at once, or takes no connection within a minute; the error has the end of its
    /// log.
    pub async fn start(&mut self) -> Result<()> {
        if self.process.is_some() {
            return Err(Error::Misuse("the node is running already".to_owned()));
        }
        if self.mapper.is_none() {
            self.start_mapper().await?;
        }
        let (log, log_too) = self.log()?;
        let mut command = Command::from(self.node_command());
        command.stdin(Stdio::null()).stdout(log).stderr(log_too);
        self.process = Some(command.spawn().doing(|| "start rabbitmq-server")?);
        let addr = self.addr();
        // Its listeners are the last that a node starts.
        until("rabbitmq takes connections", DEADLINE, async || {
            if let Some(status) = self.ended() {
                return Ok(Err(status));
            }
            match TcpStream::connect(addr).await {
                Ok(_taken) => Ok(Ok(())),
                Err(error) => Err(format!("{error}\n{}", self.log_tail())),
            }
        })
        .await?
        .map_err(|status| Error::Command {
            command: "rabbitmq-server".to_owned(),
            status,
            output: self.log_tail(),
        })
    }

    /// Shuts it down in good order: connections are closed, what is in memory is written.
    ///
    /// # Errors
    ///
    /// When it is not running, or has not gone within a minute.
    pub async fn stop(&mut self) -> Result<()> {
        let pid = self.pid()?;
        signal::send(pid, rustix::process::Signal::TERM)?;
        until("rabbitmq has ended", DEADLINE, async || {
            self.ended().map(drop).ok_or_else(|| self.log_tail())
        })
        .await
    }

    /// Kills every process of it (SIGKILL), also when it is paused.
    ///
    /// # Errors
    ///
    /// When it is not running, or a process outlives the signal by a minute.
    pub async fn kill(&mut self) -> Result<()> {
        signal::kill_tree(self.pid()?).await?;
        if let Some(mut process) = self.process.take() {
            process.wait().await.doing(|| "wait for rabbitmq")?;
        }
        Ok(())
    }

    /// Stops every process of it (SIGSTOP): connections stay open and nothing answers.
    ///
    /// # Errors
    ///
    /// When it is not running, or a process is not stopped within a minute.
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

    /// Raises the memory alarm, in which a node takes no more messages, or ends it: the high watermark is put below
    /// what the node uses, as `rabbitmqctl set_vm_memory_high_watermark` does.
    ///
    /// # Errors
    ///
    /// When the node cannot be asked.
    pub async fn set_memory_alarm(&self, alarm: bool) -> Result<()> {
        let watermark = if alarm { "0.00001" } else { "0.6" };
        self.evaluate(&format!(
            "vm_memory_monitor:set_vm_memory_high_watermark({watermark})."
        ))
        .await
    }

    /// Writes out the tables in which the node keeps which quorum queues are its own. By itself it does so after some
    /// seconds, and one that is killed before has its messages and does not find them.
    ///
    /// # Errors
    ///
    /// When the node cannot be asked.
    pub async fn write_out(&self) -> Result<()> {
        self.evaluate("lists:foreach(fun dets:sync/1, dets:all()).")
            .await
    }

    /// Evaluates Erlang in the node.
    async fn evaluate(&self, expression: &str) -> Result<()> {
        let file = self.dir.path().join("expression");
        // It is evaluated once its line has ended.
        std::fs::write(&file, format!("{expression}\n")).doing(|| "write the expression")?;
        let file = File::open(&file).doing(|| "open the expression")?;
        let mut command = self.install.command(Path::new("erl_call"));
        self.environment(&mut command);
        command.args(["-sname", NODE, "-c", &self.cookie, "-e"]);
        command.stdin(file);
        let answer = tokio::task::spawn_blocking(move || command.output()).await;
        let answer = answer
            .map_err(|error| Error::Misuse(format!("waiting for erl_call: {error}")))?
            .doing(|| "run erl_call")?;
        // A failure in the node is an answer as well.
        if answer.stdout.starts_with(b"{ok") {
            return Ok(());
        }
        let mut printed = String::from_utf8_lossy(&answer.stdout).into_owned();
        printed.push_str(&String::from_utf8_lossy(&answer.stderr));
        Err(Error::Command {
            command: format!("erl_call {expression}"),
            status: answer.status.to_string(),
            output: printed,
        })
    }

    /// A port mapper of the node's own, as a child, so that none is left behind when it goes.
    async fn start_mapper(&mut self) -> Result<()> {
        let port = self.mapper_port.port().to_string();
        let mut command = self.install.command(Path::new("epmd"));
        command.args(["-port", &port, "-address", "127.0.0.1"]);
        let mut command = Command::from(command);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(Stdio::null()).kill_on_drop(true);
        self.mapper = Some(command.spawn().doing(|| "start epmd")?);
        let addr = self.mapper_port.addr();
        until("epmd answers", DEADLINE, async || {
            let connected = TcpStream::connect(addr).await;
            connected.map(drop).map_err(|error| error.to_string())
        })
        .await
    }

    fn log(&self) -> Result<(File, File)> {
        let path = self.dir.path().join("log");
        let log = File::options().create(true).append(true).open(path);
        let log = log.doing(|| "open the node's log")?;
        let log_too = log.try_clone().doing(|| "share the node's log")?;
        Ok((log, log_too))
    }

    fn environment(&self, command: &mut StdCommand) {
        command.env("HOME", self.home());
        command.env("ERL_EPMD_PORT", self.mapper_port.port().to_string());
        command.env("ERL_EPMD_ADDRESS", "127.0.0.1");
    }

    fn node_command(&self) -> StdCommand {
        let mut command = self.install.server();
        self.environment(&mut command);
        let home = self.home();
        for (name, value) in [
            ("MNESIA_BASE", home.join("data")),
            ("LOG_BASE", home.join("log")),
            // The script and Erlang put the extension on themselves.
            ("CONFIG_FILE", self.dir.path().join("rabbitmq")),
            ("ENABLED_PLUGINS_FILE", self.dir.path().join("plugins")),
            ("CONF_ENV_FILE", self.dir.path().join("none")),
        ] {
            command.env(format!("RABBITMQ_{name}"), value);
        }
        command.env("RABBITMQ_NODENAME", NODE);
        command.env("RABBITMQ_DIST_PORT", self.between.port().to_string());
        command.env("RABBITMQ_LOGS", "-");
        // The script becomes the node instead of watching it: signals go where they should.
        command.env("RUNNING_UNDER_SYSTEMD", "true");
        command.env(
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
            "-start_epmd false -kernel inet_dist_use_interface {127,0,0,1} +S 2:2",
        );
        command
    }

    fn home(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    fn configure(&self, options: &Options) -> Result<()> {
        let (dir, home) = (self.dir.path(), self.home());
        std::fs::create_dir(&home).doing(|| "make the node's home")?;
        self.install.hand_over(&home)?;
        let cookie = home.join(".erlang.cookie");
        put(&cookie, &self.cookie)?;
        self.install.hand_over(&cookie)?;
        scratch::set_mode(&cookie, 0o400)?;
        put(&dir.join("plugins"), "[].\n")?;
        put(&dir.join("definitions.json"), &definitions())?;
        let mut settings = vec![
            ("listeners.tcp.1", self.addr().to_string()),
            ("load_definitions", shown(&dir.join("definitions.json"))),
            ("log.console", "true".to_owned()),
            ("log.console.level", "info".to_owned()),
            // Several nodes share the machine, and none is told how much of it is its own.
            ("vm_memory_high_watermark.relative", "0.6".to_owned()),
            ("disk_free_limit.absolute", "1MB".to_owned()),
        ];
        if let Some(addr) = self.tls_addr() {
            let files = certificate::write(dir)?;
            self.install.hand_over(&files.key)?;
            scratch::set_mode(&files.key, 0o600)?;
            settings.extend([
                ("listeners.ssl.1", addr.to_string()),
                ("ssl_options.cacertfile", shown(&files.ca)),
                ("ssl_options.certfile", shown(&files.certificate)),
                ("ssl_options.keyfile", shown(&files.key)),
                ("ssl_options.verify", "verify_none".to_owned()),
            ]);
        }
        let own = options
            .settings
            .iter()
            .map(|(name, value)| (name.as_str(), value.clone()));
        let lines: String = settings
            .into_iter()
            .chain(own)
            .map(|(name, value)| format!("{name} = {value}\n"))
            .collect();
        put(&dir.join("rabbitmq.conf"), &lines)
    }

    fn ended(&mut self) -> Option<String> {
        let status = self.process.as_mut()?.try_wait().ok()??;
        self.process = None;
        Some(status.to_string())
    }

    fn pid(&self) -> Result<i32> {
        let process = self.process.as_ref();
        let process = process.ok_or_else(|| Error::Misuse("the node is not running".to_owned()))?;
        signal::pid(process.id())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        for process in [&mut self.process, &mut self.mapper] {
            let pid = process.take().and_then(|one| signal::pid(one.id()).ok());
            if let Some(pid) = pid {
                signal::kill_tree_now(pid);
            }
        }
    }
}

/// Users, virtual hosts and rights, as `rabbitmqctl export_definitions` would write them.
fn definitions() -> String {
    let user = |name: &str| serde_json::json!({"name": name, "password": PASSWORD, "tags": ""});
    let right = |user: &str, write: &str| {
        serde_json::json!({
            "user": user, "vhost": "/", "configure": write, "write": write, "read": ".*",
        })
    };
    serde_json::json!({
        "users": [user(USER), user("reader")],
        "vhosts": [{"name": "/"}, {"name": "closed"}],
        "permissions": [right(USER, ".*"), right("reader", "")],
    })
    .to_string()
}

fn shown(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn put(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).doing(|| format!("write {}", path.display()))?;
    scratch::set_mode(path, 0o644)
}
