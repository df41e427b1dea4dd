//! What AWS's codes mean in the words of the outcome table, as far as they are the same for every service.
//!
//! Of an answer the code is kept and nothing else: its message may quote what was sent.

use domain::Unavailable;

/// The longest code that is shown. What is longer is none.
const CODE_BYTES: usize = 80;

/// What a code says that has nothing to do with an event.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum General {
    /// Somebody must mend it, or it is down.
    Gone(Unavailable),
    /// Fewer, please.
    Throttled,
}

/// The code without what stands before it: `AWS.SimpleQueueService.NonExistentQueue`. Nothing if it is not one.
pub(crate) fn plain(code: &str) -> Option<&str> {
    let code = code.rsplit('#').next().unwrap_or(code);
    let code = code.strip_prefix("AWS.SimpleQueueService.").unwrap_or(code);
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let good = (1..=CODE_BYTES).contains(&code.len()) && code.bytes().all(fits);
    good.then_some(code)
}

/// The code in an answer of XML.
pub(crate) fn in_xml(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once("<Code>")?;
    let (code, _) = rest.split_once("</Code>")?;
    plain(code)
}

/// `where_to` names what was asked for, `may` what the keys must be allowed.
pub(crate) fn general(code: &str, where_to: &str, may: &str) -> Option<General> {
    let gone = |kind: &str, what: String| {
        Some(General::Gone(Unavailable::new(
            kind,
            format!("{where_to}: {what} ({code})"),
        )))
    };
    match code {
        "Throttling"
        | "ThrottlingException"
        | "ThrottledException"
        | "RequestThrottled"
        | "RequestThrottledException"
        | "RequestLimitExceeded"
        | "TooManyRequestsException"
        | "SlowDown"
        | "KmsThrottled" => Some(General::Throttled),
        "AccessDenied" | "AccessDeniedException" | "AuthorizationError" | "AllAccessDisabled" => {
            gone(
                "permission",
                format!("the keys are good, but not allowed: grant them {may}"),
            )
        }
        "InvalidClientTokenId"
        | "InvalidAccessKeyId"
        | "UnrecognizedClientException"
        | "AuthFailure"
        | "InvalidSecurity"
        | "MissingAuthenticationToken"
        | "MissingSecurityHeader"
        | "OptInRequired"
        | "NotSignedUp" => gone(
            "credentials",
            "the access key is not known there: look at `access_key_id`, or at what the environment, the profile or the machine's role gives".into(),
        ),
        "SignatureDoesNotMatch" | "InvalidSignatureException" | "IncompleteSignature" => gone(
            "credentials",
            "the signature is not accepted: look at the secret access key, and whether `region` is the right one".into(),
        ),
        "ExpiredToken" | "ExpiredTokenException" | "TokenRefreshRequired" | "InvalidToken" => gone(
            "credentials",
            "the keys have run out: renew them where they come from".into(),
        ),
        "RequestTimeTooSkewed" | "RequestExpired" => gone(
            "clock",
            "this machine's clock and that of the service are too far apart: set it".into(),
        ),
        "AuthorizationHeaderMalformed"
        | "PermanentRedirect"
        | "IllegalLocationConstraintException" => gone(
            "region",
            "it is in another region: correct `region`".into(),
        ),
        "ServiceUnavailable" | "ServiceUnavailableException" | "InternalError"
        | "InternalFailure" | "InternalServerError" | "InternalServiceError" => {
            gone("service", "the service failed".into())
        }
        _ if code.starts_with("Kms") || code.starts_with("KMS") => gone(
            "kms",
            "the key that it is encrypted with cannot be used: look at its state and policy, and grant kms:GenerateDataKey and kms:Decrypt".into(),
        ),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_kept_only_if_it_is_one() {
        assert_eq!(
            plain("AWS.SimpleQueueService.NonExistentQueue"),
            Some("NonExistentQueue")
        );
        assert_eq!(
            plain("com.amazonaws.sqs#QueueDoesNotExist"),
            Some("QueueDoesNotExist")
        );
        assert_eq!(plain("AccessDenied"), Some("AccessDenied"));
        assert_eq!(
            plain("KMS.DisabledException"),
            Some("KMS.DisabledException")
        );
        for none in ["", "a b", "<html>", &"x".repeat(81)] {
            assert_eq!(plain(none), None, "{none}");
        }
    }

    #[test]
    fn a_code_is_found_in_xml() {
        let answer = "<ErrorResponse><Error><Code>AccessDenied</Code><Message>x</Message></Error>";
        assert_eq!(in_xml(answer), Some("AccessDenied"));
        assert_eq!(in_xml("<Code>secret payload</Code>"), None);
        assert_eq!(in_xml("<Code>AccessDenied"), None);
    }

    #[test]
    fn every_code_has_its_meaning_and_its_remedy() {
        let kind = |code: &str| match general(code, "queue q", "sqs:SendMessage") {
            Some(General::Gone(why)) => {
                assert!(why.cause.detail.starts_with("queue q: "), "{why}");
                assert!(why.cause.detail.contains(code), "{why}");
                why.cause.code
            }
            Some(General::Throttled) => "throttled".into(),
            None => "none".into(),
        };
        for (code, expected) in [
            ("AccessDenied", "permission"),
            ("AccessDeniedException", "permission"),
            ("InvalidClientTokenId", "credentials"),
            ("InvalidAccessKeyId", "credentials"),
            ("SignatureDoesNotMatch", "credentials"),
            ("ExpiredToken", "credentials"),
            ("RequestTimeTooSkewed", "clock"),
            ("PermanentRedirect", "region"),
            ("SlowDown", "throttled"),
            ("RequestThrottled", "throttled"),
            ("KmsThrottled", "throttled"),
            ("KmsAccessDenied", "kms"),
            ("KmsDisabled", "kms"),
            ("KMS.DisabledException", "kms"),
            ("InternalError", "service"),
            ("ServiceUnavailable", "service"),
            ("InvalidMessageContents", "none"),
            ("NoSuchBucket", "none"),
        ] {
            assert_eq!(kind(code), expected, "{code}");
        }
        let Some(General::Gone(why)) = general("AccessDenied", "queue q", "sqs:SendMessage") else {
            panic!("not gone");
        };
        assert!(
            why.cause.detail.contains("grant them sqs:SendMessage"),
            "{why}"
        );
    }
}
