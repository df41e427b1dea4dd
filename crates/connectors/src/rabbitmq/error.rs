//! What the broker's and the connection's errors mean in the words of the outcome table.
//!
//! Nothing that the broker refuses is an event's fault but its size. Of what the broker says only the number is kept,
//! and its words where no user's name is among them: what to do about it is said in ours.

use std::fmt::Display;

use domain::{Cause, Unavailable};
use lapin::{Error, ErrorKind};

use super::options::Address;
use crate::large::TOO_LARGE;
use crate::outbound;

/// Said of a virtual host or a user.
const FULL: &str =
    "the broker allows no more connections to this user or virtual host: raise the limit";

/// Where something went wrong.
#[derive(Debug, Clone)]
pub(super) struct Where {
    /// Host and port.
    pub(super) place: String,
    pub(super) vhost: String,
    pub(super) to: Address,
}

/// What is read.
#[derive(Debug, Clone)]
pub(super) struct Read {
    pub(super) queue: String,
    /// It is a source's, which has no key for it but `queue`.
    pub(super) only: bool,
}

/// Why a batch, or a question, came to no good end.
#[derive(Debug)]
pub(super) enum Fault {
    /// The connection is of no more use.
    Gone(Unavailable),
    /// The broker is there and refuses; the connection is as good as before.
    Refused(Unavailable),
    /// A message is larger than the broker takes, which is so many bytes.
    TooLarge(usize),
}

impl Fault {
    pub(super) fn unavailable(self) -> Unavailable {
        match self {
            Self::Gone(why) | Self::Refused(why) => why,
            // Of a question, which has no size.
            Self::TooLarge(limit) => Unavailable::new("amqp 406", too_large(limit).detail),
        }
    }
}

/// A message that the broker takes under no circumstances.
pub(super) fn too_large(limit: usize) -> Cause {
    Cause::new(
        TOO_LARGE,
        format!("the body is larger than the {limit} bytes of the broker's max_message_size"),
    )
}

impl Where {
    /// The queue or exchange, in words.
    fn target(&self) -> String {
        let vhost = &self.vhost;
        if self.to.is_queue() {
            format!("queue {} of virtual host {vhost}", self.to.routing_key)
        } else {
            format!("exchange {} of virtual host {vhost}", self.to.exchange)
        }
    }

    /// The broker took a message, and had nowhere to put it.
    pub(super) fn unroutable(&self) -> Unavailable {
        let detail = if self.to.is_queue() {
            format!(
                "there is no {}, so the message went nowhere: declare it (durable, x-queue-type quorum), or correct `routing_key`",
                self.target()
            )
        } else {
            format!(
                "no queue is bound to {} that takes routing key {:?}, so the message went nowhere: bind one, or correct `exchange` and `routing_key`",
                self.target(),
                self.to.routing_key.as_str()
            )
        };
        Unavailable::new("unroutable", detail)
    }

    /// The broker says that it has not taken a message.
    pub(super) fn nack(&self) -> Unavailable {
        Unavailable::new(
            "nack",
            format!(
                "{}: the broker refused messages for {}: a queue is full (x-max-length or x-max-length-bytes with overflow reject-publish) or has lost its majority; let consumers catch up, raise the limit, or bring nodes back",
                self.place,
                self.target()
            ),
        )
    }

    /// The broker takes no messages at all.
    pub(super) fn blocked(&self, reason: &str) -> Unavailable {
        let what = match reason {
            _ if reason.contains("memory") => {
                "is low on memory: let consumers catch up, give it more, or raise vm_memory_high_watermark"
            }
            _ if reason.contains("disk") => "is low on disk: make room, or lower disk_free_limit",
            _ => "has blocked its publishers: look at its alarms",
        };
        Unavailable::new(
            "blocked",
            format!(
                "{}: the broker {what}. It takes nothing until then",
                self.place
            ),
        )
    }

