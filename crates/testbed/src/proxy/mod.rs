//! A TCP proxy that fails on demand, for the faults a network and a failover cause.
//!
//! Owns a port of its own and every connection made to it. It refuses, resets, hangs, delays, or cuts a
//! connection at the one moment that matters: after the server has committed and before the client
//! hears of it. Never changes a byte that it passes on. Stands in front of anything that speaks TCP;
//! of PostgreSQL's protocol it knows just enough to find commits.

mod relay;
mod trigger;
mod wire;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::port::Lease;
use crate::{Error, Result};

use trigger::Armed;
pub use trigger::Trigger;

/// What the proxy does to connections, those that exist and those that come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Passes everything on. While the server is down, a client is accepted and reset.
    Pass,
    /// Nobody listens: new connections are refused, existing ones reset.
    Refuse,
    /// Every connection is accepted and reset at once, and existing ones are reset.
    Reset,
    /// Connections are accepted and everything sent over them, in both directions, is swallowed. They
    /// are reset when the mode changes, since bytes are missing.
    Hang,
    /// What is read at once (at most 64 KiB) is passed on after this time, in each direction.
    Delay(Duration),
}

/// What has gone through the proxy since it was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Connections taken from clients, those that were reset at once included.
    pub accepted: u64,
    /// Connections cut by a trigger.
    pub cuts: u64,
    /// Bytes passed on to the server.
    pub to_server: u64,
    /// Bytes passed on to clients.
    pub to_client: u64,
}

#[derive(Debug, Clone, Copy)]
struct State {
    mode: Mode,
    /// Counts changes, so that who makes one can wait until it is in force.
    version: u64,
    /// Counts the changes that end every existing connection.
    severed: u64,
}

/// What all connections of a proxy share.
#[derive(Debug, Default)]
struct Shared {
    armed: Armed,
    accepted: AtomicU64,
    to_server: AtomicU64,
    to_client: AtomicU64,
}

/// What the listener has carried out.
#[derive(Debug, Clone, Default)]
struct Applied {
    version: u64,
    failure: Option<String>,
}

/// A proxy on a free port of 127.0.0.1. It lives on the runtime it was started on, and dropping it
/// closes the port and resets every connection.
#[derive(Debug)]
pub struct Proxy {
    port: Lease,
    state: watch::Sender<State>,
    applied: watch::Receiver<Applied>,
    shared: Arc<Shared>,
    speaks_postgres: bool,
    listener: JoinHandle<()>,
}

impl Proxy {
    /// A proxy in front of `server`, passing, for any protocol.
    ///
    /// # Errors
    ///
    /// When no port is free.
    pub async fn start(server: SocketAddr) -> Result<Self> {
        Self::start_as(server, false).await
    }

    /// A proxy in front of a PostgreSQL server, which can be cut at a commit. Messages from the server
    /// are passed on whole; a connection that turns to TLS is passed on unseen and never cut.
    ///
    /// # Errors
    ///
    /// When no port is free.
    pub async fn postgres(server: SocketAddr) -> Result<Self> {
        Self::start_as(server, true).await
    }

    async fn start_as(server: SocketAddr, speaks_postgres: bool) -> Result<Self> {
        let port = Lease::take()?;
        let initial = State {
            mode: Mode::Pass,
            version: 1,
            severed: 0,
        };
        let (state, orders) = watch::channel(initial);
        let (report, applied) = watch::channel(Applied::default());
        let shared = Arc::new(Shared::default());
        let relay = relay::Relay {
            server,
            speaks_postgres,
            shared: Arc::clone(&shared),
        };
        let listener = tokio::spawn(listen(port.addr(), relay, orders, report));
        let proxy = Self {
            port,
            state,
            applied,
            shared,
            speaks_postgres,
            listener,
        };
        proxy.in_force(1).await?;
        Ok(proxy)
    }

