//! Tokens by client credentials (RFC 6749, section 4.4): kept, and renewed ahead of their end.

use std::time::Duration;

use domain::Secret;
use serde::Deserialize;
use tokio::time::Instant;

/// A token is renewed this much before it ends, or at half of its life if that is later: one that ends on the way would
/// be refused.
const AHEAD: Duration = Duration::from_secs(300);

/// What the login host answers.
#[derive(Deserialize)]
pub(crate) struct Grant {
    access_token: Secret,
    expires_in: u64,
}

/// A token, and when it is to be renewed.
#[derive(Debug, Clone)]
pub(crate) struct Token {
    pub(crate) text: Secret,
    /// From then on it is not used any more.
    renew_at: Instant,
    /// How long it lives, as it was given.
    pub(crate) lifetime: Duration,
}

impl Token {
    /// A token given at `asked` or later: what the answer took is off its life.
    pub(crate) fn given(grant: Grant, asked: Instant) -> Self {
        let lifetime = Duration::from_secs(grant.expires_in.min(48 * 3600));
        Self {
            text: grant.access_token,
            renew_at: asked + lifetime.saturating_sub(AHEAD).max(lifetime / 2),
            lifetime,
        }
    }

    pub(crate) fn is_fresh(&self) -> bool {
        Instant::now() < self.renew_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_token_is_renewed_ahead_of_its_end() {
        let of = |expires_in| {
            let grant = Grant {
                access_token: Secret::new("t".into()),
                expires_in,
            };
            Token::given(grant, Instant::now())
        };
        let (day, short) = (of(86_400), of(300));
        tokio::time::advance(Duration::from_secs(149)).await;
        assert!(day.is_fresh() && short.is_fresh());
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(day.is_fresh() && !short.is_fresh());
        tokio::time::advance(Duration::from_secs(86_400 - 300 - 151)).await;
        assert!(!day.is_fresh());
        assert!(!format!("{day:?}").contains("\"t\""));
    }
}
