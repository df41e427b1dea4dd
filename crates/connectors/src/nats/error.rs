//! What the server's, the stream's and the connection's errors mean in the words of the outcome table.
//!
//! Nothing that they refuse is an event's fault but its size. Of what the server says only the number is kept: what to
//! do about it is said in our words.

use std::error::Error as _;
use std::time::Duration;

use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::{Error as Refusal, ErrorCode};
use async_nats::{ConnectError, ConnectErrorKind};
use domain::{Cause, Unavailable};

use super::options::Address;
use crate::large::TOO_LARGE;
use crate::outbound;

/// Where something went wrong.
#[derive(Debug, Clone)]
pub(super) struct Where {
    /// Hosts and ports.
    pub(super) place: String,
    pub(super) to: Address,
}

/// Why an event, and with it the rest of its batch, was not taken.
#[derive(Debug)]
pub(super) enum Fault {
    /// The connection is of no more use.
    Gone(Unavailable),
    /// The server is there and refuses; the connection is as good as before.
    Refused(Unavailable),
    /// This message is larger than the server takes.
    OverPayload,
    /// This message is larger than the stream takes.
    OverStream,
}

/// A message that nobody there takes under any circumstances. `whose` names the limit.
pub(super) fn too_large(whose: &str, limit: Option<i64>) -> Cause {
    let limit = limit.map_or_else(String::new, |limit| format!("{limit} bytes of the "));
    Cause::new(
        TOO_LARGE,
        format!("the body and its headers are larger than the {limit}{whose}"),
    )
}

impl Where {
    /// The stream, in words.
    pub(super) fn stream(&self) -> String {
        match &self.to.stream {
            Some(stream) => format!("stream {stream}"),
            None => format!("the stream of subject {}", self.to.subject),
        }
    }

    /// Nobody keeps what is published to the subject.
    pub(super) fn no_stream(&self) -> Unavailable {
        let subject = &self.to.subject;
        let detail = match &self.to.stream {
            Some(stream) => format!(
                "stream {stream} is not there or does not take subject {subject}: make it, add the subject to it, or correct `stream` and `subject`"
            ),
            None => format!(
                "no stream takes subject {subject}, so nothing would keep the message: make one (storage file, discard new), add the subject to one, or correct `subject`"
            ),
        };
        Unavailable::new("no-stream", detail)
    }

    /// The server, or the account, keeps no streams at all.
    pub(super) fn no_jetstream(&self) -> Unavailable {
        Unavailable::new(
            "no-jetstream",
            format!(
                "{}: JetStream is not enabled for this server or account: enable it",
                self.place
            ),
        )
    }

    /// The user may not publish.
    pub(super) fn denied(&self) -> Unavailable {
        Unavailable::new(
            "denied",
            format!(
                "{}: the user may not publish to {}: allow it in the user's permissions",
                self.place, self.to.subject
            ),
        )
    }

    /// The connection ended.
    pub(super) fn lost(&self) -> Unavailable {
        Unavailable::new(
            "reset",
            format!("{}: the connection was broken off", self.place),
        )
    }

    /// The stream did not acknowledge in time.
    pub(super) fn late(&self, limit: Duration) -> Unavailable {
        let Unavailable { cause } = outbound::late(&self.place, limit);
        Unavailable::new(
            cause.code,
            format!(
                "{}: the server or {} does not answer, or nobody but a plain subscriber takes the subject",
                cause.detail,
                self.stream()
            ),
        )
    }

    /// While connecting.
    pub(super) fn connecting(&self, error: &ConnectError, limit: Duration) -> Unavailable {
        let place = &self.place;
        match error.kind() {
            ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => {
                return Unavailable::new(
                    "denied",
                    format!(
                        "{place}: the server refuses the user, the password or the token of `url`, or wants them and `url` has none: correct them there"
                    ),
                );
            }
            ConnectErrorKind::TimedOut => return outbound::not_opened(place, "url", limit),
            _ => {}
        }
        if let Some(why) = error
            .source()
            .and_then(|source| outbound::known(place, "url", source))
        {
            return why;
        }
        if error.kind() == ConnectErrorKind::Dns {
            return Unavailable::new(
                "dns",
                format!("{place}: the name cannot be resolved; look at `url` and at the resolver"),
            );
        }
        let text = error.to_string().to_ascii_lowercase();
        if text.contains("maximum connections") {
            return Unavailable::new(
                "connection",
                format!("{place}: the server allows no more connections: raise max_connections"),
            );
        }
        Unavailable::new(
            "connection",
            format!("{place} closed the connection, or does not speak NATS"),
        )
    }

    /// Of one publish.
    pub(super) fn publishing(&self, error: &PublishError, limit: Duration) -> Fault {
        match error.kind() {
            PublishErrorKind::StreamNotFound => Fault::Refused(self.no_stream()),
            PublishErrorKind::MaxPayloadExceeded => Fault::OverPayload,
            PublishErrorKind::TimedOut => Fault::Gone(self.late(limit)),
            PublishErrorKind::BrokenPipe => Fault::Gone(self.lost()),
            _ => match error.source().and_then(|source| source.downcast_ref()) {
                Some(refusal) => self.refused(refusal),
                None => Fault::Gone(Unavailable::new(
                    "connection",
                    format!(
                        "{}: what answered on subject {} is no stream",
                        self.place, self.to.subject
                    ),
                )),
            },
        }
    }

