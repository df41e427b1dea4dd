//! Where the server is that commands ask, as the configuration at the usual places says.
//!
//! Reads `server.admin` and its token and nothing else: whoever looks at a server need not have the variables
//! and files that it runs with, and a mistake elsewhere in the file is the server's business.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use domain::Secret;

use super::check::token_in;
use super::document::Document;
use super::error::ConfigError;
use super::variables;

/// Where the server listens unless it is told otherwise; a test holds it to that.
const DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8081);

/// What a command needs to ask.
#[derive(Debug)]
pub struct FoundAdmin {
    /// Where; a wildcard address has become loopback.
    pub address: SocketAddr,
    /// What says so; `None`: it is built in.
    pub origin: Option<String>,
    /// What to show there, if that is said as well.
    pub token: Option<Secret>,
    /// What could not be read, and what is done instead.
    pub note: Option<String>,
}

/// Looks at the usual places. Never fails: what cannot be read is a note, and the default is taken.
/// `wants_token`: whoever asks has none of their own.
pub fn find_admin(wants_token: bool) -> FoundAdmin {
    let environment = |name: &str| std::env::var(name).ok();
    let Some(path) = super::find() else {
        return in_text(None, "", wants_token, &environment);
    };
    match std::fs::read_to_string(&path) {
        Ok(text) => in_text(Some(&path), &text, wants_token, &environment),
        Err(error) => {
            // These commands read no other file, so that there is none to name.
            let unreadable = ConfigError {
                place: String::new(),
                key: path.display().to_string(),
                reason: format!("cannot read the configuration ({error})"),
            };
            without(&unreadable, wants_token, &environment)
        }
    }
}

fn in_text(
    file: Option<&Path>,
    text: &str,
    wants_token: bool,
    environment: &dyn Fn(&str) -> Option<String>,
) -> FoundAdmin {
    let mut document = match Document::parse(file, text) {
        Ok(document) => document,
        Err(error) => return without(&error, wants_token, environment),
    };
    variables::put(&mut document, environment);
    let (address, origin) = match address(&document, environment) {
        Ok(found) => found,
        // Without the address that it is for, the token would go to whoever listens at another.
        Err(error) => {
            return FoundAdmin {
                address: DEFAULT,
                origin: None,
                token: None,
                note: Some(format!("{error}; asking at {DEFAULT}")),
            };
        }
    };
    let token = match wants_token {
        true => token(&document, environment),
        false => Ok(None),
    };
    let (token, note) = match token {
        Ok(token) => (token, None),
        Err(error) => (None, Some(format!("{error}; asking without a token"))),
    };
    FoundAdmin {
        address: address.unwrap_or(DEFAULT),
        origin,
        token,
        note,
    }
}

/// What is there without the file, which has this mistake.
fn without(
    error: &ConfigError,
    wants_token: bool,
    environment: &dyn Fn(&str) -> Option<String>,
) -> FoundAdmin {
    let found = in_text(None, "", wants_token, environment);
    FoundAdmin {
        note: Some(format!("{error}; asking at {}", found.address)),
        ..found
    }
}

type Address = (Option<SocketAddr>, Option<String>);

fn address(
    document: &Document<'_>,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Address, ConfigError> {
    let Some(text) = document.text("server", "admin", environment)? else {
        return Ok((None, None));
    };
    let wrong = |reason: &str| document.error(&["server", "admin"], reason);
    let mut address: SocketAddr = text
        .parse()
        .map_err(|_| wrong("must be an address and a port, as in \"127.0.0.1:8081\""))?;
    if address.port() == 0 {
        return Err(wrong(
            "leaves the port to the system, so nobody can know it: name it with --admin-url",
        ));
    }
    // It is no address to connect to, and the server is on this machine if its configuration is.
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    let origin = format!("server.admin, {}", document.place(&["server", "admin"]));
    Ok((Some(address), Some(origin)))
}

