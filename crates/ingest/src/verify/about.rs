//! What is known of a scheme before it has any secret: for the lists, the reference and the retry budget.

use std::time::Duration;

/// A scheme, in words and figures. Figures are the provider's own, as of its documentation.
#[derive(Debug)]
pub struct About {
    /// Its name in the configuration.
    pub name: &'static str,
    /// Who sends so, and what is checked. One sentence or two, in Markdown.
    pub about: &'static str,
    /// What makes a repeat a repeat, in words; empty: nothing that the sender says does.
    pub dedup: &'static str,
    /// The challenge that is answered, in words; empty: there is none.
    pub handshake: &'static str,
    /// How long the sender waits, and how it tries again.
    pub sender: Sender,
    /// Its options.
    pub keys: &'static [KeyDoc],
    /// As little as it can do with, as TOML: keys and values that would be taken.
    pub least: &'static str,
    /// Whether its URL is signed, so that the source must say `public_url`.
    pub signs_url: bool,
    /// Whether whoever sees a signed request could find a short secret by trying.
    pub guessable: bool,
    /// Whether the secret itself is sent, so that anybody could try short ones at the listener.
    pub sent: bool,
}

impl About {
    /// Where a scheme's row begins: nothing but a name and what it is.
    pub(super) const fn new(name: &'static str, about: &'static str) -> Self {
        Self {
            name,
            about,
            dedup: "",
            handshake: "",
            sender: Sender::UNKNOWN,
            keys: SECRETS,
            least: "secrets = [\"0123456789abcdef\"]",
            signs_url: false,
            guessable: true,
            sent: false,
        }
    }
}

/// How long a sender waits for an answer, and what it does after a bad one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sender {
    /// How long it waits for an answer.
    pub timeout: Option<Duration>,
    /// How it tries again, in words; empty: it is not said.
    pub retries: &'static str,
    /// From its first try to its last, the waiting for answers included. After so long without a 2xx the event
    /// is gone for good. Zero: it tries once. `None`: not known.
    pub window: Option<Duration>,
}

impl Sender {
    /// Nothing is said.
    pub const UNKNOWN: Self = Self {
        timeout: None,
        retries: "",
        window: None,
    };

    /// Of seconds: how long it waits, how it tries again, and for how long in all.
    pub(super) const fn new(timeout: u64, retries: &'static str, window: u64) -> Self {
        Self {
            timeout: Some(Duration::from_secs(timeout)),
            retries,
            window: Some(Duration::from_secs(window)),
        }
    }
}

/// An option of a scheme.
#[derive(Debug, Clone, Copy)]
pub struct KeyDoc {
    /// Its name.
    pub name: &'static str,
    /// What kind of value.
    pub value: &'static str,
    /// What is allowed; empty when anything goes.
    pub limit: &'static str,
    /// What it does.
    pub effect: &'static str,
    /// The default as written in TOML; empty when there is none.
    pub default: &'static str,
}

impl KeyDoc {
    pub(super) const fn new(
        name: &'static str,
        value: &'static str,
        limit: &'static str,
        effect: &'static str,
        default: &'static str,
    ) -> Self {
        Self {
            name,
            value,
            limit,
            effect,
            default,
        }
    }
}

/// `secrets`.
pub(super) const SECRET: KeyDoc = KeyDoc::new(
    "secrets",
    "list of secret strings",
    "at least one, here or in `secret_files`",
    "The secrets, the newest first. All of them verify; `forebay send` signs with the first.",
    "",
);

/// `secret_files`.
pub(super) const SECRET_FILE: KeyDoc = KeyDoc::new(
    "secret_files",
    "list of paths",
    "",
    "Files with one secret each, read again on SIGHUP. A line break at the end is not part of the secret.",
    "",
);

/// `tolerance`, five minutes by default.
pub(super) const TOLERANCE: KeyDoc = KeyDoc::new(
    "tolerance",
    "duration",
    "",
    "How far the signed time may be from the server's.",
    "\"5m\"",
);

/// Secrets and no more.
pub(super) const SECRETS: &[KeyDoc] = &[SECRET, SECRET_FILE];

/// Secrets, and a time that is signed.
pub(super) const TIMED: &[KeyDoc] = &[SECRET, SECRET_FILE, TOLERANCE];
