//! The manner of signing that Slack made and Zoom took over: `v0=` and an HMAC-SHA256 in hex over
//! `v0:timestamp:body`.

use domain::HumanDuration;

use super::keys::TimedOptions;
use super::signature::{Algorithm, Encoding, HmacKeys, given, recent};
use super::{Received, Refusal, Signed, Unsigned, text};

const VERSION: &str = "v0";

/// The two headers of a sender, and its secrets.
#[derive(Debug)]
pub(super) struct Versioned {
    signature: &'static str,
    timestamp: &'static str,
    pub(super) keys: HmacKeys,
    tolerance: HumanDuration,
}

impl Versioned {
    pub(super) fn new(
        signature: &'static str,
        timestamp: &'static str,
        options: &TimedOptions,
    ) -> Result<Self, String> {
        Ok(Self {
            signature,
            timestamp,
            keys: HmacKeys::load(options, Algorithm::Sha256)?,
            tolerance: options.tolerance,
        })
    }

    /// # Errors
    /// [`Refusal`].
    pub(super) fn check(&self, request: &Received<'_>) -> Result<(), Refusal> {
        let signature = given(request.headers, self.signature, "v0=", Encoding::Hex)?;
        let timestamp = text(request.headers, self.timestamp)?;
        recent(request.now, timestamp, self.tolerance)?;
        let parts = [
            VERSION.as_bytes(),
            b":",
            timestamp.as_bytes(),
            b":",
            request.body,
        ];
        self.keys.check(&signature, &parts)
    }

    pub(super) fn sign(&self, request: &Unsigned<'_>) -> Signed {
        let timestamp = request.now.as_second().to_string();
        let parts = [
            VERSION.as_bytes(),
            b":",
            timestamp.as_bytes(),
            b":",
            request.body,
        ];
        let tag = hex::encode(self.keys.sign(&parts));
        Signed::with([
            (self.signature, format!("{VERSION}={tag}")),
            (self.timestamp, timestamp),
        ])
    }
}
