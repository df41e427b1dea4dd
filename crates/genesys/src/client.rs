//! The client of the API: a token when one is needed, the budget minded, 429 waited for, errors told apart.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use domain::{Clock, Secret, Timestamp};
use http::header::{AUTHORIZATION, CONTENT_TYPE, DATE, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request};
use http_body_util::Full;
use jiff::SignedDuration;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use crate::budget::{Budget, WINDOW};
use crate::dial::{Dial, Place};
use crate::error::{Error, Problem, of_api, of_login};
use crate::options::{Account, OptionsError};
use crate::region::Region;
use crate::rest::{Answer, Rest};
use crate::token::{Grant, Token};

/// The most that a request may carry: "body ≤ 512,000 B".
const BODY: usize = 512_000;

/// A call is tried so often when it is answered 429.
const TRIES: u32 = 5;

/// The longest wait that a 429 may ask of a call.
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// Clocks that differ by no more than this, in seconds, are the same.
const CLOCKS_DIFFER: u64 = 60;

/// One call of the API.
#[derive(Debug, Clone)]
pub struct Call {
    method: Method,
    path: String,
    query: String,
    body: Option<Bytes>,
}

impl Call {
    /// A call without a body. `path` is whole: `/api/v2/notifications/channels`.
    #[must_use]
    pub fn new(method: Method, path: impl Into<String>) -> Self {
        Self {
            method,
            path: path.into(),
            query: String::new(),
            body: None,
        }
    }

    /// With a parameter behind the path.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        let mut query = form_urlencoded::Serializer::new(std::mem::take(&mut self.query));
        query.append_pair(name, value);
        self.query = query.finish();
        self
    }

    /// With a body.
    #[must_use]
    pub fn json(mut self, body: &serde_json::Value) -> Self {
        self.body = Some(body.to_string().into());
        self
    }

    fn what(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    fn error(&self, problem: Problem, headers: Option<&HeaderMap>) -> Error {
        failed(self.what(), problem, headers)
    }
}

fn failed(what: String, problem: Problem, headers: Option<&HeaderMap>) -> Error {
    let id = headers.and_then(|headers| headers.get("inin-correlation-id"));
    let id = id.and_then(|id| id.to_str().ok());
    let is_id =
        |id: &&str| id.len() <= 64 && id.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    Error {
        what,
        problem,
        correlation_id: id.filter(is_id).map(str::to_owned),
    }
}

/// A client of one account, shared by all who use it.
#[derive(Debug)]
pub struct Client {
    region: Region,
    id: String,
    secret: Secret,
    dial: Arc<dyn Dial>,
    rest: Rest,
    budget: Budget,
    clock: Arc<dyn Clock>,
    /// How far their clock is ahead of ours, in seconds, by the last answer.
    ahead: AtomicI64,
    /// One asks for a token, the others wait for it.
    token: tokio::sync::Mutex<Option<Token>>,
}

impl Client {
    /// Over connections that `dial` opens. Connects to nothing; reads the secret's file.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn new(
        account: &Account,
        dial: Arc<dyn Dial>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, OptionsError> {
        Ok(Self {
            region: account.region.clone(),
            id: account.client_id.clone(),
            secret: account.secret()?,
            rest: Rest::new(Arc::clone(&dial)),
            dial,
            budget: Budget::default(),
            clock,
            ahead: AtomicI64::new(0),
            token: tokio::sync::Mutex::default(),
        })
    }

    /// Where it speaks to.
    #[must_use]
    pub const fn region(&self) -> &Region {
        &self.region
    }

    pub(crate) fn dial(&self) -> &dyn Dial {
        &*self.dial
    }

    /// By how many seconds their clock is ahead of ours, if that is more than what a request takes.
    #[must_use]
    pub fn clock_is_off(&self) -> Option<i64> {
        let ahead = self.ahead.load(Ordering::Relaxed);
        (ahead.unsigned_abs() > CLOCKS_DIFFER).then_some(ahead)
    }

    /// A time of ours as their clock would show it.
    pub(crate) fn their_time(&self, ours: Timestamp) -> Timestamp {
        let ahead = self.clock_is_off().unwrap_or_default();
        ours.saturating_add(SignedDuration::from_secs(ahead))
            .unwrap_or(ours)
    }

