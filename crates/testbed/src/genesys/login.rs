//! OAuth clients, their tokens, and the login that gives these out.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::answer::{Answer, Refusal};
use super::query::{Call, Caller};
use super::state::{Cloud, Ids};

/// How long a token lives when the client says nothing else.
const LIFETIME: Duration = Duration::from_secs(86_400);

/// An OAuth client that a test added: what it may do can be changed at any time.
#[derive(Debug, Clone)]
pub struct Client {
    cloud: Arc<Cloud>,
    id: String,
}

impl Client {
    pub(super) fn new(cloud: Arc<Cloud>, id: &str) -> Self {
        let id = id.to_owned();
        Self { cloud, id }
    }

    /// Takes a permission away, such as `analytics:conversationDetail:view`. What needs it is refused with 403 from
    /// the next call on, topics that need it are rejected.
    #[must_use = "it changed the client already; use `let _ =` when the handle is not needed"]
    pub fn without_permission(self, permission: &str) -> Self {
        self.with(|client| {
            client.denied.insert(permission.to_owned());
        });
        self
    }

    /// Gives a permission back.
    #[must_use = "it changed the client already; use `let _ =` when the handle is not needed"]
    pub fn with_permission(self, permission: &str) -> Self {
        self.with(|client| {
            client.denied.remove(permission);
        });
        self
    }

    /// How long tokens live that are given out from now on. 24 h at first; the real one has 5 min to 48 h.
    #[must_use = "it changed the client already; use `let _ =` when the handle is not needed"]
    pub fn token_life(self, life: Duration) -> Self {
        self.with(|client| client.life = life);
        self
    }

    /// Another secret; the one before is wrong from now on, its tokens live on.
    #[must_use = "it changed the client already; use `let _ =` when the handle is not needed"]
    pub fn secret(self, secret: &str) -> Self {
        self.with(|client| secret.clone_into(&mut client.secret));
        self
    }

    fn with(&self, change: impl FnOnce(&mut Registered)) {
        if let Some(client) = self.cloud.state().clients.known.get_mut(&self.id) {
            change(client);
        }
    }
}

/// All clients, and all tokens ever given out.
#[derive(Debug, Default)]
pub(super) struct Clients {
    known: HashMap<String, Registered>,
    tokens: HashMap<String, Token>,
}

#[derive(Debug)]
struct Registered {
    secret: String,
    denied: HashSet<String>,
    life: Duration,
}

#[derive(Debug)]
struct Token {
    client: String,
    expires: Instant,
    revoked: bool,
}

impl Clients {
    pub(super) fn add(&mut self, id: &str, secret: &str) {
        let client = Registered {
            secret: secret.to_owned(),
            denied: HashSet::new(),
            life: LIFETIME,
        };
        self.known.insert(id.to_owned(), client);
    }

    /// Revokes what a client has of tokens that were not revoked.
    pub(super) fn revoke(&mut self, client: &str) -> usize {
        let mut count = 0;
        let tokens = self.tokens.values_mut();
        for token in tokens.filter(|it| it.client == client && !it.revoked) {
            token.revoked = true;
            count += 1;
        }
        count
    }

    /// Whose token this is.
    pub(super) fn caller(&self, token: &str, now: Instant) -> Result<Caller, Refusal> {
        let known = self.tokens.get(token).filter(|it| !it.revoked);
        let known = known.ok_or_else(Refusal::bad_token)?;
        if known.expires <= now {
            return Err(Refusal::old_token());
        }
        Ok(Caller {
            client: known.client.clone(),
            token: token.to_owned(),
        })
    }

    pub(super) fn may(&self, client: &str, permission: &str) -> bool {
        let known = self.known.get(client);
        known.is_some_and(|it| !it.denied.contains(permission))
    }

    pub(super) fn demand(&self, caller: &Caller, permission: &str) -> Result<(), Refusal> {
        if self.may(&caller.client, permission) {
            Ok(())
        } else {
            Err(Refusal::missing_permission(permission))
        }
    }

    /// `POST /oauth/token`. The login's errors have a shape of their own.
    pub(super) fn login(&mut self, call: &Call, ids: &mut Ids) -> Answer {
        if !call.is_of_type("application/x-www-form-urlencoded") {
            return refused(
                400,
                "invalid_request",
                "content type must be application/x-www-form-urlencoded",
            );
        }
        let mut form = form_urlencoded::parse(&call.body);
        let grant = form.find(|(name, _)| name == "grant_type");
        let Some((_, grant)) = grant else {
            return refused(400, "invalid_request", "grant_type is missing");
        };
        if grant != "client_credentials" {
            let what = format!("grant type {grant} is unsupported or not allowed for this client");
            return refused(400, "unsupported_grant_type", &what);
        }
        let Some((id, secret)) = call.authorization("Basic").and_then(basic) else {
            return refused(
                400,
                "invalid_request",
                "client credentials are missing or malformed",
            );
        };
        let Some(client) = self.known.get(&id) else {
            return refused(400, "invalid_client", "client not found: invalid clientId");
        };
        if client.secret != secret {
            return Answer::with(
                401,
                Some(json!({
                    "error": "invalid_client",
                    "error_description": "authentication failed",
                })),
            );
        }
        let token = ids.token();
        let answer = granted(&token, client.life);
        let expires = call.now + client.life;
        self.tokens.insert(
            token,
            Token {
                client: id,
                expires,
                revoked: false,
            },
        );
        Answer::json(answer)
    }
}

fn granted(token: &str, life: Duration) -> Value {
    json!({
        "access_token": token,
        "token_type": "bearer",
        "expires_in": life.as_secs(),
    })
}

fn refused(status: u16, error: &str, what: &str) -> Answer {
    Answer::with(
        status,
        Some(json!({ "error": error, "description": what, "error_description": what })),
    )
}

fn basic(credentials: &str) -> Option<(String, String)> {
    let bytes = STANDARD.decode(credentials).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let (id, secret) = text.split_once(':')?;
    Some((id.to_owned(), secret.to_owned()))
}
