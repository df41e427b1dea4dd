//! Topics: the templates that exist, what a subscription's id comes to, and the frame of an event.

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Utf8Bytes;
use uuid::Uuid;

/// The longest id of a combined subscription, in bytes.
const COMBINED: usize = 200;

/// What stands in `availabletopics`: a topic with `{id}` where a subscription has an id.
#[derive(Debug, Clone)]
pub(super) struct Template {
    id: String,
    transports: Vec<String>,
    permissions: Vec<String>,
}

/// Templates that Genesys has. What each of them needs of permissions is not in a primary source: those named here are
/// so that a test has some.
pub(super) fn templates() -> Vec<Template> {
    const ALL: &[&str] = &["All", "Websocket", "EventBridge", "ProcessAutomation"];
    const VIEW: &[&str] = &["analytics:conversationDetail:view"];
    let mut templates = Vec::new();
    let mut add = |id: &str, transports: &[&str], permissions: &[&str]| {
        templates.push(Template::new(id, transports, permissions));
    };
    add("v2.users.{id}.presence", ALL, &[]);
    add("v2.users.{id}.routingStatus", ALL, &[]);
    add("v2.users.{id}.conversations", ALL, &[]);
    add("v2.users.{id}.conversations.messages", ALL, &[]);
    add("v2.users.{id}.activity", ALL, &[]);
    add("v2.users.{id}.station", ALL, &[]);
    add("v2.users.{id}.outofoffice", ALL, &[]);
    add("v2.conversations.{id}.transcription", ALL, &[]);
    let queue: &[&str] = &["routing:queue:view"];
    add("v2.routing.queues.{id}.conversations", ALL, queue);
    add("v2.routing.queues.{id}.users", ALL, queue);
    let observations: &[&str] = &["analytics:queueObservation:view"];
    add("v2.analytics.queues.{id}.observations", ALL, observations);
    for event in [
        "acw",
        "attributes",
        "customer.end",
        "customer.start",
        "flow.end",
        "flow.start",
        "user.end",
        "user.start",
        "wrapup",
    ] {
        add(
            &format!("v2.detail.events.conversation.{{id}}.{event}"),
            ALL,
            VIEW,
        );
    }
    add(
        "v2.audits.entitytype.{id}.entityid.{id}",
        &["EventBridge"],
        &[],
    );
    templates
}

impl Template {
    pub(super) fn new(id: &str, transports: &[&str], permissions: &[&str]) -> Self {
        let owned = |texts: &[&str]| texts.iter().map(|&it| it.to_owned()).collect();
        Self {
            id: id.to_owned(),
            transports: owned(transports),
            permissions: owned(permissions),
        }
    }

    fn fits(&self, topic: &str) -> bool {
        let mut parts = topic.split('.');
        self.id.split('.').all(|wanted| {
            parts.next().is_some_and(|part| {
                if is_variable(wanted) {
                    is_id(part)
                } else {
                    part == wanted
                }
            })
        }) && parts.next().is_none()
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "id": self.id,
            "description": format!("Events of {}", self.id),
            "transports": self.transports,
            "requiresPermissions": self.permissions,
            "enforced": !self.permissions.is_empty(),
            "visibility": "Public",
        })
    }
}

fn is_variable(part: &str) -> bool {
    part.starts_with('{')
}

fn is_id(part: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_*@".contains(&byte);
    !part.is_empty() && part.bytes().all(allowed)
}

/// What becomes of a subscription.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is for these topics.
    Permitted(Vec<String>),
    /// There is no such topic, or none for sockets: an error of the whole request, unless it ignores errors.
    Unknown(String),
    /// The client lacks these permissions.
    Missing(Vec<String>),
}

/// Judges a subscription's id, combined or not, for a client with permissions.
pub(super) fn judge(id: &str, templates: &[Template], may: impl Fn(&str) -> bool) -> Verdict {
    if id.starts_with("v2.system.") || id.starts_with("channel.") {
        return Verdict::Unknown(format!("{id}: system topics cannot be subscribed to"));
    }
    let topics = match expand(id) {
        Ok(topics) => topics,
        Err(reason) => return Verdict::Unknown(reason),
    };
    let mut missing = Vec::new();
    for topic in &topics {
        let Some(template) = templates.iter().find(|it| it.fits(topic)) else {
            return Verdict::Unknown(format!("{topic} is not a valid topic"));
        };
        if !template
            .transports
            .iter()
            .any(|it| it == "Websocket" || it == "All")
        {
            return Verdict::Unknown(format!(
                "{topic} is not available to the Websocket transport"
            ));
        }
        for permission in &template.permissions {
            if !may(permission) && !missing.contains(permission) {
                missing.push(permission.clone());
            }
        }
    }
    if missing.is_empty() {
        Verdict::Permitted(topics)
    } else {
        Verdict::Missing(missing)
    }
}

/// `v2.users.ID?presence&station` is `v2.users.ID.presence` and `v2.users.ID.station`.
fn expand(id: &str) -> Result<Vec<String>, String> {
    let Some((prefix, suffixes)) = id.split_once('?') else {
        return Ok(vec![id.to_owned()]);
    };
    if id.len() > COMBINED {
        let length = id.len();
        return Err(format!(
            "{id}: a combined topic has at most {COMBINED} characters, and this one has {length}"
        ));
    }
    if suffixes.split('&').any(str::is_empty) {
        return Err(format!("{id}: a combined topic has an empty part"));
    }
    let topics = suffixes.split('&');
    Ok(topics.map(|suffix| format!("{prefix}.{suffix}")).collect())
}

/// The frame of an event. `body` is put in as it is.
pub(super) fn frame(topic: &str, body: &str, correlation: Uuid) -> Utf8Bytes {
    let topic = Value::from(topic);
    Utf8Bytes::from(format!(
        r#"{{"topicName":{topic},"version":"2","eventBody":{body},"metadata":{{"CorrelationId":"{correlation}"}}}}"#
    ))
}

/// A frame of the channel or the system itself, which has no metadata.
pub(super) fn system_frame(topic: &str, body: &Value) -> Utf8Bytes {
    Utf8Bytes::from(json!({ "topicName": topic, "eventBody": body }).to_string())
}
