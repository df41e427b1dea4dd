//! How an authority is shown that a domain is ours: by one of its challenges, answered for as long as an order is under way.

use instant_acme::{ChallengeType, KeyAuthorization};

use super::challenge::Challenges;
use super::http_challenge::HttpChallenges;
use super::options::AcmeChallenge;
use super::order::Error;

/// What is answered at present, by the one challenge that is used.
#[derive(Debug)]
pub(super) enum Proof {
    Tls(Challenges),
    Http(HttpChallenges),
}

impl Proof {
    pub(super) fn new(challenge: AcmeChallenge) -> Result<Self, rustls::Error> {
        Ok(match challenge {
            AcmeChallenge::TlsAlpn01 => Self::Tls(Challenges::new()?),
            AcmeChallenge::Http01 => Self::Http(HttpChallenges::default()),
        })
    }

    /// What the authority calls it.
    pub(super) fn kind(&self) -> ChallengeType {
        match self {
            Self::Tls(_) => ChallengeType::TlsAlpn01,
            Self::Http(_) => ChallengeType::Http01,
        }
    }

    /// The port that the authority connects to, and calls the challenge by.
    pub(super) const fn name_and_port(&self) -> (&'static str, u16) {
        match self {
            Self::Tls(_) => ("tls-alpn-01", 443),
            Self::Http(_) => ("http-01", 80),
        }
    }

    /// Answers for a domain from now on.
    pub(super) fn answer(
        &self,
        domain: &str,
        token: &str,
        proof: &KeyAuthorization,
    ) -> Result<(), Error> {
        match self {
            Self::Tls(challenges) => challenges.answer(domain, proof.digest().as_ref())?,
            Self::Http(challenges) => challenges.answer(token, proof.as_str()),
        }
        Ok(())
    }

    /// Nothing is to be answered any more.
    pub(super) fn clear(&self) {
        match self {
            Self::Tls(challenges) => challenges.clear(),
            Self::Http(challenges) => challenges.clear(),
        }
    }
}
