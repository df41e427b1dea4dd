//! `github`: GitHub's webhooks (docs.github.com, "Validating webhook deliveries").
//!
//! No time is signed, and neither is the delivery by which a repeat is recognised: a captured post stays valid for ever.

use super::over_body::{Manner, OverBody};
use super::signature::Encoding;
use super::{About, Identity, Received, Sample, Sender, field};

pub(super) const ABOUT: About = About {
    dedup: "`X-GitHub-Delivery`",
    sender: Sender::new(
        10,
        "not at all by itself; deliveries of the last 3 days can be sent again by hand or API",
        0,
    ),
    ..About::new(
        "github",
        "GitHub: `X-Hub-Signature-256`, an HMAC-SHA256 over the body in hex.",
    )
};

pub(super) type GitHub = OverBody<Github>;

/// The manner.
#[derive(Debug)]
pub(super) struct Github;

impl Manner for Github {
    const ABOUT: About = ABOUT;
    const HEADER: &'static str = "x-hub-signature-256";
    const PREFIX: &'static str = "sha256=";
    const ENCODING: Encoding = Encoding::Hex;

    fn identify(request: &Received<'_>) -> Identity {
        let of = |name| field(request.headers, name);
        Identity::of(of("x-github-delivery"), of("x-github-event"))
    }

    fn sample(id: &str, text: &str) -> Sample {
        let body = serde_json::json!({
            "action": "opened",
            "issue": { "number": 1, "title": text },
            "repository": { "full_name": "octocat/hello-world" },
            "sender": { "login": "octocat" },
        });
        Sample::json(&body)
            .with("x-github-delivery", id)
            .with("x-github-event", "issues")
    }
}

#[cfg(test)]
mod tests {
    use super::super::Refusal;
    use super::super::cases::{Case, secret, secrets, signs_what_it_takes};
    use super::*;

    /// docs.github.com, "Testing the webhook payload validation".
    #[test]
    fn the_published_vector_holds() {
        let scheme = GitHub::new(&secret("It's a Secret to Everybody")).unwrap();
        let signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        let case = Case::new(
            &[
                ("x-hub-signature-256", signature),
                ("x-github-delivery", "72d3162e"),
                ("x-github-event", "push"),
            ],
            "Hello, World!",
            0,
        );
        case.check(&scheme).unwrap();
        assert_eq!(
            case.identity(&scheme),
            Identity::of(Some("72d3162e"), Some("push"))
        );
        let other = Case::new(&[("x-hub-signature-256", signature)], "Hello, World?", 0);
        assert_eq!(other.check(&scheme), Err(Refusal::Wrong));
    }

    #[test]
    fn garbled_signatures_are_refused() {
        let scheme = GitHub::new(&secret("secret")).unwrap();
        for (value, refusal) in [
            ("sha1=00", Refusal::Malformed),
            ("sha256=zz", Refusal::Malformed),
            ("sha256=0", Refusal::Malformed),
            ("sha256=", Refusal::Wrong),
            ("", Refusal::Malformed),
        ] {
            let case = Case::new(&[("x-hub-signature-256", value)], "{}", 0);
            assert_eq!(case.check(&scheme), Err(refusal), "{value}");
        }
    }

    #[test]
    fn either_secret_of_a_rotation_is_taken() {
        let scheme = GitHub::new(&secrets(&["new", "old"])).unwrap();
        for known in ["new", "old"] {
            let one = GitHub::new(&secret(known)).unwrap();
            let signed = super::super::Scheme::sign(&one, &super::super::Unsigned::of(b"{}"));
            Case::signed(&signed.unwrap(), "{}", 0)
                .check(&scheme)
                .unwrap();
        }
        signs_what_it_takes(&scheme, &GitHub::new(&secret("other")).unwrap(), true);
    }
}
