//! Why a request was not accepted: status, code and words of each reason, in one table.

use domain::ports::AppendError;
use http::StatusCode;

use crate::budget::Full;
use crate::rate::Over;
use crate::split::NotSplit;
use crate::verify;

/// A request that got no 2xx. The text is what the sender reads: never what another party could use, and
/// never which part of a signature was wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    #[error("no source answers on this path")]
    NoSuchSource,
    #[error("this source has been taken out of the configuration; nothing was stored")]
    SourceRemoved,
    #[error("this source takes nothing from your address")]
    NotAllowed,
    #[error(
        "this source has had as many requests as it takes; nothing was stored, try again later"
    )]
    RateLimited(Over),
    #[error("events are posted: use POST")]
    MethodNotAllowed,
    #[error("the headers are larger than {limit} bytes")]
    HeadersTooLarge { limit: usize },
    #[error("the body is larger than {limit} bytes")]
    BodyTooLarge { limit: u64 },
    #[error("the body did not arrive in time")]
    BodyTooSlow,
    #[error("the body broke off or is malformed")]
    BodyUnreadable,
    #[error("the body is not JSON")]
    NotJson,
    #[error("{0}")]
    NotSplit(NotSplit),
    #[error("the request does not prove that it comes from the source's sender")]
    NotVerified(verify::Refusal),
    #[error("the certificate of the signature could not be had; nothing was stored, try again")]
    NoCertificate,
    #[error("the sender's address that confirms this could not be reached; try again")]
    NotConfirmed,
    #[error("too much is under way; nothing was stored, try again")]
    Busy,
    #[error("not confirmed in time; try again, a repeat is recognised where the source allows it")]
    AckTimeout,
    #[error("too many events of this source wait for where they go; nothing was stored, try again")]
    RouteFull,
    #[error("nothing takes the events of this source yet; nothing was stored, try again")]
    NoRoute,
    #[error("not confirmed; try again")]
    Append(AppendError),
    /// State has no room for a request that is to be quarantined.
    #[error("not confirmed; try again")]
    NoRoom(String),
    /// State could not take it for another reason.
    #[error("not confirmed; try again")]
    NotKept(String),
}

impl Refused {
    /// The status, as docs/http-api.md lists them. Whatever is our own trouble is 503: several senders never retry
    /// a 4xx.
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::NoSuchSource => StatusCode::NOT_FOUND,
            Self::NotAllowed => StatusCode::FORBIDDEN,
            Self::RateLimited(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::HeadersTooLarge { .. } => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::BodyTooLarge { .. } | Self::NotSplit(NotSplit::TooMany) => {
                StatusCode::PAYLOAD_TOO_LARGE
            }
            Self::BodyTooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::BodyUnreadable | Self::NotJson | Self::NotSplit(_) => StatusCode::BAD_REQUEST,
            Self::NotVerified(_) => StatusCode::UNAUTHORIZED,
            Self::SourceRemoved
            | Self::NoCertificate
            | Self::NotConfirmed
            | Self::Busy
            | Self::AckTimeout
            | Self::RouteFull
            | Self::NoRoute
            | Self::NoRoom(_)
            | Self::NotKept(_)
            | Self::Append(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The `code` of the answer and the label of the metric.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::NoSuchSource => "no-such-source",
            Self::SourceRemoved => "source-removed",
            Self::NotAllowed => "not-allowed",
            Self::RateLimited(_) => "rate-limited",
            Self::MethodNotAllowed => "method-not-allowed",
            Self::HeadersTooLarge { .. } => "headers-too-large",
            Self::BodyTooLarge { .. } => "body-too-large",
            Self::BodyTooSlow => "body-too-slow",
            Self::BodyUnreadable => "body-unreadable",
            Self::NotJson => "not-json",
            Self::NotSplit(NotSplit::NotJson | NotSplit::NoArray(_)) => "not-a-batch",
            Self::NotSplit(NotSplit::Bad { .. }) => "bad-item",
            Self::NotSplit(NotSplit::TooMany) => "too-many-items",
            Self::NotVerified(_) => "not-verified",
            Self::NoCertificate => "no-certificate",
            Self::NotConfirmed => "not-confirmed",
            Self::Busy => "busy",
            Self::AckTimeout => "ack-timeout",
            Self::RouteFull => "route-full",
            Self::NoRoute => "no-route",
            Self::Append(error) => error.code(),
            Self::NoRoom(_) => "no-room",
            Self::NotKept(_) => "not-kept",
        }
    }

    /// What was wrong with the request itself, for our own log and `status`: what its sender is not told of a proof,
    /// and where in a body something is that is no event. Nothing of the request.
    pub(crate) fn reason(&self) -> Option<String> {
        match self {
            Self::NotVerified(refusal) => Some(refusal.to_string()),
            Self::NotSplit(why) => Some(why.to_string()),
            _ => None,
        }
    }

    /// The same for an operator, who is no sender.
    pub(crate) fn in_words(&self) -> String {
        match self {
            Self::Append(error) => error.to_string(),
            Self::NoRoute => "no route and no subscription takes the events of this source".into(),
            other => other.to_string(),
        }
    }

    /// Seconds after which a try may fare better. Only for what is our own trouble, and for what passes by itself.
    pub(crate) fn retry_after(&self) -> Option<u64> {
        match self {
            Self::RateLimited(Over(wait)) => Some(wait.as_secs() + 1),
            Self::SourceRemoved => Some(60),
            Self::RouteFull
            | Self::NoRoute
            | Self::NoCertificate
            | Self::NotConfirmed
            | Self::NoRoom(_)
            | Self::Append(AppendError::NoRoom(_) | AppendError::Failed(_)) => Some(5),
            Self::Busy | Self::AckTimeout | Self::NotKept(_) | Self::Append(_) => Some(2),
            _ => None,
        }
    }
}

impl From<Full> for Refused {
    fn from(_: Full) -> Self {
        Self::Busy
    }
}

impl From<Over> for Refused {
    fn from(over: Over) -> Self {
        Self::RateLimited(over)
    }
}

impl From<AppendError> for Refused {
    fn from(error: AppendError) -> Self {
        Self::Append(error)
    }
}

impl From<NotSplit> for Refused {
    fn from(why: NotSplit) -> Self {
        Self::NotSplit(why)
    }
}

impl From<verify::Refusal> for Refused {
    fn from(refusal: verify::Refusal) -> Self {
        Self::NotVerified(refusal)
    }
}
