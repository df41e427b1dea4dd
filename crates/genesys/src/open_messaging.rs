//! Open Messaging integrations: the webhook that Genesys Cloud posts to, and its secret.

use domain::Secret;
use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::client::{Call, Client};
use crate::error::Error;

const INTEGRATIONS: &str = "/api/v2/conversations/messaging/integrations/open";

/// Integrations of a page, and the most pages that are looked at.
const PAGE: usize = 100;
const PAGES: usize = 100;

/// The shortest secret that Genesys Cloud takes: "> 15 chars".
pub const SHORTEST_SECRET: usize = 16;

/// An integration, as it is there. Its secret is never told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Integration {
    /// Its id.
    pub id: String,
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// Where its messages are posted.
    #[serde(default)]
    pub outbound_notification_webhook_url: String,
}

/// What an integration is to be; `None` stays as it is.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Its name.
    pub name: Option<String>,
    /// Where its messages are posted: https, on port 443.
    pub url: Option<String>,
    /// What they are signed with.
    pub secret: Option<Secret>,
}

impl Wanted {
    /// Checks it by the rules of Genesys Cloud, so that a mistake is told in words.
    ///
    /// # Errors
    /// What would be right; never the secret.
    pub fn check(&self) -> Result<(), String> {
        if let Some(secret) = &self.secret
            && secret.expose().chars().count() < SHORTEST_SECRET
        {
            return Err(format!(
                "the secret must have at least {SHORTEST_SECRET} characters; `openssl rand -hex 24` makes one"
            ));
        }
        if let Some(url) = &self.url {
            let parsed: Option<http::Uri> = url.parse().ok();
            let is_https = |uri: &http::Uri| {
                uri.scheme_str() == Some("https") && uri.host().is_some_and(|host| !host.is_empty())
            };
            let uri = parsed.filter(is_https).ok_or_else(|| {
                format!("{url} must be https:// and a host that Genesys Cloud can reach")
            })?;
            if uri.port_u16().is_some_and(|port| port != 443) {
                return Err(format!(
                    "{url} must be on port 443: Genesys Cloud posts to no other"
                ));
            }
        }
        Ok(())
    }

    fn body(&self) -> Value {
        let mut body = Map::new();
        let mut put = |name: &str, value: Option<&str>| {
            if let Some(value) = value {
                body.insert(name.to_owned(), json!(value));
            }
        };
        put("name", self.name.as_deref());
        put("outboundNotificationWebhookUrl", self.url.as_deref());
        let secret = self.secret.as_ref().map(Secret::expose);
        put("outboundNotificationWebhookSignatureSecretToken", secret);
        Value::Object(body)
    }
}

/// All integrations there are.
///
/// # Errors
/// [`Error`].
pub async fn list(client: &Client) -> Result<Vec<Integration>, Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Page {
        #[serde(default)]
        entities: Vec<Integration>,
        page_count: Option<usize>,
    }
    let mut all = Vec::new();
    for number in 1..=PAGES {
        let call = Call::new(Method::GET, INTEGRATIONS)
            .with("pageSize", &PAGE.to_string())
            .with("pageNumber", &number.to_string());
        let page: Page = client.call(&call).await?;
        let is_last =
            page.entities.len() < PAGE || page.page_count.is_some_and(|pages| number >= pages);
        all.extend(page.entities);
        if is_last {
            break;
        }
    }
    Ok(all)
}

/// Makes an integration. A call that got no answer may have made it: [`list`] tells.
///
/// # Errors
/// [`Error`].
pub async fn create(client: &Client, wanted: &Wanted) -> Result<Integration, Error> {
    let call = Call::new(Method::POST, INTEGRATIONS).json(&wanted.body());
    client.call(&call).await
}

/// Changes an integration. The old secret counts until the answer, and perhaps for messages on their way: whoever verifies
/// must take both meanwhile.
///
/// # Errors
/// [`Error`].
pub async fn update(client: &Client, id: &str, wanted: &Wanted) -> Result<Integration, Error> {
    let call = Call::new(Method::PATCH, format!("{INTEGRATIONS}/{id}")).json(&wanted.body());
    client.call(&call).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_genesys_cloud_would_refuse_is_told_before_and_no_secret_is_shown() {
        let check = |url: Option<&str>, secret: Option<&str>| {
            let wanted = Wanted {
                name: None,
                url: url.map(Into::into),
                secret: secret.map(|secret| Secret::new(secret.into())),
            };
            wanted.check()
        };
        check(
            Some("https://hooks.example.com/webhook/gc"),
            Some("0123456789abcdef"),
        )
        .unwrap();
        check(Some("https://hooks.example.com:443/x"), None).unwrap();
        for wrong in [
            "http://h.example/x",
            "https://h.example:8443/x",
            "h.example",
            "https:///x",
        ] {
            assert!(
                check(Some(wrong), None).unwrap_err().contains("must be"),
                "{wrong}"
            );
        }
        let error = check(None, Some("hunter2")).unwrap_err();
        assert!(error.contains("at least 16") && !error.contains("hunter2"));
    }
}
