//! How many connections each address has, and what they hold of the memory together.
//!
//! An address is one of IPv4, or a /64 of IPv6: whoever has one of those has the others of it as well. Known only
//! while it has a connection, so there are never more of them than connections.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::budget::Holder;

#[derive(Debug)]
struct Address {
    connections: usize,
    holder: Arc<Holder>,
}

/// All addresses that have a connection.
#[derive(Debug)]
pub(super) struct Addresses {
    most: usize,
    present: Mutex<HashMap<IpAddr, Address>>,
}

impl Addresses {
    /// Of each so many connections at most.
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            present: Mutex::default(),
        }
    }

    /// One more connection of it, which lasts as long as what is returned; `None`: it has all it may have.
    pub(super) fn enter(self: &Arc<Self>, ip: IpAddr) -> Option<Entered> {
        self.enter_below(ip, self.most)
    }

    /// The same however many there are: of a proxy that has the connections of its clients.
    pub(super) fn enter_uncounted(self: &Arc<Self>, ip: IpAddr) -> Option<Entered> {
        self.enter_below(ip, usize::MAX)
    }

    fn enter_below(self: &Arc<Self>, ip: IpAddr, most: usize) -> Option<Entered> {
        let address = counted_as(ip);
        let mut present = self.present();
        let entry = present.entry(address).or_insert_with(|| Address {
            connections: 0,
            holder: Arc::default(),
        });
        if entry.connections >= most {
            return None;
        }
        entry.connections += 1;
        Some(Entered {
            address,
            holder: Arc::clone(&entry.holder),
            addresses: Arc::clone(self),
        })
    }

    fn present(&self) -> MutexGuard<'_, HashMap<IpAddr, Address>> {
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection of an address.
#[derive(Debug)]
pub(super) struct Entered {
    address: IpAddr,
    holder: Arc<Holder>,
    addresses: Arc<Addresses>,
}

impl Entered {
    /// What the connections of the address hold together.
    pub(super) fn holder(&self) -> Arc<Holder> {
        Arc::clone(&self.holder)
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let mut present = self.addresses.present();
        if let Some(entry) = present.get_mut(&self.address) {
            entry.connections -= 1;
            if entry.connections == 0 {
                present.remove(&self.address);
            }
        }
    }
}

fn counted_as(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_so_many_and_takes_nothing_from_another() {
        let addresses = Arc::new(Addresses::new(2));
        let enter = |ip: &str| addresses.enter(ip.parse().unwrap());
        let (first, second) = (enter("192.0.2.1").unwrap(), enter("192.0.2.1"));
        assert!(second.is_some());
        assert!(enter("192.0.2.1").is_none());
        // The same client, seen by a socket for IPv6.
        assert!(enter("::ffff:192.0.2.1").is_none());
        assert!(enter("192.0.2.2").is_some());
        drop(first);
        assert!(enter("192.0.2.1").is_some());
    }

    #[test]
    fn a_network_of_ipv6_is_one_address() {
        let addresses = Arc::new(Addresses::new(1));
        let enter = |ip: &str| addresses.enter(ip.parse().unwrap());
        let _first = enter("2001:db8:0:1::1").unwrap();
        assert!(enter("2001:db8:0:1:ffff::2").is_none());
        assert!(enter("2001:db8:0:2::1").is_some());
    }

    #[test]
    fn who_has_gone_is_forgotten() {
        let addresses = Arc::new(Addresses::new(1));
        let enter = |ip: &str| addresses.enter(ip.parse().unwrap());
        drop((enter("192.0.2.1"), enter("::1")));
        assert!(addresses.present().is_empty());
    }
}
