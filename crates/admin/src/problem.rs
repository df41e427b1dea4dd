//! Every answer that is not what was asked for: problem+json (RFC 9457) with a stable `code`.

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::response::{IntoResponse, Response};
use domain::ports::{JournalError, RouteControlError, StateError};
use http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, StatusCode};

/// An answer with a status of 400 or more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: String,
    header: Option<(HeaderName, HeaderValue)>,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            status,
            code,
            detail: detail.into(),
            header: None,
        }
    }

    /// The status that the answer will have.
    #[cfg(test)]
    pub(crate) const fn status(&self) -> StatusCode {
        self.status
    }

    /// The token is missing or wrong. Says where it goes, never how it was wrong.
    pub(crate) fn unauthorized() -> Self {
        let detail = "send the admin token: `Authorization: Bearer …` (server.admin_token)";
        Self {
            header: Some((
                WWW_AUTHENTICATE,
                HeaderValue::from_static("Bearer realm=\"forebay\""),
            )),
            ..Self::new(StatusCode::UNAUTHORIZED, "unauthorized", detail)
        }
    }

    /// A query parameter that cannot be read. `right` completes "… must be …".
    pub(crate) fn parameter(name: &str, right: &str) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "bad-parameter",
            format!("the query parameter `{name}` must be {right}"),
        )
    }

    /// No route of that name.
    pub(crate) fn unknown_route(name: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "unknown-route",
            format!("there is no route {name:?}; GET /api/v1/routes lists those there are"),
        )
    }

    /// Our own trouble, and trying again may help.
    pub(crate) fn busy(code: &'static str, detail: &str) -> Self {
        Self {
            header: Some((RETRY_AFTER, HeaderValue::from_static("5"))),
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, code, detail)
        }
    }

    /// Our own trouble.
    pub(crate) fn internal(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, code, detail)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let problem = serde_json::json!({
            "type": "about:blank",
            "title": self.status.canonical_reason().unwrap_or_default(),
            "status": self.status.as_u16(),
            "detail": self.detail,
            "code": self.code,
        });
        let mut response = (self.status, problem.to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        headers.extend(self.header);
        response
    }
}

impl From<JournalError> for Problem {
    fn from(error: JournalError) -> Self {
        Self::internal("journal-unreadable", error.to_string())
    }
}

impl From<StateError> for Problem {
    fn from(error: StateError) -> Self {
        let detail = error.to_string();
        match error {
            StateError::Failed(_) => Self::internal("state-failed", detail),
            StateError::Full(_) => Self::busy("no-room", &detail),
            StateError::Busy(_) => Self::busy("state-busy", &detail),
            StateError::UnknownRoute(name) => Self::unknown_route(name.as_str()),
            StateError::Conflict(_) => Self::new(StatusCode::CONFLICT, "conflict", detail),
        }
    }
}

impl From<RouteControlError> for Problem {
    fn from(error: RouteControlError) -> Self {
        match error {
            RouteControlError::Unknown(name) => Self::unknown_route(&name),
            RouteControlError::State(error) => error.into(),
        }
    }
}

impl From<PathRejection> for Problem {
    fn from(_: PathRejection) -> Self {
        let detail = "the path is not UTF-8 once its %-escapes are undone";
        Self::new(StatusCode::BAD_REQUEST, "bad-path", detail)
    }
}

impl From<QueryRejection> for Problem {
    fn from(_: QueryRejection) -> Self {
        let detail = "the query must be pairs as in ?name=value&name=value";
        Self::new(StatusCode::BAD_REQUEST, "bad-query", detail)
    }
}