    /// Notes what their clock showed.
    fn look_at_clock(&self, headers: &HeaderMap) {
        let date = headers.get(DATE).and_then(|date| date.to_str().ok());
        let date = date.and_then(|date| httpdate::parse_http_date(date).ok());
        let theirs = date.and_then(|date| Timestamp::try_from(date).ok());
        if let Some(theirs) = theirs {
            let ahead = theirs.as_second() - self.clock.now().as_second();
            self.ahead.store(ahead, Ordering::Relaxed);
        }
    }

    /// Has a token at hand, and says how long it was given for.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn authorise(&self) -> Result<Duration, Error> {
        Ok(self.token().await?.lifetime)
    }

    async fn token(&self) -> Result<Token, Error> {
        let mut known = self.token.lock().await;
        if let Some(token) = known.as_ref().filter(|token| token.is_fresh()) {
            return Ok(token.clone());
        }
        let token = self.ask_for_token().await?;
        *known = Some(token.clone());
        Ok(token)
    }

    /// Gives up the token, unless somebody has done so already: it was revoked, or refused.
    pub(crate) async fn forget_token(&self, refused: &Secret) {
        let mut known = self.token.lock().await;
        if known.as_ref().is_some_and(|token| token.text == *refused) {
            *known = None;
        }
    }

    /// Gives up the token that there is.
    pub(crate) async fn forget_any_token(&self) {
        *self.token.lock().await = None;
    }

    async fn ask_for_token(&self) -> Result<Token, Error> {
        let what = || "POST /oauth/token".to_owned();
        let basic = STANDARD.encode(format!("{}:{}", self.id, self.secret.expose()));
        let place = self.region.login();
        let mut request = request(
            &Method::POST,
            &place,
            "/oauth/token",
            Bytes::from_static(b"grant_type=client_credentials"),
        )
        .map_err(|words| failed(what(), Problem::Unreadable(words), None))?;
        let form = HeaderValue::from_static("application/x-www-form-urlencoded");
        request.headers_mut().insert(CONTENT_TYPE, form);
        request
            .headers_mut()
            .insert(AUTHORIZATION, sensitive(&format!("Basic {basic}")));
        let asked = Instant::now();
        let answer = self.rest.send(request).await;
        let answer = answer.map_err(|words| failed(what(), Problem::Unreachable(words), None))?;
        let error = |problem| failed(what(), problem, Some(&answer.headers));
        match answer.status.as_u16() {
            200 => {}
            429 => {
                let after = asked_wait(&answer.headers).unwrap_or(WINDOW);
                return Err(error(Problem::RateLimited { after }));
            }
            status => return Err(error(of_login(status, &answer.body, &place.host))),
        }
        let grant: Grant = serde_json::from_slice(&answer.body)
            .map_err(|_| error(Problem::Unreadable("it has no access_token".into())))?;
        Ok(Token::given(grant, asked))
    }

    /// Makes a call and reads the answer's body as `T`.
    ///
    /// # Errors
    /// [`Error`]. A call that got no answer may have been carried out.
    pub async fn call<T: DeserializeOwned>(&self, call: &Call) -> Result<T, Error> {
        let body = self.bytes(call).await?;
        serde_json::from_slice(&body).map_err(|error| {
            // Where it is wrong, and not what stands there.
            let (line, column) = (error.line(), error.column());
            let words =
                format!("it is not the JSON that was expected (line {line}, column {column})");
            call.error(Problem::Unreadable(words), None)
        })
    }

    /// Makes a call; its answer's body as it came.
    ///
    /// # Errors
    /// As of [`Client::call`].
    pub async fn bytes(&self, call: &Call) -> Result<Bytes, Error> {
        let mut renewed = false;
        let mut tries = 0;
        loop {
            let token = self.token().await?;
            self.budget.one().await;
            let answer = self.once(call, &token).await?;
            self.budget.heed(&answer.headers);
            match answer.status.as_u16() {
                200..=299 => return Ok(answer.body),
                401 if !renewed => {
                    renewed = true;
                    self.forget_token(&token.text).await;
                }
                429 => {
                    tries += 1;
                    let after = wait(&answer.headers, tries, rand::random());
                    if tries >= TRIES || after > LONGEST_WAIT {
                        return Err(
                            call.error(Problem::RateLimited { after }, Some(&answer.headers))
                        );
                    }
                    // All who use the client are over its budget, not this call alone.
                    self.budget.pause(after);
                }
                status => {
                    let problem = of_api(status, &answer.body);
                    return Err(call.error(problem, Some(&answer.headers)));
                }
            }
        }
    }

    async fn once(&self, call: &Call, token: &Token) -> Result<Answer, Error> {
        let body = call.body.clone().unwrap_or_default();
        if body.len() > BODY {
            let words = format!(
                "the request has {} bytes, and {BODY} are the most",
                body.len()
            );
            return Err(call.error(Problem::Unreadable(words), None));
        }
        let path = match call.query.as_str() {
            "" => call.path.clone(),
            query => format!("{}?{query}", call.path),
        };
        let mut request = request(&call.method, &self.region.api(), &path, body)
            .map_err(|words| call.error(Problem::Unreadable(words), None))?;
        let bearer = sensitive(&format!("Bearer {}", token.text.expose()));
        request.headers_mut().insert(AUTHORIZATION, bearer);
        if call.body.is_some() {
            let json = HeaderValue::from_static("application/json");
            request.headers_mut().insert(CONTENT_TYPE, json);
        }
        let answer = self.rest.send(request).await;
        let answer = answer.map_err(|words| call.error(Problem::Unreachable(words), None))?;
        self.look_at_clock(&answer.headers);
        Ok(answer)
    }
}

