//! `jira`: Jira's and Confluence's webhooks with a secret (developer.atlassian.com, "Webhooks", "Secure admin
//! webhooks"): WebSub's header.

use crate::json::text_at;

use super::over_body::{Manner, OverBody};
use super::signature::Encoding;
use super::{About, Identity, Received, Sample, Sender, field};

pub(super) const ABOUT: About = About {
    dedup: "`X-Atlassian-Webhook-Identifier`",
    sender: Sender {
        retries: "up to 5 more tries, some minutes apart",
        ..Sender::UNKNOWN
    },
    ..About::new(
        "jira",
        "Jira and Confluence: `X-Hub-Signature`, an HMAC-SHA256 over the body in hex.",
    )
};

pub(super) type Jira = OverBody<Atlassian>;

/// The manner.
#[derive(Debug)]
pub(super) struct Atlassian;

impl Manner for Atlassian {
    const ABOUT: About = ABOUT;
    const HEADER: &'static str = "x-hub-signature";
    const PREFIX: &'static str = "sha256=";
    const ENCODING: Encoding = Encoding::Hex;

    fn identify(request: &Received<'_>) -> Identity {
        let id = field(request.headers, "x-atlassian-webhook-identifier");
        let event_type = text_at(request.body, "/webhookEvent");
        Identity::of(id, event_type.as_deref())
    }

    fn sample(id: &str, text: &str) -> Sample {
        let body = serde_json::json!({
            "webhookEvent": "jira:issue_updated",
            "issue": { "id": "10002", "key": "EX-1", "fields": { "summary": text } },
        });
        Sample::json(&body).with("x-atlassian-webhook-identifier", id)
    }
}

#[cfg(test)]
mod tests {
    use super::super::cases::{Case, secret, signs_what_it_takes};
    use super::super::{Refusal, Scheme, Unsigned};
    use super::*;

    fn scheme(text: &str) -> Jira {
        Jira::new(&secret(text)).unwrap()
    }

    /// The example of Atlassian's page.
    #[test]
    fn the_published_vector_holds() {
        signs_what_it_takes(&scheme("one"), &scheme("two"), true);
        let signature = "sha256=a4771c39fbe90f317c7824e83ddef3caae9cb3d976c214ace1f2937e133263c9";
        let case = Case::new(&[("x-hub-signature", signature)], "Hello World!", 0);
        case.check(&scheme("It's a Secret to Everybody")).unwrap();
        let sha1 = scheme("s").sign(&Unsigned::of(b"{}")).unwrap();
        let sha1 = sha1.headers[0].1.replace("sha256=", "sha1=");
        let case = Case::new(&[("x-hub-signature", &sha1)], "{}", 0);
        assert_eq!(case.check(&scheme("s")), Err(Refusal::Malformed));
    }

    #[test]
    fn the_type_is_in_the_body_and_the_id_in_a_header() {
        let headers = [("x-atlassian-webhook-identifier", "i1")];
        let case = Case::new(&headers, r#"{"webhookEvent":"jira:issue_created"}"#, 0);
        let said = Identity::of(Some("i1"), Some("jira:issue_created"));
        assert_eq!(case.identity(&scheme("s")), said);
    }
}