    /// Where clients connect to. Stays the same in every mode.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.port.addr()
    }

    /// Changes the mode. Once this returns, the old mode touches no byte any more.
    ///
    /// # Errors
    ///
    /// When the port cannot be listened on again.
    pub async fn set(&self, mode: Mode) -> Result<()> {
        self.change(|state| {
            let bytes_are_missing = state.mode == Mode::Hang && mode != Mode::Hang;
            if bytes_are_missing || matches!(mode, Mode::Refuse | Mode::Reset) {
                state.severed += 1;
            }
            state.mode = mode;
        })
        .await
    }

    /// Resets every existing connection, once, and leaves the mode as it is.
    ///
    /// # Errors
    ///
    /// As [`Proxy::set`].
    pub async fn sever(&self) -> Result<()> {
        self.change(|state| state.severed += 1).await
    }

    /// Cuts both sides of a connection where `trigger` says; takes the place of an earlier trigger.
    ///
    /// # Errors
    ///
    /// When the trigger looks for PostgreSQL's messages and the proxy does not.
    pub fn cut_when(&self, trigger: Trigger) -> Result<()> {
        if trigger.needs_messages() && !self.speaks_postgres {
            return Err(Error::Misuse(format!(
                "{trigger:?} needs a proxy that was started with Proxy::postgres"
            )));
        }
        self.shared.armed.set(trigger);
        Ok(())
    }

    /// The counters now.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts {
            accepted: self.shared.accepted.load(Ordering::Relaxed),
            cuts: self.shared.armed.cuts(),
            to_server: self.shared.to_server.load(Ordering::Relaxed),
            to_client: self.shared.to_client.load(Ordering::Relaxed),
        }
    }

    async fn change(&self, edit: impl FnOnce(&mut State)) -> Result<()> {
        let mut version = 0;
        self.state.send_modify(|state| {
            edit(state);
            state.version += 1;
            version = state.version;
        });
        self.in_force(version).await
    }

    async fn in_force(&self, version: u64) -> Result<()> {
        let mut applied = self.applied.clone();
        let gone = || Error::Misuse("the proxy's listener has ended".to_owned());
        let seen = applied.wait_for(|applied| applied.version >= version).await;
        match &seen.map_err(|_closed| gone())?.failure {
            None => Ok(()),
            Some(failure) => Err(Error::Misuse(failure.clone())),
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // The connections are tasks in a set that the listener's task owns: they end with it.
        self.listener.abort();
    }
}

/// Accepts connections as the mode allows, and ends them when it must.
async fn listen(
    addr: SocketAddr,
    relay: relay::Relay,
    mut orders: watch::Receiver<State>,
    report: watch::Sender<Applied>,
) {
    let mut listener: Option<TcpListener> = None;
    let mut connections = JoinSet::new();
    let mut severed = 0;
    loop {
        let state = *orders.borrow_and_update();
        let mut failure = None;
        if state.mode == Mode::Refuse {
            listener = None;
        } else if listener.is_none() {
            match TcpListener::bind(addr).await {
                Ok(bound) => listener = Some(bound),
                Err(error) => failure = Some(format!("cannot listen on {addr}: {error}")),
            }
        }
        if severed != state.severed {
            severed = state.severed;
            connections.shutdown().await;
        }
        report.send_replace(Applied {
            version: state.version,
            failure,
        });
        tokio::select! {
            changed = orders.changed() => if changed.is_err() { return },
            client = accept(listener.as_ref()) => {
                relay.shared.accepted.fetch_add(1, Ordering::Relaxed);
                if state.mode == Mode::Reset {
                    drop(relay::Socket::new(client));
                } else {
                    connections.spawn(relay.clone().run(client, orders.clone()));
                }
            }
            Some(_ended) = connections.join_next() => {}
        }
    }
}

/// The next client; never, while nobody listens.
async fn accept(listener: Option<&TcpListener>) -> TcpStream {
    let Some(listener) = listener else {
        return std::future::pending().await;
    };
    loop {
        // What fails here is one connection that its client gave up before it was accepted.
        if let Ok((client, _)) = listener.accept().await {
            return client;
        }
    }
}