fn request(
    method: &Method,
    place: &Place,
    path: &str,
    body: Bytes,
) -> Result<Request<Full<Bytes>>, String> {
    let scheme = if place.tls { "https" } else { "http" };
    Request::builder()
        .method(method)
        .uri(format!("{scheme}://{}{path}", place.authority()))
        .header(USER_AGENT, concat!("forebay/", env!("CARGO_PKG_VERSION")))
        .body(Full::new(body))
        .map_err(|_| "its path cannot be written in a URL".to_owned())
}

fn sensitive(text: &str) -> HeaderValue {
    let mut value = HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""));
    value.set_sensitive(true);
    value
}

/// How long a 429 asks to wait: `Retry-After`, else when the count begins anew.
fn asked_wait(headers: &HeaderMap) -> Option<Duration> {
    let seconds =
        |name: &str| -> Option<u64> { headers.get(name)?.to_str().ok()?.trim().parse().ok() };
    let given = seconds(RETRY_AFTER.as_str()).or_else(|| seconds("inin-ratelimit-reset"));
    given.map(Duration::from_secs)
}

/// The same, or, where it says nothing, twice as long at each try, with some chance in it.
fn wait(headers: &HeaderMap, tries: u32, random: f64) -> Duration {
    let grown = Duration::from_secs(1 << tries.min(5)).mul_f64(1.0 + random);
    // A second that has begun over there is not over yet.
    asked_wait(headers).map_or(grown, |asked| asked.max(Duration::from_secs(1)))
}

/// The clients of a process: one for each account, so that all who use it share its token and its budget.
#[derive(Debug, Default)]
pub struct Clients {
    known: Mutex<HashMap<(String, String), Arc<Client>>>,
}

impl Clients {
    /// The client of an account; made with `dial` if there is none yet.
    ///
    /// # Errors
    /// As of [`Client::new`].
    pub fn of(
        &self,
        account: &Account,
        dial: &Arc<dyn Dial>,
        clock: &Arc<dyn Clock>,
    ) -> Result<Arc<Client>, OptionsError> {
        let key = (account.region.name(), account.client_id.clone());
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = known.get(&key) {
            return Ok(Arc::clone(client));
        }
        let client = Arc::new(Client::new(account, Arc::clone(dial), Arc::clone(clock))?);
        known.insert(key, Arc::clone(&client));
        Ok(client)
    }
}
