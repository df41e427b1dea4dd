//! What an operator can set of ACME: the `[server.tls.acme]` section.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A certificate that is fetched and renewed. Off while there are no domains.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AcmeOptions {
    /// What the certificate is for. The authority connects to port 443 of each, or to port 80 for HTTP-01.
    pub domains: Vec<String>,
    /// Whether the terms of the authority are accepted. They must be.
    pub accept_terms: bool,
    /// Where the authority may write to.
    pub email: Option<String>,
    /// The authority. Default: Let's Encrypt.
    pub directory: String,
    /// Whom to trust to be it, if not the machine's authorities.
    pub directory_ca_file: Option<PathBuf>,
    /// How the authority is shown that the domains are ours. Default `"tls-alpn-01"`.
    pub challenge: AcmeChallenge,
    /// Where HTTP-01 is answered: what port 80 of each domain leads to. Default `"0.0.0.0:80"`.
    pub http_listen: String,
}

/// How an authority is shown that a domain is ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum AcmeChallenge {
    /// In a handshake at the ingest listener, which port 443 leads to.
    #[default]
    #[serde(rename = "tls-alpn-01")]
    TlsAlpn01,
    /// By plain HTTP, at a port of its own, which port 80 leads to.
    #[serde(rename = "http-01")]
    Http01,
}

impl Default for AcmeOptions {
    fn default() -> Self {
        Self {
            domains: Vec::new(),
            accept_terms: false,
            email: None,
            directory: "https://acme-v02.api.letsencrypt.org/directory".into(),
            directory_ca_file: None,
            challenge: AcmeChallenge::default(),
            http_listen: "0.0.0.0:80".into(),
        }
    }
}

impl AcmeOptions {
    /// Whether a certificate is fetched at all.
    #[must_use]
    pub fn is_on(&self) -> bool {
        !self.domains.is_empty()
    }

    /// Where HTTP-01 is answered, if it is.
    #[must_use]
    pub fn http_address(&self) -> Option<SocketAddr> {
        let answered = self.is_on() && self.challenge == AcmeChallenge::Http01;
        answered.then(|| self.http_listen.parse().ok()).flatten()
    }

    /// Checks the values.
    ///
    /// # Errors
    /// The key and what would be right.
    pub(in super::super) fn validate(&self) -> Result<(), (&'static str, String)> {
        if let Some(bad) = self.domains.iter().find(|domain| !is_domain(domain)) {
            let reason = format!(
                "{bad:?} must be a domain's name in small letters, as in \"hooks.example.com\"; no wildcard can be had this way"
            );
            return Err(("acme.domains", reason));
        }
        let https = self.directory.parse::<http::Uri>();
        if !https.is_ok_and(|uri| uri.scheme_str() == Some("https") && uri.host().is_some()) {
            let reason = "must be the https URL of the authority's directory";
            return Err(("acme.directory", reason.into()));
        }
        if self.email.as_ref().is_some_and(|email| !is_email(email)) {
            return Err((
                "acme.email",
                "must be an address, as in \"ops@example.com\"".into(),
            ));
        }
        if self.http_listen.parse::<SocketAddr>().is_err() {
            let reason = "must be an address and a port, as in \"0.0.0.0:80\" or \"[::]:80\"";
            return Err(("acme.http_listen", reason.into()));
        }
        if self.is_on() && !self.accept_terms {
            let reason = "must be true: the authority gives certificates only to who accepts its terms of service";
            return Err(("acme.accept_terms", reason.into()));
        }
        Ok(())
    }
}

fn is_domain(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let label = |label: &str| (1..=63).contains(&label.len()) && label.bytes().all(plain);
    text.len() <= 253 && text.split('.').all(label) && text.parse::<std::net::IpAddr>().is_err()
}

fn is_email(text: &str) -> bool {
    let plain = text
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && byte != b'?');
    let halves = text.split_once('@');
    plain && halves.is_some_and(|(name, host)| !name.is_empty() && !host.is_empty())
}
