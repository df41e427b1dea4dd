//! What a store's answers, and their absence, mean in the words of the outcome table.
//!
//! `object_store` gives an answer's status and body as a text of its own. They are read out of it; the text itself
//! holds the key and what the server wrote, and is not shown.

use std::error::Error as _;

use domain::{Cause, Outcome, Unavailable};

use super::options::Config;
use crate::aws::error::{General, general, in_xml};
use crate::outbound;

/// What the keys must be allowed.
const MAY: &str = "s3:PutObject on what is below `prefix` (Google: storage.objects.create, Azure: write to blobs)";

/// What became of an object that was not simply written.
///
/// # Errors
/// The store is not there.
pub(super) fn outcome(
    error: &object_store::Error,
    config: &Config,
) -> Result<Outcome, Unavailable> {
    if is_of_keys(&error.to_string()) {
        return Err(Unavailable::new(
            "credentials",
            format!(
                "{}: no keys are to be had: look at the environment variables and the role of the machine that they come from",
                config.place()
            ),
        ));
    }
    match Answer::of(error) {
        Some(answer) => judged(&answer, &config.place()),
        None => Err(gone(error, config)),
    }
}

/// Whether it was whoever gives Google's or Azure's keys that answered, or did not.
fn is_of_keys(text: &str) -> bool {
    [
        "token request",
        "token response",
        "federated token file",
        "az account get-access-token",
    ]
    .iter()
    .any(|part| text.contains(part))
}

/// What a store answered with.
#[derive(Debug, Default, PartialEq, Eq)]
struct Answer {
    status: u16,
    code: Option<String>,
}

impl Answer {
    fn of(error: &object_store::Error) -> Option<Self> {
        let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
        let mut text = String::new();
        // The innermost has the answer alone.
        while let Some(error) = next {
            let own = error.to_string();
            if own.contains("status code: ") || own.contains("without LOCATION") {
                text = own;
            }
            next = error.source();
        }
        Self::read(&text)
    }

    fn read(text: &str) -> Option<Self> {
        if text.contains("without LOCATION") {
            return Some(Self {
                status: 301,
                code: Some("PermanentRedirect".into()),
            });
        }
        let (_, rest) = text.split_once("status code: ")?;
        let status = rest.get(..3)?.parse().ok()?;
        let code = in_xml(rest).map(str::to_owned);
        Some(Self { status, code })
    }
}

fn judged(answer: &Answer, place: &str) -> Result<Outcome, Unavailable> {
    let gone = |kind: &str, what: &str| Err(Unavailable::new(kind, format!("{place}: {what}")));
    let code = answer.code.as_deref().unwrap_or_default();
    match code {
        // There already, under a name that only the same event has.
        "PreconditionFailed" | "ConditionNotMet" | "BlobAlreadyExists" => {
            return Ok(Outcome::Delivered);
        }
        "NoSuchBucket" | "ContainerNotFound" => {
            return gone(
                "bucket",
                "there is no such bucket: make it, or correct `bucket` (and `region`)",
            );
        }
        "EntityTooLarge" | "RequestBodyTooLarge" | "MaxMessageLengthExceeded" => {
            return Ok(Outcome::Reject {
                cause: Cause::new(
                    "too-large",
                    format!("the store takes no object of that size ({code})"),
                ),
            });
        }
        "QuotaExceeded" | "XMinioStorageFull" | "InsufficientStorage" => {
            return gone(
                "full",
                "the store has no room: make some, or raise the quota",
            );
        }
        _ => {}
    }
    match general(code, place, MAY) {
        Some(General::Gone(why)) => return Err(why),
        Some(General::Throttled) => return Ok(Outcome::Throttled { after: None }),
        None => {}
    }
    match answer.status {
        304 | 412 => Ok(Outcome::Delivered),
        401 => gone(
            "credentials",
            "the keys are not accepted: look at where they come from",
        ),
        403 => gone("permission", &format!("not allowed: grant the keys {MAY}")),
        404 => gone(
            "bucket",
            "there is no such bucket: make it, or correct `bucket` and `endpoint_url`",
        ),
        429 => Ok(Outcome::Throttled { after: None }),
        301..=308 => gone(
            "region",
            "it is somewhere else: correct `region` or `endpoint_url`",
        ),
        501 => gone(
            "conditional",
            "the store does not know how to write an object only if there is none (If-None-Match): use one that does",
        ),
        507 => gone(
            "full",
            "the store has no room: make some, or raise the quota",
        ),
        500.. => gone(
            "service",
            &format!("the store failed (http {})", answer.status),
        ),
        status => {
            let code = if code.is_empty() { "no code" } else { code };
            Ok(Outcome::Retry {
                cause: Cause::new(
                    format!("http {status}"),
                    format!("the store did not take the object ({code})"),
                ),
                after: None,
            })
        }
    }
}

