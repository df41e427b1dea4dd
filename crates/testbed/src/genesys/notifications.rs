//! The API of notification channels: `/api/v2/notifications/…`, and subscriptions in band.

use serde_json::{Value, json};

use super::answer::{Answer, Refusal, Said};
use super::channel::{Channel, Subscription, TOPICS};
use super::clock;
use super::query::{Call, Caller};
use super::state::{Cloud, State};
use super::topic::{self, Verdict};

/// Genesys documents no permission for channels. A test can still take this one away, and have 403.
const ADD: &str = "notifications:channel:add";

/// `parts` are those of the path behind `notifications`.
pub(super) fn handle(cloud: &Cloud, call: &Call, caller: &Caller, parts: &[&str]) -> Said {
    let mut state = cloud.state();
    let state = &mut *state;
    state.channels.purge(call.now);
    match (call.method.as_str(), parts) {
        ("GET", ["availabletopics"]) => {
            let topics: Vec<Value> = state.templates.iter().map(topic::Template::json).collect();
            Ok(Answer::json(json!({ "entities": topics })))
        }
        ("POST", ["channels"]) => {
            state.clients.demand(caller, ADD)?;
            let id = state.ids.channel();
            state
                .channels
                .create(&caller.client, &caller.token, id.clone(), call.now);
            let channel = own(state, caller, &id)?;
            Ok(Answer::json(entity(
                cloud,
                channel,
                state.connect_uri.as_deref(),
            )))
        }
        ("GET", ["channels"]) => {
            let channels = state.channels.of(&caller.client);
            let entities: Vec<Value> = channels
                .map(|it| entity(cloud, it, state.connect_uri.as_deref()))
                .collect();
            Ok(Answer::json(json!({ "entities": entities })))
        }
        ("HEAD", ["channels", id]) => {
            own(state, caller, id)?;
            Ok(Answer::empty(200))
        }
        (method, ["channels", id, "subscriptions"]) => {
            own(state, caller, id)?;
            match method {
                "GET" => {
                    let given = own(state, caller, id)?.subscriptions.iter();
                    let entities: Vec<Value> = given.map(|it| permitted(it)).collect();
                    Ok(Answer::json(json!({ "entities": entities })))
                }
                "POST" => subscribe(state, call, caller, id, false),
                "PUT" => subscribe(state, call, caller, id, true),
                "DELETE" => {
                    state.channels.unsubscribe_all(id);
                    Ok(Answer::empty(204))
                }
                _ => Err(Refusal::not_found()),
            }
        }
        _ => Err(Refusal::not_found()),
    }
}

/// A channel of the caller's own: those of others are not found.
fn own<'a>(state: &'a State, caller: &Caller, id: &str) -> Result<&'a Channel, Refusal> {
    let channel = state.channels.find(id);
    let channel = channel.filter(|it| it.client == caller.client);
    channel.ok_or_else(Refusal::not_found)
}

fn entity(cloud: &Cloud, channel: &Channel, uri: Option<&str>) -> Value {
    let uri = uri.map_or_else(
        || format!("ws://{}/channels/{}", cloud.authority, channel.id),
        |template| template.replace("{id}", &channel.id),
    );
    json!({
        "id": channel.id,
        "connectUri": uri,
        "expires": clock::text(cloud.clock.at(channel.expires)),
    })
}

fn permitted(id: &str) -> Value {
    let at = format!("/api/v2/notifications/availabletopics/{id}");
    json!({ "id": id, "state": "Permitted", "selfUri": at })
}

fn subscribe(state: &mut State, call: &Call, caller: &Caller, id: &str, replace: bool) -> Said {
    let lenient = match call.parameter("ignoreErrors") {
        None | Some("false") => false,
        Some("true") => true,
        Some(other) => {
            return Err(Refusal::bad_request(format!(
                "ignoreErrors: [{other}] is neither true nor false"
            )));
        }
    };
    let topics = ids(&call.json()?)?;
    let (subscriptions, entities) = judged(state, &caller.client, &topics, lenient)?;
    let fits = state
        .channels
        .subscribe(id, subscriptions, replace, call.now);
    if !fits {
        return Err(Refusal::bad_request(format!(
            "The channel would have more than {TOPICS} topics."
        )));
    }
    state.channels.with_token(id, &caller.token);
    Ok(Answer::json(json!({ "entities": entities })))
}

/// The subscriptions that a body asks for: `[{"id": …}]`.
fn ids(body: &Value) -> Result<Vec<String>, Refusal> {
    let entries = body.as_array();
    let entries =
        entries.ok_or_else(|| Refusal::bad_request("Expected a list of topics as the body."))?;
    let id = |entry: &Value| {
        let id = entry.get("id").and_then(Value::as_str);
        let id = id.ok_or_else(|| Refusal::bad_request("A topic has no id."))?;
        Ok(id.to_owned())
    };
    entries.iter().map(id).collect()
}

/// Which of the topics are permitted, and what is said of each. An unknown one is an error of the whole, unless errors
/// are to be ignored; one that needs a permission which the client lacks is rejected by itself.
fn judged(
    state: &State,
    client: &str,
    topics: &[String],
    lenient: bool,
) -> Result<(Vec<Subscription>, Vec<Value>), Refusal> {
    let mut subscriptions = Vec::new();
    let mut entities = Vec::new();
    for id in topics {
        let may = |permission: &str| state.clients.may(client, permission);
        match topic::judge(id, &state.templates, may) {
            Verdict::Permitted(topics) => {
                entities.push(permitted(id));
                subscriptions.push((id.clone(), topics));
            }
            Verdict::Unknown(reason) if !lenient => return Err(Refusal::bad_request(reason)),
            Verdict::Unknown(reason) => entities.push(json!({
                "id": id, "state": "Rejected", "rejectionReason": reason,
            })),
            Verdict::Missing(missing) => entities.push(json!({
                "id": id,
                "state": "Rejected",
                "rejectionReason": "missing permissions",
                "missingPermissions": missing,
            })),
        }
    }
    Ok((subscriptions, entities))
}

impl Cloud {
    /// A `subscribe` over the socket, which adds to what there is. Errors are not ignored, and a topic for which a
    /// permission is missing is one.
    pub(super) fn subscribe_in_band(&self, channel: &str, topics: &[String]) -> Value {
        let now = self.clock.instant();
        let mut state = self.state();
        let state = &mut *state;
        state.channels.purge(now);
        let caller = state
            .channels
            .find(channel)
            .and_then(|it| state.clients.caller(&it.token, now).ok());
        let Some(caller) = caller else {
            return json!({ "result": "404" });
        };
        let refused = |why: &str| json!({ "result": "400", "status": why });
        let Ok((subscriptions, _)) = judged(state, &caller.client, topics, false) else {
            return refused("invalid topics");
        };
        if subscriptions.len() < topics.len() {
            return refused("missing permissions");
        }
        if state.channels.subscribe(channel, subscriptions, false, now) {
            json!({ "result": "200", "status": "subscribed" })
        } else {
            refused("too many topics")
        }
    }
}
