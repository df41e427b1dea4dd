//! What the API's answers mean, in words that say what to mend.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;

/// Why a call came to nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// What was asked: `POST /api/v2/notifications/channels`.
    pub what: String,
    /// What was wrong.
    pub problem: Problem,
    /// What Genesys' support finds the call by.
    pub correlation_id: Option<String>,
}

/// What was wrong with a call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// No answer: the network's own words.
    #[error("no answer: {0}")]
    Unreachable(String),
    /// The region does not know the client.
    #[error(
        "{region} knows no OAuth client of this id: a client belongs to the region that its organisation is in; look at `region` and `client_id`"
    )]
    UnknownClient {
        /// Where it was asked.
        region: String,
    },
    /// The client is known, its secret is another.
    #[error(
        "the client's secret is not the right one: look at `client_secret`, or make a new one in Genesys Cloud (Admin, Integrations, OAuth)"
    )]
    WrongSecret,
    /// The client may not use client credentials.
    #[error(
        "the OAuth client has another grant type: it must be made for Client Credentials (Admin, Integrations, OAuth)"
    )]
    WrongGrant,
    /// The client's roles do not have what is needed.
    #[error("the OAuth client's roles lack {}: give it a role that has it (Admin, Integrations, OAuth, Roles)", named(.permissions))]
    NotAllowed {
        /// The permissions, as Genesys Cloud names them; empty if it did not say.
        permissions: Vec<String>,
    },
    /// A fresh token was refused.
    #[error(
        "the token was refused, and a fresh one as well: the client may be disabled, or this machine's clock far off"
    )]
    NotAuthorised,
    /// There is no such thing (any more).
    #[error("there is no such thing there (404){}", after(.message))]
    NotFound {
        /// The answer's words.
        message: String,
    },
    /// Too many requests, and waiting did not help.
    #[error("too many requests (429): the OAuth client's budget is used up, perhaps by others that use it as well; again in {} s", .after.as_secs())]
    RateLimited {
        /// When it may be tried again.
        after: Duration,
    },
    /// It was refused for another reason.
    #[error("refused with {status}{}", after(.message))]
    Refused {
        /// The status.
        status: u16,
        /// The answer's words.
        message: String,
    },
    /// It failed over there.
    #[error("Genesys Cloud answered {status}{}", after(.message))]
    Failed {
        /// The status.
        status: u16,
        /// The answer's words.
        message: String,
    },
    /// The answer is not what it should be.
    #[error("the answer cannot be used: {0}")]
    Unreadable(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.problem)?;
        match &self.correlation_id {
            Some(id) => write!(f, " (correlation id {id})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {}

impl Error {
    /// Whether it lasts until somebody mends it, so that there is no use in trying again soon.
    #[must_use]
    pub const fn is_mistake(&self) -> bool {
        matches!(
            self.problem,
            Problem::UnknownClient { .. }
                | Problem::WrongSecret
                | Problem::WrongGrant
                | Problem::NotAllowed { .. }
                | Problem::NotAuthorised
        )
    }

    /// Whether there is no such thing over there.
    #[must_use]
    pub const fn is_not_found(&self) -> bool {
        matches!(self.problem, Problem::NotFound { .. })
    }
}

fn named(permissions: &[String]) -> String {
    match permissions {
        [] => "a permission for it".to_owned(),
        [one] => format!("the permission {one}"),
        several => format!("the permissions {}", several.join(", ")),
    }
}

fn after(message: &str) -> String {
    if message.is_empty() {
        String::new()
    } else {
        format!(": {message}")
    }
}

/// The longest piece of an answer that goes into an error.
const WORDS: usize = 300;

/// Words of an answer as they may be shown: one line, not too long.
pub(crate) fn shown(words: &str) -> String {
    let line = words.chars().map(|c| if c.is_control() { ' ' } else { c });
    let line: String = line.take(WORDS).collect();
    line.trim().to_owned()
}

/// The body of an error of the API.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ApiError {
    message: Option<String>,
    code: Option<String>,
    message_params: MessageParams,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct MessageParams {
    permissions: Option<String>,
    permission: Option<String>,
}

/// What a status with this body means; of a call other than for a token.
pub(crate) fn of_api(status: u16, body: &[u8]) -> Problem {
    let error: ApiError = serde_json::from_slice(body).unwrap_or_default();
    let message = shown(error.message.as_deref().unwrap_or_default());
    match status {
        401 => Problem::NotAuthorised,
        403 if lacks(&error) => Problem::NotAllowed {
            permissions: permissions(&error),
        },
        404 => Problem::NotFound { message },
        500.. => Problem::Failed { status, message },
        _ => Problem::Refused { status, message },
    }
}

fn lacks(error: &ApiError) -> bool {
    let code = error.code.as_deref().unwrap_or_default();
    code.starts_with("missing.") || code == "not.authorized" || !permissions(error).is_empty()
}

/// From the parameters of the message, or else from its words: "… the following permission(s): [a:b:c, …]".
fn permissions(error: &ApiError) -> Vec<String> {
    let params = &error.message_params;
    let given = params
        .permissions
        .as_deref()
        .or(params.permission.as_deref());
    let message = error.message.as_deref().unwrap_or_default();
    let text = given.unwrap_or(message);
    let words = text.split(|c: char| c.is_whitespace() || matches!(c, ',' | '[' | ']' | '"'));
    let words = words.map(|word| word.trim_end_matches(['.', ';']));
    let is_one = |word: &&str| {
        word.len() <= 120
            && word.split(':').count() == 3
            && word.split(':').all(|part| !part.is_empty())
            && word
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, ':' | '*' | '_' | '-'))
    };
    words.filter(is_one).map(str::to_owned).collect()
}