fn token(
    document: &Document<'_>,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Option<Secret>, ConfigError> {
    // A variable that is not set here is no mistake. If the server wants a token, it says so.
    if let Ok(Some(token)) = document.text("server", "admin_token", environment) {
        return Ok(Some(Secret::new(token)).filter(|token| !token.is_empty()));
    }
    let Some(path) = document.text("server", "admin_token_file", environment)? else {
        return Ok(None);
    };
    let token = token_in(Path::new(&path));
    token
        .map(Some)
        .map_err(|reason| document.error(&["server", "admin_token_file"], reason))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::options::ServerOptions;

    fn found(text: &str, variables: &[(&str, &str)]) -> FoundAdmin {
        let environment = |name: &str| {
            let given = variables.iter().find(|(variable, _)| *variable == name);
            given.map(|(_, value)| (*value).to_owned())
        };
        in_text(Some(Path::new("f.toml")), text, true, &environment)
    }

    #[test]
    fn an_address_is_found_in_a_file_with_any_other_mistake() {
        for (text, variables, wanted) in [
            ("", &[][..], "127.0.0.1:8081"),
            ("[server]\nadmin = \"10.0.0.1:9\"\n", &[], "10.0.0.1:9"),
            ("[server]\nadmin = \"0.0.0.0:9\"\n", &[], "127.0.0.1:9"),
            ("[server]\nadmin = \"[::]:9\"\n", &[], "[::1]:9"),
            (
                "[server]\nadmin = \"10.0.0.1:9\"\nno = 1\n[x]\ny = \"${NOT_THERE}\"\n",
                &[],
                "10.0.0.1:9",
            ),
            (
                "[server]\nadmin = \"${A}:9\"\n",
                &[("A", "10.0.0.2")],
                "10.0.0.2:9",
            ),
            (
                "[server]\nadmin = \"10.0.0.1:9\"\n",
                &[("FOREBAY_SERVER_ADMIN", "10.0.0.3:9")],
                "10.0.0.3:9",
            ),
        ] {
            let found = found(text, variables);
            assert_eq!(found.address.to_string(), wanted, "{text}");
            assert_eq!(found.note, None, "{text}");
        }
        assert_eq!(DEFAULT.to_string(), ServerOptions::default().admin);
        let origin = found("[server]\n\nadmin = \"10.0.0.1:9\"\n", &[]).origin;
        assert_eq!(origin.as_deref(), Some("server.admin, f.toml:3"));
    }

    #[test]
    fn what_cannot_be_read_is_a_note_and_the_default_is_asked_without_the_files_token() {
        let token = "admin_token = \"hunter2\"\n";
        for (text, words) in [
            ("[server", "not TOML"),
            ("[server]\nadmin = 3\n", "must be text"),
            ("[server]\nadmin = \"here\"\n", "f.toml:2: server.admin: "),
            (
                "[server]\nadmin = \"${NOT_THERE}\"\n",
                "NOT_THERE is not set",
            ),
            ("[server]\nadmin = \"127.0.0.1:0\"\n", "--admin-url"),
        ] {
            let found = found(&format!("{text}{token}"), &[]);
            assert_eq!(found.address.to_string(), "127.0.0.1:8081", "{text}");
            let note = found.note.unwrap_or_default();
            assert!(note.contains(words), "{note}");
            assert!(note.ends_with("; asking at 127.0.0.1:8081"), "{note}");
            assert!(!note.contains("hunter2"), "{note}");
            assert!(found.token.is_none(), "{text}");
        }
    }

    #[test]
    fn a_token_is_taken_from_the_file_or_from_the_one_it_names() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        std::fs::write(&path, "from-a-file\n").unwrap();
        let exposed = |found: FoundAdmin| found.token.map(|token| token.expose().to_owned());
        let direct = found("[server]\nadmin_token = \"direct\"\n", &[]);
        assert_eq!(exposed(direct).as_deref(), Some("direct"));
        let named = format!("[server]\nadmin_token_file = \"{}\"\n", path.display());
        assert_eq!(exposed(found(&named, &[])).as_deref(), Some("from-a-file"));
        let unset = found("[server]\nadmin_token = \"${NOT_THERE}\"\n", &[]);
        assert!(unset.note.is_none() && unset.token.is_none(), "{unset:?}");
        let gone = found("[server]\nadmin_token_file = \"/nowhere/token\"\n", &[]);
        let note = gone.note.unwrap_or_default();
        assert!(note.contains("/nowhere/token"), "{note}");
    }
}
