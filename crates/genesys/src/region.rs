//! Where a region of Genesys Cloud is, and which hosts are its own.

use http::Uri;

use crate::dial::Place;

/// Every region: its domain and the name that Amazon gives it, which the platform's SDKs use as well.
pub const REGIONS: &[(&str, &str)] = &[
    ("mypurecloud.com", "us-east-1"),
    ("mypurecloud.ie", "eu-west-1"),
    ("mypurecloud.com.au", "ap-southeast-2"),
    ("mypurecloud.jp", "ap-northeast-1"),
    ("mypurecloud.de", "eu-central-1"),
    ("usw2.pure.cloud", "us-west-2"),
    ("cac1.pure.cloud", "ca-central-1"),
    ("apne2.pure.cloud", "ap-northeast-2"),
    ("euw2.pure.cloud", "eu-west-2"),
    ("aps1.pure.cloud", "ap-south-1"),
    ("sae1.pure.cloud", "sa-east-1"),
    ("mec1.pure.cloud", "me-central-1"),
    ("apne3.pure.cloud", "ap-northeast-3"),
    ("euc2.pure.cloud", "eu-central-2"),
    ("mxc1.pure.cloud", "mx-central-1"),
    ("apse1.pure.cloud", "ap-southeast-1"),
    ("use2.us-gov-pure.cloud", "us-east-2"),
    ("edee1.eusc-pure.cloud", "eusc-de-east-1"),
];

