//! Notification channels: topics, frames, sockets, and the task that keeps a channel alive.

pub(crate) mod api;
pub(crate) mod frame;
pub(crate) mod keeper;
pub(crate) mod link;
pub(crate) mod socket;
pub(crate) mod topics;
