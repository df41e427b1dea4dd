//! One event as a database sees it: values by field, and which of `body` and `body_raw` has the body.

use std::borrow::Cow;
use std::fmt;

use domain::ports::Delivery;
use domain::{Cause, Envelope, StoredEvent};

use crate::body::{self, Holds};
use crate::field::Field;
use crate::headers;
use crate::target::ColumnValue;

/// A value to be bound. Text is UTF-8, with no NUL unless the sender's JSON string has one. Printed by its
/// length only: client libraries log what they bind.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    Null,
    Text(Cow<'a, [u8]>),
    Bytes(&'a [u8]),
}

impl fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Text(text) => write!(f, "text of {} bytes", text.len()),
            Self::Bytes(bytes) => write!(f, "{} bytes", bytes.len()),
        }
    }
}

impl<'a> Value<'a> {
    fn text(text: &'a str) -> Self {
        Self::Text(match escaped(text) {
            Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
            Cow::Owned(text) => Cow::Owned(text.into_bytes()),
        })
    }
}

/// Text columns cannot hold NUL everywhere; it is written `%00`, as a path would.
pub(crate) fn escaped(text: &str) -> Cow<'_, str> {
    if text.contains('\0') {
        Cow::Owned(text.replace('\0', "%00"))
    } else {
        Cow::Borrowed(text)
    }
}

/// What a destination can take of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BodyPlan {
    /// What `body` holds; `None` when it is not asked for.
    pub(crate) body: Option<Holds>,
    /// Whether `body_raw` is asked for.
    pub(crate) raw: bool,
}

/// Which field has the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Placement {
    Body,
    Raw,
    /// Neither was asked for.
    Nowhere,
}

/// An event with its body placed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row<'a> {
    pub(crate) stored: &'a StoredEvent,
    pub(crate) letter: Option<&'a Envelope>,
    pub(crate) placement: Placement,
}

impl<'a> Row<'a> {
    /// Places the body. `body` takes what it can hold and `body_raw` the rest.
    ///
    /// # Errors
    /// When the body would be lost: only `body` is asked for, and it cannot hold it.
    pub(crate) fn place(delivery: &'a Delivery, plan: BodyPlan) -> Result<Self, Cause> {
        let stored = &delivery.stored;
        let placement = match plan.body {
            Some(holds) if body::fits(&stored.event.body, holds) => Placement::Body,
            Some(_) if !plan.raw => {
                return Err(Cause::new(
                    "body",
                    "the body is not what $body can hold; ask for $body_raw as well, which takes what $body cannot",
                ));
            }
            _ if plan.raw => Placement::Raw,
            _ => Placement::Nowhere,
        };
        Ok(Self {
            stored,
            letter: delivery.letter.as_deref(),
            placement,
        })
    }

    /// Appends the headers as one JSON object.
    pub(crate) fn headers(&self, out: &mut Vec<u8>) {
        headers::write(&self.stored.event.headers, self.letter, out);
    }

    pub(crate) fn field(&self, field: Field) -> Value<'a> {
        let event = &*self.stored.event;
        let owned = |text: String| Value::Text(Cow::Owned(text.into_bytes()));
        match field {
            Field::Id => owned(self.stored.id.to_string()),
            Field::Source => Value::text(event.source.as_str()),
            Field::ReceivedAt => owned(format!("{:.6}", event.received_at)),
            Field::Method => Value::text(&event.method),
            Field::Path => Value::text(&event.path),
            Field::Headers => {
                let mut json = Vec::with_capacity(512);
                self.headers(&mut json);
                Value::Text(Cow::Owned(json))
            }
            Field::ContentType => event.content_type().map_or(Value::Null, Value::text),
            Field::Body if self.placement == Placement::Body => {
                Value::Text(Cow::Borrowed(&event.body))
            }
            Field::BodyRaw if self.placement == Placement::Raw => Value::Bytes(&event.body),
            Field::Body | Field::BodyRaw => Value::Null,
            Field::EventType => event.event_type.as_deref().map_or(Value::Null, Value::text),
        }
    }

    /// # Errors
    /// When a value is asked out of a body that is not JSON.
    pub(crate) fn column(&self, value: &ColumnValue) -> Result<Value<'a>, Cause> {
        match value {
            ColumnValue::Field(field) => Ok(self.field(*field)),
            ColumnValue::Pointer(pointer) => match pointer.find(&self.stored.event.body) {
                Ok(None) => Ok(Value::Null),
                Ok(Some(Cow::Borrowed(text))) => Ok(Value::Text(Cow::Borrowed(text.as_bytes()))),
                Ok(Some(Cow::Owned(text))) => Ok(Value::Text(Cow::Owned(text.into_bytes()))),
                Err(_) => Err(Cause::new(
                    "body",
                    "the body is not JSON, and `columns` takes values out of it",
                )),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_printed_by_its_length() {
        let secret = "4929-1337";
        let values = [
            Value::text(secret),
            Value::Text(Cow::Owned(secret.into())),
            Value::Bytes(secret.as_bytes()),
            Value::Null,
        ];
        let printed = format!("{values:?} {values:#?}");
        assert!(
            !printed.contains("4929") && !printed.contains("52"),
            "{printed}"
        );
        assert!(printed.contains("9 bytes"), "{printed}");
    }
}
