//! Bodies as Genesys Open Messaging posts them, each different from every other.
//!
//! The mix is what an integration sees: mostly texts, some structured messages, receipts that reuse
//! their message's id, and typing events. Spacing, escapes, key order and number formats are such that
//! whoever parses a body and writes it again changes its bytes.

use bytes::Bytes;
use uuid::Uuid;

/// Distinct conversations among the events of a run.
const CONVERSATIONS: u64 = 64;

/// The body number `number` of the run `run`, at least `size` bytes long (about 600 at the least).
///
/// The same arguments give the same bytes.
pub(super) fn open_messaging(run: Uuid, number: u64, size: usize) -> Bytes {
    let message = |number: u64| Uuid::from_u128(run.as_u128() ^ u128::from(number));
    let conversation = Uuid::from_u128(!run.as_u128() ^ u128::from(number % CONVERSATIONS));
    let integration = Uuid::from_u128(run.as_u128().rotate_left(64));
    let (id, kind) = match number % 16 {
        3 => (
            message(number),
            r#""type": "Structured", "content": [{"contentType":"QuickReply","quickReply":{"text":"Ja \u2713","payload":"yes"}}]"#,
        ),
        // A receipt has the id of the message it is about, here of the one before it.
        7 => (
            message(number - 1),
            r#""type": "Receipt", "status": "Delivered", "isFinalReceipt": false"#,
        ),
        11 => (
            message(number),
            r#""type": "Event", "events": [{"eventType":"Typing","typing":{"type":"On","duration":5000}}]"#,
        ),
        _ => (
            message(number),
            r#""type": "Text", "direction": "Outbound""#,
        ),
    };
    let millis = number % 1_000;
    let second = number / 1_000 % 60;
    let minute = number / 60_000 % 60;
    let hour = number / 3_600_000 % 24;
    let mut body = format!(
        r#"{{"id": "{id}", "channel": {{"id":"{integration}","platform":"Open","type":"Private","messageId":"{id}","to":{{"id":"guest-{}","idType":"Opaque"}},"from":{{"nickname":"Zo\u00eb \/ Support","id":"{integration}","idType":"Opaque"}},"time":"2026-03-01T{hour:02}:{minute:02}:{second:02}.{millis:03}Z"}},
  {kind}, "conversationId":"{conversation}", "metadata": {{"correlationId":"{run}-{number}", "score": 1.50}}, "text": "Grüße, 你好 👋 "#,
        number % CONVERSATIONS,
    );
    const END: &str = "\"}";
    while body.len() + END.len() < size {
        body.push(char::from(
            b'a' + u8::try_from(body.len() % 26).unwrap_or(0),
        ));
    }
    body.push_str(END);
    Bytes::from(body)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const RUN: Uuid = Uuid::from_u128(0x1234_5678_9abc_def0_1234_5678_9abc_def0);

    #[test]
    fn every_body_is_json_and_differs_from_all_others() {
        let bodies: HashSet<Bytes> = (0..1_000).map(|n| open_messaging(RUN, n, 1024)).collect();
        assert_eq!(bodies.len(), 1_000);
        for body in &bodies {
            let value: serde_json::Value = serde_json::from_slice(body).unwrap();
            assert_eq!(value["channel"]["platform"], "Open");
            assert_ne!(
                value.to_string().as_bytes(),
                &body[..],
                "rewriting it goes unnoticed"
            );
            assert_eq!(body.len(), 1024);
        }
        assert_ne!(open_messaging(RUN, 1, 0), open_messaging(Uuid::nil(), 1, 0));
    }

    #[test]
    fn what_genesys_would_not_repeat_has_a_dedup_key_of_its_own() {
        let keys: HashSet<String> = (0..1_000)
            .map(|number| {
                let body = open_messaging(RUN, number, 0);
                let value: serde_json::Value = serde_json::from_slice(&body).unwrap();
                let channel = &value["channel"];
                format!(
                    "{} {} {} {} {}",
                    channel["id"], value["type"], value["id"], channel["time"], value["status"]
                )
            })
            .collect();
        assert_eq!(keys.len(), 1_000);
    }

    #[test]
    fn a_receipt_shares_the_id_of_its_message() {
        let value = |number| -> serde_json::Value {
            serde_json::from_slice(&open_messaging(RUN, number, 0)).unwrap()
        };
        assert_eq!(value(7)["type"], "Receipt");
        assert_eq!(value(7)["id"], value(6)["id"]);
    }
}
