//! What can go wrong while a test's surroundings are set up.
//!
//! One error for the whole crate: a test does nothing with it but fail, so it carries what a person
//! needs to mend the machine or the test. Errors of the code under test never pass through here.

use std::io;
use std::time::Duration;

/// The result of anything in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why the testbed could not do what a test asked of it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A program that the testbed runs is not on this machine.
    #[error("{program} is not installed: run `apt-get install {package}`, or dev/setup")]
    Missing {
        /// What was looked for.
        program: String,
        /// The Debian package that has it.
        package: &'static str,
    },
    /// The operating system refused something.
    #[error("cannot {doing}: {source}")]
    Io {
        /// What was tried, as a verb and its object.
        doing: String,
        /// What the system said.
        source: io::Error,
    },
    /// A program was run and failed.
    #[error("{command} failed ({status}): {output}")]
    Command {
        /// The program and what it was to do.
        command: String,
        /// How it ended.
        status: String,
        /// What it printed last.
        output: String,
    },
    /// A condition did not come about in time.
    #[error("{what}: not within {}s; last seen: {seen}", deadline.as_secs())]
    Deadline {
        /// The condition that was waited for.
        what: String,
        /// How long it was waited for.
        deadline: Duration,
        /// What the last look at it showed.
        seen: String,
    },
    /// PostgreSQL refused a connection or a statement of the test's own.
    #[error("postgres: {0}")]
    Postgres(#[source] tokio_postgres::Error),
    /// MariaDB refused a connection or a statement of the test's own.
    #[error("mariadb: {0}")]
    Mariadb(#[from] mysql_async::Error),
    /// Redis refused a connection or a command of the test's own.
    #[error("redis: {0}")]
    Redis(#[from] redis::RedisError),
    /// RabbitMQ refused a connection or a method of the test's own.
    #[error("rabbitmq: {0}")]
    Rabbitmq(#[from] lapin::Error),
    /// A certificate could not be made.
    #[error("cannot make a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// A request could not be made or was not answered.
    #[error("http: {0}")]
    Http(String),
    /// The judge found acknowledged events missing, changed, doubled, or some that nobody sent.
    #[error("{0}")]
    Judged(Box<crate::judge::Verdict>),
    /// The test asked for something that cannot be, and this says what.
    #[error("{0}")]
    Misuse(String),
}

impl From<tokio_postgres::Error> for Error {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Postgres(error)
    }
}

/// Names what was being done when the system said no.
pub(crate) trait Doing<T> {
    /// Turns an I/O error into one that says what was tried: `file.sync().doing(|| "sync the file")`.
    fn doing<S: Into<String>>(self, what: impl FnOnce() -> S) -> Result<T>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing<S: Into<String>>(self, what: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|source| Error::Io {
            doing: what().into(),
            source,
        })
    }
}
