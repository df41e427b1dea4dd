//! `svix`: what Svix sends, for itself and for those who send through it: Standard Webhooks, with `svix-` headers
//! beside or instead of the `webhook-` ones (docs.svix.com, "Verifying payloads manually").

use super::about::TIMED;
use super::keys::TimedOptions;
use super::standard_webhooks::StandardWebhooks;
use super::{
    About, CannotSign, Consumed, Identity, Received, Refusal, Scheme, Sender, Signed, Unsigned,
};

pub(super) const ABOUT: About = About {
    dedup: "`svix-id`",
    // docs.svix.com, "Retries": 15 s an attempt; 5 s, 5 min, 30 min, 2 h, 5 h, 10 h, 10 h between them.
    sender: Sender::new(15, "7 more tries, 5 s to 10 h apart", 99_425),
    keys: TIMED,
    least: "secrets = [\"whsec_c2VjcmV0\"]",
    guessable: false,
    ..About::new(
        "svix",
        "Svix, and whoever sends through it: `svix-id`, `svix-timestamp`, `svix-signature`, or the `webhook-` ones. A secret is `whsec_…`, or `whpk_…` for an ed25519 public key.",
    )
};

/// The scheme.
#[derive(Debug)]
pub(super) struct Svix(StandardWebhooks);

impl Svix {
    pub(super) fn new(options: &TimedOptions) -> Result<Self, String> {
        StandardWebhooks::of_svix(&ABOUT, options).map(Self)
    }
}

impl Scheme for Svix {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn verify(&self, request: &Received<'_>) -> Result<Consumed, Refusal> {
        self.0.verify(request)
    }

    fn identify(&self, request: &Received<'_>) -> Identity {
        self.0.identify(request)
    }

    fn sign(&self, request: &Unsigned<'_>) -> Result<Signed, CannotSign> {
        self.0.sign(request)
    }

    fn reload(&self) -> Result<(), String> {
        self.0.reload()
    }
}

#[cfg(test)]
mod tests {
    use super::super::cases::{Case, secret, signs_what_it_takes};
    use super::*;

    fn scheme(text: &str) -> Svix {
        Svix::new(&secret(text)).unwrap()
    }

    /// The vector of the Standard Webhooks specification, under either name.
    #[test]
    fn both_names_of_the_headers_are_taken() {
        let known = scheme("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        for prefix in ["svix", "webhook"] {
            let names = ["id", "timestamp", "signature"].map(|part| format!("{prefix}-{part}"));
            let case = Case::new(
                &[
                    (&names[0], "msg_p5jXN8AQM9LWM0D4loKWxJek"),
                    (&names[1], "1614265330"),
                    (&names[2], "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
                ],
                "{\"test\": 2432232314}",
                1_614_265_330,
            );
            case.check(&known).unwrap();
            assert_eq!(
                case.identity(&known).dedup,
                ["msg_p5jXN8AQM9LWM0D4loKWxJek"]
            );
        }
        signs_what_it_takes(&known, &scheme("whsec_AAAA"), true);
    }
}