/// The body of an error of the login host (RFC 6749, section 5.2).
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct TokenError {
    error: String,
    error_description: String,
    description: String,
}

/// What a status with this body means, of a call for a token.
pub(crate) fn of_login(status: u16, body: &[u8], region: &str) -> Problem {
    let error: TokenError = serde_json::from_slice(body).unwrap_or_default();
    let description = match error.error_description.as_str() {
        "" => error.description.as_str(),
        given => given,
    };
    match (status, error.error.as_str()) {
        (400 | 401, "invalid_client") if description.contains("not found") => {
            Problem::UnknownClient {
                region: region.to_owned(),
            }
        }
        (401, _) | (400, "invalid_client") => Problem::WrongSecret,
        (400, "unauthorized_client" | "unsupported_grant_type") => Problem::WrongGrant,
        (500.., _) => Problem::Failed {
            status,
            message: shown(description),
        },
        _ => Problem::Refused {
            status,
            message: shown(description),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_permission_is_named() {
        let said = [
            r#"{"code":"missing.permissions","message":"Unable to perform the requested action. You are missing the following permission(s): notifications:channel:add"}"#,
            r#"{"code":"missing.any.permissions","message":"x","messageParams":{"permissions":"[notifications:channel:add]"}}"#,
            r#"{"code":"missing.division.permission","message":"x","messageParams":{"permission":"notifications:channel:add","divisions":"[d]"}}"#,
        ];
        for body in said {
            let problem = of_api(403, body.as_bytes());
            assert!(
                problem
                    .to_string()
                    .contains("lack the permission notifications:channel:add: give it"),
                "{problem}"
            );
        }
        let unsaid = of_api(403, br#"{"code":"not.authorized"}"#);
        assert!(
            unsaid.to_string().contains("lack a permission for it"),
            "{unsaid}"
        );
        assert!(matches!(
            of_api(403, b"<html>"),
            Problem::Refused { status: 403, .. }
        ));
    }

    #[test]
    fn a_wrong_region_and_a_wrong_secret_are_told_apart() {
        let unknown = br#"{"error":"invalid_client","description":"client not found: invalid clientId","error_description":"client not found: invalid clientId"}"#;
        let told = of_login(400, unknown, "login.mypurecloud.de");
        assert!(matches!(told, Problem::UnknownClient { .. }));
        let secret = br#"{"error":"invalid_client","error_description":"authentication failed"}"#;
        assert_eq!(of_login(401, secret, "x"), Problem::WrongSecret);
        let grant = br#"{"error":"unauthorized_client","error_description":"no"}"#;
        assert_eq!(of_login(400, grant, "x"), Problem::WrongGrant);
    }

    #[test]
    fn what_an_answer_says_is_shown_in_one_short_line() {
        let long = format!(r#"{{"message":"a\nb{}"}}"#, "x".repeat(1000));
        let Problem::Failed { message, .. } = of_api(502, long.as_bytes()) else {
            panic!("another problem");
        };
        assert!(message.starts_with("a b") && message.len() <= WORDS);
        assert_eq!(
            of_api(500, b"\xff").to_string(),
            "Genesys Cloud answered 500"
        );
    }
}
