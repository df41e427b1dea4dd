//! What an endpoint says to a request, and how it goes about it.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;

/// An answer that a test wrote.
#[derive(Debug, Clone)]
pub struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Bytes,
    pub(super) delay: Duration,
    pub(super) gate: Option<Gate>,
    pub(super) manner: Manner,
}

/// What holds answers back until the test opens it. Clones are the same gate.
#[derive(Debug, Clone)]
pub struct Gate(watch::Sender<bool>);

impl Gate {
    /// A gate that lets nothing through yet.
    #[must_use]
    pub fn closed() -> Self {
        Self(watch::Sender::new(false))
    }

    /// Lets everything through from now on.
    pub fn open(&self) {
        self.0.send_replace(true);
    }

    pub(super) async fn passed(&self) {
        // It fails only when the gate is gone, and this is one of its owners.
        let mut watched = self.0.subscribe();
        let _open = watched.wait_for(|open| *open).await;
    }
}

/// How far an answer gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    Whole,
    /// The body never ends.
    Endless,
    /// Head and body come, then the connection breaks before the body's end.
    Cut,
    /// The connection breaks before the head.
    Closed,
    /// Nothing ever comes.
    Hung,
}

impl Answer {
    /// A status with an empty body.
    #[must_use]
    pub fn status(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Bytes::new(),
            delay: Duration::ZERO,
            gate: None,
            manner: Manner::Whole,
        }
    }

    /// No answer, for as long as the connection lasts.
    #[must_use]
    pub fn hang() -> Self {
        Self {
            manner: Manner::Hung,
            ..Self::status(200)
        }
    }

    /// No answer: the connection (of HTTP/2, the stream) is closed.
    #[must_use]
    pub fn close() -> Self {
        Self {
            manner: Manner::Closed,
            ..Self::status(200)
        }
    }

    /// With one more header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With a body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// After so long.
    #[must_use]
    pub fn after(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Not before the gate is open.
    #[must_use]
    pub fn once_open(mut self, gate: &Gate) -> Self {
        self.gate = Some(gate.clone());
        self
    }

    /// With a body that says nothing more after what there is of it, and does not end.
    #[must_use]
    pub fn never_ending(mut self) -> Self {
        self.manner = Manner::Endless;
        self
    }

    /// With a body that breaks off after what there is of it.
    #[must_use]
    pub fn cut(mut self) -> Self {
        self.manner = Manner::Cut;
        self
    }
}
