//! Verification: the registry of schemes, and what they share.
//!
//! One small file a scheme: its options, its check, its signing side, what it knows of the sender, its cases.
//! Adding one is a file, a `mod` line and a row in the registry. A scheme sees the raw request, never changes
//! it, compares in constant time, and does not say which part was wrong.

mod about;
mod adyen;
mod api_key;
mod aws_sns;
mod basic;
mod bearer;
#[cfg(test)]
mod cases;
mod certificate;
mod client;
mod cloudevents;
mod eventbridge;
mod genesys;
mod github;
mod gitlab;
mod hmac;
mod hubspot;
mod intercom;
mod jira;
mod keys;
mod linear;
mod mailgun;
mod meta;
mod microsoft_graph;
mod mtls;
mod none;
mod okta;
mod over_body;
mod paddle;
mod pairs;
mod paypal;
mod request;
mod sendgrid;
mod shapes;
mod shopify;
mod signature;
mod slack;
mod square;
mod standard_webhooks;
mod stripe;
mod svix;
mod token;
mod twilio;
mod versioned;
mod zendesk;
mod zoom;

use domain::Secret;
use serde::Deserialize;

pub use about::{About, KeyDoc, Sender};
pub use client::ClientCertificate;
pub use keys::{SecretOptions, TimedOptions};
pub use shapes::HandshakeShape;

pub use request::{
    CannotSign, Consumed, Handshake, Identity, Received, Refusal, Reply, Sample, Signed, Split,
    Unsigned,
};

use request::{field, same, text};

/// A scheme with its secrets.
pub trait Scheme: Send + Sync + std::fmt::Debug {
    /// What is known of it before it has any secret.
    fn about(&self) -> &'static About;

