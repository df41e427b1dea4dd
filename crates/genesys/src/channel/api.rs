//! The calls for notification channels, and what they answer.

use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::topics::Entry;
use crate::client::{Call, Client};
use crate::error::{Error, shown};

const CHANNELS: &str = "/api/v2/notifications/channels";

/// A channel that was made.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Channel {
    pub(crate) id: String,
    pub(crate) connect_uri: String,
}

/// A topic that is not given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rejected {
    pub(crate) topic: String,
    /// Why, and which permissions are missing, in words.
    pub(crate) why: String,
}

/// A topic that there is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AvailableTopic {
    /// The template: `v2.users.{id}.presence`.
    pub id: String,
    /// What it tells of.
    #[serde(default)]
    pub description: String,
    /// What the client's roles need for it.
    #[serde(default)]
    pub requires_permissions: Vec<String>,
    /// How it can be had: `All`, `Websocket`, `EventBridge`, ….
    #[serde(default)]
    pub transports: Vec<String>,
}

#[derive(Deserialize)]
struct Entities<T> {
    #[serde(default = "Vec::new")]
    entities: Vec<T>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Subscribed {
    id: String,
    state: Option<String>,
    rejection_reason: Option<String>,
    #[serde(default)]
    missing_permissions: Vec<String>,
}

/// Makes a channel. One more than the client may have takes the place of the one that was used the longest ago.
pub(crate) async fn make(client: &Client) -> Result<Channel, Error> {
    client.call(&Call::new(Method::POST, CHANNELS)).await
}

/// Subscribes a channel to these entries and to nothing else; it lives 24 h from then. Gives those that are rejected.
pub(crate) async fn subscribe(
    client: &Client,
    channel: &str,
    entries: &[Entry],
) -> Result<Vec<Rejected>, Error> {
    let path = format!("{CHANNELS}/{channel}/subscriptions");
    let body = entries.iter().map(|entry| json!({ "id": entry.id }));
    let body = body.collect::<serde_json::Value>();
    let call = Call::new(Method::PUT, path)
        .with("ignoreErrors", "true")
        .json(&body);
    let answer: Entities<Subscribed> = client.call(&call).await?;
    let rejected = answer.entities.into_iter();
    let rejected = rejected.filter(|one| one.state.as_deref() == Some("Rejected"));
    Ok(rejected.map(|one| Rejected::of(&one)).collect())
}

impl Rejected {
    fn of(one: &Subscribed) -> Self {
        let reason = shown(
            one.rejection_reason
                .as_deref()
                .unwrap_or("no reason was given"),
        );
        let missing: Vec<String> = one
            .missing_permissions
            .iter()
            .map(|name| shown(name))
            .collect();
        let why = match &*missing {
            [] => reason,
            [name] => format!("the permission {name} is missing"),
            names => format!("the permissions {} are missing", names.join(", ")),
        };
        Self {
            topic: shown(&one.id),
            why,
        }
    }
}

/// Takes all subscriptions off a channel that is done with, so that it counts for nothing.
pub(crate) async fn clear(client: &Client, channel: &str) -> Result<(), Error> {
    let path = format!("{CHANNELS}/{channel}/subscriptions");
    client.bytes(&Call::new(Method::DELETE, path)).await?;
    Ok(())
}

/// The topics that there are.
pub(crate) async fn available(client: &Client) -> Result<Vec<AvailableTopic>, Error> {
    let call = Call::new(Method::GET, "/api/v2/notifications/availabletopics")
        .with("expand", "description")
        .with("expand", "requiresPermissions")
        .with("expand", "transports");
    let answer: Entities<AvailableTopic> = client.call(&call).await?;
    Ok(answer.entities)
}
