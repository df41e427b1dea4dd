//! `shopify`: Shopify's webhooks (shopify.dev, "Deliver webhooks through HTTPS").

use super::over_body::{Manner, OverBody};
use super::signature::Encoding;
use super::{About, Identity, Received, Sample, Sender, field};

pub(super) const ABOUT: About = About {
    dedup: "`X-Shopify-Webhook-Id`",
    sender: Sender::new(
        5,
        "8 more tries over 4 hours, then the subscription may be deleted",
        4 * 3600,
    ),
    ..About::new(
        "shopify",
        "Shopify: `X-Shopify-Hmac-SHA256`, an HMAC-SHA256 over the body in base64, with the app's client secret.",
    )
};

pub(super) type Shopify = OverBody<Shop>;

/// The manner.
#[derive(Debug)]
pub(super) struct Shop;

impl Manner for Shop {
    const ABOUT: About = ABOUT;
    const HEADER: &'static str = "x-shopify-hmac-sha256";
    const ENCODING: Encoding = Encoding::Base64;

    fn identify(request: &Received<'_>) -> Identity {
        let of = |name| field(request.headers, name);
        Identity::of(of("x-shopify-webhook-id"), of("x-shopify-topic"))
    }

    fn sample(id: &str, text: &str) -> Sample {
        let body = serde_json::json!({ "id": 820_982_911, "note": text, "test": true });
        Sample::json(&body)
            .with("x-shopify-webhook-id", id)
            .with("x-shopify-topic", "orders/create")
            .with("x-shopify-shop-domain", "example.myshopify.com")
    }
}

#[cfg(test)]
mod tests {
    use super::super::cases::{Case, secret, signs_what_it_takes};
    use super::super::{Refusal, Scheme, Unsigned};
    use super::*;

    fn scheme(text: &str) -> Shopify {
        Shopify::new(&secret(text)).unwrap()
    }

    #[test]
    fn signed_is_the_body_in_base64() {
        signs_what_it_takes(&scheme("one"), &scheme("two"), true);
        let signed = scheme("hush").sign(&Unsigned::of(b"{\"id\":1}")).unwrap();
        // printf '{"id":1}' | openssl dgst -sha256 -hmac hush -binary | base64
        assert_eq!(
            signed.headers[0].1,
            "VnKUjZsLuN5iZWjn5EntcBVCF9kMN43LglzCE1/GSeY="
        );
        let hex = Case::new(&[("x-shopify-hmac-sha256", &"0".repeat(64))], "{}", 0);
        assert_eq!(hex.check(&scheme("hush")), Err(Refusal::Wrong));
    }

    #[test]
    fn a_repeat_has_the_webhook_id_and_the_type_is_the_topic() {
        let headers = [
            ("x-shopify-webhook-id", "b54557e4"),
            ("x-shopify-topic", "orders/create"),
        ];
        let case = Case::new(&headers, "{}", 0);
        let said = Identity::of(Some("b54557e4"), Some("orders/create"));
        assert_eq!(case.identity(&scheme("hush")), said);
    }
}
