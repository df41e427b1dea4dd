//! The connection string: what the client library knows of it, and the TLS settings that it does not.
//!
//! Takes both of PostgreSQL's forms, a URL and `key=value` pairs. `sslmode` and `sslrootcert` are taken
//! out and mean what libpq's documentation says, except that without `sslrootcert` the system's
//! certificates are trusted. No error quotes any of it: a password may stand anywhere in a mistyped URL.

use std::path::PathBuf;

use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::tls::{self, Roots, Verify};

const FORM: &str = "is not a PostgreSQL URL: write postgres://user:password@host:5432/database, with special characters in the password as %XX";

/// A second `@` belongs to the user or the password: the client library would take what is behind the first for
/// the host, which is shown.
const AT: &str = "has more than one @: in the user and the password write %40 for it";

/// A checked connection string.
#[derive(Clone)]
pub(super) struct Url {
    config: tokio_postgres::Config,
    verify: Verify,
    roots: Roots,
}

impl std::fmt::Debug for Url {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

impl Url {
    /// # Errors
    /// What is wrong, without quoting any of it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let is_url = text.starts_with("postgres://") || text.starts_with("postgresql://");
        if is_url && has_stray_at(text) {
            return Err(AT.into());
        }
        let parts = if is_url { url_parts } else { pair_parts };
        let (rest, ssl) = parts(text).ok_or(FORM)?;
        let mut config: tokio_postgres::Config = rest.parse().map_err(|_| FORM)?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err("names no host: write postgres://user:password@host:5432/database".into());
        }
        let (mode, verify) = mode(ssl.mode.as_deref(), ssl.root.is_some())?;
        config.ssl_mode(mode);
        let roots = match ssl.root {
            Some(path) if path != "system" => Roots::File(PathBuf::from(path)),
            _ => Roots::System,
        };
        if config.get_application_name().is_none() {
            config.application_name("forebay");
        }
        // Of several hosts, only one that can be written to is of use.
        if config.get_hosts().len().max(config.get_hostaddrs().len()) > 1 {
            config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        }
        Ok(Self {
            config,
            verify,
            roots,
        })
    }

    pub(super) fn config(&self) -> tokio_postgres::Config {
        self.config.clone()
    }

    /// How many hosts are tried, one after the other.
    pub(super) fn hosts(&self) -> usize {
        let config = &self.config;
        config.get_hosts().len().max(config.get_hostaddrs().len())
    }

    /// Hosts and ports, for errors. Never the user or the password.
    pub(super) fn place(&self) -> String {
        let ports = self.config.get_ports();
        let port = |at: usize| ports.get(at).or(ports.first()).copied().unwrap_or(5432);
        let named = self.config.get_hosts().iter().map(|host| match host {
            Host::Tcp(name) => name.clone(),
            Host::Unix(path) => path.display().to_string(),
        });
        let mut hosts: Vec<String> = named.collect();
        if hosts.is_empty() {
            hosts = self
                .config
                .get_hostaddrs()
                .iter()
                .map(ToString::to_string)
                .collect();
        }
        let places: Vec<String> = hosts
            .into_iter()
            .enumerate()
            .map(|(at, host)| format!("{host}:{}", port(at)))
            .collect();
        places.join(", ")
    }

    /// Reads the certificates and makes what connects. Blocks on files.
    pub(super) fn connector(&self) -> Result<MakeRustlsConnect, String> {
        tls::connector(self.verify, &self.roots)
    }
}

/// What the client library does not know.
#[derive(Debug, Default, PartialEq, Eq)]
struct Ssl {
    mode: Option<String>,
    root: Option<String>,
}

impl Ssl {
    /// Takes a setting if it is one of its own.
    fn take(&mut self, key: &str, value: &str) -> bool {
        match key {
            "sslmode" => self.mode = Some(value.to_owned()),
            "sslrootcert" => self.root = Some(value.to_owned()),
            _ => return false,
        }
        true
    }
}

fn mode(mode: Option<&str>, has_root: bool) -> Result<(SslMode, Verify), String> {
    match mode.unwrap_or("prefer") {
        "disable" => Ok((SslMode::Disable, Verify::Nothing)),
        "allow" | "prefer" => Ok((SslMode::Prefer, Verify::Nothing)),
        // As libpq does, for those who name a certificate and expect it to matter.
        "require" if has_root => Ok((SslMode::Require, Verify::Chain)),
        "require" => Ok((SslMode::Require, Verify::Nothing)),
        "verify-ca" => Ok((SslMode::Require, Verify::Chain)),
        "verify-full" => Ok((SslMode::Require, Verify::ChainAndName)),
        _ => Err(
            "has an unknown sslmode: write disable, allow, prefer, require, verify-ca or verify-full".into(),
        ),
    }
}

/// Whether an `@` stands where host, port and database should. What follows a `?` may have one.
fn has_stray_at(text: &str) -> bool {
    let behind = text.split_once('@').map_or("", |(_, behind)| behind);
    let place = behind.split('?').next().unwrap_or_default();
    place.contains('@')
}