/// A region, or a stand-in for one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Region {
    hosts: Hosts,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Hosts {
    /// `api.`, `login.` and `streaming.` of it, over TLS.
    Domain(&'static str),
    /// All three are one.
    One(Place),
}

impl Region {
    /// A region by its domain (`mypurecloud.de`) or by Amazon's name for it (`eu-central-1`).
    ///
    /// # Errors
    /// What would be right, the nearest first.
    pub fn named(name: &str) -> Result<Self, String> {
        let is_it = |(domain, aws): &&(&'static str, &str)| *domain == name || *aws == name;
        match REGIONS.iter().find(is_it) {
            Some((domain, _)) => Ok(Self {
                hosts: Hosts::Domain(domain),
            }),
            None => Err(match nearest(name) {
                Some(domain) => {
                    format!("{name:?} is no region of Genesys Cloud; did you mean {domain:?}?")
                }
                None => format!(
                    "{name:?} is no region of Genesys Cloud; it is the domain that you log in at: one of {}",
                    all().join(", ")
                ),
            }),
        }
    }

    /// One address that stands for all hosts of a region: `http://127.0.0.1:9000`, a gateway of one's own.
    ///
    /// # Errors
    /// What would be right.
    pub fn at(endpoint: &str) -> Result<Self, String> {
        let wrong = "must be http:// or https:// with a host, and nothing behind it";
        let uri: Uri = endpoint.parse().map_err(|_| wrong.to_owned())?;
        let is_bare = matches!(uri.path(), "" | "/") && uri.query().is_none();
        let place = Place::of(&uri).filter(|_| is_bare && !endpoint.contains('@'));
        let place = place.ok_or_else(|| wrong.to_owned())?;
        if !place.tls && !is_loopback(&place.host) {
            return Err(
                "must be https:// unless it is this machine: a secret is sent there".into(),
            );
        }
        Ok(Self {
            hosts: Hosts::One(place),
        })
    }

    /// The domain, or host and port of what stands for it.
    #[must_use]
    pub fn name(&self) -> String {
        match &self.hosts {
            Hosts::Domain(domain) => (*domain).to_owned(),
            Hosts::One(place) => place.authority(),
        }
    }

    /// Where the API is.
    #[must_use]
    pub fn api(&self) -> Place {
        self.host("api")
    }

    /// Where tokens are given.
    #[must_use]
    pub fn login(&self) -> Place {
        self.host("login")
    }

    fn host(&self, prefix: &str) -> Place {
        match &self.hosts {
            Hosts::Domain(domain) => Place {
                host: format!("{prefix}.{domain}"),
                port: 443,
                tls: true,
            },
            Hosts::One(place) => place.clone(),
        }
    }

    /// Where a channel's `connectUri` leads, if that is a host of the region's: a token goes along, so that nothing else
    /// may be connected to whatever the answer said.
    ///
    /// # Errors
    /// Why not, naming the host.
    pub fn streaming(&self, connect_uri: &str) -> Result<(Place, String), String> {
        let uri: Uri = connect_uri
            .parse()
            .map_err(|_| "the channel's connectUri is no URI".to_owned())?;
        let place = Place::of(&uri).ok_or("the channel's connectUri names no host".to_owned())?;
        let is_ours = match &self.hosts {
            Hosts::Domain(domain) => {
                let of_it = place.host.strip_suffix(domain);
                let of_it = of_it.and_then(|front| front.strip_suffix('.'));
                place.tls && place.port == 443 && of_it.is_some_and(|front| !front.is_empty())
            }
            Hosts::One(own) => *own == place,
        };
        if !is_ours {
            return Err(format!(
                "the channel's connectUri leads to {}, which is no host of {}; it is not connected to",
                place.authority(),
                self.name()
            ));
        }
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        Ok((place, path.to_owned()))
    }
}

/// The domains of all.
fn all() -> Vec<&'static str> {
    REGIONS.iter().map(|(domain, _)| *domain).collect()
}

/// The domain that was most likely meant.
fn nearest(name: &str) -> Option<&'static str> {
    let name = name.trim_start_matches("https://");
    let name = name
        .trim_start_matches("api.")
        .trim_start_matches("login.")
        .trim_start_matches("apps.")
        .trim_end_matches('/');
    let distance = |domain: &str| strsim::damerau_levenshtein(domain, name);
    let found = all().into_iter().min_by_key(|domain| distance(domain))?;
    (distance(found) <= 3).then_some(found)
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || bare
            .parse()
            .is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_is_found_by_its_domain_and_by_amazon_s_name() {
        for name in ["mypurecloud.de", "eu-central-1"] {
            let region = Region::named(name).unwrap();
            assert_eq!(region.api().authority(), "api.mypurecloud.de");
            assert_eq!(region.login().authority(), "login.mypurecloud.de");
        }
        let error = Region::named("api.mypurecloud.di").unwrap_err();
        assert!(
            error.contains("did you mean \"mypurecloud.de\"?"),
            "{error}"
        );
        assert!(!Region::named("x").unwrap_err().contains("did you mean"));
    }

    #[test]
    fn a_channel_is_connected_to_on_a_host_of_the_region_only() {
        let region = Region::named("mypurecloud.de").unwrap();
        let (place, path) = region
            .streaming("wss://streaming.mypurecloud.de/channels/streaming-3-ab")
            .unwrap();
        assert_eq!(
            (place.authority().as_str(), path.as_str()),
            ("streaming.mypurecloud.de", "/channels/streaming-3-ab")
        );
        for hostile in [
            "wss://streaming.mypurecloud.de.evil.example/channels/1",
            "wss://streaming.mypurecloud.de@evil.example/channels/1",
            "wss://evilmypurecloud.de/channels/1",
            "wss://mypurecloud.de/channels/1",
            "wss://streaming.mypurecloud.de:8443/channels/1",
            "ws://streaming.mypurecloud.de/channels/1",
            "wss://streaming.mypurecloud.com/channels/1",
            "wss://127.0.0.1/channels/1",
            "/channels/1",
            "not a uri",
            "",
        ] {
            let refused = region.streaming(hostile).unwrap_err();
            assert!(refused.contains("connectUri"), "{hostile}: {refused}");
        }
        let own = Region::at("http://127.0.0.1:9000").unwrap();
        own.streaming("ws://127.0.0.1:9000/channels/1").unwrap();
        own.streaming("ws://127.0.0.1:9001/channels/1").unwrap_err();
        own.streaming("wss://127.0.0.1:9000/channels/1")
            .unwrap_err();
    }

    #[test]
    fn a_stand_in_takes_secrets_over_tls_or_on_this_machine_only() {
        for right in [
            "http://127.0.0.1:1",
            "http://localhost:1",
            "http://[::1]:1",
            "https://gw.example",
        ] {
            Region::at(right).unwrap();
        }
        for wrong in [
            "http://gw.example",
            "gw.example",
            "https://gw.example/x",
            "ftp://x",
            "https://a@b",
        ] {
            Region::at(wrong).unwrap_err();
        }
    }
}