    /// Its name in the configuration.
    fn name(&self) -> &'static str {
        self.about().name
    }

    /// Whether the URL is signed, so that the source must say its `public_url`.
    fn signs_url(&self) -> bool {
        self.about().signs_url
    }

    /// The header that the credential stands in, if that is all that proves the request. It is not to be shown.
    fn credential(&self) -> Option<&http::HeaderName> {
        None
    }

    /// Methods besides POST that the sender greets with. Such a request has no body, is given to
    /// [`Scheme::handshake`], and is never an event.
    fn greets(&self) -> &'static [http::Method] {
        &[]
    }

    /// The answer to a request that is no event: a challenge that the sender wants to see answered before it
    /// sends events. `None`: it is no challenge. It proves itself as far as the sender signs challenges, and is
    /// asked before [`Scheme::verify`].
    fn handshake(&self, request: &Received<'_>) -> Option<Handshake> {
        let _ = request;
        None
    }

    /// The HMAC of a text with the first secret, of a scheme that signs the body and no more and whose challenge
    /// somebody else describes. It is what the scheme takes for the signature of a body of that text: see to it that
    /// none is taken.
    fn hmac_of(&self, text: &[u8]) -> Option<Vec<u8>> {
        let _ = text;
        None
    }

    /// Where the certificate is that this request names for its signature, if that is not known yet.
    ///
    /// # Errors
    /// [`Refusal`] when it names a place that is not the sender's.
    fn wants(&self, request: &Received<'_>) -> Result<Option<String>, Refusal> {
        let _ = request;
        Ok(None)
    }

    /// Takes the certificate that was fetched from where [`Scheme::wants`] said.
    ///
    /// # Errors
    /// Why it is none.
    fn learn(&self, place: &str, certificate: &[u8]) -> Result<(), String> {
        let _ = (place, certificate);
        Ok(())
    }

    /// Checks a request.
    ///
    /// # Errors
    /// [`Refusal`].
    fn verify(&self, request: &Received<'_>) -> Result<Consumed, Refusal>;

    /// What the sender says of an event: what makes a repeat a repeat, and its type. Asked only of a request
    /// that was verified.
    fn identify(&self, request: &Received<'_>) -> Identity {
        let _ = request;
        Identity::default()
    }

    /// The same of one item of a body that was taken apart. Where it says nothing, the item has the request's
    /// identity and its place in it.
    fn identify_item(&self, item: &[u8]) -> Identity {
        let _ = item;
        Identity::default()
    }

    /// How the sender's bodies are taken apart into items on request; `None`: it sends one event a body.
    fn split(&self) -> Option<Split> {
        None
    }

    /// Signs a request as a sender would, with the first secret.
    ///
    /// # Errors
    /// [`CannotSign`]: only the sender has what signs.
    fn sign(&self, request: &Unsigned<'_>) -> Result<Signed, CannotSign>;

    /// A made-up event as a sender would word it, with this id and text somewhere in it.
    fn sample(&self, id: &str, text: &str) -> Sample {
        Sample::json(&serde_json::json!({ "id": id, "text": text }))
    }

    /// Reads secret files again. On an error the secrets stay as they were.
    ///
    /// # Errors
    /// Which file, and why.
    fn reload(&self) -> Result<(), String>;
}

/// Where a scheme's secrets are.
trait Secrets {
    fn secrets(&self) -> (&[Secret], &[std::path::PathBuf]);
}

/// The registry: one row a scheme makes its variant, its factory and its place in the list.
macro_rules! registry {
    ($($(#[$doc:meta])* $variant:ident: $module:ident :: $scheme:ident ($options:ty),)*) => {
        /// The `verify` table of a source: a scheme's name and what it needs.
        #[derive(Debug, Clone, PartialEq, Deserialize)]
        #[serde(tag = "scheme", rename_all = "kebab-case")]
        pub enum VerifyOptions {
            $($(#[$doc])* $variant($options),)*
        }

        /// Every scheme there is.
        pub const SCHEMES: &[&About] = &[$(&$module::ABOUT),*];

        impl VerifyOptions {
            /// Reads the options of the scheme with this name, the table without `scheme`: so whoever reads them knows
            /// where a mistake is. `None`: there is no such scheme.
            pub fn read<'de, D: serde::Deserializer<'de>>(
                scheme: &str,
                options: D,
            ) -> Option<Result<Self, D::Error>> {
                $(if scheme == $module::ABOUT.name {
                    return Some(<$options>::deserialize(options).map(Self::$variant));
                })*
                None
            }

            /// Builds the scheme, reading its secret files.
            ///
            /// # Errors
            /// What is missing or unreadable; never a secret.
            pub fn build(&self) -> Result<Box<dyn Scheme>, String> {
                Ok(match self {
                    $(Self::$variant(options) => Box::new($module::$scheme::new(options)?),)*
                })
            }

            /// What is known of the scheme.
            #[must_use]
            pub const fn about(&self) -> &'static About {
                match self {
                    $(Self::$variant(_) => &$module::ABOUT,)*
                }
            }

            fn secrets(&self) -> (&[Secret], &[std::path::PathBuf]) {
                match self {
                    $(Self::$variant(options) => options.secrets(),)*
                }
            }
        }
    };
}

registry! {
    /// Takes everything.
    None: none::None(none::Options),
    /// `Authorization: Bearer …`.
    Bearer: bearer::Bearer(SecretOptions),
    /// `Authorization: Basic …`.
    Basic: basic::Basic(SecretOptions),
    /// A secret in a header.
    ApiKey: api_key::ApiKey(api_key::Options),
    /// A signature over the body, described by its options.
    Hmac: hmac::Hmac(hmac::Options),
    /// The certificate of the client.
    Mtls: mtls::Mtls(mtls::Options),
    /// Genesys Cloud Open Messaging.
    GenesysOpenMessaging: genesys::Genesys(genesys::Options),
    /// Standard Webhooks, HMAC and ed25519.
    StandardWebhooks: standard_webhooks::StandardWebhooks(TimedOptions),
    /// Svix, and whoever sends through it.
    Svix: svix::Svix(TimedOptions),
    /// CloudEvents webhooks.
    #[serde(rename = "cloudevents")]
    CloudEvents: cloudevents::CloudEvents(cloudevents::Options),
    /// Adyen's standard webhooks.
    Adyen: adyen::Adyen(adyen::Options),
    /// Amazon SNS.
    AwsSns: aws_sns::Sns(aws_sns::Options),
    /// Amazon EventBridge API destinations.
    #[serde(rename = "eventbridge")]
    EventBridge: eventbridge::EventBridge(api_key::Options),
    /// GitHub.
    #[serde(rename = "github")]
    GitHub: github::GitHub(SecretOptions),
    /// GitLab.
    #[serde(rename = "gitlab")]
    GitLab: gitlab::GitLab(SecretOptions),
    /// HubSpot, version 3.
    #[serde(rename = "hubspot")]
    HubSpot: hubspot::HubSpot(TimedOptions),
    /// Intercom.
    Intercom: intercom::Intercom(SecretOptions),
    /// Jira and Confluence.
    Jira: jira::Jira(SecretOptions),
    /// Linear.
    Linear: linear::Linear(linear::Options),
    /// Mailgun.
    Mailgun: mailgun::Mailgun(SecretOptions),
    /// Meta: Facebook, Instagram, WhatsApp.
    Meta: meta::Meta(meta::Options),
    /// Microsoft Graph.
    MicrosoftGraph: microsoft_graph::Graph(SecretOptions),
    /// Okta's event hooks.
    Okta: okta::Okta(SecretOptions),
    /// Paddle Billing.
    Paddle: paddle::Paddle(TimedOptions),
    /// PayPal.
    #[serde(rename = "paypal")]
    PayPal: paypal::PayPal(paypal::Options),
    /// SendGrid.
    #[serde(rename = "sendgrid")]
    SendGrid: sendgrid::SendGrid(SecretOptions),
    /// Shopify.
    Shopify: shopify::Shopify(SecretOptions),
    /// Slack.
    Slack: slack::Slack(TimedOptions),
    /// Square.
    Square: square::Square(SecretOptions),
    /// Stripe.
    Stripe: stripe::Stripe(TimedOptions),
    /// Twilio.
    Twilio: twilio::Twilio(SecretOptions),
    /// Zendesk.
    Zendesk: zendesk::Zendesk(SecretOptions),
    /// Zoom.
    Zoom: zoom::Zoom(TimedOptions),
}

impl VerifyOptions {
    /// Checks the options by building the scheme and letting it go.
    ///
    /// # Errors
    /// What is missing or unreadable; never a secret.
    pub fn validate(&self) -> Result<(), String> {
        self.build().map(drop)
    }

    /// Whether it asks for the client's certificate, so that the listener must.
    #[must_use]
    pub const fn wants_client_certificate(&self) -> bool {
        matches!(self, Self::Mtls(_))
    }

    /// Whether it has secret files.
    #[must_use]
    pub fn reads_files(&self) -> bool {
        !self.secrets().1.is_empty()
    }

    /// What is weaker than it should be, or will not do what is meant: a line each, with its key and what would be
    /// better. Reads secret files.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let about = self.about();
        let (secrets, files) = self.secrets();
        let how = match (about.guessable, about.sent) {
            (true, _) => "found by trying from one signed request",
            (_, true) => "found by trying",
            _ => "",
        };
        let mut lines = keys::twice(secrets, files);
        if !how.is_empty() {
            let short = keys::short(secrets, files, LEAST_SECRET);
            lines.extend(short.into_iter().map(|place| format!(
                "{place} is shorter than {LEAST_SECRET} bytes, so that it may be {how}: use a longer one, as `openssl rand -hex 32` makes"
            )));
        }
        if matches!(self, Self::Meta(options) if !options.has_token()) {
            let line = "verify_token: is not set, so that Meta's GET is refused when the webhook is entered there: set what is entered as the verify token";
            lines.push(line.into());
        }
        lines
    }

    /// No verification at all.
    #[must_use]
    pub const fn none() -> Self {
        Self::None(none::Options {})
    }
}

/// The least bytes that a secret of a signature should have. A shorter one can be found by trying: whoever sees
/// a single signed request can try as fast as they compute.
const LEAST_SECRET: usize = 16;

/// The secret's bytes as they are.
#[expect(clippy::unnecessary_wraps, reason = "the shape of a key parser")]
fn plain(secret: &Secret) -> Result<Secret, String> {
    Ok(secret.clone())
}

/// What stands for a scheme where a queue has seen to it who may write.
pub(crate) fn by_the_queue() -> Box<dyn Scheme> {
    Box::new(none::Queue)
}
