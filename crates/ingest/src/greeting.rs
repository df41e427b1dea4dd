//! Challenges: what a sender wants answered before it sends events. Nothing of them is stored.

use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;

use crate::answer::{self, Answer};
use crate::event::Unverified;
use crate::listener::Peer;
use crate::refusal::Refused;
use crate::service::Ingest;
use crate::source::Source;
use crate::verify::{Handshake, Reply};

impl Ingest {
    /// What some senders greet with before they send: a request that is no POST and has no body that counts.
    pub(crate) async fn greeted(
        &self,
        source: &Arc<Source>,
        head: &mut Parts,
        peer: &Peer,
    ) -> Result<Answer, Refused> {
        if !source.greets(&head.method) {
            return Err(Refused::MethodNotAllowed);
        }
        let remote = peer.origin_text(&head.headers);
        let greeting = Unverified {
            source,
            head,
            body: Bytes::new(),
            received_at: self.ports.clock.now(),
            remote: Some(remote),
            client: peer.client.as_ref(),
        };
        match greeting.handshake() {
            Some(handshake) => self.shake(source, handshake).await,
            None => Err(Refused::MethodNotAllowed),
        }
    }

    /// Answers a challenge; nothing of it is stored.
    pub(crate) async fn shake(
        &self,
        source: &Source,
        handshake: Handshake,
    ) -> Result<Answer, Refused> {
        match handshake {
            Handshake::Answer(reply) => {
                // Anybody may ask some of them, as often as they like.
                tracing::debug!(source = %source.name, "answered a challenge of the sender");
                Ok(answer::reply(reply))
            }
            Handshake::Refused(refusal) => Err(refusal.into()),
            Handshake::Ended => {
                tracing::warn!(source = %source.name, "the sender has ended its subscription: nothing more comes from it until it is subscribed again");
                Ok(answer::reply(Reply::text("ok")))
            }
            Handshake::Confirm(url) => match self.ports.fetch.fetch(&url).await {
                Ok(_) => {
                    tracing::info!(source = %source.name, "confirmed the sender's subscription");
                    Ok(answer::reply(Reply::text("confirmed")))
                }
                Err(error) => {
                    tracing::warn!(source = %source.name, %error, "the sender's subscription could not be confirmed; it is told 503 and will ask again");
                    Err(Refused::NotConfirmed)
                }
            },
        }
    }
}
