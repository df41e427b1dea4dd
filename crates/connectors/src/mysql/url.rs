//! The connection's URL: who, where, and how TLS is used.
//!
//! `ssl-mode` has the words of MySQL's own clients, but `verify-ca`: the client library cannot look at a
//! certificate and leave its name alone, so `ssl-name` says which name to expect. No error quotes any of it: a
//! password may stand anywhere in a mistyped URL.

use std::path::PathBuf;

use mysql_async::{Opts, OptsBuilder, SslOpts};
use reqwest::Url as Parsed;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

const FORM: &str = "is not a MySQL URL: write mysql://user:password@host:3306/database, with special characters in the password as %XX";

/// How TLS is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Disabled,
    /// Taken where the server offers it.
    Preferred,
    Required,
    /// Certificate and name are verified.
    VerifyIdentity,
}

/// A checked URL.
#[derive(Clone)]
pub(super) struct Url {
    opts: Opts,
    mode: Mode,
    ca: Option<PathBuf>,
    name: Option<String>,
    socket: Option<String>,
}

impl std::fmt::Debug for Url {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// Whose certificates are trusted, as the client library takes them: in DER.
#[derive(Clone)]
pub(super) struct Trust(Vec<Vec<u8>>);

impl Url {
    /// # Errors
    /// What is wrong, without quoting any of it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut url = Parsed::parse(text).map_err(|_| FORM)?;
        if url.scheme() == "mariadb" {
            url.set_scheme("mysql").map_err(|()| FORM)?;
        }
        if url.host_str().is_none_or(str::is_empty) {
            return Err(FORM.into());
        }
        let (mut mode, mut ca, mut name, mut socket) = (None, None, None, None);
        for (key, value) in url.query_pairs() {
            let value = value.into_owned();
            match key.replace('_', "-").as_str() {
                "ssl-mode" => mode = Some(value),
                "ssl-ca" => ca = Some(PathBuf::from(value)),
                "ssl-name" => name = Some(value),
                "socket" => socket = Some(value),
                other => return Err(unknown(other)),
            }
        }
        url.set_query(None);
        url.set_fragment(None);
        let opts = Opts::from_url(url.as_str()).map_err(|_| FORM)?;
        let mode = tls_mode(mode.as_deref())?;
        if mode != Mode::VerifyIdentity && (ca.is_some() || name.is_some()) {
            return Err(
                "has an ssl-ca or ssl-name that would not be looked at: add ssl-mode=verify-identity"
                    .into(),
            );
        }
        Ok(Self {
            opts,
            mode,
            ca,
            name,
            socket,
        })
    }

    /// Host and port, for errors. Never the user or the password.
    pub(super) fn place(&self) -> String {
        match &self.socket {
            Some(path) => path.clone(),
            None => format!("{}:{}", self.opts.ip_or_hostname(), self.opts.tcp_port()),
        }
    }

    pub(super) fn database(&self) -> Option<&str> {
        self.opts.db_name().filter(|name| !name.is_empty())
    }

    /// The certificates to trust, if any are looked at. Blocks on files.
    ///
    /// # Errors
    /// Which file cannot be used, and why.
    pub(super) fn trust(&self) -> Result<Trust, String> {
        if self.mode != Mode::VerifyIdentity {
            return Ok(Trust(Vec::new()));
        }
        let certificates: Vec<CertificateDer<'static>> = match &self.ca {
            None => {
                // Found to be usable here; the library makes a store of its own.
                crate::roots::system("name a file with ssl-ca")?;
                rustls_native_certs::load_native_certs().certs
            }
            Some(path) => CertificateDer::pem_file_iter(path)
                .and_then(Iterator::collect::<Result<_, _>>)
                .map_err(|error| format!("cannot read ssl-ca {}: {error}", path.display()))?,
        };
        let usable = certificates.into_iter().filter(|one| {
            // One that cannot be read would make the library refuse all of them.
            RootCertStore::empty().add(one.clone()).is_ok()
        });
        let trusted: Vec<Vec<u8>> = usable.map(|one| one.to_vec()).collect();
        match (&self.ca, trusted.is_empty()) {
            (Some(path), true) => Err(format!(
                "ssl-ca {} has no certificate in PEM",
                path.display()
            )),
            _ => Ok(Trust(trusted)),
        }
    }

    /// What the client library is told, one after the other: where TLS is preferred, a server that has none is
    /// tried again without.
    pub(super) fn options(&self, trust: Trust) -> Vec<OptsBuilder> {
        let base = OptsBuilder::from_opts(self.opts.clone())
            // Otherwise the library asks the server for a path, and goes there instead.
            .prefer_socket(false)
            .socket(self.socket.clone())
            .tcp_keepalive(Some(std::time::Duration::from_secs(15)))
            .connect_attribute("program_name", "forebay");
        let unverified = || SslOpts::default().with_danger_accept_invalid_certs(true);
        let over = |ssl: SslOpts| base.clone().ssl_opts(ssl);
        match self.mode {
            _ if self.socket.is_some() => vec![base],
            Mode::Disabled => vec![base],
            Mode::Preferred => vec![over(unverified()), base],
            Mode::Required => vec![over(unverified())],
            Mode::VerifyIdentity => {
                let mut ssl = SslOpts::default()
                    .with_disable_built_in_roots(true)
                    .with_root_certs(trust.0.into_iter().map(Into::into).collect());
                if let Some(name) = self.name.clone() {
                    ssl = ssl.with_danger_tls_hostname_override(Some(name));
                }
                vec![over(ssl)]
            }
        }
    }
}

