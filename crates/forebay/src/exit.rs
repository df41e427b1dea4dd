//! Exit codes, and the failures that end with them.

use std::fmt;
use std::process::ExitCode;

/// What the process tells whoever started it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It failed, or something is in the way that may pass: a port in use, a locked data directory.
    /// Starting again may help.
    Failed = 1,
    /// The command line or the configuration is wrong, or the data directory needs a decision of an
    /// operator. Starting again does not help.
    Usage = 2,
    /// The server that was to be asked cannot be reached.
    Unreachable = 3,
    /// Damage was found.
    Damage = 4,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// An error with the exit code it ends in.
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// What happened, why, and what to do.
    pub error: anyhow::Error,
    /// Whether the log has it already.
    pub logged: bool,
}

/// What commands return.
pub type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    /// Ends with this exit code.
    pub fn new(exit: Exit, error: impl Into<anyhow::Error>) -> Self {
        Self {
            exit,
            error: error.into(),
            logged: false,
        }
    }

    /// A sentence is enough.
    pub fn say(exit: Exit, text: impl fmt::Display + fmt::Debug + Send + Sync + 'static) -> Self {
        Self::new(exit, anyhow::Error::msg(text))
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::new(Exit::Failed, error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // All causes on one line: `cannot open x: permission denied`.
        write!(f, "{:#}", self.error)
    }
}