    /// What JetStream said.
    pub(super) fn refused(&self, refusal: &Refusal) -> Fault {
        let (place, stream) = (&self.place, self.stream());
        let code = refusal.error_code();
        let words = refusal.to_string();
        let what = match code {
            ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM
            | ErrorCode::STREAM_HEADER_EXCEEDS_MAXIMUM => return Fault::OverStream,
            ErrorCode::STREAM_NOT_FOUND => return Fault::Refused(self.no_stream()),
            ErrorCode::JETSTREAM_NOT_ENABLED | ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT => {
                return Fault::Refused(self.no_jetstream());
            }
            ErrorCode::STREAM_STORE_FAILED if words.contains("maximum") => format!(
                "{stream} is full (max_msgs, max_bytes or max_msgs_per_subject with discard new): let consumers catch up, or raise the limit"
            ),
            ErrorCode::STREAM_STORE_FAILED => {
                format!("{stream} cannot be written to: look at the server's disk and log")
            }
            ErrorCode::INSUFFICIENT_RESOURCES
            | ErrorCode::STORAGE_RESOURCES_EXCEEDED
            | ErrorCode::MEMORY_RESOURCES_EXCEEDED
            | ErrorCode::ACCOUNT_RESOURCES_EXCEEDED => {
                "JetStream has no room left: make some, or raise the account's or the server's limits (max_file_store, max_memory_store)".to_owned()
            }
            ErrorCode::STREAM_NOT_MATCH => format!(
                "subject {} goes to another stream than {stream}: correct `stream` or `subject`",
                self.to.subject
            ),
            ErrorCode::STREAM_SEALED => format!("{stream} is sealed and takes nothing any more"),
            ErrorCode::CLUSTER_NOT_AVAILABLE
            | ErrorCode::CLUSTER_NOT_LEADER
            | ErrorCode::CLUSTER_NOT_ASSIGNED
            | ErrorCode::STREAM_OFFLINE => {
                format!("{stream} has no leader: bring the cluster's servers back")
            }
            _ => format!("{stream} refuses: look at the server's log"),
        };
        Fault::Refused(Unavailable::new(
            format!("jetstream {}", code.0),
            format!("{place}: {what}"),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn here(stream: Option<&str>) -> Where {
        Where {
            place: "h:4222".into(),
            to: Address {
                subject: "hooks.in".into(),
                stream: stream.map(str::to_owned),
            },
        }
    }

    fn said(code: u64, words: &str) -> PublishError {
        let refusal = serde_json::json!({"code": 503, "err_code": code, "description": words});
        let refusal: Refusal = serde_json::from_value(refusal).unwrap();
        PublishError::with_source(PublishErrorKind::Other, refusal)
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn every_refusal_of_a_stream_has_its_remedy() {
        for (code, words, expected, remedy) in [
            (
                10077,
                "maximum messages exceeded",
                "jetstream 10077",
                "discard new",
            ),
            (
                10077,
                "maximum bytes exceeded",
                "jetstream 10077",
                "raise the limit",
            ),
            (10077, "no space left on device", "jetstream 10077", "disk"),
            (
                10047,
                "insufficient storage",
                "jetstream 10047",
                "make some",
            ),
            (
                10023,
                "insufficient resources",
                "jetstream 10023",
                "make some",
            ),
            (
                10060,
                "expected stream does not match",
                "jetstream 10060",
                "`stream`",
            ),
            (10109, "sealed", "jetstream 10109", "sealed"),
            (10008, "not available", "jetstream 10008", "no leader"),
            (10059, "stream not found", "no-stream", "`subject`"),
            (10039, "not enabled", "no-jetstream", "enable"),
            (10999, "hunter2", "jetstream 10999", "log"),
        ] {
            for stream in [None, Some("EVENTS")] {
                let Fault::Refused(why) = here(stream).publishing(&said(code, words), SECOND)
                else {
                    panic!("{code}");
                };
                assert_eq!(why.cause.code, expected);
                assert!(why.cause.detail.contains(remedy), "{why}");
                assert!(!why.cause.detail.contains("hunter2"), "{why}");
            }
        }
    }

    #[test]
    fn a_size_is_the_events_and_silence_the_connections() {
        let fault = |error: PublishError| here(None).publishing(&error, SECOND);
        assert!(matches!(fault(said(10054, "too big")), Fault::OverStream));
        let kind = |kind| fault(PublishError::new(kind));
        assert!(matches!(
            kind(PublishErrorKind::MaxPayloadExceeded),
            Fault::OverPayload
        ));
        for (given, code) in [
            (PublishErrorKind::TimedOut, "timeout"),
            (PublishErrorKind::BrokenPipe, "reset"),
            (PublishErrorKind::Other, "connection"),
        ] {
            let Fault::Gone(why) = kind(given) else {
                panic!("{code}");
            };
            assert_eq!(why.cause.code, code);
        }
        let Fault::Refused(why) = kind(PublishErrorKind::StreamNotFound) else {
            panic!();
        };
        assert_eq!(why.cause.code, "no-stream");
    }

    #[test]
    fn what_keeps_a_connection_from_opening_is_told_apart() {
        let code = |error: ConnectError| here(None).connecting(&error, SECOND).cause.code;
        let io = |kind: std::io::ErrorKind| {
            ConnectError::with_source(ConnectErrorKind::Io, std::io::Error::from(kind))
        };
        assert_eq!(code(io(std::io::ErrorKind::ConnectionRefused)), "refused");
        assert_eq!(code(io(std::io::ErrorKind::ConnectionReset)), "reset");
        for (kind, expected) in [
            (ConnectErrorKind::AuthorizationViolation, "denied"),
            (ConnectErrorKind::TimedOut, "timeout"),
            (ConnectErrorKind::Dns, "dns"),
            (ConnectErrorKind::Io, "connection"),
        ] {
            assert_eq!(code(ConnectError::new(kind)), expected);
        }
    }
}
