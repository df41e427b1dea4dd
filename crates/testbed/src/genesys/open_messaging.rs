//! Open Messaging integrations: `/api/v2/conversations/messaging/integrations/open`. The secret is never told again.

use std::collections::BTreeMap;

use hyper::Uri;
use serde_json::{Map, Value, json};

use super::answer::{Answer, Refusal, Said};
use super::query::{Call, Caller};
use super::state::{Cloud, Ids};

const NAME: &str = "name";
const URL: &str = "outboundNotificationWebhookUrl";
const SECRET: &str = "outboundNotificationWebhookSignatureSecretToken";
const HEADERS: &str = "webhookHeaders";
/// A secret has more characters than this.
const SHORT: usize = 15;

/// All integrations.
#[derive(Debug, Default)]
pub(super) struct Integrations {
    all: Vec<Integration>,
    /// Whether a URL may be plain HTTP to this machine, which the real one refuses.
    pub(super) loopback: bool,
}

/// An integration.
#[derive(Debug, Clone)]
pub(super) struct Integration {
    pub(super) id: String,
    name: String,
    pub(super) url: String,
    pub(super) secret: String,
    pub(super) headers: BTreeMap<String, String>,
}

impl Integration {
    fn json(&self, status: &str) -> Value {
        json!({
            "id": self.id,
            NAME: self.name,
            URL: self.url,
            HEADERS: self.headers,
            "createStatus": status,
            "selfUri": format!("/api/v2/conversations/messaging/integrations/open/{}", self.id),
        })
    }

    /// Takes over what a body has of fields.
    fn change(&mut self, body: &Map<String, Value>, loopback: bool) -> Result<(), Refusal> {
        let known = [
            NAME,
            URL,
            SECRET,
            HEADERS,
            "supportedContent",
            "messagingSetting",
        ];
        if let Some(unknown) = body.keys().find(|it| !known.contains(&it.as_str())) {
            return Err(Refusal::bad_request(format!("Unknown field [{unknown}].")));
        }
        if let Some(name) = text(body, NAME)? {
            if name.is_empty() {
                return Err(Refusal::bad_request("name must not be empty."));
            }
            name.clone_into(&mut self.name);
        }
        if let Some(url) = text(body, URL)? {
            check_url(url, loopback)?;
            url.clone_into(&mut self.url);
        }
        if let Some(secret) = text(body, SECRET)? {
            if secret.chars().count() <= SHORT {
                return Err(Refusal::bad_request(format!(
                    "{SECRET} must have more than {SHORT} characters."
                )));
            }
            secret.clone_into(&mut self.secret);
        }
        if let Some(headers) = body.get(HEADERS) {
            let parsed = serde_json::from_value(headers.clone());
            self.headers = parsed.map_err(|_| {
                Refusal::bad_request(format!("{HEADERS} must be an object of texts."))
            })?;
        }
        Ok(())
    }
}

impl Integrations {
    pub(super) fn find(&self, id: &str) -> Option<&Integration> {
        self.all.iter().find(|it| it.id == id)
    }

    fn place(&self, id: &str) -> Result<usize, Refusal> {
        let place = self.all.iter().position(|it| it.id == id);
        place.ok_or_else(Refusal::not_found)
    }

    fn create(&mut self, body: &Map<String, Value>, ids: &mut Ids) -> Said {
        if let Some(missing) = [NAME, URL, SECRET]
            .iter()
            .find(|it| !body.contains_key(**it))
        {
            return Err(Refusal::bad_request(format!("{missing} is required.")));
        }
        let mut made = Integration {
            id: ids.uuid().to_string(),
            name: String::new(),
            url: String::new(),
            secret: String::new(),
            headers: BTreeMap::new(),
        };
        made.change(body, self.loopback)?;
        let answer = made.json("Initiated");
        self.all.push(made);
        Ok(Answer::with(202, Some(answer)))
    }

    fn list(&self, call: &Call) -> Said {
        let size = call.number("pageSize", 25, 1..=100)?;
        let page = call.number("pageNumber", 1, 1..=usize::MAX)?;
        let skipped = (page - 1).saturating_mul(size);
        let on_page = self.all.iter().skip(skipped).take(size);
        let entities: Vec<Value> = on_page.map(|it| it.json("Completed")).collect();
        Ok(Answer::json(json!({
            "entities": entities,
            "pageSize": size,
            "pageNumber": page,
            "total": self.all.len(),
            "pageCount": self.all.len().div_ceil(size),
        })))
    }
}

/// `parts` are those of the path behind `integrations/open`.
pub(super) fn handle(cloud: &Cloud, call: &Call, caller: &Caller, parts: &[&str]) -> Said {
    let verb = match call.method.as_str() {
        "POST" => "add",
        "GET" => "view",
        "PATCH" => "edit",
        "DELETE" => "delete",
        _ => return Err(Refusal::not_found()),
    };
    let mut state = cloud.state();
    let state = &mut *state;
    let permission = format!("messaging:integration:{verb}");
    state.clients.demand(caller, &permission)?;
    let integrations = &mut state.integrations;
    match (verb, parts) {
        ("add", []) => integrations.create(&object(call)?, &mut state.ids),
        ("view", []) => integrations.list(call),
        ("view", [id]) => {
            let found = integrations.find(id).ok_or_else(Refusal::not_found)?;
            Ok(Answer::json(found.json("Completed")))
        }
        ("edit", [id]) => {
            let place = integrations.place(id)?;
            let loopback = integrations.loopback;
            let mut changed = integrations
                .find(id)
                .ok_or_else(Refusal::not_found)?
                .clone();
            changed.change(&object(call)?, loopback)?;
            let answer = changed.json("Completed");
            if let Some(integration) = integrations.all.get_mut(place) {
                *integration = changed;
            }
            Ok(Answer::json(answer))
        }
        ("delete", [id]) => {
            let place = integrations.place(id)?;
            integrations.all.remove(place);
            Ok(Answer::empty(204))
        }
        _ => Err(Refusal::not_found()),
    }
}

fn object(call: &Call) -> Result<Map<String, Value>, Refusal> {
    match call.json()? {
        Value::Object(fields) => Ok(fields),
        _ => Err(Refusal::bad_request("Expected an object as the body.")),
    }
}

fn text<'a>(body: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, Refusal> {
    match body.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Refusal::bad_request(format!("{name} must be a text."))),
    }
}

fn check_url(url: &str, loopback: bool) -> Result<(), Refusal> {
    let wrong = |what: &str| Err(Refusal::bad_request(format!("{URL} must be {what}: {url}")));
    let Ok(parsed) = url.parse::<Uri>() else {
        return wrong("a URL");
    };
    let host = parsed.host().unwrap_or_default();
    let own = ["localhost", "127.0.0.1", "[::1]"].contains(&host);
    match (parsed.scheme_str(), parsed.port_u16()) {
        (Some("https"), None | Some(443)) if !host.is_empty() => Ok(()),
        (Some("http"), _) if loopback && own => Ok(()),
        (Some("https"), Some(_)) => wrong("on port 443"),
        _ => wrong("https"),
    }
}
