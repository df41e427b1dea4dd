//! What SQS's codes, and the absence of an answer, mean in the words of the outcome table.

use domain::{Cause, Outcome, Unavailable};

use crate::aws::error::{General, general, plain};
use crate::large::TOO_LARGE;

/// Why a request was not carried out, or a message of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The queue is not there, or somebody must mend something.
    Gone(Unavailable),
    /// Fewer, please.
    Throttled,
    /// Too large for the queue.
    TooLarge,
    /// Something in it is not as SQS wants it: in a request of several, one may be to blame.
    Bad(Cause),
    /// Failed, and may not the next time.
    Failed(Cause),
}

impl Refusal {
    /// As the outcome of the one message that it is about.
    pub(super) fn outcome(self, limit: usize) -> Result<Outcome, Unavailable> {
        match self {
            Self::Gone(why) => Err(why),
            Self::Throttled => Ok(Outcome::Throttled { after: None }),
            Self::TooLarge => Ok(too_large(None, limit)),
            Self::Bad(cause) => Ok(Outcome::Reject { cause }),
            Self::Failed(cause) => Ok(Outcome::Retry { cause, after: None }),
        }
    }
}

/// A message larger than the queue takes.
pub(super) fn too_large(bytes: Option<usize>, limit: usize) -> Outcome {
    let what = bytes.map_or(String::new(), |bytes| format!(" of {bytes} bytes"));
    Outcome::Reject {
        cause: Cause::new(
            TOO_LARGE,
            format!(
                "a message{what}, attributes and base64 counted, does not fit: the queue takes {limit} bytes (MaximumMessageSize)"
            ),
        ),
    }
}

/// What a request was refused with. `code` is as the answer has it; `status` the HTTP status.
pub(super) fn of_request(code: Option<&str>, status: u16, place: &str) -> Refusal {
    let gone = |kind: &str, what: String| {
        Refusal::Gone(Unavailable::new(kind, format!("{place}: {what}")))
    };
    let Some(code) = code.and_then(plain) else {
        return match status {
            429 => Refusal::Throttled,
            413 => Refusal::TooLarge,
            _ => gone(
                "answer",
                format!(
                    "the answer (http {status}) is none of SQS: look at `queue_url` and `endpoint_url`"
                ),
            ),
        };
    };
    if let Some(refusal) = of_code(code, place) {
        return refusal;
    }
    match (code, status) {
        ("QueueDoesNotExist" | "NonExistentQueue" | "QueueDeletedRecently", _) => gone(
            "queue",
            "there is no such queue: make it, or correct `queue_url` (and `region`)".into(),
        ),
        ("InvalidAddress", _) => gone(
            "queue",
            "that is no queue's address: correct `queue_url`".into(),
        ),
        ("UnsupportedOperation" | "InvalidAction" | "UnknownOperationException", _) => gone(
            "answer",
            format!(
                "the service does not know how to take a batch of messages ({code}): look at `endpoint_url`"
            ),
        ),
        ("BatchRequestTooLong", _) => Refusal::TooLarge,
        (_, 500..) => gone("service", format!("the service failed ({code})")),
        _ => Refusal::Bad(bad(code)),
    }
}

/// Whether it is a wrong name, key or region, which lasts until somebody mends it.
pub(super) fn is_mistake(why: &Unavailable) -> bool {
    matches!(
        why.cause.code.as_str(),
        "queue" | "credentials" | "permission" | "region"
    )
}

/// What one message of a request was refused with.
pub(super) fn of_entry(code: &str, sender_fault: bool, place: &str) -> Refusal {
    let code = plain(code).unwrap_or("unnamed");
    match of_code(code, place) {
        // Of one message of a request whose others were taken: it is no outage.
        Some(Refusal::Gone(why)) if why.cause.code == "service" => {
            Refusal::Failed(Cause::new("sqs InternalError", why.cause.detail))
        }
        Some(refusal) => refusal,
        None if sender_fault => Refusal::Bad(bad(code)),
        None => Refusal::Failed(Cause::new(
            format!("sqs {code}"),
            "SQS did not take the message and says that it is not to blame",
        )),
    }
}

fn of_code(code: &str, place: &str) -> Option<Refusal> {
    match general(code, place, "sqs:SendMessage and sqs:GetQueueAttributes")? {
        General::Gone(why) => Some(Refusal::Gone(why)),
        General::Throttled => Some(Refusal::Throttled),
    }
}

fn bad(code: &str) -> Cause {
    Cause::new(
        format!("sqs {code}"),
        "SQS does not take the message as it is",
    )
}