/// Takes the TLS settings out of a URL's query.
fn url_parts(text: &str) -> Option<(String, Ssl)> {
    let mut ssl = Ssl::default();
    // The client library takes everything to the first `@` for the user and password.
    let query = text.find('@').map_or(0, |at| at + 1);
    let Some(at) = text.get(query..)?.find('?').map(|at| query + at) else {
        return Some((text.to_owned(), ssl));
    };
    let (base, query) = text.split_at(at);
    let mut kept = Vec::new();
    for pair in query.get(1..)?.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=')?;
        if !ssl.take(&decoded(key)?, &decoded(value)?) {
            kept.push(pair);
        }
    }
    let query = if kept.is_empty() {
        String::new()
    } else {
        format!("?{}", kept.join("&"))
    };
    Some((format!("{base}{query}"), ssl))
}

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

/// Takes the TLS settings out of `key=value` pairs: values may be in single quotes, with backslashes.
fn pair_parts(text: &str) -> Option<(String, Ssl)> {
    let mut ssl = Ssl::default();
    let mut kept = String::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (key, after) = rest.split_once('=')?;
        let after = after.trim_start();
        let (value, length) = pair_value(after)?;
        let key = key.trim();
        let (written, next) = after.split_at(length);
        if !ssl.take(key, &value) {
            kept.push_str(key);
            kept.push('=');
            kept.push_str(written);
            kept.push(' ');
        }
        rest = next.trim_start();
    }
    Some((kept, ssl))
}

/// A value and how many bytes it takes as it is written.
fn pair_value(text: &str) -> Option<(String, usize)> {
    let quoted = text.starts_with('\'');
    let mut value = String::new();
    let mut chars = text.char_indices().skip(usize::from(quoted));
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => value.push(chars.next()?.1),
            '\'' if quoted => return Some((value, at + 1)),
            c if c.is_whitespace() && !quoted => return Some((value, at)),
            c => value.push(c),
        }
    }
    (!quoted).then_some((value, text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> (tokio_postgres::Config, SslMode, Verify, Roots) {
        let url = Url::parse(text).unwrap();
        let mode = url.config.get_ssl_mode();
        (url.config, mode, url.verify, url.roots)
    }

    #[test]
    fn every_sslmode_means_what_libpq_says() {
        let cases = [
            ("", SslMode::Prefer, Verify::Nothing),
            ("?sslmode=disable", SslMode::Disable, Verify::Nothing),
            ("?sslmode=allow", SslMode::Prefer, Verify::Nothing),
            ("?sslmode=prefer", SslMode::Prefer, Verify::Nothing),
            ("?sslmode=require", SslMode::Require, Verify::Nothing),
            (
                "?sslmode=require&sslrootcert=/c",
                SslMode::Require,
                Verify::Chain,
            ),
            ("?sslmode=verify-ca", SslMode::Require, Verify::Chain),
            (
                "?sslmode=verify-full",
                SslMode::Require,
                Verify::ChainAndName,
            ),
        ];
        for (query, mode, verify) in cases {
            let (_, found, how, _) = parsed(&format!("postgres://u:p@h:1/d{query}"));
            assert_eq!((found, how), (mode, verify), "{query}");
        }
        assert!(Url::parse("postgres://h/d?sslmode=on").is_err());
    }

    #[test]
    fn the_rest_of_a_url_is_the_client_librarys() {
        let (config, _, _, roots) = parsed(
            "postgresql://app:p%40ss?word@a:1,b:2/db?connect_timeout=3&sslrootcert=%2Fetc%2Fca.pem&application_name=x&sslmode=verify-full",
        );
        assert_eq!(config.get_password(), Some(&b"p@ss?word"[..]));
        assert_eq!(config.get_ports(), [1, 2]);
        assert_eq!(config.get_application_name(), Some("x"));
        assert_eq!(
            config.get_target_session_attrs(),
            TargetSessionAttrs::ReadWrite
        );
        assert_eq!(roots, Roots::File("/etc/ca.pem".into()));
    }

    #[test]
    fn pairs_work_as_well() {
        let (config, mode, verify, roots) = parsed(
            r"host=db port = 6543 user=app password='it\'s = secret' sslmode=verify-ca sslrootcert='/a b.pem' dbname=x",
        );
        assert_eq!(config.get_password(), Some(&b"it's = secret"[..]));
        assert_eq!(
            (config.get_ports(), config.get_dbname()),
            (&[6543][..], Some("x"))
        );
        assert_eq!((mode, verify), (SslMode::Require, Verify::Chain));
        assert_eq!(roots, Roots::File("/a b.pem".into()));
        assert_eq!(config.get_application_name(), Some("forebay"));
    }

    #[test]
    fn an_at_in_a_password_is_refused_unquoted_and_taken_as_40() {
        for text in [
            "postgres://u:s3@cr3t-tail@host/db",
            "postgresql://u:s3@cr3t/tail@host/db",
            "postgres://u@cr3t:cr3t@host:5432/db?sslmode=require",
        ] {
            let error = Url::parse(text).map(|url| url.place()).unwrap_err();
            assert!(error.contains("write %40"), "{error}");
            assert!(!error.contains("cr3t"), "{error}");
        }
        let good = Url::parse("postgres://u:s3%40cr3t@host/db?application_name=a@b").unwrap();
        assert_eq!(good.place(), "host:5432");
    }

    #[test]
    fn the_place_has_no_user_and_no_password() {
        let url = Url::parse("postgres://app:pw@a:1,b/db")
            .unwrap_or_else(|_| Url::parse("postgres://app:pw@a:1,b:5432/db").unwrap());
        assert_eq!(url.place(), "a:1, b:5432");
        assert_eq!(format!("{url:?}"), "***");
    }
}
