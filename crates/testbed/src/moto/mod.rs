//! A real SQS and S3 by their wire protocols: moto's server, and boto3 as a consumer has it.
//!
//! Owns a server of its own on a free port. It keeps everything in memory, so it is never restarted: to take it away
//! put a [`Proxy`](crate::proxy::Proxy) in front. It believes every key until [`Moto::check_permissions`].

use std::fs::File;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use bytes::Bytes;
use tempfile::TempDir;

use crate::error::Doing;
use crate::port::Lease;
use crate::{DEADLINE, Error, Result, certificate, http, installed, scratch, until};

const SERVE: &str = include_str!("serve.py");

/// The region of everything in it.
pub const REGION: &str = "us-east-1";

/// Whose queues they are.
pub const ACCOUNT: &str = "123456789012";

/// What the server's log says at most in an error.
const LOG_BYTES: usize = 4 << 10;

/// The server. Dropping it ends it.
#[derive(Debug)]
pub struct Moto {
    port: Lease,
    process: Option<Child>,
    tls: bool,
    // The last field: the directory goes after the process that uses it.
    dir: TempDir,
}

impl Moto {
    /// Starts it with nothing in it, and waits until it answers.
    ///
    /// # Errors
    ///
    /// When it is not installed, with how to, or does not come up within a minute.
    pub async fn start() -> Result<Self> {
        let mut moto = Self::prepared()?;
        moto.spawn(&[])?;
        let url = format!("{}moto-api/data.json", moto.url());
        until("moto answers", DEADLINE, async || {
            match http::get(&url).await {
                Ok(_) => Ok(()),
                Err(error) => Err(format!("{error}; {}", moto.log())),
            }
        })
        .await?;
        Ok(moto)
    }

    /// Starts it behind TLS, with a certificate that nobody vouches for.
    ///
    /// # Errors
    ///
    /// As [`Moto::start`].
    pub async fn start_tls() -> Result<Self> {
        let mut moto = Self::prepared()?;
        moto.tls = true;
        let made = certificate::write(moto.dir.path())?;
        let (cert, key) = (made.certificate.as_os_str(), made.key.as_os_str());
        moto.spawn(&["-c".as_ref(), cert, "-k".as_ref(), key])?;
        let address = moto.addr();
        until(
            "moto listens",
            DEADLINE,
            async || match tokio::net::TcpStream::connect(address).await {
                Ok(_) => Ok(()),
                Err(error) => Err(format!("{error}; {}", moto.log())),
            },
        )
        .await?;
        Ok(moto)
    }

    fn prepared() -> Result<Self> {
        Ok(Self {
            port: Lease::take()?,
            process: None,
            tls: false,
            dir: scratch::own("moto")?,
        })
    }

    fn spawn(&mut self, more: &[&std::ffi::OsStr]) -> Result<()> {
        let log = File::create(self.dir.path().join("log")).doing(|| "open moto's log")?;
        let log_too = log.try_clone().doing(|| "share moto's log")?;
        let mut command = Command::new(installed::python("python")?);
        command
            .args([
                "-c",
                SERVE,
                "-H",
                "127.0.0.1",
                "-p",
                &self.port.port().to_string(),
            ])
            .args(more)
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(log_too);
        self.process = Some(command.spawn().doing(|| "start moto")?);
        Ok(())
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.port.addr()
    }

    /// `http://127.0.0.1:port/`, or https.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://{}/", self.addr())
    }

    /// From now on it looks at signatures and policies, as AWS does: the keys `test` are no longer believed.
    ///
    /// # Errors
    ///
    /// When it does not answer.
    pub async fn check_permissions(&self) -> Result<()> {
        let url = format!("{}moto-api/reset-auth", self.url());
        http::post(&url, &[], Bytes::from_static(b"0"))
            .await
            .map(drop)
    }

    /// Runs a script with boto3, this server being its AWS, and gives what it printed.
    ///
    /// # Errors
    ///
    /// When it fails, with what it printed.
    pub async fn python(&self, script: &str) -> Result<String> {
        let mut command = tokio::process::Command::new(installed::python("python")?);
        command
            .args(["-c", script])
            .env("AWS_ENDPOINT_URL", self.url())
            .env("AWS_DEFAULT_REGION", REGION)
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .env("HOME", self.dir.path())
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let output = command.output().await.doing(|| "run python")?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(Error::Command {
            command: "python with boto3".to_owned(),
            status: output.status.to_string(),
            output: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    fn log(&self) -> String {
        scratch::tail(&self.dir.path().join("log"), LOG_BYTES)
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            // Gone already is gone as well.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}
