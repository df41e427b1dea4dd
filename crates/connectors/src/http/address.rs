//! Where the endpoint is. Its URL may hold a secret anywhere, so that no error quotes it.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use reqwest::Url;

const FORM: &str = "is not a URL: write https://host/path, with special characters as %XX";

/// A password with `@` and `/` in it ends the host too early, and its rest would be told as the host.
const AT: &str = "has an @ behind the host: in the user, the password and the path write %40 for it, and in the user and the password %2F for /";

/// A checked URL.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Address {
    /// Without user, password and fragment.
    url: Url,
    /// User and password as an `authorization` header.
    credentials: Option<HeaderValue>,
    /// As a resolver takes it: an IPv6 address has no brackets.
    host: String,
    port: u16,
}

impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

impl Address {
    /// # Errors
    /// What is wrong, without quoting any of it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut url = Url::parse(text).map_err(|_| FORM)?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err("must start with https:// or http://".into());
        }
        let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
            return Err(FORM.into());
        };
        let host = host
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .unwrap_or(host)
            .to_owned();
        let credentials = credentials(&url)?;
        if credentials.is_some() && url.path().contains('@') {
            return Err(AT.into());
        }
        url.set_fragment(None);
        url.set_username("").map_err(|()| FORM)?;
        url.set_password(None).map_err(|()| FORM)?;
        Ok(Self {
            url,
            credentials,
            host,
            port,
        })
    }

    pub(crate) fn url(&self) -> Url {
        self.url.clone()
    }

    pub(crate) fn credentials(&self) -> Option<&HeaderValue> {
        self.credentials.as_ref()
    }

    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn is_https(&self) -> bool {
        self.url.scheme() == "https"
    }

    /// Whether the host is this machine by its name or number.
    pub(crate) fn is_loopback(&self) -> bool {
        match self.host.parse::<IpAddr>() {
            Ok(address) => address.to_canonical().is_loopback(),
            Err(_) => self.host == "localhost" || self.host.ends_with(".localhost"),
        }
    }

    /// Host and port, for errors. Never the path, the query, the user or the password.
    pub(crate) fn place(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

fn credentials(url: &Url) -> Result<Option<HeaderValue>, String> {
    let password = url.password();
    if url.username().is_empty() && password.is_none() {
        return Ok(None);
    }
    let mut pair = decoded(url.username()).ok_or(FORM)?;
    pair.push(b':');
    pair.extend(decoded(password.unwrap_or_default()).ok_or(FORM)?);
    let value = format!("Basic {}", STANDARD.encode(pair));
    let mut value = HeaderValue::try_from(value).map_err(|_| FORM)?;
    value.set_sensitive(true);
    Ok(Some(value))
}

/// Takes the `%XX` back. `None` where two digits are missing.
fn decoded(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        if *first == b'%' {
            let digits = std::str::from_utf8(after.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = after.get(2..)?;
        } else {
            bytes.push(*first);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_and_port_are_told_and_nothing_else() {
        let cases = [
            ("https://h/x?token=hunter2", "h:443"),
            ("http://app:hunter2@h:81/hunter2#hunter2", "h:81"),
            ("http://[::1]:8080/", "[::1]:8080"),
        ];
        for (text, place) in cases {
            let address = Address::parse(text).unwrap();
            assert_eq!(address.place(), place);
            assert_eq!(format!("{address:?}"), "***");
        }
    }

    #[test]
    fn user_and_password_become_a_header_and_leave_the_url() {
        let address = Address::parse("https://app:p%40ss@h/in?a=b#c").unwrap();
        let value = address.credentials().unwrap();
        assert_eq!(value.to_str().unwrap(), "Basic YXBwOnBAc3M=");
        assert!(!format!("{value:?}").contains("YXBw"));
        assert_eq!(address.url().as_str(), "https://h/in?a=b");
        assert_eq!(Address::parse("https://h/").unwrap().credentials(), None);
    }

    #[test]
    fn a_piece_of_a_password_is_never_taken_for_the_host() {
        let error = Address::parse("https://u:s3@cr3t/tail@host/").unwrap_err();
        assert!(error.contains("write %40"), "{error}");
        assert!(!error.contains("cr3t"), "{error}");
        // The last one before the path ends the password; without a password a path may have one.
        for (text, place) in [
            ("https://u:s3@cr3t-tail@host/", "host:443"),
            ("https://u:p@host/?to=a@b", "host:443"),
            ("https://host/@hook", "host:443"),
        ] {
            assert_eq!(Address::parse(text).unwrap().place(), place, "{text}");
        }
    }

    #[test]
    fn what_is_no_web_address_is_refused_unquoted() {
        for text in [
            "hunter2",
            "ftp://hunter2/",
            "http://",
            "http://h:hunter2/",
            "https://u:%zz@hunter2/",
        ] {
            let error = Address::parse(text).unwrap_err();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn loopback_is_known_by_name_and_number() {
        for (host, expected) in [
            ("localhost", true),
            ("a.localhost", true),
            ("127.1.2.3", true),
            ("[::1]", true),
            ("[::ffff:127.0.0.1]", true),
            ("localhost.example", false),
            ("10.0.0.1", false),
        ] {
            let address = Address::parse(&format!("http://{host}/")).unwrap();
            assert_eq!(address.is_loopback(), expected, "{host}");
        }
    }
}
