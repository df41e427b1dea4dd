//! What the server's refusals, and its absence, mean in the words of the outcome table.
//!
//! Nearly all of them are about the server or the key as a whole: somebody must mend them, and no event is to blame. Of
//! a refusal only its first word is kept, which is its code; the rest may quote the command, and the command has the body.

use std::io;
use std::time::Duration;

use domain::{Cause, Unavailable};
use redis::{ErrorKind, RedisError, ServerError};

use super::command::Target;
use super::url::Place;
use crate::large::TOO_LARGE;

/// A refusal in the server's words. They are looked at here and go nowhere else.
#[derive(Clone)]
pub(super) struct Refusal {
    code: String,
    rest: String,
}

/// Without the server's words, which may quote the command.
impl std::fmt::Debug for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Refusal").field(&self.code).finish()
    }
}

impl From<&ServerError> for Refusal {
    fn from(error: &ServerError) -> Self {
        Self {
            code: error.code().to_owned(),
            rest: error.details().unwrap_or_default().to_owned(),
        }
    }
}

impl Refusal {
    /// Its first word.
    pub(super) fn code(&self) -> &str {
        &self.code
    }

    /// Whether the command itself is what the user may not use or the server does not know.
    pub(super) fn is_of_the_command(&self) -> bool {
        self.code == "NOPERM" || self.is_unknown_command()
    }

    fn is_unknown_command(&self) -> bool {
        self.code == "ERR" && self.rest.to_ascii_lowercase().starts_with("unknown ")
    }
}

/// What a refused command says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Another node of the cluster has the key: `host:port`, as the node wrote it.
    Moved(String),
    /// The server as a whole, or the key, needs somebody to mend it.
    Unavailable(Unavailable),
    /// The event is larger than the server takes.
    TooLarge,
    /// Not known to be either.
    Retry(Cause),
}

/// Judges a refusal of the command that adds an event to `target`.
pub(super) fn judge(refusal: &Refusal, target: &Target) -> Verdict {
    let (code, rest) = (refusal.code.as_str(), refusal.rest.as_str());
    if code == "MOVED"
        && let Some(place) = rest.split_whitespace().nth(1)
    {
        return Verdict::Moved(place.to_owned());
    }
    if code == "ERR" && rest.contains("invalid bulk length") {
        return Verdict::TooLarge;
    }
    match away(refusal, target) {
        Some(why) => Verdict::Unavailable(why),
        None => {
            let word = word(code);
            let detail = format!("the server refused {} ({word})", target.verb());
            // Nothing that an event has makes the server say this.
            Verdict::Retry(Cause::new(format!("redis {word}"), detail).blanket())
        }
    }
}

/// A refusal of something that is not about an event: the login, a question.
pub(super) fn refused(doing: &str, refusal: &Refusal, target: &Target) -> Unavailable {
    away(refusal, target).unwrap_or_else(|| {
        let word = word(&refusal.code);
        Unavailable::new(
            format!("redis {word}"),
            format!("the server would not {doing} ({word})"),
        )
    })
}

/// A refusal of what reading takes; `commands` are all of it.
pub(super) fn not_read(refusal: &Refusal, target: &Target, commands: &str) -> Unavailable {
    let key = target.key();
    if refusal.code == "NOPERM" {
        let detail =
            format!("the user may not read {key}: ACL SETUSER its name ~*{key}* {commands}");
        return Unavailable::new("redis NOPERM", detail);
    }
    if refusal.is_unknown_command() {
        let detail = format!(
            "the server does not know all that reading {key} takes ({commands}): it is older than Redis 6.2, or a command was renamed there"
        );
        return Unavailable::new("redis unknown command", detail);
    }
    refused(&format!("give what is in {key}"), refusal, target)
}

/// The nodes of a cluster send us from one to another.
pub(super) fn restless(key: &str) -> Unavailable {
    Unavailable::new(
        "redis MOVED",
        format!(
            "the nodes of the cluster do not agree who has {key}: look at CLUSTER SLOTS on each"
        ),
    )
}

