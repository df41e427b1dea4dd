//! Who Forebay is to Genesys Cloud: the keys of a section that name an account.

use std::path::PathBuf;

use domain::Secret;
use serde::Deserialize;

use crate::region::Region;

/// A key and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {reason}")]
pub struct OptionsError {
    /// The key.
    pub key: &'static str,
    /// What is wrong with it, and what would be right; no secret.
    pub reason: String,
}

impl OptionsError {
    pub(crate) fn new(key: &'static str, reason: impl Into<String>) -> Self {
        Self {
            key,
            reason: reason.into(),
        }
    }
}

/// An account as it is written: an OAuth client for client credentials, and its region.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct AccountOptions {
    /// The domain of the organisation's region, or Amazon's name for the region.
    pub region: Option<String>,
    /// One address in place of all hosts of the region.
    pub endpoint: Option<String>,
    /// The OAuth client's id.
    pub client_id: String,
    /// Its secret.
    pub client_secret: Option<Secret>,
    /// A file with the secret.
    pub client_secret_file: Option<PathBuf>,
    /// A proxy that is asked to `CONNECT`, with its user and password in the URL if it wants them.
    pub proxy: Option<Secret>,
}

/// A checked account.
#[derive(Debug, Clone)]
pub struct Account {
    pub(crate) region: Region,
    pub(crate) client_id: String,
    client_secret: SecretFrom,
    pub(crate) proxy: Option<Secret>,
}

#[derive(Debug, Clone)]
enum SecretFrom {
    Given(Secret),
    File(PathBuf),
}

impl Account {
    /// Where it is, in words.
    #[must_use]
    pub fn region(&self) -> String {
        self.region.name()
    }

    /// The client's secret. Reads its file, if it is in one.
    ///
    /// # Errors
    /// The file cannot be read, or is empty.
    pub fn secret(&self) -> Result<Secret, OptionsError> {
        let path = match &self.client_secret {
            SecretFrom::Given(secret) => return Ok(secret.clone()),
            SecretFrom::File(path) => path,
        };
        let wrong = |reason| OptionsError::new("client_secret_file", reason);
        let read = std::fs::read_to_string(path)
            .map_err(|error| wrong(format!("cannot read {}: {error}", path.display())))?;
        match read.trim() {
            "" => Err(wrong(format!("{} is empty", path.display()))),
            secret => Ok(Secret::new(secret.to_owned())),
        }
    }

    /// The proxy that its connections go through.
    #[must_use]
    pub const fn proxy(&self) -> Option<&Secret> {
        self.proxy.as_ref()
    }
}

impl AccountOptions {
    /// Checks the values. Reads nothing.
    ///
    /// # Errors
    /// The key and what would be right.
    pub fn validate(&self) -> Result<Account, OptionsError> {
        let region = match (&self.region, &self.endpoint) {
            (Some(_), Some(_)) => Err(OptionsError::new(
                "endpoint",
                "stands for the hosts of a region: give one of `region` and `endpoint`",
            )),
            (Some(name), None) => {
                Region::named(name).map_err(|reason| OptionsError::new("region", reason))
            }
            (None, Some(url)) => {
                Region::at(url).map_err(|reason| OptionsError::new("endpoint", reason))
            }
            (None, None) => Err(OptionsError::new(
                "region",
                "is missing: the domain that you log in at, such as \"mypurecloud.de\"",
            )),
        }?;
        if self.client_id.is_empty() || self.client_id.contains([':', '\r', '\n']) {
            let reason = "must be the id of an OAuth client (Admin, Integrations, OAuth)";
            return Err(OptionsError::new("client_id", reason));
        }
        if let Some(proxy) = &self.proxy {
            crate::network::Proxy::parse(proxy)
                .map_err(|reason| OptionsError::new("proxy", reason))?;
        }
        Ok(Account {
            region,
            client_id: self.client_id.clone(),
            client_secret: self.secret()?,
            proxy: self.proxy.clone(),
        })
    }

    fn secret(&self) -> Result<SecretFrom, OptionsError> {
        match (&self.client_secret, &self.client_secret_file) {
            (Some(_), Some(_)) => {
                let reason = "give one of `client_secret` and `client_secret_file`";
                Err(OptionsError::new("client_secret_file", reason))
            }
            (Some(secret), None) if secret.is_empty() => {
                Err(OptionsError::new("client_secret", "must not be empty"))
            }
            (Some(secret), None) => Ok(SecretFrom::Given(secret.clone())),
            (None, Some(path)) => Ok(SecretFrom::File(path.clone())),
            (None, None) => {
                let reason =
                    "is missing: the OAuth client's secret, as in \"${GENESYS_CLIENT_SECRET}\"";
                Err(OptionsError::new("client_secret", reason))
            }
        }
    }
}
