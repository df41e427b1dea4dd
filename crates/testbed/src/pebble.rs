//! Pebble, an ACME authority of a test's own, and the DNS server beside it, by which every name is this machine.
//!
//! Owns both processes and their ports. Pebble connects to the port that it is given, whatever the name, and rejects
//! some good requests at random, as its makers want clients to bear.

use std::fs::File;
use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::certificate::{self, Files};
use crate::error::Doing;
use crate::port::Lease;
use crate::{DEADLINE, Error, Result, command, scratch, until};

const LOG_TAIL: usize = 4096;

/// The authority.
///
/// Dropping it ends its processes and deletes its directory.
#[derive(Debug)]
pub struct Pebble {
    listen: Lease,
    management: Lease,
    /// What its own https is certified by.
    files: Files,
    _processes: [Child; 2],
    // The last field: the directory goes after everything that may use it.
    dir: TempDir,
}

impl Pebble {
    /// Starts one that looks at `port` of whoever wants a certificate, whichever challenge is chosen, and gives
    /// certificates for `life`, in seconds. Waits until it answers. It proves every order anew.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`] with the package's name when Pebble is not installed; otherwise what it printed when it did
    /// not start.
    pub async fn start(port: u16, life: Duration) -> Result<Self> {
        let dir = scratch::own("pebble")?;
        let (listen, management, dns) = (Lease::take()?, Lease::take()?, Lease::take()?);
        let dns_management = Lease::take()?;
        let files = certificate::write(dir.path())?;
        let config = json!({ "pebble": {
            "listenAddress": listen.addr().to_string(),
            "managementListenAddress": management.addr().to_string(),
            "certificate": files.certificate,
            "privateKey": files.key,
            "httpPort": port,
            "tlsPort": port,
            "certificateValidityPeriod": life.as_secs(),
            "ocspResponderURL": "",
            "externalAccountBindingRequired": false,
        } });
        let config_file = dir.path().join("pebble.json");
        std::fs::write(&config_file, config.to_string())
            .doing(|| "write Pebble's configuration")?;

        let mut names = Command::new("pebble-challtestsrv");
        names.arg("-dns01").arg(dns.addr().to_string());
        names
            .arg("-management")
            .arg(dns_management.addr().to_string());
        names.args(["-defaultIPv4", "127.0.0.1", "-defaultIPv6", ""]);
        names.args(["-http01", "", "-https01", "", "-tlsalpn01", ""]);
        let names = spawn(names, dir.path())?;
        let mut pebble = Command::new("pebble");
        pebble.arg("-config").arg(&config_file);
        pebble.arg("-dnsserver").arg(dns.addr().to_string());
        pebble.env("PEBBLE_VA_NOSLEEP", "1");
        pebble.env("PEBBLE_AUTHZREUSE", "0");
        let pebble = spawn(pebble, dir.path())?;

        let started = Self {
            listen,
            management,
            files,
            _processes: [names, pebble],
            dir,
        };
        let both = [started.listen.addr(), dns.addr()];
        until("pebble answers", DEADLINE, async || {
            for addr in both {
                let connected = TcpStream::connect(addr).await;
                connected.map_err(|error| format!("{error}\n{}", started.log_tail()))?;
            }
            Ok(())
        })
        .await?;
        Ok(started)
    }

    /// Where its directory is.
    #[must_use]
    pub fn directory(&self) -> String {
        format!("https://{}/dir", self.listen.addr())
    }

    /// Whom to trust to be it.
    #[must_use]
    pub fn ca(&self) -> &Path {
        &self.files.ca
    }

    /// Writes the root of the certificates that it gives to a file.
    ///
    /// # Errors
    ///
    /// When it does not say it.
    pub fn root(&self, file: &Path) -> Result<()> {
        let url = format!("https://{}/roots/0", self.management.addr());
        let mut curl = std::process::Command::new("curl");
        curl.args(["--silent", "--show-error", "--fail", "--cacert"]);
        curl.arg(&self.files.ca).arg("--output").arg(file).arg(url);
        command::run(&mut curl)
    }

    /// The last 4 KiB of what it has logged.
    #[must_use]
    pub fn log_tail(&self) -> String {
        scratch::tail(&self.dir.path().join("log"), LOG_TAIL)
    }
}

fn spawn(mut command: Command, dir: &Path) -> Result<Child> {
    let log = File::options()
        .create(true)
        .append(true)
        .open(dir.join("log"))
        .doing(|| "open Pebble's log")?;
    let log_too = log.try_clone().doing(|| "share Pebble's log")?;
    command.stdin(Stdio::null()).stdout(log).stderr(log_too);
    command.kill_on_drop(true);
    command.spawn().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Error::Missing {
            program: "Pebble".to_owned(),
            package: "pebble",
        },
        _ => Error::Misuse(format!("cannot start Pebble: {error}")),
    })
}
