//! What an operator can set of TLS: the `[server.tls]` section.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::acme::AcmeOptions;

/// TLS of the ingest listener. Files are PEM, and read again on SIGHUP and when they change.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsOptions {
    /// The certificate, followed by those between it and a root.
    #[serde(default)]
    pub cert_file: Option<PathBuf>,
    /// Its private key, without a passphrase.
    #[serde(default)]
    pub key_file: Option<PathBuf>,
    /// The oldest version that is spoken. Default `"1.2"`.
    #[serde(default)]
    pub min_version: TlsVersion,
    /// The authorities that client certificates must come from.
    #[serde(default)]
    pub client_ca_file: Option<PathBuf>,
    /// Whether clients are asked for a certificate. Default `"none"`.
    #[serde(default)]
    pub client_auth: ClientAuth,
    /// A certificate that is fetched, in place of the files.
    #[serde(default)]
    pub acme: AcmeOptions,
}

/// Versions of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum TlsVersion {
    /// 1.2 and 1.3.
    #[default]
    #[serde(rename = "1.2")]
    Tls12,
    /// 1.3 alone.
    #[serde(rename = "1.3")]
    Tls13,
}

/// Whether clients are asked for a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientAuth {
    /// They are not.
    #[default]
    None,
    /// They are; one that is shown must be good, and who shows none may connect.
    Optional,
    /// Nobody connects without a good one.
    Required,
}

impl TlsOptions {
    /// Checks what goes together, without reading a file.
    ///
    /// # Errors
    /// The key and what would be right.
    pub fn validate(&self) -> Result<(), (&'static str, String)> {
        self.acme.validate()?;
        let named = (self.cert_file.is_some(), self.key_file.is_some());
        match (self.acme.is_on(), named) {
            (true, (false, false)) | (false, (true, true)) => {}
            (true, _) => {
                let reason =
                    "fetches the certificate: leave cert_file and key_file out, or the domains";
                return Err(("acme.domains", reason.into()));
            }
            (false, (true, false)) => {
                return Err(("key_file", "is missing: cert_file needs it".into()));
            }
            (false, (false, _)) => {
                let reason = "is missing: set it, with key_file; or let a certificate be fetched, by server.tls.acme.domains";
                return Err(("cert_file", reason.into()));
            }
        }
        match (self.client_auth, &self.client_ca_file) {
            (ClientAuth::None, Some(_)) => Err((
                "client_auth",
                "must be \"optional\" or \"required\" where there is a client_ca_file: nobody would be asked for a certificate".into(),
            )),
            (ClientAuth::Optional | ClientAuth::Required, None) => Err((
                "client_ca_file",
                "is missing: client_auth asks for certificates, and it has the authorities that they must come from".into(),
            )),
            _ => Ok(()),
        }
    }
}
