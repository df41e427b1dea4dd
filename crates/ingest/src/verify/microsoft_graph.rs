//! `microsoft-graph`: Microsoft Graph's change notifications (learn.microsoft.com, "Receive change notifications
//! through webhooks"): nothing is signed; each notification holds the `clientState` that was given with its
//! subscription.

use std::borrow::Cow;

use domain::Secret;
use serde::Deserialize;

use super::keys::Keys;
use super::{
    About, CannotSign, Consumed, Handshake, Identity, Received, Refusal, Reply, Sample, Scheme,
    SecretOptions, Secrets, Sender, Signed, Split, Unsigned, plain, same,
};

pub(super) const ABOUT: About = About {
    dedup: "`id`, subscription and change of every notification",
    handshake: "a POST with `?validationToken=`: the token comes back as text",
    sender: Sender::new(3, "for up to 4 hours, ever less often", 4 * 3600),
    guessable: false,
    sent: true,
    ..About::new(
        "microsoft-graph",
        "Microsoft Graph: `clientState` of every notification in the body. It is a secret that stands in the body, and is stored with it. `split = \"scheme\"` makes each notification an event.",
    )
};

/// The longest token that is given back.
const LONGEST: usize = 4 << 10;

/// The scheme.
#[derive(Debug)]
pub(super) struct Graph {
    states: Keys<Secret>,
}

impl Graph {
    pub(super) fn new(options: &SecretOptions) -> Result<Self, String> {
        let (secrets, files) = options.secrets();
        let states = Keys::load(secrets, files, plain)?;
        Ok(Self { states })
    }
}

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    value: Vec<Notification<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Notification<'a> {
    #[serde(borrow)]
    client_state: Option<Cow<'a, str>>,
    #[serde(borrow)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    subscription_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    change_type: Option<Cow<'a, str>>,
    #[serde(borrow)]
    lifecycle_event: Option<Cow<'a, str>>,
}

impl Notification<'_> {
    fn kind(&self) -> Option<&str> {
        let kind = self.lifecycle_event.as_ref().or(self.change_type.as_ref());
        kind.map(|kind| &**kind)
    }
}

/// Known only if each of them has an id: a part would stand for the whole.
fn identity(notifications: &[Notification<'_>]) -> Identity {
    let known = |one: &Notification<'_>| {
        let id = one.id.as_deref().filter(|id| !id.is_empty())?;
        let parts = [Some(id), one.subscription_id.as_deref(), one.kind()];
        Some(parts.map(|part| part.unwrap_or_default().to_owned()))
    };
    let all: Option<Vec<_>> = notifications.iter().map(known).collect();
    let first = notifications.first();
    Identity {
        dedup: all.unwrap_or_default().concat(),
        event_type: first.and_then(Notification::kind).map(str::to_owned),
    }
}

impl Scheme for Graph {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    /// Anybody may ask: what they said themselves is all that they hear, as plain text.
    fn handshake(&self, request: &Received<'_>) -> Option<Handshake> {
        let token = request.parameter("validationToken")?;
        if token.len() > LONGEST {
            return Some(Handshake::Refused(Refusal::Malformed));
        }
        Some(Handshake::Answer(Reply::text(token.into_owned())))
    }

    fn verify(&self, request: &Received<'_>) -> Result<Consumed, Refusal> {
        let body: Body<'_> = serde_json::from_slice(request.body).map_err(|_| Refusal::Missing)?;
        if body.value.is_empty() {
            return Err(Refusal::Missing);
        }
        let known = self.states.current();
        for notification in &body.value {
            let given = notification
                .client_state
                .as_deref()
                .ok_or(Refusal::Missing)?;
            let fits = |state: &Secret| same(state.expose().as_bytes(), given.as_bytes());
            if !known.iter().any(fits) {
                return Err(Refusal::Wrong);
            }
        }
        Ok(Consumed::Nothing)
    }

    fn identify(&self, request: &Received<'_>) -> Identity {
        let body: Result<Body<'_>, _> = serde_json::from_slice(request.body);
        body.map(|body| identity(&body.value)).unwrap_or_default()
    }

    fn identify_item(&self, item: &[u8]) -> Identity {
        let one: Result<Notification<'_>, _> = serde_json::from_slice(item);
        one.map(|one| identity(&[one])).unwrap_or_default()
    }

