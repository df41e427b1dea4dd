//! What is posted: a file's bytes, or a made-up event in the shape of the source's sender.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use ingest::SourceOptions;
use ingest::verify::VerifyOptions;

use crate::cli::input;
use crate::exit::Outcome;

/// Gives one body after the other.
#[derive(Debug)]
pub(super) struct Bodies {
    kind: Kind,
    count: AtomicU64,
    least_bytes: usize,
}

#[derive(Debug)]
enum Kind {
    File(Vec<u8>),
    OpenMessaging,
    Plain,
}

impl Bodies {
    pub(super) fn new(
        file: Option<&Path>,
        source: &SourceOptions,
        least_bytes: usize,
    ) -> Outcome<Self> {
        let kind = match (file, &source.verify) {
            (Some(path), _) => Kind::File(input::bytes(path)?),
            (None, Some(VerifyOptions::GenesysOpenMessaging(_))) => Kind::OpenMessaging,
            (None, _) => Kind::Plain,
        };
        Ok(Self {
            kind,
            count: AtomicU64::new(0),
            least_bytes,
        })
    }

    /// The next body, and the id of the message.
    pub(super) fn next(&self) -> (String, Vec<u8>) {
        let id = uuid::Uuid::new_v4().simple().to_string();
        let number = self.count.fetch_add(1, Ordering::Relaxed) + 1;
        let made_up = |make: fn(&str, &str) -> Vec<u8>| {
            let text = format!("message {number}, sent by forebay send");
            let short = make(&id, &text);
            let missing = self.least_bytes.saturating_sub(short.len());
            if missing == 0 {
                short
            } else {
                make(&id, &(text + &" ".repeat(missing)))
            }
        };
        let body = match &self.kind {
            Kind::File(bytes) => bytes.clone(),
            Kind::OpenMessaging => made_up(open_messaging),
            Kind::Plain => made_up(plain),
        };
        (id, body)
    }
}

fn plain(id: &str, text: &str) -> Vec<u8> {
    serde_json::json!({ "id": id, "text": text })
        .to_string()
        .into_bytes()
}

/// An outbound text message as Genesys Cloud posts it.
fn open_messaging(id: &str, text: &str) -> Vec<u8> {
    serde_json::json!({
        "id": id,
        "channel": {
            "id": "5a1d2f7e-0000-4000-8000-000000000001",
            "platform": "Open",
            "type": "Private",
            "messageId": id,
            "to": { "id": "customer-1", "idType": "Opaque" },
            "from": { "nickname": "Agent", "id": "agent-1", "idType": "Opaque" },
            "time": "2026-01-31T12:00:00.000Z",
        },
        "type": "Text",
        "text": text,
        "direction": "Outbound",
        "conversationId": uuid::Uuid::new_v4(),
    })
    .to_string()
    .into_bytes()
}
