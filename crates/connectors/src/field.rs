//! The named parts of an event that a statement or a column can ask for.

/// A part of an event. Its name is the same as a parameter (`$id`) and as a column of the events table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Field {
    Id,
    Source,
    ReceivedAt,
    Method,
    Path,
    Headers,
    ContentType,
    /// The body where it is what the column or parameter can hold.
    Body,
    /// The body where `Body` could not take it.
    BodyRaw,
    EventType,
}

impl Field {
    pub(crate) const ALL: [Self; 10] = [
        Self::Id,
        Self::Source,
        Self::ReceivedAt,
        Self::Method,
        Self::Path,
        Self::Headers,
        Self::ContentType,
        Self::Body,
        Self::BodyRaw,
        Self::EventType,
    ];

    /// The columns of the events table, in its order.
    pub(crate) const EVENTS_TABLE: [Self; 9] = [
        Self::Id,
        Self::Source,
        Self::ReceivedAt,
        Self::Method,
        Self::Path,
        Self::Headers,
        Self::ContentType,
        Self::Body,
        Self::BodyRaw,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Id => "id",
            Self::Source => "source",
            Self::ReceivedAt => "received_at",
            Self::Method => "method",
            Self::Path => "path",
            Self::Headers => "headers",
            Self::ContentType => "content_type",
            Self::Body => "body",
            Self::BodyRaw => "body_raw",
            Self::EventType => "event_type",
        }
    }

    pub(crate) fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|field| field.name() == name)
    }

    /// All names as a person would write them, for error messages.
    pub(crate) fn listed() -> String {
        let names: Vec<String> = Self::ALL
            .iter()
            .map(|field| format!("${}", field.name()))
            .collect();
        names.join(", ")
    }
}
