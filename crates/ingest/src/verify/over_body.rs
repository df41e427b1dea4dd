//! The commonest manner of signing: an HMAC over the body alone, in a header.

use std::fmt::Debug;
use std::marker::PhantomData;

use super::signature::{Algorithm, Encoding, HmacKeys, given};
use super::{
    About, CannotSign, Consumed, Handshake, Identity, Received, Refusal, Sample, Scheme,
    SecretOptions, Signed, Split, Unsigned,
};

/// What sets one sender of this manner apart from another.
pub(super) trait Manner: Debug + Send + Sync + 'static {
    /// What is known of it.
    const ABOUT: About;
    /// The header with the signature.
    const HEADER: &'static str;
    /// What stands before the signature.
    const PREFIX: &'static str = "";
    /// How the signature is spelt.
    const ENCODING: Encoding;
    /// The hash.
    const ALGORITHM: Algorithm = Algorithm::Sha256;

    /// As [`Scheme::identify`].
    fn identify(request: &Received<'_>) -> Identity;

    /// As [`Scheme::identify_item`].
    fn identify_item(item: &[u8]) -> Identity {
        let _ = item;
        Identity::default()
    }

    /// As [`Scheme::split`].
    fn split() -> Option<Split> {
        None
    }

    /// The answer to a challenge that has been verified.
    fn answer(request: &Received<'_>) -> Option<Handshake> {
        let _ = request;
        None
    }

    /// As [`Scheme::sample`].
    fn sample(id: &str, text: &str) -> Sample;
}

/// A scheme of this manner.
#[derive(Debug)]
pub(super) struct OverBody<M> {
    keys: HmacKeys,
    manner: PhantomData<M>,
}

impl<M: Manner> OverBody<M> {
    pub(super) fn new(options: &SecretOptions) -> Result<Self, String> {
        Ok(Self {
            keys: HmacKeys::load(options, M::ALGORITHM)?,
            manner: PhantomData,
        })
    }
}

impl<M: Manner> Scheme for OverBody<M> {
    fn about(&self) -> &'static About {
        const { &M::ABOUT }
    }

    fn handshake(&self, request: &Received<'_>) -> Option<Handshake> {
        let answer = M::answer(request)?;
        match self.verify(request) {
            Ok(_) => Some(answer),
            Err(refusal) => Some(Handshake::Refused(refusal)),
        }
    }

    fn verify(&self, request: &Received<'_>) -> Result<Consumed, Refusal> {
        let signature = given(request.headers, M::HEADER, M::PREFIX, M::ENCODING)?;
        self.keys.check(&signature, &[request.body])?;
        Ok(Consumed::Nothing)
    }

    fn identify(&self, request: &Received<'_>) -> Identity {
        M::identify(request)
    }

    fn identify_item(&self, item: &[u8]) -> Identity {
        M::identify_item(item)
    }

    fn split(&self) -> Option<Split> {
        M::split()
    }

    fn sign(&self, request: &Unsigned<'_>) -> Result<Signed, CannotSign> {
        let spelt = M::ENCODING.encode(self.keys.sign(&[request.body]));
        let value = format!("{}{spelt}", M::PREFIX);
        Ok(Signed::with([(M::HEADER, value)]))
    }

    fn sample(&self, id: &str, text: &str) -> Sample {
        M::sample(id, text)
    }

    fn reload(&self) -> Result<(), String> {
        self.keys.reload()
    }
}