    /// While connecting: credentials, virtual host, and everything that is no broker.
    pub(super) fn connecting(&self, error: &Error) -> Unavailable {
        let ErrorKind::ProtocolError(said) = error.kind() else {
            return self.lost(error);
        };
        let (id, words) = (said.get_id(), said.get_message().as_str());
        let (place, vhost) = (&self.place, &self.vhost);
        let what = match id {
            403 => "the broker refuses the user or the password: correct them in `url`; guest is let in from the broker's own machine only".to_owned(),
            530 if words.contains("not found") => {
                format!("there is no virtual host {vhost}: make it (rabbitmqctl add_vhost), or correct it in `url`; a slash in its name is written %2f")
            }
            530 if words.contains("limit") => {
                FULL.to_owned()
            }
            530 => format!("the user has no rights in virtual host {vhost}: rabbitmqctl set_permissions"),
            _ => return self.hard(id),
        };
        numbered(id, format!("{place}: {what}"))
    }

    /// On a channel of an open connection.
    pub(super) fn fault(&self, error: &Error) -> Fault {
        let ErrorKind::ProtocolError(said) = error.kind() else {
            return Fault::Gone(self.lost(error));
        };
        let (id, words) = (said.get_id(), said.get_message().as_str());
        let target = self.target();
        let what = match id {
            403 if words.contains("internal exchange") => {
                format!("{target} is internal and takes nothing from outside: correct `exchange`")
            }
            403 => format!("the user may not write to {target}: rabbitmqctl set_permissions"),
            404 => {
                format!("there is no {target}: declare it, or correct `exchange` and `routing_key`")
            }
            405 => format!(
                "{target} belongs to another connection alone: declare it without exclusive"
            ),
            406 => match size_limit(words) {
                Some(limit) => return Fault::TooLarge(limit),
                None => format!("{target} does not take it as it is"),
            },
            _ if error.is_amqp_soft_error() => format!("{target}: the broker refuses"),
            _ => return Fault::Gone(self.hard(id)),
        };
        Fault::Refused(numbered(id, format!("{}: {what}", self.place)))
    }

    /// On the channel that a queue is read over.
    pub(super) fn reading(&self, read: &Read, error: &Error) -> Fault {
        let ErrorKind::ProtocolError(said) = error.kind() else {
            return Fault::Gone(self.lost(error));
        };
        let (id, vhost, queue) = (said.get_id(), &self.vhost, &read.queue);
        let by = match read.only {
            true => "",
            false => ", which is `routing_key` unless it is written",
        };
        let what = match id {
            403 => format!("the user may not read queue {queue}: rabbitmqctl set_permissions"),
            404 => format!(
                "there is no queue {queue} of virtual host {vhost}: declare it, or correct `queue`{by}"
            ),
            405 => format!(
                "queue {queue} belongs to another connection alone: declare it without exclusive"
            ),
            406 => format!("messages of queue {queue} were taken too long ago: they come again"),
            _ if error.is_amqp_soft_error() => format!("queue {queue}: the broker refuses"),
            _ => return Fault::Gone(self.hard(id)),
        };
        Fault::Refused(numbered(id, format!("{}: {what}", self.place)))
    }

    /// The broker ended the connection and said so.
    fn hard(&self, id: u16) -> Unavailable {
        let what = match id {
            320 => {
                "the broker closed the connection: it is being shut down, or an operator closed it"
            }
            541 => "the broker met an error of its own: look at its log",
            _ => "the broker closed the connection: look at its log",
        };
        numbered(id, format!("{}: {what}", self.place))
    }

