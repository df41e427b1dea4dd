//! The admin API of a running server, as commands ask it.

use std::time::Duration;

use reqwest::{Method, StatusCode, Url};
use serde_json::Value;

use crate::exit::{Exit, Failure, Outcome};

/// The longest a command waits for an answer.
const TIMEOUT: Duration = Duration::from_secs(30);

/// What every command takes that asks a running server.
#[derive(Debug, Clone, clap::Args)]
pub struct AdminArgs {
    /// The admin API. Its token, if it has one, is taken from FOREBAY_ADMIN_TOKEN
    #[arg(
        long,
        value_name = "URL",
        env = "FOREBAY_ADMIN_URL",
        default_value = "http://127.0.0.1:8081",
        value_parser = server_url
    )]
    admin_url: Url,
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
    token: Option<String>,
    http: reqwest::Client,
}

impl AdminArgs {
    /// Makes a client; connects to nothing.
    ///
    /// # Errors
    /// When the client cannot be made.
    pub fn client(&self) -> Outcome<Client> {
        Ok(Client {
            base: self.admin_url.clone(),
            token: std::env::var("FOREBAY_ADMIN_TOKEN")
                .ok()
                .filter(|token| !token.is_empty()),
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
    /// Exit code 3 if the server is not there or is another, 2 if it cannot make sense of what it was asked,
    /// 1 if it refuses.
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
        let detail = value["detail"].as_str().unwrap_or("no reason was given");
        let remedy = match (status, &self.token) {
            (StatusCode::UNAUTHORIZED, None) => "; set FOREBAY_ADMIN_TOKEN to server.admin_token",
            (StatusCode::UNAUTHORIZED, Some(_)) => {
                "; FOREBAY_ADMIN_TOKEN is not server.admin_token"
            }
            _ => "",
        };
        let exit = match status {
            StatusCode::BAD_REQUEST => Exit::Usage,
            _ => Exit::Failed,
        };
        Err(Failure::say(
            exit,
            format!("the server answered {status}: {detail}{remedy}"),
        ))
    }

    /// Whoever answered does not speak as the admin API does, in JSON whatever it says.
    fn another(&self, status: StatusCode) -> Failure {
        Failure::say(
            Exit::Unreachable,
            format!(
                "what answers at {} is not Forebay's admin API: it said {status} and no JSON. Another address: --admin-url or FOREBAY_ADMIN_URL",
                self.base
            ),
        )
    }

    fn unreachable(&self, error: &reqwest::Error) -> Failure {
        let reason = if error.is_timeout() {
            "it does not answer".to_owned()
        } else {
            let mut source: &dyn std::error::Error = error;
            while let Some(deeper) = source.source() {
                source = deeper;
            }
            source.to_string()
        };
        Failure::say(
            Exit::Unreachable,
            format!(
                "cannot reach Forebay's admin API at {}: {reason}; is `forebay serve` running? Another address: --admin-url or FOREBAY_ADMIN_URL",
                self.base
            ),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::server_url;

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
