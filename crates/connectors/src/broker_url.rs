//! A broker's URL taken apart. It may hold a secret anywhere, so that no error quotes it.

use std::net::IpAddr;

use domain::Secret;
use reqwest::Url;

/// A scheme that a broker's URL may have.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scheme {
    /// As it is written, without `://`.
    pub(crate) name: &'static str,
    /// Whether the connection is encrypted from its first byte or as soon as the protocol allows.
    pub(crate) tls: bool,
    /// The port when none is written.
    pub(crate) port: u16,
}

/// A checked URL: `scheme://user:password@host:port/path`. The `%XX` are taken back.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct BrokerUrl {
    pub(crate) tls: bool,
    pub(crate) user: Option<Secret>,
    pub(crate) password: Option<Secret>,
    /// As a resolver takes it: an IPv6 address has no brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// What follows the first slash after the host; empty as well when there is no slash.
    pub(crate) path: String,
}

impl std::fmt::Debug for BrokerUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

impl BrokerUrl {
    /// `form` is what to write instead.
    ///
    /// # Errors
    /// What is wrong, without quoting any of it.
    pub(crate) fn parse(text: &str, schemes: &[Scheme], form: &str) -> Result<Self, String> {
        let unread = || format!("is not a URL: write {form}, with special characters as %XX");
        let url = Url::parse(text).map_err(|_| unread())?;
        let Some(scheme) = schemes.iter().find(|known| known.name == url.scheme()) else {
            let names: Vec<_> = schemes
                .iter()
                .map(|known| format!("{}://", known.name))
                .collect();
            return Err(format!("must start with {}", names.join(" or ")));
        };
        if url.query().is_some() || url.fragment().is_some() {
            return Err(
                "has a ? or # in it, which mean nothing here: timeouts and the like are keys of their own, and in a password they are written %3F and %23".into(),
            );
        }
        let host = url.host_str().filter(|host| !host.is_empty());
        let host = decoded(host.ok_or_else(unread)?).ok_or_else(unread)?;
        let host = match host.strip_prefix('[') {
            Some(rest) => rest.strip_suffix(']').ok_or_else(unread)?.to_owned(),
            None => host,
        };
        let user = decoded(url.username()).ok_or_else(unread)?;
        let password = url.password().map(|text| decoded(text).ok_or_else(unread));
        let path = url.path();
        Ok(Self {
            tls: scheme.tls,
            user: Some(user).filter(|user| !user.is_empty()).map(Secret::new),
            password: password.transpose()?.map(Secret::new),
            host,
            port: url.port().unwrap_or(scheme.port),
            path: decoded(path.strip_prefix('/').unwrap_or(path)).ok_or_else(unread)?,
        })
    }

    /// Host and port, for errors. Never the user, the password or the path.
    pub(crate) fn place(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// Whether the host is this machine by its name or number.
    pub(crate) fn is_loopback(&self) -> bool {
        match self.host.parse::<IpAddr>() {
            Ok(address) => address.to_canonical().is_loopback(),
            Err(_) => self.host == "localhost" || self.host.ends_with(".localhost"),
        }
    }

    /// What to say when bodies can be read on the way; `instead` is the scheme to write.
    pub(crate) fn unencrypted(&self, instead: &str) -> Option<String> {
        (!self.tls && !self.is_loopback()).then(|| {
            format!(
                "bodies and the password go to {} unencrypted, and whoever answers there is believed: write {instead}:// in the URL",
                self.place()
            )
        })
    }
}

/// Takes the `%XX` back. `None` where two digits are missing, or it is not UTF-8.
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

    const SCHEMES: &[Scheme] = &[
        Scheme {
            name: "amqp",
            tls: false,
            port: 5672,
        },
        Scheme {
            name: "amqps",
            tls: true,
            port: 5671,
        },
    ];

    fn parsed(text: &str) -> Result<BrokerUrl, String> {
        BrokerUrl::parse(text, SCHEMES, "amqp://user:password@host/vhost")
    }

    #[test]
    fn every_part_is_found_and_told_is_host_and_port() {
        for (text, place, path) in [
            ("amqp://h", "h:5672", ""),
            ("amqps://h/", "h:5671", ""),
            ("amqp://app:hunter2@h:81/%2f", "h:81", "/"),
            (
                "amqp://app:hunter2@127.0.0.1:81/a%20b",
                "127.0.0.1:81",
                "a b",
            ),
            ("amqp://[::1]:7/v", "[::1]:7", "v"),
        ] {
            let url = parsed(text).unwrap();
            assert_eq!((url.place().as_str(), url.path.as_str()), (place, path));
            assert_eq!(format!("{url:?}"), "***");
        }
        let url = parsed("amqp://a%40b:p%3Aw%20@h").unwrap();
        assert_eq!(url.user.unwrap().expose(), "a@b");
        assert_eq!(url.password.unwrap().expose(), "p:w ");
        let url = parsed("amqp://h").unwrap();
        assert_eq!((url.user, url.password), (None, None));
    }

    #[test]
    fn what_is_no_url_of_the_broker_is_refused_unquoted() {
        for text in [
            "hunter2",
            "http://hunter2/",
            "amqp://",
            "amqp:hunter2",
            "amqp://h:hunter2/",
            "amqp://u:%zz@hunter2/",
            "amqp://u:p@h/v?hunter2=1",
            "amqp://u:p@h/v#hunter2",
            "amqp://u:%ff@hunter2",
        ] {
            let error = parsed(text).unwrap_err();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn plain_text_to_another_machine_is_named() {
        for fine in [
            "amqps://h",
            "amqp://localhost",
            "amqp://127.0.0.1",
            "amqp://[::1]",
        ] {
            assert_eq!(parsed(fine).unwrap().unencrypted("amqps"), None, "{fine}");
        }
        let url = parsed("amqp://app:hunter2@h/hunter2").unwrap();
        let text = url.unencrypted("amqps").unwrap();
        assert!(
            text.contains("h:5672 unencrypted") && !text.contains("hunter2"),
            "{text}"
        );
    }
}