/// The refusals that somebody must mend, or that pass by themselves.
fn away(refusal: &Refusal, target: &Target) -> Option<Unavailable> {
    let (key, kind, verb) = (target.key(), target.kind(), target.verb());
    let detail = match refusal.code.as_str() {
        "OOM" => format!(
            "the server has used its maxmemory and evicts nothing: raise maxmemory, or take out of {key} what is done with"
        ),
        "READONLY" => "the server is a replica and takes no writes, perhaps since a failover: write the master's address into `url`, or name the sentinels (`sentinel`)".to_owned(),
        "LOADING" => "the server is reading its data after a start: it takes writes by itself once it is done".to_owned(),
        "MASTERDOWN" => "the server is a replica that has lost its master: write the master's address into `url`".to_owned(),
        "NOAUTH" => "the server wants a login: write redis://user:password@host into `url`".to_owned(),
        "WRONGPASS" => "the server does not take this user and password, or the user is switched off: look at `url` and at ACL LIST".to_owned(),
        "NOPERM" => format!(
            "the user may not use {verb} on {key}: ACL SETUSER its name ~{key} +{}",
            verb.to_ascii_lowercase()
        ),
        "DENIED" => "the server is in protected mode and takes connections of its own machine only: set a password there, and write it into `url`".to_owned(),
        "MISCONF" => "the server cannot write its data to disk and so takes no writes: look at its log and make room".to_owned(),
        "NOREPLICAS" => "fewer replicas are connected than the server wants before it takes a write (min-replicas-to-write): look at the replicas".to_owned(),
        "CLUSTERDOWN" => format!(
            "the cluster is down, or none of its nodes has the slot of {key}: look at CLUSTER INFO"
        ),
        "MOVED" | "ASK" | "TRYAGAIN" => format!(
            "the slot of {key} is being moved to another node of the cluster: it is tried again by itself"
        ),
        "BUSY" => "a script keeps the server busy: SCRIPT KILL, or wait for its end".to_owned(),
        "WRONGTYPE" => format!("{key} is there and is no {kind}: name another key in `{kind}`, or rename the one that is there"),
        "ERR" => return general(refusal, target),
        _ => return None,
    };
    Some(Unavailable::new(format!("redis {}", refusal.code), detail))
}

/// The key is of another type, as seen before anything was sent to it.
pub(super) fn another_type(target: &Target) -> Unavailable {
    let refusal = Refusal {
        code: "WRONGTYPE".to_owned(),
        rest: String::new(),
    };
    refused("take an event", &refusal, target)
}

/// The refusals that have no code of their own.
fn general(refusal: &Refusal, target: &Target) -> Option<Unavailable> {
    let (key, verb) = (target.key(), target.verb());
    let rest = refusal.rest.as_str();
    let (code, detail) = if refusal.is_unknown_command() {
        let needed = match target {
            Target::List(_) => "the command was renamed or taken away there",
            Target::Stream(_) => "it is older than Redis 5.0, or the command was renamed there",
        };
        (
            "redis unknown command",
            format!("the server knows no {verb}: {needed}"),
        )
    } else if rest.starts_with("max number of clients") {
        (
            "redis maxclients",
            "the server has as many clients as it allows: raise maxclients, or close some"
                .to_owned(),
        )
    } else if rest.starts_with("AUTH ") || rest.starts_with("Client sent AUTH") {
        (
            "redis no password",
            "the server wants no password and `url` has one: set one there (requirepass, or ACL SETUSER), or take it out of `url`".to_owned(),
        )
    } else if rest.starts_with("invalid password") {
        (
            "redis WRONGPASS",
            "the server does not take this password: look at `url`".to_owned(),
        )
    } else if rest.starts_with("DB index") || rest.starts_with("invalid DB index") {
        (
            "redis db",
            "the server has no such database: look at the number at the end of `url` and at `databases`".to_owned(),
        )
    } else if rest.starts_with("SELECT is not allowed") {
        (
            "redis db",
            "a cluster has database 0 only: take the number off the end of `url`".to_owned(),
        )
    } else if rest.starts_with("The stream has exhausted") {
        (
            "redis stream",
            format!(
                "the stream {key} has an entry with the last id there can be: name another in `stream`, or rename the one that is there"
            ),
        )
    } else {
        return None;
    };
    Some(Unavailable::new(code, detail))
}

