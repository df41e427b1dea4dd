//! Ports that stay a test's own, also while its server is down.
//!
//! A port that the kernel hands out for `:0` can be taken by any outgoing connection as soon as the
//! server behind it stops, and a client that keeps trying such a port can even connect to itself. So
//! these come from below the kernel's range for outgoing connections, and a lock file keeps the test
//! processes of one machine apart. Used by everything here that listens.

use std::fs::{File, OpenOptions};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

use crate::error::Doing;
use crate::{Error, Result, scratch};

const FIRST: u16 = 20_000;
/// One below the default start of `net.ipv4.ip_local_port_range`.
const LAST: u16 = 32_767;

/// A TCP port of 127.0.0.1 that no other test takes while this is held.
#[derive(Debug)]
pub struct Lease {
    port: u16,
    /// Locked for as long as it is open; the kernel lets go when the process dies.
    _lock: File,
}

impl Lease {
    /// Takes a port that nobody listens on and no other lease holds.
    ///
    /// # Errors
    ///
    /// When the lock files cannot be made, or every port of the range is taken.
    pub fn take() -> Result<Self> {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let last = lowest_outgoing_port().map_or(LAST, |outgoing| outgoing.saturating_sub(1));
        let span = last - FIRST;
        // Processes start at different places, so that they seldom meet at one lock.
        let seed = std::process::id().wrapping_mul(97) % u32::from(span);
        for _ in 0..span {
            let step = u32::from(NEXT.fetch_add(1, Ordering::Relaxed));
            let offset = u16::try_from((seed + step) % u32::from(span)).unwrap_or(0);
            if let Some(lease) = Self::try_port(FIRST + offset)? {
                return Ok(lease);
            }
        }
        Err(Error::Misuse(format!(
            "no free port from {FIRST} to {last}"
        )))
    }

    fn try_port(port: u16) -> Result<Option<Self>> {
        let path = scratch::shared("ports")?.join(port.to_string());
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .doing(|| format!("open {}", path.display()))?;
        let free =
            lock.try_lock().is_ok() && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
        Ok(free.then_some(Self { port, _lock: lock }))
    }

    /// The port's number.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The address to listen on or to connect to.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }
}

fn lowest_outgoing_port() -> Option<u16> {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
    let lowest: u16 = range.split_whitespace().next()?.parse().ok()?;
    (lowest > FIRST + 100).then_some(lowest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_leases_never_share_a_port() {
        let leases: Vec<Lease> = (0..50).map(|_| Lease::take().unwrap()).collect();
        let mut ports: Vec<u16> = leases.iter().map(Lease::port).collect();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 50);
    }

    #[test]
    fn a_port_in_use_is_not_leased() {
        let port = Lease::take().unwrap().port();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        assert!(Lease::try_port(port).unwrap().is_none());
        drop(listener);
        assert!(Lease::try_port(port).unwrap().is_some());
    }

    #[test]
    fn a_leased_port_is_not_leased_again_while_nobody_listens() {
        let lease = Lease::take().unwrap();
        assert!(Lease::try_port(lease.port()).unwrap().is_none());
    }
}
