//! Where a service is: its address, and the region that the address names.

use reqwest::Url;

use crate::http::address::Address;

/// A checked address.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    address: Address,
}

impl Endpoint {
    /// # Errors
    /// What is wrong, without quoting any of it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let address = Address::parse(text)?;
        if address.credentials().is_some() {
            return Err("takes no user and no password: keys go into `access_key_id` and `secret_access_key`, or come the AWS way".into());
        }
        if address.url().query().is_some() {
            return Err("takes nothing behind a `?`".into());
        }
        Ok(Self { address })
    }

    pub(crate) fn url(&self) -> Url {
        self.address.url()
    }

    /// Scheme, host and port alone.
    pub(crate) fn origin(&self) -> Self {
        let mut url = self.url();
        url.set_path("/");
        // What was an address is one without its path.
        Self {
            address: Address::parse(url.as_str()).unwrap_or_else(|_| self.address.clone()),
        }
    }

    /// As a text without a slash at its end.
    pub(crate) fn text(&self) -> String {
        self.url().as_str().trim_end_matches('/').to_owned()
    }

    /// Host and port, for errors.
    pub(crate) fn place(&self) -> String {
        self.address.place()
    }

    pub(crate) fn is_https(&self) -> bool {
        self.address.is_https()
    }

    /// What is weaker than promised about going there.
    pub(crate) fn finding(&self, key: &str) -> Option<String> {
        if self.is_https() || self.address.is_loopback() {
            return None;
        }
        Some(format!(
            "events go to {} unencrypted, and whoever answers there is believed: write https:// in `{key}`",
            self.place()
        ))
    }

    /// The region in the name of one of AWS's own hosts: `sqs.us-east-1.amazonaws.com`.
    pub(crate) fn region(&self) -> Option<&str> {
        let host = self.address.host();
        let ours = [".amazonaws.com", ".amazonaws.com.cn", ".api.aws"];
        ours.iter()
            .any(|end| host.ends_with(end))
            .then(|| host.split('.').find(|label| is_region(label)))?
    }
}

/// `us-east-1`, `us-gov-west-1`, `ap-southeast-2`.
fn is_region(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let [land, middle @ .., number] = parts.as_slice() else {
        return false;
    };
    let letters = |part: &str| part.bytes().all(|byte| byte.is_ascii_lowercase());
    land.len() == 2
        && letters(land)
        && !middle.is_empty()
        && middle.iter().all(|part| part.len() > 1 && letters(part))
        && (1..=2).contains(&number.len())
        && number.bytes().all(|byte| byte.is_ascii_digit())
}

/// What a region may be made of. Other servers have names of their own.
///
/// # Errors
/// What would be right.
pub(crate) fn check_region(text: &str) -> Result<(), String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    if (1..=64).contains(&text.len()) && text.bytes().all(fits) {
        Ok(())
    } else {
        Err("must be a region's name, as us-east-1".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_region_is_in_the_name_of_awss_own_hosts() {
        for (url, region) in [
            ("https://sqs.us-east-1.amazonaws.com/1/q", Some("us-east-1")),
            (
                "https://eu-west-3.queue.amazonaws.com/1/q",
                Some("eu-west-3"),
            ),
            (
                "https://sqs.cn-north-1.amazonaws.com.cn/1/q",
                Some("cn-north-1"),
            ),
            (
                "https://sqs-fips.us-gov-west-1.amazonaws.com/1/q",
                Some("us-gov-west-1"),
            ),
            (
                "https://vpce-0a1b.sqs.ap-southeast-2.vpce.amazonaws.com/1/q",
                Some("ap-southeast-2"),
            ),
            ("https://sqs.us-east-1.api.aws/1/q", Some("us-east-1")),
            ("https://queue.amazonaws.com/1/q", None),
            ("https://sqs.us-east-1.example.com/1/q", None),
            ("http://127.0.0.1:4566/1/q", None),
        ] {
            assert_eq!(Endpoint::parse(url).unwrap().region(), region, "{url}");
        }
    }

    #[test]
    fn plain_http_to_another_machine_is_named() {
        let finding = |url: &str| Endpoint::parse(url).unwrap().finding("queue_url");
        assert_eq!(finding("https://h/1/q"), None);
        assert_eq!(finding("http://localhost:4566/1/q"), None);
        let text = finding("http://h/1/hunter2").unwrap();
        assert!(text.contains("h:80 unencrypted") && !text.contains("hunter2"));
    }

    #[test]
    fn a_password_or_a_query_has_no_place_in_it() {
        for url in ["https://a:hunter2@h/", "https://h/?hunter2", "hunter2"] {
            let error = Endpoint::parse(url).unwrap_err();
            assert!(!error.contains("hunter2"), "{error}");
        }
        let endpoint = Endpoint::parse("http://h:1/a/b").unwrap();
        assert_eq!(endpoint.origin().text(), "http://h:1");
    }
}
