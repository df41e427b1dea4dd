//! `none`: takes everything. For loopback, and for senders that a proxy has already checked.

use std::path::PathBuf;

use domain::Secret;
use serde::Deserialize;

use super::{About, CannotSign, Consumed, Received, Refusal, Scheme, Secrets, Signed, Unsigned};

pub(super) const ABOUT: About = About {
    keys: &[],
    least: "",
    guessable: false,
    ..About::new(
        "none",
        "Takes everything. For loopback, and for senders that a proxy has checked already.",
    )
};

/// There is nothing to set.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {}

impl Secrets for Options {
    fn secrets(&self) -> (&[Secret], &[PathBuf]) {
        (&[], &[])
    }
}

/// The scheme.
#[derive(Debug)]
pub(super) struct None;

impl None {
    #[expect(
        clippy::unnecessary_wraps,
        reason = "the shape of every scheme's factory"
    )]
    pub(super) fn new(_: &Options) -> Result<Self, String> {
        Ok(Self)
    }
}

/// The same under the name that a queue's is shown by.
#[derive(Debug)]
pub(super) struct Queue;

const QUEUE: About = About {
    keys: &[],
    least: "",
    guessable: false,
    ..About::new("queue", "Who may write to the queue is the queue's to say.")
};

macro_rules! takes_everything {
    ($scheme:ident, $about:ident) => {
        impl Scheme for $scheme {
            fn about(&self) -> &'static About {
                &$about
            }

            fn verify(&self, _: &Received<'_>) -> Result<Consumed, Refusal> {
                Ok(Consumed::Nothing)
            }

            fn sign(&self, _: &Unsigned<'_>) -> Result<Signed, CannotSign> {
                Ok(Signed::default())
            }

            fn reload(&self) -> Result<(), String> {
                Ok(())
            }
        }
    };
}

takes_everything!(None, ABOUT);
takes_everything!(Queue, QUEUE);
