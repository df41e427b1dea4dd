//! `gitlab`: GitLab's webhooks with a secret token (docs.gitlab.com, "Webhooks"): the token itself is sent. Newer
//! GitLab can sign by Standard Webhooks instead: that is the scheme `standard-webhooks`.

use super::token::Token;
use super::{
    About, CannotSign, Consumed, Identity, Received, Refusal, Sample, Scheme, SecretOptions,
    Sender, Signed, Unsigned, field,
};

pub(super) const ABOUT: About = About {
    dedup: "`Idempotency-Key`",
    sender: Sender::new(
        10,
        "not at all; after 4 failures in a row the webhook is disabled for a while",
        0,
    ),
    guessable: false,
    sent: true,
    ..About::new(
        "gitlab",
        "GitLab: the secret token in `X-Gitlab-Token`. The header is not stored. Where GitLab signs by Standard Webhooks, use `standard-webhooks`.",
    )
};

/// The scheme.
#[derive(Debug)]
pub(super) struct GitLab(Token);

impl GitLab {
    pub(super) fn new(options: &SecretOptions) -> Result<Self, String> {
        Token::load("x-gitlab-token", options).map(Self)
    }
}

impl Scheme for GitLab {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn credential(&self) -> Option<&http::HeaderName> {
        Some(self.0.header())
    }

    fn verify(&self, request: &Received<'_>) -> Result<Consumed, Refusal> {
        self.0.check(request.headers)
    }

    fn identify(&self, request: &Received<'_>) -> Identity {
        let of = |name| field(request.headers, name);
        Identity::of(of("idempotency-key"), of("x-gitlab-event"))
    }

    fn sign(&self, _: &Unsigned<'_>) -> Result<Signed, CannotSign> {
        Ok(Signed::with([self.0.sign()]))
    }

    fn sample(&self, id: &str, text: &str) -> Sample {
        let body = serde_json::json!({
            "object_kind": "note",
            "object_attributes": { "note": text },
            "project": { "path_with_namespace": "example/project" },
        });
        Sample::json(&body)
            .with("idempotency-key", id)
            .with("x-gitlab-event", "Note Hook")
    }

    fn reload(&self) -> Result<(), String> {
        self.0.reload()
    }
}

#[cfg(test)]
mod tests {
    use super::super::cases::{Case, secret, secrets, signs_what_it_takes};
    use super::*;

    #[test]
    fn the_token_is_compared_and_taken_off() {
        let known = GitLab::new(&secrets(&["new", "old"])).unwrap();
        signs_what_it_takes(&known, &GitLab::new(&secret("other")).unwrap(), false);
        let headers = [
            ("x-gitlab-token", "old"),
            ("idempotency-key", "k1"),
            ("x-gitlab-event", "Push Hook"),
        ];
        let case = Case::new(&headers, "{}", 0);
        let token = http::HeaderName::from_static("x-gitlab-token");
        assert_eq!(case.check(&known), Ok(Consumed::Header(token)));
        let said = Identity::of(Some("k1"), Some("Push Hook"));
        assert_eq!(case.identity(&known), said);
        for wrong in ["", "ol", "older", "OLD"] {
            let case = Case::new(&[("x-gitlab-token", wrong)], "{}", 0);
            assert_eq!(case.check(&known), Err(Refusal::Wrong), "{wrong}");
        }
    }
}
