//! `none`: takes everything. For loopback, and for senders that a proxy has already checked.

use serde::Deserialize;

use super::{Proven, Received, Refusal, Scheme, Signed, Unsigned};

/// There is nothing to set.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {}

/// The scheme, under the name that is shown.
#[derive(Debug)]
pub(super) struct None(pub(super) &'static str);

impl Scheme for None {
    fn name(&self) -> &'static str {
        self.0
    }

    fn verify(&self, _: &Received<'_>) -> Result<Proven, Refusal> {
        Ok(Proven::default())
    }

    fn sign(&self, _: &Unsigned<'_>) -> Signed {
        Signed::default()
    }

    fn reload(&self) -> Result<(), String> {
        Ok(())
    }
}
