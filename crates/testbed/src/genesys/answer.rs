//! What the API answers: a JSON body, or a refusal in the shape and with the codes of the real one.

use std::fmt::Display;

use bytes::Bytes;
use http_body_util::Full;
use hyper::Response;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use serde_json::{Value, json};

/// The body of every answer.
pub(super) type Body = Full<Bytes>;

/// What a handler says.
pub(super) type Said = Result<Answer, Refusal>;

/// An answer before it is put on the wire.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Option<Value>,
}

impl Answer {
    pub(super) fn json(body: Value) -> Self {
        Self::with(200, Some(body))
    }

    pub(super) fn empty(status: u16) -> Self {
        Self::with(status, None)
    }

    pub(super) fn with(status: u16, body: Option<Value>) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body,
        }
    }

    pub(super) fn header(mut self, name: &'static str, value: &dyn Display) -> Self {
        self.headers.push((name, value.to_string()));
        self
    }

    pub(super) fn into_response(self) -> Response<Body> {
        let text = self.body.map(|body| body.to_string()).unwrap_or_default();
        let mut response = Response::new(Full::new(Bytes::from(text)));
        *response.status_mut() =
            hyper::StatusCode::from_u16(self.status).unwrap_or(hyper::StatusCode::OK);
        response
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        for (name, value) in self.headers {
            if let Ok(value) = HeaderValue::from_str(&value) {
                response
                    .headers_mut()
                    .insert(HeaderName::from_static(name), value);
            }
        }
        response
    }
}

/// Why a call is refused.
#[derive(Debug, Clone)]
pub(super) struct Refusal {
    pub(super) status: u16,
    code: &'static str,
    message: String,
    params: Value,
    headers: Vec<(&'static str, String)>,
}

impl Refusal {
    pub(super) fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            params: json!({}),
            headers: Vec::new(),
        }
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "bad.request", message)
    }

    pub(super) fn not_found() -> Self {
        Self::new(404, "not.found", "The requested resource was not found.")
    }

    pub(super) fn no_token() -> Self {
        Self::new(
            401,
            "authentication.required",
            "No authentication bearer token specified in authorization header.",
        )
    }

    pub(super) fn bad_token() -> Self {
        Self::new(401, "bad.credentials", "Invalid login credentials.")
    }

    pub(super) fn old_token() -> Self {
        Self::new(
            401,
            "credentials.expired",
            "The supplied credentials are expired and cannot be used.",
        )
    }

    pub(super) fn missing_permission(permission: &str) -> Self {
        let mut refusal = Self::new(
            403,
            "missing.permissions",
            format!(
                "Unable to perform the requested action. You are missing the following \
                 permission(s): {permission}"
            ),
        );
        refusal.params = json!({ "permissions": permission });
        refusal
    }

    pub(super) fn too_large(limit: usize) -> Self {
        Self::new(
            413,
            "request.entity.too.large",
            format!("The request is over the size limit. Maximum bytes: {limit}"),
        )
    }

    pub(super) fn media_type() -> Self {
        Self::new(
            415,
            "unsupported.media.type",
            "Unsupported Media Type - Unsupported or incorrect media type, such as an incorrect \
             Content-Type value in the header.",
        )
    }

    /// A status that a test asked for, with what the real one says beside it.
    pub(super) fn forced(status: u16) -> Self {
        match status {
            401 => Self::bad_token(),
            404 => Self::not_found(),
            503 => Self::new(
                503,
                "service.unavailable",
                "Service Unavailable - The server is currently unavailable (because it is \
                 overloaded or down for maintenance).",
            ),
            504 => Self::new(504, "request.timeout", "The request timed out."),
            400..=499 => Self::new(
                status,
                "bad.request",
                "The request could not be understood by the server due to malformed syntax.",
            ),
            _ => Self::new(
                status,
                "internal.server.error",
                "The server encountered an unexpected condition which prevented it from \
                 fulfilling the request.",
            ),
        }
    }

    pub(super) fn header(mut self, name: &'static str, value: &dyn Display) -> Self {
        self.headers.push((name, value.to_string()));
        self
    }

    /// The answer; `context` is the correlation id of the request.
    pub(super) fn into_answer(self, context: &str) -> Answer {
        Answer {
            status: self.status,
            headers: self.headers,
            body: Some(json!({
                "message": self.message,
                "code": self.code,
                "status": self.status,
                "messageParams": self.params,
                "contextId": context,
                "details": [],
                "errors": [],
            })),
        }
    }
}