/// What other clients call such settings. Another name may be a piece of a password with a ? in it, and is not quoted.
const OF_OTHERS: [&str; 6] = ["ssl", "sslmode", "sslca", "tls", "usessl", "charset"];

fn unknown(name: &str) -> String {
    let quoted = match OF_OTHERS.contains(&name.to_ascii_lowercase().as_str()) {
        true => format!(" {name:?}"),
        false => String::new(),
    };
    format!(
        "has a setting{quoted} that is not known: there are ssl-mode, ssl-ca, ssl-name and socket"
    )
}

fn tls_mode(text: Option<&str>) -> Result<Mode, String> {
    let word = text.unwrap_or("preferred").to_ascii_lowercase();
    match word.replace('_', "-").as_str() {
        "disabled" => Ok(Mode::Disabled),
        "preferred" => Ok(Mode::Preferred),
        "required" => Ok(Mode::Required),
        "verify-identity" => Ok(Mode::VerifyIdentity),
        "verify-ca" => Err(
            "has ssl-mode=verify-ca, which there is not: write verify-identity, with ssl-name=… where the certificate has another name than the host".into(),
        ),
        _ => Err(
            "has an unknown ssl-mode: write disabled, preferred, required or verify-identity".into(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_ssl_mode_means_what_mysql_says() {
        let cases = [
            ("", Mode::Preferred),
            ("?ssl-mode=DISABLED", Mode::Disabled),
            ("?ssl_mode=preferred", Mode::Preferred),
            ("?ssl-mode=REQUIRED", Mode::Required),
            ("?ssl-mode=VERIFY_IDENTITY", Mode::VerifyIdentity),
        ];
        for (query, mode) in cases {
            let url = Url::parse(&format!("mysql://u:p@h:1/d{query}")).unwrap();
            assert_eq!(url.mode, mode, "{query}");
        }
        for bad in [
            "ssl-mode=on",
            "ssl-mode=verify-ca",
            "ssl-ca=/c",
            "ssl-name=n",
            "pool_min=1",
        ] {
            assert!(Url::parse(&format!("mysql://h/d?{bad}")).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_other_clients_call_a_setting_is_quoted_and_what_may_be_a_secret_is_not() {
        let why = |query: &str| Url::parse(&format!("mysql://h/d?{query}")).unwrap_err();
        let told = why("sslmode=required");
        assert!(told.contains("\"sslmode\" that is not known"), "{told}");
        assert!(!why("hunter=2@h").contains("hunter"));
    }

    #[test]
    fn the_parts_are_taken_apart() {
        let url = Url::parse("mariadb://app:p%40ss%3F@db.example:3307/crm?ssl-mode=verify-identity&ssl-ca=%2Fa%20b.pem&ssl-name=x").unwrap();
        assert_eq!(url.opts.user(), Some("app"));
        assert_eq!(url.opts.pass(), Some("p@ss?"));
        assert_eq!(
            (url.place().as_str(), url.database()),
            ("db.example:3307", Some("crm"))
        );
        assert_eq!(url.ca, Some("/a b.pem".into()));
        assert_eq!(format!("{url:?}"), "***");
        assert_eq!(Url::parse("mysql://h/").unwrap().database(), None);
        assert_eq!(Url::parse("mysql://h").unwrap().place(), "h:3306");
        let local = Url::parse("mysql://app@localhost/d?socket=%2Frun%2Fs.sock").unwrap();
        assert_eq!(local.place(), "/run/s.sock");
        for bad in [
            "",
            "mysql:",
            "mysql:///d",
            "postgres://h/d",
            "h:3306/d",
            "mysql://h:x/d",
        ] {
            assert!(Url::parse(bad).is_err(), "{bad:?}");
        }
    }
}
