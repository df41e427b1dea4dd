//! The reference of every destination's options, for the generated documentation.

use crate::options::REFERENCES;

/// The option with that key. Evaluated while compiling; a key that is not there does not compile.
pub(crate) const fn doc_of(all: &[OptionDoc], key: &str) -> OptionDoc {
    let mut at = 0;
    while !is_same(all[at].key.as_bytes(), key.as_bytes()) {
        at += 1;
    }
    all[at]
}

const fn is_same(a: &[u8], b: &[u8]) -> bool {
    let mut at = 0;
    while at < a.len() && at < b.len() && a[at] == b[at] {
        at += 1;
    }
    at == a.len() && at == b.len()
}

/// One option of one type of destination, in words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OptionDoc {
    /// The key in `[destinations.NAME]`.
    pub key: &'static str,
    /// What kind of value: `string`, `duration`, `table of strings`.
    pub value: &'static str,
    /// The default as it would be written; empty when there is none.
    pub default: &'static str,
    /// The values allowed, or what it goes with; empty when anything goes.
    pub limit: &'static str,
    /// What it does, in a sentence or two.
    pub effect: &'static str,
}

/// Every type of destination with its options, in the order they are shown.
#[must_use]
pub fn reference() -> Vec<(&'static str, &'static [OptionDoc])> {
    REFERENCES.to_vec()
}

/// Options that every SQL destination has.
pub(crate) mod sql {
    use super::OptionDoc;

    pub(crate) const TABLE: OptionDoc = OptionDoc {
        key: "table",
        value: "string",
        default: "\"webhook_events\"",
        limit: "a name, or schema.name; taken as written, also in upper and lower case",
        effect: "The table that events are written to. Made if it is not there, unless `columns` is set.",
    };
    pub(crate) const COLUMNS: OptionDoc = OptionDoc {
        key: "columns",
        value: "table of strings",
        default: "",
        limit: "needs `id_column`; not with `statement`",
        effect: "Columns of your own table and what goes into each: a JSON pointer into the body (\"/conversationId\") or a named part of the event (\"$received_at\").",
    };
    pub(crate) const ID_COLUMN: OptionDoc = OptionDoc {
        key: "id_column",
        value: "string",
        default: "",
        limit: "only with `columns`; should have a unique index of its own",
        effect: "The column of your own table that takes the event's id and makes repeats single.",
    };
    pub(crate) const STATEMENT: OptionDoc = OptionDoc {
        key: "statement",
        value: "string",
        default: "",
        limit: "one statement; not with `table`, `columns`, `id_column` or `body_type`",
        effect: "Your own SQL, run once an event, with $id, $source, $received_at, $method, $path, $headers, $content_type, $body, $body_raw and $event_type bound as parameters.",
    };
    pub(crate) const BATCH_MAX: OptionDoc = OptionDoc {
        key: "batch_max",
        value: "integer",
        default: "1000",
        limit: "1 to 10000",
        effect: "The most events written in one transaction.",
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_is_described_once() {
        for (kind, options) in reference() {
            let mut keys: Vec<_> = options.iter().map(|option| option.key).collect();
            keys.sort_unstable();
            keys.dedup();
            assert_eq!(keys.len(), options.len(), "{kind}");
            assert!(options.iter().all(|option| !option.effect.is_empty()));
        }
    }

    /// An option that is described and does not exist is refused as unknown; one that exists and is not
    /// described is in the list that serde gives for an unknown key.
    #[test]
    fn the_reference_and_the_options_agree() {
        for (kind, options) in reference() {
            let json = format!(r#"{{"type": "{kind}", "no_such_option": 1}}"#);
            let error = serde_json::from_str::<crate::DestinationOptions>(&json)
                .unwrap_err()
                .to_string();
            let (_, expected) = error.split_once(", expected ").unwrap();
            let mut exist: Vec<&str> = expected.split('`').skip(1).step_by(2).collect();
            let mut described: Vec<&str> = options.iter().map(|option| option.key).collect();
            exist.sort_unstable();
            described.sort_unstable();
            assert_eq!(exist, described, "{kind}");
        }
    }
}