fn gone(error: &object_store::Error, config: &Config) -> Unavailable {
    // What we said ourselves, of keys.
    let mut next = error.source();
    while let Some(inner) = next {
        if let Some(why) = inner.downcast_ref::<Unavailable>() {
            return why.clone();
        }
        next = inner.source();
    }
    let (place, key) = match &config.endpoint {
        Some(endpoint) => (endpoint.place(), "endpoint_url"),
        None => (config.place(), "region"),
    };
    outbound::gone(&place, key, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(text: &str) -> String {
        match judged(&Answer::read(text).unwrap(), "bucket b") {
            Ok(Outcome::Delivered) => "delivered".into(),
            Ok(Outcome::Throttled { .. }) => "throttled".into(),
            Ok(Outcome::Reject { cause }) => format!("reject {}", cause.code),
            Ok(Outcome::Retry { cause, .. }) => format!("retry {}", cause.code),
            Err(why) => format!("unavailable {}", why.cause.code),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_answer_has_its_outcome() {
        let answer = |status: u16, code: &str| {
            word(&format!(
                "Server returned non-2xx status code: {status} Something: <Error><Code>{code}</Code><Message>secret</Message></Error>"
            ))
        };
        for (status, code, expected) in [
            (412, "PreconditionFailed", "delivered"),
            (412, "", "delivered"),
            (304, "", "delivered"),
            (409, "BlobAlreadyExists", "delivered"),
            // Another request writes it just now, and may fail.
            (409, "ConditionalRequestConflict", "retry http 409"),
            (409, "", "retry http 409"),
            (404, "NoSuchBucket", "unavailable bucket"),
            (404, "", "unavailable bucket"),
            (403, "AccessDenied", "unavailable permission"),
            (403, "AuthorizationFailure", "unavailable permission"),
            (403, "InvalidAccessKeyId", "unavailable credentials"),
            (403, "SignatureDoesNotMatch", "unavailable credentials"),
            (403, "RequestTimeTooSkewed", "unavailable clock"),
            (400, "ExpiredToken", "unavailable credentials"),
            (400, "AuthorizationHeaderMalformed", "unavailable region"),
            (301, "PermanentRedirect", "unavailable region"),
            (307, "", "unavailable region"),
            (400, "EntityTooLarge", "reject too-large"),
            (400, "InvalidRequest", "retry http 400"),
            (429, "", "throttled"),
            (503, "SlowDown", "throttled"),
            (500, "InternalError", "unavailable service"),
            (502, "", "unavailable service"),
            (501, "NotImplemented", "unavailable conditional"),
            (507, "XMinioStorageFull", "unavailable full"),
        ] {
            assert_eq!(answer(status, code), expected, "{status} {code}");
        }
        let bare = "Received redirect without LOCATION, this normally indicates …";
        assert_eq!(word(bare), "unavailable region");
        assert_eq!(Answer::read("error sending request"), None);
    }

    #[test]
    fn what_is_about_keys_is_not_taken_for_an_answer_of_the_store() {
        let token = "Generic GCS error: Error performing token request: Error performing GET http://metadata in 1s - Server returned non-2xx status code: 403";
        assert!(is_of_keys(token));
        assert!(!is_of_keys(
            "Generic S3 error: Error performing PUT http://h/b in 1s"
        ));
    }

    #[test]
    fn nothing_of_an_answers_text_is_kept_but_its_code() {
        let text = "status code: 418 Teapot: <Code>hunter2 secret</Code> secret";
        let outcome = judged(&Answer::read(text).unwrap(), "bucket b");
        assert!(!format!("{outcome:?}").contains("secret"), "{outcome:?}");
    }
}
