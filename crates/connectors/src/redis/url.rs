//! Where the server is: several hosts, a user and a password. No error quotes any of it: a password may stand anywhere
//! in a mistyped URL.

use std::fmt;
use std::net::IpAddr;

use domain::Secret;

const FORM: &str = "is not a Redis URL: write redis://user:password@host:6379/0 or rediss://… for TLS, with special characters in the password as %XX";

/// One server's name and port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// As a resolver takes it: an IPv6 address has no brackets.
    pub(super) host: String,
    pub(super) port: u16,
}

impl Place {
    /// Whether the host is this machine by its name or number.
    pub(super) fn is_loopback(&self) -> bool {
        match self.host.parse::<IpAddr>() {
            Ok(address) => address.to_canonical().is_loopback(),
            Err(_) => self.host == "localhost" || self.host.ends_with(".localhost"),
        }
    }

    /// What is written `host`, `host:port` or `[::1]:port`.
    fn parse(text: &str, default_port: Option<u16>) -> Option<Self> {
        let (host, rest) = match text.strip_prefix('[') {
            Some(inner) => {
                let (host, rest) = inner.split_once(']')?;
                host.parse::<std::net::Ipv6Addr>().ok()?;
                (host, rest)
            }
            None => text.split_at(text.find(':').unwrap_or(text.len())),
        };
        let port = match rest.strip_prefix(':') {
            Some(digits) => digits.parse().ok().filter(|port| *port > 0),
            None if rest.is_empty() => default_port,
            None => None,
        };
        let odd = |c: char| c.is_whitespace() || c.is_control() || "/?#@%\\".contains(c);
        if host.is_empty() || host.contains(odd) {
            return None;
        }
        Some(Self {
            host: host.to_owned(),
            port: port?,
        })
    }

    /// The last word of a `MOVED` answer: `host:port`. A node that does not know its own name leaves it out, and is
    /// meant to be where it answered from.
    pub(super) fn moved_to(text: &str, from: &Self) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let host = if host.is_empty() || host == "?" {
            &from.host
        } else {
            host
        };
        Some(Self {
            host: host.to_owned(),
            port: port.parse().ok()?,
        })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Who logs in.
#[derive(Debug, Clone)]
pub(super) struct Login {
    /// `None`: the default user.
    pub(super) user: Option<String>,
    pub(super) password: Secret,
}

/// A checked URL.
#[derive(Clone)]
pub(super) struct Url {
    pub(super) tls: bool,
    pub(super) login: Option<Login>,
    /// At least one. A port is `None` where none was written.
    hosts: Vec<(String, Option<u16>)>,
    pub(super) db: u32,
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Url {
    /// # Errors
    /// What is wrong, without quoting any of it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (scheme, rest) = text.split_once("://").ok_or(FORM)?;
        let tls = match scheme {
            "redis" => false,
            "rediss" => true,
            _ => return Err("must start with redis:// or rediss://".into()),
        };
        let (login, rest) = match rest.rsplit_once('@') {
            Some((user_info, rest)) => (login(user_info)?, rest),
            None => (None, rest),
        };
        if rest.contains(['?', '#']) {
            return Err("takes nothing behind the database: what goes there has a key of its own in this section".into());
        }
        let (hosts, db) = rest.split_once('/').unwrap_or((rest, ""));
        let db = match db {
            "" => 0,
            digits => digits
                .parse()
                .map_err(|_| "has a database that is no number: write redis://host:6379/0")?,
        };
        let hosts: Option<Vec<_>> = hosts.split(',').map(host).collect();
        Ok(Self {
            tls,
            login,
            hosts: hosts.ok_or(FORM)?,
            db,
        })
    }

    /// Its hosts, with that port where none is written.
    pub(super) fn places(&self, default_port: u16) -> Vec<Place> {
        let place = |(host, port): &(String, Option<u16>)| Place {
            host: host.clone(),
            port: port.unwrap_or(default_port),
        };
        self.hosts.iter().map(place).collect()
    }

