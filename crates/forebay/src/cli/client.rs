//! The admin API of a running server, as commands ask it.

use std::time::Duration;

use reqwest::{Method, StatusCode, Url};
use serde_json::Value;

use crate::config;
use crate::exit::{Exit, Failure, Outcome};

/// The longest a command waits for an answer.
const TIMEOUT: Duration = Duration::from_secs(30);

/// What every command takes that asks a running server.
#[derive(Debug, Clone, clap::Args)]
pub struct AdminArgs {
    /// The admin API [default: server.admin of ./forebay.toml, else of /etc/forebay/forebay.toml, else
    /// http://127.0.0.1:8081]. Its token is FOREBAY_ADMIN_TOKEN, else that file's
    #[arg(long, value_name = "URL", env = "FOREBAY_ADMIN_URL", value_parser = server_url)]
    admin_url: Option<Url>,
}

/// Where a server is, as `--admin-url` and `send --url` take it.
///
/// # Errors
/// What would be right.
pub fn server_url(text: &str) -> Result<Url, String> {
    let web = |url: &Url| matches!(url.scheme(), "http" | "https") && url.has_host();
    let url = Url::parse(text).ok().filter(web);
    url.ok_or_else(|| "it must be a scheme, a host and a port, as in http://127.0.0.1:8081".into())
}

/// A client of one server.
#[derive(Debug)]
pub struct Client {
    base: Url,
    /// The same for people, with where it was taken from.
    place: String,
    token: Option<String>,
    http: reqwest::Client,
}

impl AdminArgs {
    /// Makes a client; connects to nothing.
    ///
    /// # Errors
    /// When the client cannot be made.
    pub fn client(&self) -> Outcome<Client> {
        let token = std::env::var("FOREBAY_ADMIN_TOKEN")
            .ok()
            .filter(|token| !token.is_empty());
        let (base, place, token) = match &self.admin_url {
            // A token from a file is for the server of that file alone.
            Some(url) => (url.clone(), url.to_string(), token),
            None => {
                let found = config::find_admin(token.is_none());
                if let Some(note) = &found.note {
                    eprintln!("note: {note}");
                }
                let url = format!("http://{}", found.address);
                let base = server_url(&url).map_err(|error| Failure::say(Exit::Usage, error))?;
                let place = match &found.origin {
                    Some(origin) => format!("{base} ({origin})"),
                    None => base.to_string(),
                };
                let in_file = found.token.map(|token| token.expose().to_owned());
                (base, place, token.or(in_file))
            }
        };
        Ok(Client {
            base,
            place,
            token,
            http: reqwest::Client::builder()
                .timeout(TIMEOUT)
                .no_proxy()
                .build()?,
        })
    }
}

impl Client {
    /// GETs a path with a query.
    ///
    /// # Errors
    /// Exit code 3 if the server is not there or is another, 2 if it cannot make sense of what it was asked or
    /// does not know what was named, 1 if it refuses.
    pub async fn get(&self, path: &str, query: &[(&str, String)]) -> Outcome<Value> {
        let mut url = self.url(path)?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        self.ask(Method::GET, url, None).await
    }

