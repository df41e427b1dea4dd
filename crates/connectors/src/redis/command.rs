//! What an event is on the wire: one command on one key.

use domain::ports::Delivery;
use redis::{Cmd, Value};

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

    /// Whether this is what the command answers once it has added something: the list's new length, the entry's id. A
    /// command that was only queued, say, answers something else.
    pub(super) fn is_added(&self, answer: &Value) -> bool {
        match (self, answer) {
            (Self::List(_), Value::Int(length)) => *length > 0,
            (Self::Stream(_), Value::BulkString(id)) => !id.is_empty(),
            _ => false,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_commands_own_answer_is_a_confirmation() {
        let (list, stream) = (Target::List("q".into()), Target::Stream("q".into()));
        let id = Value::BulkString(b"1-0".to_vec());
        assert!(list.is_added(&Value::Int(1)) && stream.is_added(&id));
        assert!(!list.is_added(&Value::Int(0)) && !list.is_added(&id));
        for other in [
            Value::SimpleString("QUEUED".into()),
            Value::Okay,
            Value::Nil,
            Value::Array(vec![]),
        ] {
            assert!(!list.is_added(&other) && !stream.is_added(&other));
        }
    }
}