/// A code as it may be shown: one short word in capitals.
fn word(code: &str) -> &str {
    let plain = code.len() <= 20 && code.bytes().all(|byte| byte.is_ascii_uppercase());
    if plain { code } else { "ERR" }
}

/// Whether it is a wrong name or password, which lasts until somebody mends it.
pub(super) fn is_mistake(why: &Unavailable) -> bool {
    matches!(
        why.cause.code.as_str(),
        "redis NOAUTH"
            | "redis WRONGPASS"
            | "redis NOPERM"
            | "redis WRONGTYPE"
            | "redis DENIED"
            | "redis no password"
            | "redis db"
    )
}

/// An answer that is none to what was asked.
pub(super) fn unheard_of(place: &Place, target: &Target) -> Unavailable {
    let verb = target.verb();
    Unavailable::new(
        "protocol",
        format!("{place} answered {verb} with what is no answer to it: look what stands between"),
    )
}

/// The event is larger than the server takes. `limit` is not known where the user may not ask for it.
pub(super) fn too_large(length: usize, limit: Option<usize>) -> Cause {
    let limit = limit.map_or_else(|| "less".to_owned(), |limit| format!("{limit} at most"));
    Cause::new(
        TOO_LARGE,
        format!(
            "it takes {length} bytes in one piece and the server takes {limit} (proto-max-bulk-len)"
        ),
    )
}

/// Fewer replicas had what was written than were asked for.
pub(super) fn too_few_replicas(had: i64, wanted: u32, limit: Duration) -> Unavailable {
    Unavailable::new(
        "redis replicas",
        format!(
            "{had} of the {wanted} replicas that `wait_replicas` asks for had it within {}s: look at the replicas, or lower `wait_replicas`",
            limit.as_secs_f32()
        ),
    )
}

/// No answer within the limit.
pub(super) fn late(place: &str, limit: Duration) -> Unavailable {
    Unavailable::new(
        "timeout",
        format!("no answer from {place} within {}s", limit.as_secs_f32()),
    )
}

/// The connection broke, or what came over it was no Redis.
pub(super) fn gone(place: &Place, error: &RedisError) -> Unavailable {
    if error.kind() == ErrorKind::Parse {
        return Unavailable::new(
            "protocol",
            format!("{place}: what answers there is no Redis, or wants TLS: look at `url`"),
        );
    }
    // The library shares its errors, and what is shared is a source of its own.
    let source = std::error::Error::source(error);
    let shared = source.and_then(|source| source.downcast_ref::<Shared>());
    let known = shared.and_then(|shared| shared.downcast_ref::<io::Error>());
    known.map_or_else(
        || Unavailable::new("reset", format!("{place}: the connection was broken off")),
        |error| broken(place, error),
    )
}

type Shared = std::sync::Arc<dyn std::error::Error + Send + Sync>;

/// Of two hosts' reasons the one to show: a host that answered says more than one that did not.
pub(super) fn more_telling(one: Option<Unavailable>, other: Unavailable) -> Unavailable {
    match one {
        Some(one) if is_an_answer(&one) || !is_an_answer(&other) => one,
        _ => other,
    }
}

/// Whether a server said so itself.
pub(super) fn is_an_answer(why: &Unavailable) -> bool {
    why.cause.code.starts_with("redis ")
}

/// No connection within the limit. One cause is worth naming: a Redis without TLS takes a TLS greeting for the
/// beginning of a command, and waits for its end.
pub(super) fn not_opened(place: &Place, limit: Duration, encrypted: bool) -> Unavailable {
    let seconds = limit.as_secs_f32();
    let hint = if encrypted {
        "; a server that does not speak TLS is silent as well: then write redis:// into `url`, or its port for TLS"
    } else {
        ""
    };
    Unavailable::new(
        "timeout",
        format!("no connection to {place} within {seconds}s{hint}"),
    )
}