    /// The connection's own failure.
    fn lost(&self, error: &Error) -> Unavailable {
        let place = &self.place;
        match error.kind() {
            ErrorKind::IOError(source) => outbound::known(place, "url", &**source),
            ErrorKind::MissingHeartbeatError => Some(Unavailable::new(
                "timeout",
                format!("{place}: nothing was heard from the broker for two heartbeats"),
            )),
            ErrorKind::ParsingError(_) | ErrorKind::InvalidProtocolVersion(_) => Some(
                Unavailable::new("connection", format!("{place} does not speak AMQP 0-9-1")),
            ),
            _ => None,
        }
        .unwrap_or_else(|| {
            Unavailable::new("connection", format!("{place}: the connection was closed"))
        })
    }
}

/// Whether it is a wrong name or password, which lasts until somebody mends it.
pub(super) fn is_mistake(why: &Unavailable) -> bool {
    match why.cause.code.as_str() {
        "amqp 403" | "amqp 404" => true,
        // A virtual host that is not there, or is closed to the user; not one that is full.
        "amqp 530" => !why.cause.detail.contains(FULL),
        _ => false,
    }
}

fn numbered(id: impl Display, detail: String) -> Unavailable {
    Unavailable::new(format!("amqp {id}"), detail)
}

/// "message size 3145728 is larger than configured max size 1000": the last number.
fn size_limit(words: &str) -> Option<usize> {
    let (_, limit) = words.split_once("max size ")?;
    let digits = limit.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use lapin::protocol::AMQPError;
    use lapin::types::ShortString;

    use super::*;

    fn here(exchange: &str) -> Where {
        Where {
            place: "h:5672".into(),
            vhost: "/".into(),
            to: Address {
                exchange: ShortString::try_new(exchange).unwrap(),
                routing_key: ShortString::try_new("work").unwrap(),
            },
        }
    }

    fn read(only: bool) -> Read {
        Read {
            queue: "dead".into(),
            only,
        }
    }

    fn said(id: u16, words: &str) -> Error {
        let words = ShortString::try_new(words).unwrap();
        ErrorKind::ProtocolError(AMQPError::from_id(id, words).unwrap()).into()
    }

    #[test]
    fn every_refusal_of_a_connection_has_its_remedy() {
        for (id, words, remedy) in [
            (403, "ACCESS_REFUSED - Login was refused", "`url`"),
            (530, "NOT_ALLOWED - vhost hunter2 not found", "add_vhost"),
            (
                530,
                "NOT_ALLOWED - access to vhost '/' refused for user 'hunter2'",
                "set_permissions",
            ),
            (
                530,
                "NOT_ALLOWED - access to vhost '/' refused for user 'hunter2': connection limit (0) is reached",
                "raise the limit",
            ),
            (
                320,
                "CONNECTION_FORCED - broker forced connection closure",
                "shut down",
            ),
            (541, "INTERNAL_ERROR", "log"),
            (501, "FRAME_ERROR", "log"),
        ] {
            let why = here("").connecting(&said(id, words));
            assert_eq!(why.cause.code, format!("amqp {id}"));
            assert!(why.cause.detail.contains(remedy), "{why}");
            assert!(!why.cause.detail.contains("hunter2"), "{why}");
        }
    }

    #[test]
    fn refusals_on_a_channel_leave_the_connection_and_name_what_to_mend() {
        for (exchange, id, words, remedy) in [
            (
                "",
                404,
                "NOT_FOUND - no queue 'work' in vhost '/'",
                "no queue work of virtual host /",
            ),
            (
                "e",
                404,
                "NOT_FOUND - no exchange 'e' in vhost '/'",
                "no exchange e of virtual host /",
            ),
            (
                "e",
                403,
                "ACCESS_REFUSED - write access to exchange 'e'",
                "set_permissions",
            ),
            (
                "e",
                403,
                "ACCESS_REFUSED - cannot publish to internal exchange 'e'",
                "internal",
            ),
            (
                "",
                405,
                "RESOURCE_LOCKED - cannot obtain exclusive access",
                "exclusive",
            ),
            (
                "e",
                406,
                "PRECONDITION_FAILED - something else",
                "exchange e",
            ),
        ] {
            let Fault::Refused(why) = here(exchange).fault(&said(id, words)) else {
                panic!("{id} {words}");
            };
            assert_eq!(why.cause.code, format!("amqp {id}"));
            assert!(why.cause.detail.contains(remedy), "{why}");
        }
        let words =
            "PRECONDITION_FAILED - message size 3145728 is larger than configured max size 1000";
        let fault = here("e").fault(&said(406, words));
        assert!(matches!(fault, Fault::TooLarge(1000)), "{fault:?}");
    }

    #[test]
    fn a_queue_that_cannot_be_read_is_named_with_its_option() {
        for (id, words, remedy) in [
            (
                403,
                "ACCESS_REFUSED - read access to queue",
                "set_permissions",
            ),
            (
                404,
                "NOT_FOUND - no queue 'dead' in vhost '/'",
                "correct `queue`",
            ),
            (405, "RESOURCE_LOCKED", "exclusive"),
            (
                406,
                "PRECONDITION_FAILED - unknown delivery tag 7",
                "come again",
            ),
        ] {
            let Fault::Refused(why) = here("e").reading(&read(false), &said(id, words)) else {
                panic!("{id}");
            };
            assert!(why.cause.detail.contains(remedy), "{why}");
            assert!(why.cause.detail.contains("queue dead"), "{why}");
        }
        let fault = here("e").reading(&read(false), &said(320, "CONNECTION_FORCED"));
        assert!(matches!(fault, Fault::Gone(_)), "{fault:?}");
        let gone = said(404, "NOT_FOUND - no queue 'dead' in vhost '/'");
        for (only, names_the_key) in [(true, false), (false, true)] {
            let why = here("").reading(&read(only), &gone).unavailable();
            assert_eq!(why.cause.detail.contains("routing_key"), names_the_key);
        }
    }

    #[test]
    fn a_wrong_name_or_password_is_a_mistake_and_a_broker_that_is_full_or_away_is_none() {
        for (id, words, expected) in [
            (403, "ACCESS_REFUSED - Login was refused", true),
            (530, "NOT_ALLOWED - vhost x not found", true),
            (530, "NOT_ALLOWED - connection limit (0) is reached", false),
            (320, "CONNECTION_FORCED", false),
        ] {
            let why = here("").connecting(&said(id, words));
            assert_eq!(is_mistake(&why), expected, "{why}");
        }
        let gone = here("").reading(&read(true), &said(404, "NOT_FOUND"));
        assert!(is_mistake(&gone.unavailable()));
    }

    #[test]
    fn what_ends_the_connection_is_told_apart() {
        let lost = |error: Error| match here("").fault(&error) {
            Fault::Gone(why) => why.cause.code,
            other => panic!("{other:?}"),
        };
        assert_eq!(lost(said(320, "CONNECTION_FORCED")), "amqp 320");
        assert_eq!(lost(said(504, "CHANNEL_ERROR")), "amqp 504");
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
        assert_eq!(lost(refused.into()), "reset");
        assert_eq!(lost(ErrorKind::MissingHeartbeatError.into()), "timeout");
        assert_eq!(lost(ErrorKind::InvalidChannel(1).into()), "connection");
    }

    #[test]
    fn an_alarm_and_a_message_without_a_queue_say_what_to_do() {
        for (reason, remedy) in [
            ("low on memory", "vm_memory_high_watermark"),
            ("low on disk", "disk_free_limit"),
            ("?", "alarms"),
        ] {
            let why = here("").blocked(reason);
            assert!(why.cause.detail.contains(remedy), "{why}");
        }
        assert!(here("").unroutable().cause.detail.contains("no queue work"));
        let why = here("e").unroutable();
        assert!(why.cause.detail.contains("exchange e"), "{why}");
        assert!(why.cause.detail.contains("routing key \"work\""), "{why}");
        assert!(here("e").nack().cause.detail.contains("reject-publish"));
    }
}
