//! The dead letters port on [`SqliteState`]: which call goes to which connection.

use std::sync::Arc;

use async_trait::async_trait;
use domain::ports::{
    DeadFilter, DeadGroup, DeadLetter, DeadLetters, DeadPage, DeadQuery, Edit, Edited,
    ExportConfirmed, Letter, Redrive, RedriveId, RedriveStep, Selection, StateError,
};
use domain::{EventId, RouteName, Timestamp};
use rusqlite::Connection;

use crate::connection::CallError;
use crate::dead::{self, Whose};
use crate::edits;
use crate::exports;
use crate::redrives::{self, Request};
use crate::returned;
use crate::store::SqliteState;

impl SqliteState {
    /// Reads from one snapshot.
    pub(crate) async fn looks<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Connection) -> Result<T, CallError> + Send + 'static,
    ) -> Result<T, StateError> {
        let look = |connection: &mut Connection| look(&*connection.transaction()?);
        self.looker.call(look).await
    }

    /// Changes something, and looks at the room that is left then. Asks for none: purges and redrives are
    /// the way out of a full state.
    pub(crate) async fn changes<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut Connection) -> Result<T, CallError> + Send + 'static,
    ) -> Result<T, StateError> {
        let room = Arc::clone(&self.room);
        self.writer
            .call(move |connection| {
                let changed = change(connection)?;
                room.look(connection);
                Ok(changed)
            })
            .await
    }
}

#[async_trait]
impl DeadLetters for SqliteState {
    async fn dead_page(&self, query: &DeadQuery) -> Result<DeadPage, StateError> {
        let query = query.clone();
        self.looks(move |connection| dead::page(connection, &query))
            .await
    }

    async fn dead_letters(&self, id: EventId) -> Result<Vec<DeadLetter>, StateError> {
        self.looks(move |connection| dead::of_event(connection, id))
            .await
    }

    async fn dead_groups(
        &self,
        filter: &DeadFilter,
        limit: usize,
    ) -> Result<Vec<DeadGroup>, StateError> {
        let filter = filter.clone();
        self.looks(move |connection| dead::groups(connection, &filter, limit))
            .await
    }

    async fn exported_to(&self, letter: Letter) -> Result<Vec<ExportConfirmed>, StateError> {
        self.looks(move |connection| exports::confirmations(connection, letter))
            .await
    }

    async fn count_dead(&self, selection: &Selection) -> Result<u64, StateError> {
        let selection = selection.clone();
        self.looks(move |connection| dead::count(connection, &selection, Whose::All))
            .await
    }

    async fn count_redrivable(&self, selection: &Selection) -> Result<u64, StateError> {
        let selection = selection.clone();
        self.looks(move |connection| dead::count(connection, &selection, Whose::Living))
            .await
    }

    async fn last_letter(&self) -> Result<Letter, StateError> {
        self.looks(|connection| Ok(dead::last(connection)?)).await
    }

    async fn purge(
        &self,
        selection: &Selection,
        through: Letter,
        limit: usize,
    ) -> Result<u64, StateError> {
        let selection = selection.clone();
        self.changes(move |connection| dead::purge(connection, &selection, through, limit))
            .await
    }

    async fn begin_redrive(
        &self,
        selection: &Selection,
        rate_per_second: Option<u32>,
        now: Timestamp,
    ) -> Result<Redrive, StateError> {
        let selection = selection.clone();
        // Counting may take a while among millions, and settling does not wait for it: what it counts and
        // the bound are of one snapshot, and nothing that comes later has a number below the bound.
        let counted = self.looks(move |connection| {
            Ok(Request {
                through: dead::last(connection)?,
                matched: dead::count(connection, &selection, Whose::Living)?,
                selection,
                rate_per_second,
                ramped: false,
            })
        });
        let request = counted.await?;
        self.changes(move |connection| redrives::begin(connection, &request, now))
            .await
    }

    async fn begin_recovery(
        &self,
        route: &RouteName,
        now: Timestamp,
    ) -> Result<Option<Redrive>, StateError> {
        let route = route.clone();
        let looked = self.looks(move |connection| redrives::recovery(connection, &route));
        match looked.await? {
            Some(request) => {
                let begun =
                    self.changes(move |connection| redrives::begin(connection, &request, now));
                begun.await.map(Some)
            }
            None => Ok(None),
        }
    }

    async fn step_redrive(
        &self,
        id: RedriveId,
        limit: usize,
        now: Timestamp,
    ) -> Result<Option<RedriveStep>, StateError> {
        self.changes(move |connection| redrives::step(connection, id, limit, now))
            .await
    }

    async fn redrive_edited(&self, edit: Edit) -> Result<Option<RouteName>, StateError> {
        // Unlike other ways out of a full state it leaves something behind for good: the body before.
        self.room.check().map_err(StateError::Full)?;
        self.changes(move |connection| edits::redrive_edited(connection, &edit))
            .await
    }

    async fn redrive_one(
        &self,
        id: EventId,
        route: &RouteName,
        now: Timestamp,
    ) -> Result<bool, StateError> {
        let route = route.clone();
        self.changes(move |connection| edits::redrive_one(connection, id, &route, now))
            .await
    }

    async fn has_returned(&self, id: EventId, route: &RouteName) -> Result<bool, StateError> {
        let route = route.clone();
        self.looks(move |connection| returned::has(connection, id, &route))
            .await
    }

    async fn history(&self, id: EventId) -> Result<Vec<Edited>, StateError> {
        self.looks(move |connection| edits::history(connection, id))
            .await
    }

    async fn cancel_redrive(
        &self,
        id: RedriveId,
        now: Timestamp,
    ) -> Result<Option<Redrive>, StateError> {
        self.changes(move |connection| redrives::cancel(connection, id, now))
            .await
    }

    async fn redrive(&self, id: RedriveId) -> Result<Option<Redrive>, StateError> {
        self.looks(move |connection| redrives::get(connection, id))
            .await
    }

    async fn redrives(
        &self,
        below: Option<RedriveId>,
        limit: usize,
    ) -> Result<Vec<Redrive>, StateError> {
        self.looks(move |connection| redrives::list(connection, below, limit))
            .await
    }

    async fn running_redrives(&self) -> Result<Vec<Redrive>, StateError> {
        self.looks(redrives::running).await
    }
}