    /// How many hosts are tried, one after the other.
    pub(super) fn hosts(&self) -> usize {
        self.hosts.len()
    }
}

fn host(text: &str) -> Option<(String, Option<u16>)> {
    let place = Place::parse(text, Some(1))?;
    let written = text.ends_with(&format!(":{}", place.port)) && !text.ends_with(']');
    Some((place.host, written.then_some(place.port)))
}

fn login(text: &str) -> Result<Option<Login>, String> {
    let (user, password) = text.split_once(':').unwrap_or((text, ""));
    let user = decoded(user).ok_or(FORM)?;
    let password = decoded(password).ok_or(FORM)?;
    if password.is_empty() {
        if user.is_empty() {
            return Ok(None);
        }
        return Err("has a user and no password: write redis://user:password@host, or redis://:password@host for the default user".into());
    }
    Ok(Some(Login {
        user: Some(user).filter(|user| !user.is_empty()),
        password: Secret::new(password),
    }))
}

/// Takes the `%XX` back. `None` where two digits are missing, or it is no text.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        if *first == b'%' {
            let digits = std::str::from_utf8(after.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = after.get(2..)?;
        } else {
            bytes.push(*first);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(text: &str) -> Vec<String> {
        let places = Url::parse(text).unwrap().places(6379);
        places.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn hosts_ports_and_the_database_are_read() {
        for (text, expected, db) in [
            ("redis://h", &["h:6379"][..], 0),
            ("redis://h/", &["h:6379"], 0),
            ("redis://h:1/7", &["h:1"], 7),
            ("rediss://a:6380,b,c:1/2", &["a:6380", "b:6379", "c:1"], 2),
            (
                "redis://[::1]:7,[fe80::1]",
                &["[::1]:7", "[fe80::1]:6379"],
                0,
            ),
        ] {
            assert_eq!(places(text), expected, "{text}");
            let url = Url::parse(text).unwrap();
            assert_eq!((url.db, url.tls), (db, text.starts_with("rediss")));
            assert!(url.login.is_none());
        }
        let loopback = |text| Url::parse(text).unwrap().places(1)[0].is_loopback();
        assert!(loopback("redis://localhost") && loopback("redis://[::1]"));
        assert!(!loopback("redis://10.0.0.1"));
    }

    #[test]
    fn user_and_password_may_have_any_character() {
        for (text, user, password) in [
            ("redis://:pw@h", None, "pw"),
            ("redis://app:p%40s%2Fs:x@h", Some("app"), "p@s/s:x"),
            ("redis://app:p@ss@h", Some("app"), "p@ss"),
        ] {
            let login = Url::parse(text).unwrap().login.unwrap();
            assert_eq!(login.user.as_deref(), user);
            assert_eq!(login.password.expose(), password);
            assert!(!format!("{login:?}").contains(password));
        }
        assert_eq!(format!("{:?}", Url::parse("redis://:pw@h").unwrap()), "***");
    }

    #[test]
    fn what_is_no_redis_url_is_refused_unquoted() {
        for text in [
            "hunter2",
            "http://hunter2/",
            "redis://",
            "redis://:hunter2@",
            "redis://hunter2@h",
            "redis://u:%zz@hunter2",
            "redis://h:hunter2",
            "redis://h:0",
            "redis://h/hunter2",
            "redis://h?hunter2=1",
            "redis://h/0#insecure",
            "redis://a,,hunter2",
            "redis://[hunter2]:1",
        ] {
            let error = Url::parse(text).unwrap_err();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_node_may_leave_out_where_it_is() {
        let from = Place {
            host: "a".into(),
            port: 1,
        };
        for (text, expected) in [
            ("10.0.0.1:7000", Some("10.0.0.1:7000")),
            ("node.example:7000", Some("node.example:7000")),
            ("::1:7000", Some("[::1]:7000")),
            (":7000", Some("a:7000")),
            ("?:7000", Some("a:7000")),
            ("x", None),
            ("x:y", None),
        ] {
            let to = Place::moved_to(text, &from).map(|place| place.to_string());
            assert_eq!(to.as_deref(), expected, "{text}");
        }
    }
}