/// The queue has other bytes than those that were sent.
pub(super) fn changed() -> Outcome {
    Outcome::Retry {
        cause: Cause::new(
            "sqs checksum",
            "what the queue says that it has is not what was sent: the MD5 of the body is another",
        ),
        after: None,
    }
}

/// The answer tells nothing of a message.
pub(super) fn unanswered() -> Outcome {
    Outcome::Retry {
        cause: Cause::new(
            "sqs answer",
            "the answer does not say what became of the message",
        ),
        after: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(refusal: Refusal) -> String {
        match refusal.outcome(1024) {
            Ok(Outcome::Throttled { .. }) => "throttled".into(),
            Ok(Outcome::Reject { cause }) => format!("reject {}", cause.code),
            Ok(Outcome::Retry { cause, .. }) => format!("retry {}", cause.code),
            Err(why) => format!("unavailable {}", why.cause.code),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_code_of_a_request_has_its_outcome() {
        for (code, status, expected) in [
            (
                Some("AWS.SimpleQueueService.NonExistentQueue"),
                400,
                "unavailable queue",
            ),
            (Some("QueueDoesNotExist"), 400, "unavailable queue"),
            (Some("InvalidAddress"), 400, "unavailable queue"),
            (Some("AccessDenied"), 403, "unavailable permission"),
            (Some("InvalidClientTokenId"), 403, "unavailable credentials"),
            (
                Some("SignatureDoesNotMatch"),
                403,
                "unavailable credentials",
            ),
            (Some("KmsAccessDenied"), 400, "unavailable kms"),
            (Some("UnsupportedOperation"), 400, "unavailable answer"),
            (Some("InternalFailure"), 500, "unavailable service"),
            (Some("SomethingNew"), 500, "unavailable service"),
            (Some("ServiceUnavailable"), 503, "unavailable service"),
            (Some("RequestThrottled"), 400, "throttled"),
            (Some("SlowDown"), 503, "throttled"),
            (Some("BatchRequestTooLong"), 400, "reject too-large"),
            (
                Some("InvalidMessageContents"),
                400,
                "reject sqs InvalidMessageContents",
            ),
            (
                Some("InvalidParameterValue"),
                400,
                "reject sqs InvalidParameterValue",
            ),
            (None, 200, "unavailable answer"),
            (None, 404, "unavailable answer"),
            (None, 502, "unavailable answer"),
            (Some("<html>"), 502, "unavailable answer"),
            (None, 429, "throttled"),
            (None, 413, "reject too-large"),
        ] {
            assert_eq!(
                word(of_request(code, status, "queue q")),
                expected,
                "{code:?}"
            );
        }
    }

    #[test]
    fn a_wrong_name_or_key_is_a_mistake_and_a_failure_is_none() {
        for (code, status, expected) in [
            ("QueueDoesNotExist", 400, true),
            ("InvalidClientTokenId", 403, true),
            ("AccessDenied", 403, true),
            ("InternalFailure", 500, false),
            ("ExpiredToken", 403, true),
            ("KmsAccessDenied", 400, false),
        ] {
            let Refusal::Gone(why) = of_request(Some(code), status, "queue q") else {
                panic!("{code}");
            };
            assert_eq!(is_mistake(&why), expected, "{code}");
        }
    }

    #[test]
    fn every_code_of_a_message_has_its_outcome() {
        for (code, sender_fault, expected) in [
            (
                "InvalidMessageContents",
                true,
                "reject sqs InvalidMessageContents",
            ),
            (
                "InvalidAttributeValue",
                true,
                "reject sqs InvalidAttributeValue",
            ),
            ("SomethingNew", true, "reject sqs SomethingNew"),
            ("SomethingNew", false, "retry sqs SomethingNew"),
            ("InternalError", false, "retry sqs InternalError"),
            ("ServiceUnavailable", false, "retry sqs InternalError"),
            ("RequestThrottled", true, "throttled"),
            ("KmsThrottled", true, "throttled"),
            ("AccessDenied", true, "unavailable permission"),
            ("KmsDisabled", true, "unavailable kms"),
            ("secret payload", true, "reject sqs unnamed"),
        ] {
            assert_eq!(
                word(of_entry(code, sender_fault, "queue q")),
                expected,
                "{code}"
            );
        }
    }

    #[test]
    fn what_is_too_large_says_the_limit() {
        let Outcome::Reject { cause } = too_large(Some(2000), 1024) else {
            panic!("no rejection");
        };
        assert!(cause.detail.contains("2000 bytes") && cause.detail.contains("takes 1024 bytes"));
    }
}