    fn split(&self) -> Option<Split> {
        Some(Split::Array("/value".into()))
    }

    /// Puts the state into every notification of the body.
    fn sign(&self, request: &Unsigned<'_>) -> Result<Signed, CannotSign> {
        let mut body: serde_json::Value = serde_json::from_slice(request.body).unwrap_or_default();
        let state = self.states.current()[0].expose().to_owned();
        let notifications = body.get_mut("value").and_then(|value| value.as_array_mut());
        match notifications {
            Some(notifications) if !notifications.is_empty() => {
                for notification in notifications {
                    if let Some(fields) = notification.as_object_mut() {
                        fields.insert("clientState".into(), state.clone().into());
                    }
                }
            }
            _ => body = serde_json::json!({ "value": [{ "clientState": state }] }),
        }
        Ok(Signed {
            body: Some(body.to_string().into_bytes()),
            ..Signed::default()
        })
    }

    fn sample(&self, id: &str, text: &str) -> Sample {
        Sample::json(&serde_json::json!({
            "value": [{
                "id": id,
                "subscriptionId": "7f105c7d-2dc5-4530-97cd-4e7ae6534c07",
                "changeType": "created",
                "resource": format!("me/messages/{id}"),
                "resourceData": { "id": id, "subject": text },
            }],
        }))
    }

    fn reload(&self) -> Result<(), String> {
        self.states.reload()
    }
}

#[cfg(test)]
mod tests {
    use super::super::cases::{Case, reply, secret, signs_what_it_takes};
    use super::*;

    fn scheme(text: &str) -> Graph {
        Graph::new(&secret(text)).unwrap()
    }

    #[test]
    fn the_token_comes_back_decoded_and_as_text() {
        let asked = Case::new(&[], "", 0).at("/in/x?validationToken=Validation%3a+Testing%3cb%3e");
        let answer = asked.handshake(&scheme("s"));
        let Some(Handshake::Answer(said)) = answer.clone() else {
            panic!("no answer");
        };
        assert_eq!(said.headers[http::header::CONTENT_TYPE], "text/plain");
        assert_eq!(said.headers["x-content-type-options"], "nosniff");
        assert_eq!(reply(answer), "Validation: Testing<b>");
        let long = format!("/in/x?validationToken={}", "a".repeat(5000));
        let refused = Case::new(&[], "", 0).at(&long).handshake(&scheme("s"));
        assert_eq!(refused, Some(Handshake::Refused(Refusal::Malformed)));
    }

    #[test]
    fn every_notification_has_to_hold_the_state() {
        let known = scheme("state");
        signs_what_it_takes(&known, &scheme("other"), false);
        let check = |body: &str| Case::new(&[], body, 0).check(&known);
        let good = r#"{"value":[{"clientState":"state"},{"clientState":"state"}]}"#;
        assert_eq!(check(good), Ok(Consumed::Nothing));
        assert_eq!(
            check(&good.replacen("state\"}", "stale\"}", 1)),
            Err(Refusal::Wrong)
        );
        for none in [
            "",
            "{}",
            r#"{"value":[]}"#,
            r#"{"value":[{"clientState":"state"},{}]}"#,
        ] {
            assert_eq!(check(none), Err(Refusal::Missing), "{none}");
        }
    }

    #[test]
    fn a_body_is_known_by_all_its_ids_or_not_at_all() {
        let of = |body: &str| Case::new(&[], body, 0).identity(&scheme("s"));
        let two = of(r#"{"value":[{"id":"a","changeType":"created"},{"id":"b"}]}"#);
        assert_eq!(two.dedup, ["a", "", "created", "b", "", ""]);
        assert_eq!(two.event_type.as_deref(), Some("created"));
        assert!(
            of(r#"{"value":[{"id":"a"},{"changeType":"created"}]}"#)
                .dedup
                .is_empty()
        );
        let item = scheme("s").identify_item(br#"{"id":"a","lifecycleEvent":"missed"}"#);
        assert_eq!(item.event_type.as_deref(), Some("missed"));
        assert_eq!(item.dedup, ["a", "", "missed"]);
        let other = scheme("s").identify_item(br#"{"id":"a","subscriptionId":"s1"}"#);
        assert_eq!(other.dedup, ["a", "s1", ""]);
    }
}
