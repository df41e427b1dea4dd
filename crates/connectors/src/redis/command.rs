//! What an event is on the wire: one command on one key.

use domain::ports::Delivery;
use redis::Cmd;

use crate::carried;

/// Where events go within the server.
#[derive(Debug, Clone)]
pub(super) enum Target {
    List(String),
    Stream(String),
}

impl Target {
    /// The key.
    pub(super) fn key(&self) -> &str {
        match self {
            Self::List(key) | Self::Stream(key) => key,
        }
    }

    /// What the key must be, in the word of `TYPE`, which is the option's name as well.
    pub(super) const fn kind(&self) -> &'static str {
        match self {
            Self::List(_) => "list",
            Self::Stream(_) => "stream",
        }
    }

    /// The command that adds to it.
    pub(super) const fn verb(&self) -> &'static str {
        match self {
            Self::List(_) => "RPUSH",
            Self::Stream(_) => "XADD",
        }
    }

    /// The command that adds this event, and the length of its longest part.
    pub(super) fn add(&self, delivery: &Delivery) -> (Cmd, usize) {
        match self {
            Self::List(key) => {
                let mut object = Vec::new();
                carried::object(delivery, &mut object);
                let mut command = redis::cmd("RPUSH");
                command.arg(key).arg(&object);
                (command, object.len())
            }
            Self::Stream(key) => {
                let body = &delivery.stored.event.body;
                let mut command = redis::cmd("XADD");
                command.arg(key).arg("*");
                let mut longest = body.len();
                for (name, value) in carried::attributes(delivery) {
                    longest = longest.max(value.len());
                    command.arg(name).arg(value);
                }
                command.arg("body").arg(&body[..]);
                (command, longest)
            }
        }
    }

    /// The same command with next to nothing in it, to be queued in a transaction and thrown away.
    pub(super) fn add_nothing(&self) -> Cmd {
        let mut command = redis::cmd(self.verb());
        match self {
            Self::List(key) => command.arg(key).arg(""),
            Self::Stream(key) => command.arg(key).arg("*").arg("body").arg(""),
        };
        command
    }
}