/// Why there is no connection, or none any more.
pub(super) fn broken(place: &Place, error: &io::Error) -> Unavailable {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref());
    if let Some(error) = tls {
        let what = match error {
            rustls::Error::InvalidCertificate(why) => format!(
                "its certificate is not good ({why}); the system's trusted certificates are what counts, or those of `ca_file`"
            ),
            rustls::Error::AlertReceived(why) => format!(
                "it broke TLS off ({why:?}); it may want a certificate of ours (`cert_file`)"
            ),
            rustls::Error::InvalidMessage(_) => {
                "it does not speak TLS: write redis:// into `url`, or its port for TLS".to_owned()
            }
            other => format!("TLS failed ({other})"),
        };
        return Unavailable::new("tls", format!("{place}: {what}"));
    }
    let (code, what) = match error.kind() {
        io::ErrorKind::ConnectionRefused => ("refused", "nothing listens there"),
        io::ErrorKind::TimedOut => ("timeout", "no answer"),
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            ("unreachable", "there is no way to it")
        }
        _ if error.to_string().starts_with("failed to lookup address") => (
            "dns",
            "the name cannot be resolved; look at `url` and at the resolver",
        ),
        _ => ("reset", "the connection was broken off"),
    };
    Unavailable::new(code, format!("{place}: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A refusal as it stands on the wire, read by the client library.
    fn refusal(line: &str) -> Refusal {
        let answer = redis::parse_redis_value(format!("-{line}\r\n").as_bytes()).unwrap();
        let redis::Value::ServerError(error) = answer else {
            panic!("{answer:?}");
        };
        Refusal::from(&error)
    }

    fn list() -> Target {
        Target::List("queue".into())
    }

    #[test]
    fn every_refusal_has_its_outcome() {
        for (line, expected) in [
            (
                "OOM command not allowed when used memory > 'maxmemory'.",
                "redis OOM",
            ),
            (
                "READONLY You can't write against a read only replica.",
                "redis READONLY",
            ),
            (
                "LOADING Redis is loading the dataset in memory",
                "redis LOADING",
            ),
            (
                "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
                "redis MASTERDOWN",
            ),
            ("NOAUTH Authentication required.", "redis NOAUTH"),
            (
                "WRONGPASS invalid username-password pair or user is disabled.",
                "redis WRONGPASS",
            ),
            (
                "NOPERM this user has no permissions to run the 'rpush' command",
                "redis NOPERM",
            ),
            (
                "NOPERM this user has no permissions to access one of the keys used as arguments",
                "redis NOPERM",
            ),
            (
                "DENIED Redis is running in protected mode because protected mode is enabled",
                "redis DENIED",
            ),
            (
                "MISCONF Errors writing to the AOF file: No space left on device",
                "redis MISCONF",
            ),
            (
                "NOREPLICAS Not enough good replicas to write.",
                "redis NOREPLICAS",
            ),
            ("CLUSTERDOWN Hash slot not served", "redis CLUSTERDOWN"),
            ("ASK 3999 127.0.0.1:6381", "redis ASK"),
            (
                "TRYAGAIN Multiple keys request during rehashing of slot",
                "redis TRYAGAIN",
            ),
            (
                "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
                "redis BUSY",
            ),
            (
                "WRONGTYPE Operation against a key holding the wrong kind of value",
                "redis WRONGTYPE",
            ),
            (
                "ERR unknown command 'XADD', with args beginning with: 'q' '*' 'body'",
                "redis unknown command",
            ),
            ("ERR max number of clients reached", "redis maxclients"),
            (
                "ERR AUTH <password> called without any password configured for the default user.",
                "redis no password",
            ),
            (
                "ERR Client sent AUTH, but no password is set",
                "redis no password",
            ),
            ("ERR invalid password", "redis WRONGPASS"),
            ("ERR DB index is out of range", "redis db"),
            ("ERR SELECT is not allowed in cluster mode", "redis db"),
            (
                "ERR The stream has exhausted the last possible ID, unable to add more items",
                "redis stream",
            ),
        ] {
            let refusal = refusal(line);
            let Verdict::Unavailable(why) = judge(&refusal, &list()) else {
                panic!("{line}");
            };
            assert_eq!(why.cause.code, expected, "{line}");
            assert!(!why.cause.blanket);
            assert_eq!(refused("do it", &refusal, &list()), why);
        }
        assert_eq!(
            judge(&refusal("MOVED 3999 127.0.0.1:6381"), &list()),
            Verdict::Moved("127.0.0.1:6381".into())
        );
        let large = refusal("ERR Protocol error: invalid bulk length");
        assert_eq!(judge(&large, &list()), Verdict::TooLarge);
    }

    #[test]
    fn what_is_not_known_is_tried_again_and_not_quoted() {
        for (line, code) in [
            ("ERR value 'hunter2' is not an integer", "redis ERR"),
            ("EXECABORT hunter2", "redis EXECABORT"),
            ("hunter2 is bad", "redis ERR"),
            ("HUNTERHUNTERHUNTERHUNTER is bad", "redis ERR"),
        ] {
            let Verdict::Retry(cause) = judge(&refusal(line), &list()) else {
                panic!("{line}");
            };
            assert_eq!(cause.code, code);
            assert!(cause.blanket);
            assert!(
                !cause.to_string().to_lowercase().contains("hunter"),
                "{cause}"
            );
            let why = refused("log in", &refusal(line), &list()).to_string();
            assert!(!why.to_lowercase().contains("hunter"), "{why}");
        }
    }

    #[test]
    fn the_key_is_named_and_so_is_the_remedy() {
        let stream = Target::Stream("{shop}:events".into());
        for (line, words) in [
            (
                "WRONGTYPE x",
                &["{shop}:events", "no stream", "`stream`"][..],
            ),
            ("NOPERM x", &["~{shop}:events", "+xadd"]),
            ("ERR unknown command 'XADD'", &["XADD", "5.0"]),
            ("OOM x", &["{shop}:events", "maxmemory"]),
        ] {
            let why = refused("", &refusal(line), &stream).to_string();
            for word in words {
                assert!(why.contains(word), "{why}");
            }
        }
    }

    #[test]
    fn of_several_hosts_the_one_that_answered_is_shown() {
        let why = |code: &str| Unavailable::new(code, "");
        for (codes, shown) in [
            (&["refused", "dns"][..], "refused"),
            (&["refused", "redis NOAUTH", "dns"], "redis NOAUTH"),
            (&["redis OOM", "redis NOAUTH"], "redis OOM"),
        ] {
            let all = codes.iter().fold(None, |one, code| {
                let other = why(code);
                Some(more_telling(one, other))
            });
            assert_eq!(all.unwrap().cause.code, shown);
        }
    }

    #[test]
    fn the_absence_of_a_server_is_told_apart() {
        let place = Place {
            host: "h".into(),
            port: 1,
        };
        for (kind, code) in [
            (io::ErrorKind::ConnectionRefused, "refused"),
            (io::ErrorKind::ConnectionReset, "reset"),
            (io::ErrorKind::UnexpectedEof, "reset"),
            (io::ErrorKind::TimedOut, "timeout"),
            (io::ErrorKind::NetworkUnreachable, "unreachable"),
        ] {
            let error = io::Error::from(kind);
            assert_eq!(broken(&place, &error).cause.code, code);
            assert_eq!(gone(&place, &RedisError::from(error)).cause.code, code);
        }
        let tls = io::Error::other(rustls::Error::DecryptError);
        assert_eq!(broken(&place, &tls).cause.code, "tls");
        let garbage = redis::parse_redis_value(b"HTTP/1.1 400 Bad Request\r\n").unwrap_err();
        assert_eq!(gone(&place, &garbage).cause.code, "protocol");
    }
}
