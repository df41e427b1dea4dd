//! What the schemes share that send a fixed secret in a header.

use domain::Secret;
use http::{HeaderMap, HeaderName};

use super::keys::Keys;
use super::{Consumed, Refusal, Secrets, plain, same};

/// The secrets that are taken, and the header they stand in. It is not stored.
#[derive(Debug)]
pub(super) struct Token {
    header: HeaderName,
    keys: Keys<Secret>,
}

impl Token {
    /// Of a header as it was configured.
    ///
    /// # Errors
    /// It is no header's name, or a secret is missing or unreadable.
    pub(super) fn load(header: &str, options: &impl Secrets) -> Result<Self, String> {
        let header = header.parse();
        let (secrets, files) = options.secrets();
        Ok(Self {
            header: header.map_err(|_| "header is not a header's name".to_owned())?,
            keys: Keys::load(secrets, files, plain)?,
        })
    }

    /// The header that they stand in.
    pub(super) const fn header(&self) -> &HeaderName {
        &self.header
    }

    /// Whether the header holds one of the secrets.
    ///
    /// # Errors
    /// [`Refusal::Missing`], [`Refusal::Wrong`].
    pub(super) fn check(&self, headers: &HeaderMap) -> Result<Consumed, Refusal> {
        let given = headers.get(&self.header).ok_or(Refusal::Missing)?;
        self.fits(given.as_bytes())?;
        Ok(Consumed::Header(self.header.clone()))
    }

    /// Whether this is one of the secrets.
    ///
    /// # Errors
    /// [`Refusal::Wrong`].
    pub(super) fn fits(&self, given: &[u8]) -> Result<(), Refusal> {
        let known = self.keys.current();
        if known.iter().any(|key| same(key.expose().as_bytes(), given)) {
            Ok(())
        } else {
            Err(Refusal::Wrong)
        }
    }

    /// The header with the first secret.
    pub(super) fn sign(&self) -> (&str, String) {
        let secret = self.keys.current()[0].expose().to_owned();
        (self.header.as_str(), secret)
    }

    pub(super) fn reload(&self) -> Result<(), String> {
        self.keys.reload()
    }
}
