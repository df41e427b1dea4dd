//! Where requests of a source may come from: single addresses and networks.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A source's `allow_from`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowFrom(Vec<IpNet>);

impl AllowFrom {
    /// Whether this address is in it. An IPv4 address is to come as one, also from a socket for IPv6.
    pub(crate) fn has(&self, address: IpAddr) -> bool {
        let Self(networks) = self;
        networks.iter().any(|network| network.contains(&address))
    }
}

/// One entry.
fn network(text: &str) -> Result<IpNet, String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(address.to_canonical().into());
    }
    let network: IpNet = text.parse().map_err(|_| {
        format!("{text:?} must be an address or a network, as in \"203.0.113.7\" or \"10.0.0.0/8\"")
    })?;
    if network != network.trunc() {
        let whole = network.trunc();
        return Err(format!(
            "{text:?} is an address within a network: write \"{whole}\" for the network, or the address alone"
        ));
    }
    match network.network() {
        // Clients of IPv4 are known by their IPv4 address.
        IpAddr::V6(address) if address.to_ipv4_mapped().is_some() => Err(format!(
            "{text:?} must be written as a network of IPv4, as in \"10.0.0.0/8\""
        )),
        _ => Ok(network),
    }
}

impl Serialize for AllowFrom {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(networks) = self;
        serializer.collect_seq(networks.iter().map(ToString::to_string))
    }
}

impl<'de> Deserialize<'de> for AllowFrom {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let entries = Vec::<String>::deserialize(deserializer)?;
        if entries.is_empty() {
            return Err(serde::de::Error::custom(
                "an empty list would keep out everybody: leave it out if anybody may come",
            ));
        }
        let networks: Result<_, _> = entries.iter().map(|text| network(text)).collect();
        networks.map(Self).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allow(list: &str) -> Result<AllowFrom, String> {
        serde_json::from_str(list).map_err(|error| error.to_string())
    }

    #[test]
    fn addresses_and_networks_of_both_kinds_let_in_what_is_in_them_and_nothing_else() {
        let list = r#"["203.0.113.7", "10.0.0.0/8", "2001:db8::/32", "::1", "::ffff:192.0.2.1"]"#;
        let allow = allow(list).unwrap();
        for (address, allowed) in [
            ("203.0.113.7", true),
            ("203.0.113.8", false),
            ("10.255.255.255", true),
            ("11.0.0.0", false),
            ("2001:db8:ffff::1", true),
            ("2001:db9::", false),
            ("::1", true),
            ("192.0.2.1", true),
            ("127.0.0.1", false),
        ] {
            assert_eq!(allow.has(address.parse().unwrap()), allowed, "{address}");
        }
    }

    #[test]
    fn what_is_no_address_or_network_is_refused_with_what_would_be_right() {
        for (list, words) in [
            ("[]", "leave it out"),
            (r#"["example.com"]"#, "must be an address or a network"),
            (r#"["10.0.0.0/33"]"#, "must be an address or a network"),
            (r#"["10.1.2.3/8"]"#, "write \"10.0.0.0/8\""),
            (r#"["::ffff:10.0.0.0/104"]"#, "network of IPv4"),
        ] {
            let error = allow(list).unwrap_err();
            assert!(error.contains(words), "{list}: {error}");
        }
    }
}