    /// POSTs nothing to a path.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn post(&self, path: &str) -> Outcome<Value> {
        self.post_json(path, &serde_json::json!({})).await
    }

    /// POSTs a JSON value to a path.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn post_json(&self, path: &str, body: &Value) -> Outcome<Value> {
        let url = self.url(path)?;
        self.ask(Method::POST, url, Some(body)).await
    }

    /// DELETEs what is at a path.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn delete(&self, path: &str) -> Outcome<Value> {
        let url = self.url(path)?;
        self.ask(Method::DELETE, url, None).await
    }

    fn url(&self, path: &str) -> Outcome<Url> {
        self.base.join(path).map_err(|error| {
            Failure::say(
                Exit::Usage,
                format!("{} is no URL of an admin API: {error}", self.base),
            )
        })
    }

    async fn ask(&self, method: Method, url: Url, body: Option<&Value>) -> Outcome<Value> {
        let mut request = self.http.request(method, url);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request
            .send()
            .await
            .map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        let body = response
            .bytes()
            .await
            .map_err(|error| self.unreachable(&error))?;
        let value: Value = serde_json::from_slice(&body).map_err(|_| self.another(status))?;
        if status.is_success() {
            return Ok(value);
        }
        if value["code"] == "no-such-source" {
            return Err(self.ingest());
        }
        let detail = value["detail"].as_str().unwrap_or("no reason was given");
        let detail = in_commands(detail);
        let remedy = match (status, &self.token) {
            (StatusCode::UNAUTHORIZED, None) => "; set FOREBAY_ADMIN_TOKEN to server.admin_token",
            (StatusCode::UNAUTHORIZED, Some(_)) => {
                "; FOREBAY_ADMIN_TOKEN is not server.admin_token"
            }
            _ => "",
        };
        let exit = match status {
            // What was named is not there, or cannot be. Of a path it would be another version.
            StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND if value["code"] != "no-such-path" => {
                Exit::Usage
            }
            _ => Exit::Failed,
        };
        let error = match exit {
            // Another server may know what was named: which one was asked is half of the answer then.
            Exit::Usage if status == StatusCode::NOT_FOUND || detail.contains("there is ") => {
                format!("{detail} (said by the server at {})", self.place)
            }
            Exit::Usage => detail,
            _ => format!(
                "the server at {} answered {status}: {detail}{remedy}",
                self.place
            ),
        };
        Err(Failure::say(exit, error))
    }

    /// Forebay's other listener answered.
    fn ingest(&self) -> Failure {
        Failure::say(
            Exit::Unreachable,
            format!(
                "{} is where events are posted (server.listen), not the admin API: name server.admin with --admin-url or FOREBAY_ADMIN_URL",
                self.place
            ),
        )
    }

    /// Whoever answered does not speak as the admin API does, in JSON whatever it says.
    fn another(&self, status: StatusCode) -> Failure {
        Failure::say(
            Exit::Unreachable,
            format!(
                "what answers at {} is not Forebay's admin API: it said {status} and no JSON. Another address: --admin-url or FOREBAY_ADMIN_URL",
                self.place
            ),
        )
    }

    fn unreachable(&self, error: &reqwest::Error) -> Failure {
        let reason = cause(error);
        Failure::say(
            Exit::Unreachable,
            format!(
                "cannot reach Forebay's admin API at {}: {reason}; is `forebay serve` running? Another address: --admin-url or FOREBAY_ADMIN_URL",
                self.place
            ),
        )
    }
}

/// The server's words are for whoever asks its API; the same for whoever types commands.
fn in_commands(detail: &str) -> String {
    const COMMANDS: [(&str, &str); 4] = [
        (
            "GET /api/v1/redrives lists",
            "`forebay dlq redrive --status` lists",
        ),
        (
            "GET /api/v1/imports lists",
            "`forebay dlq import --status` lists",
        ),
        ("GET /api/v1/routes lists", "`forebay routes list` lists"),
        ("the query parameter `", "`--"),
    ];
    let mut detail = detail.to_owned();
    for (said, command) in COMMANDS {
        detail = detail.replace(said, command);
    }
    with_id(&detail).unwrap_or(detail)
}

/// `GET /api/v1/events/ID says` as the command that shows it.
fn with_id(detail: &str) -> Option<String> {
    let (before, rest) = detail.split_once("GET /api/v1/events/")?;
    let (id, after) = rest.split_once(' ')?;
    Some(format!("{before}`forebay events show {id}` {after}"))
}

/// Why a request has no answer. What the client says first ("error sending request") says nothing; the
/// system's own word is at the bottom.
pub fn cause(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "it does not answer".into();
    }
    let mut source: &dyn std::error::Error = error;
    while let Some(deeper) = source.source() {
        source = deeper;
    }
    source.to_string()
}

#[cfg(test)]
mod tests {
    use super::{in_commands, server_url};

    #[test]
    fn what_the_api_says_is_told_in_commands() {
        for (said, told) in [
            (
                "there is no redrive 9; GET /api/v1/redrives lists those there are",
                "there is no redrive 9; `forebay dlq redrive --status` lists those there are",
            ),
            (
                "the query parameter `state` must be one of pending",
                "`--state` must be one of pending",
            ),
            (
                "event 7 is not dead; GET /api/v1/events/7 says what became of it",
                "event 7 is not dead; `forebay events show 7` says what became of it",
            ),
            ("as it is", "as it is"),
        ] {
            assert_eq!(in_commands(said), told);
        }
    }

    #[test]
    fn a_server_is_named_by_scheme_and_host() {
        for good in ["http://127.0.0.1:8081", "https://ops.example.com/forebay"] {
            assert!(server_url(good).is_ok(), "{good}");
        }
        for bad in ["foo", "127.0.0.1:8081", "localhost:8081", "ftp://host/", ""] {
            assert!(server_url(bad).is_err(), "{bad}");
        }
    }
}
