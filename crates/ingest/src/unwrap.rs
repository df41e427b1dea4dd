//! Taking an event out of the envelope that it came in. A body that is no such envelope stays as it is: a carrier may be
//! told to leave it off.

use std::borrow::Cow;

use bytes::Bytes;
use domain::{Event, Unwrap};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::event::key;

/// An envelope of EventBridge (docs.aws.amazon.com, "AWS service event metadata"). A rule that makes another text of an
/// event leaves these out.
#[derive(Deserialize)]
struct EventBridge<'t> {
    #[serde(rename = "version", borrow)]
    _version: Cow<'t, str>,
    #[serde(borrow)]
    id: Cow<'t, str>,
    #[serde(rename = "detail-type", borrow)]
    detail_type: Cow<'t, str>,
    #[serde(rename = "source", borrow)]
    _source: Cow<'t, str>,
    #[serde(borrow)]
    detail: &'t RawValue,
}

/// The event within, byte for byte; or the event itself.
pub(crate) fn out_of(envelope: Unwrap, event: Event) -> Event {
    match envelope {
        Unwrap::Eventbridge => out_of_eventbridge(event),
    }
}

fn out_of_eventbridge(event: Event) -> Event {
    let (body, id, kind): (Bytes, String, String) = {
        let Ok(found) = serde_json::from_slice::<EventBridge<'_>>(&event.body) else {
            return event;
        };
        let body = event.body.slice_ref(found.detail.get().as_bytes());
        (body, found.id.into_owned(), found.detail_type.into_owned())
    };
    // The same event may lie in a queue twice, under two ids of the queue's.
    let dedup = key(event.source.as_str(), [&b"eventbridge"[..], id.as_bytes()]);
    Event {
        body,
        event_type: Some(kind),
        dedup: Some(dedup),
        ..event
    }
}

#[cfg(test)]
mod tests {
    use domain::{Headers, SourceName, Timestamp};

    use super::*;

    fn unwrapped(body: &str) -> Event {
        let event = Event {
            source: SourceName::new("gc").unwrap(),
            received_at: Timestamp::UNIX_EPOCH,
            method: "POST".into(),
            path: "/in/gc".into(),
            headers: Headers::default(),
            body: Bytes::copy_from_slice(body.as_bytes()),
            event_type: None,
            remote: None,
            dedup: None,
            only: None,
        };
        out_of(Unwrap::Eventbridge, event)
    }

    #[test]
    fn the_event_is_the_detail_byte_for_byte_and_known_by_the_envelope_s_id() {
        let envelope = |id: &str| {
            format!(
                r#"{{"version":"0","id":"{id}","detail-type":"v2.users.{{id}}.presence","source":"aws.partner/genesys.com/x","account":"1","time":"t","region":"r","resources":[],"detail": {{"a" :  1.0}} }}"#
            )
        };
        let event = unwrapped(&envelope("e1"));
        assert_eq!(&event.body[..], br#"{"a" :  1.0}"#);
        assert_eq!(event.event_type.as_deref(), Some("v2.users.{id}.presence"));
        assert_eq!(event.dedup, unwrapped(&envelope("e1")).dedup);
        assert_ne!(event.dedup, unwrapped(&envelope("e2")).dedup);
    }

    #[test]
    fn what_is_no_envelope_stays_as_it_is() {
        for other in [
            "",
            "not JSON",
            r#"{"id":"order-42","detail":{}}"#,
            r#"{"version":"0","id":"e","detail-type":"t","source":"s"}"#,
            r#"{"version":0,"id":"e","detail-type":"t","source":"s","detail":1}"#,
        ] {
            let event = unwrapped(other);
            assert_eq!((&event.body[..], event.dedup), (other.as_bytes(), None));
        }
    }
}
