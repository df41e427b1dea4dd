//! Dead letters that come back: what a message that was one of ours means here.
//!
//! If it is dead here still, it goes back on its route, like a redrive. If its event was delivered meanwhile, or is under
//! way, there is nothing to do. What is not known here, or not any more, is a message like any other.

use std::sync::Arc;

use domain::ports::{
    Archive, DeadLetter, DeadLetters, Edit, Fate, Message, RouteRecord, Routes, State, StateError,
};
use domain::{Clock, EventId, RouteId, Seq, SourceName};

use crate::message::{self, Ours};

/// What is asked of the other parts to tell.
#[derive(Clone)]
pub struct ReturnPorts {
    /// Where dead letters are.
    pub dead_letters: Arc<dyn DeadLetters>,
    /// What became of events.
    pub state: Arc<dyn State>,
    /// The journal's past.
    pub archive: Arc<dyn Archive>,
    /// The running routes.
    pub routes: Arc<dyn Routes>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

/// What was made of a message. All of it is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Made {
    /// It was dead here, and is back on its route.
    Redriven,
    /// Its event is known, and needs nothing.
    Known,
    /// It is a fresh event.
    Fresh,
}

/// Why nothing was made of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NotMade {
    /// It may be, later.
    Yet(String),
    /// It never will be.
    Ever(String),
}

impl NotMade {
    /// The reason.
    pub(crate) fn into_words(self) -> String {
        match self {
            Self::Yet(why) | Self::Ever(why) => why,
        }
    }
}

impl ReturnPorts {
    /// What becomes of a message that was a letter of ours; `None`: it was none, or nothing is known of it here.
    ///
    /// # Errors
    /// Why it cannot be told, or is nothing to be taken.
    pub(crate) async fn returns(&self, message: &Message) -> Result<Option<Made>, NotMade> {
        let Some(ours) = message::ours(message) else {
            return Ok(None);
        };
        let made = self.of_ours(&ours, message).await;
        let made = made.map_err(|error| NotMade::Yet(error.to_string()))?;
        match (made, message.attribute("forebay-body-at")) {
            // The message is no event: what it stands for lies elsewhere.
            (None, Some(place)) => Err(NotMade::Ever(format!(
                "a dead letter that is not known here any more has its body at {place}: post that by hand, and delete the message"
            ))),
            (made, _) => Ok(made),
        }
    }

    /// The route that a message is for alone, as far as it was a letter of ours: the one that it was dead on, if that
    /// runs and takes from the source still.
    pub(crate) fn only(&self, message: &Message, source: &SourceName) -> Option<RouteId> {
        let ours = message::ours(message)?;
        self.routes.route_id(&ours.route, source)
    }

    /// Whether the message is a letter of ours whose event is known here still.
    ///
    /// # Errors
    /// Why it cannot be told.
    pub(crate) async fn knows(&self, message: &Message) -> Result<bool, String> {
        let Some(ours) = message::ours(message) else {
            return Ok(false);
        };
        let found = self.seq(ours.id).await;
        Ok(found.map_err(|error| error.to_string())?.is_some())
    }

    async fn of_ours(&self, ours: &Ours, message: &Message) -> Result<Option<Made>, StateError> {
        if self.put_back(ours, message).await? {
            return Ok(Some(Made::Redriven));
        }
        let Some(seq) = self.seq(ours.id).await? else {
            return self.of_long_ago(ours).await;
        };
        match self.state.fate(&ours.route, seq).await {
            Ok(Fate::Delivered { .. } | Fate::Pending | Fate::Parked { .. }) => {
                Ok(Some(Made::Known))
            }
            // It may have died since it was asked for first. If not, it is of a retired route.
            Ok(Fate::Dead { .. }) => Ok(self
                .put_back(ours, message)
                .await?
                .then_some(Made::Redriven)),
            // Of a retired route, or purged, or expired: somebody wants it back.
            Ok(Fate::Discarded | Fate::Before) | Err(StateError::UnknownRoute(_)) => {
                self.of_long_ago(ours).await
            }
            Err(error) => Err(error),
        }
    }

    /// What is neither in the journal nor parked nor dead: a copy of what came back and was delivered is known still.
    async fn of_long_ago(&self, ours: &Ours) -> Result<Option<Made>, StateError> {
        let has_returned = self.dead_letters.has_returned(ours.id, &ours.route);
        Ok(has_returned.await?.then_some(Made::Known))
    }

    /// Puts its letter back on its route, with the body that the message has: whoever mends a letter mends it where it
    /// lies. `false`: there is none.
    async fn put_back(&self, ours: &Ours, message: &Message) -> Result<bool, StateError> {
        let Some(letter) = self.letter(ours).await? else {
            return Ok(false);
        };
        let now = self.clock.now();
        let route = &letter.route;
        // Of one whose body lies elsewhere the message's is another thing.
        let is_whole = message.attribute("forebay-body-at").is_none();
        let put_back = if is_whole && letter.stored.event.body != message.body {
            let edit = Edit {
                id: ours.id,
                route: Some(route.clone()),
                body: message.body.clone(),
                by: "whoever changed it outside".into(),
                note: Some("it came back by an import or a queue with another body".into()),
                at: now,
            };
            self.dead_letters.redrive_edited(edit).await?.is_some()
        } else {
            self.dead_letters.redrive_one(ours.id, route, now).await?
        };
        if put_back {
            self.routes.brought(route);
        }
        Ok(put_back)
    }

    /// Its letter here, under the name that its route has now.
    async fn letter(&self, ours: &Ours) -> Result<Option<DeadLetter>, StateError> {
        let mut letters = self.dead_letters.dead_letters(ours.id).await?;
        letters.retain(|letter| !letter.retired);
        if let Some(at) = letters.iter().position(|letter| letter.route == ours.route) {
            return Ok(Some(letters.swap_remove(at)));
        }
        let is_known = |routes: Vec<RouteRecord>| routes.iter().any(|one| one.name == ours.route);
        match letters.len() {
            1 if !is_known(self.state.routes().await?) => Ok(letters.pop()),
            _ => Ok(None),
        }
    }

    /// The event's number, if anything here still has it.
    async fn seq(&self, id: EventId) -> Result<Option<Seq>, StateError> {
        let found = self.archive.find(id).await;
        let found = found.map_err(|error| StateError::Failed(error.to_string()))?;
        if let Some(stored) = found {
            return Ok(Some(stored.seq));
        }
        Ok(self.state.find(id).await?.map(|stored| stored.seq))
    }
}
