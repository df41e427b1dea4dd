//! What of a stream, and of the server that keeps it, is set up weaker than promised, and how to mend it.

use async_nats::jetstream::stream::{Config, DiscardPolicy, Info, RetentionPolicy, StorageType};

/// The first version that can sync before it acknowledges.
const CAN_SYNC: (u32, u32) = (2, 10);

/// In words. `version` is the server's, as it gives it.
pub(super) fn findings(info: &Info, version: &str) -> Vec<String> {
    let Config {
        name,
        storage,
        discard,
        retention,
        num_replicas,
        max_bytes,
        max_messages,
        max_messages_per_subject,
        duplicate_window,
        ..
    } = &info.config;
    let mut texts = Vec::new();
    if *storage == StorageType::Memory {
        texts.push(format!(
            "stream {name} has storage memory: a restart of the server loses what was delivered; make it anew with storage file"
        ));
    } else if numbers(version).is_some_and(|version| version < CAN_SYNC) {
        texts.push(format!(
            "NATS {version} acknowledges before it syncs, which it does every 2 minutes: what was delivered survives a kill of the process, and not a power loss; from 2.10 on set sync_interval: always"
        ));
    }
    let limited = [*max_bytes, *max_messages, *max_messages_per_subject];
    if *discard == DiscardPolicy::Old && limited.iter().any(|limit| *limit > 0) {
        texts.push(format!(
            "stream {name} has limits and discard old: when it is full, the oldest message goes, read or not; set discard new, and a full stream refuses the newest, which waits here"
        ));
    }
    if *retention == RetentionPolicy::Interest && info.state.consumer_count == 0 {
        texts.push(format!(
            "stream {name} has retention interest and no consumer: it acknowledges messages and throws them away; make the consumer first, or set retention workqueue or limits"
        ));
    }
    let clustered = info.cluster.as_ref().is_some_and(|one| one.name.is_some());
    if clustered && *num_replicas < 2 {
        texts.push(format!(
            "stream {name} has one replica in a cluster: it is gone while its server is, and lost with its disk; set replicas 3"
        ));
    }
    if duplicate_window.is_zero() {
        texts.push(format!(
            "stream {name} has no duplicate window: a repeat after an answer that was lost is kept twice; set duplicate_window to some minutes"
        ));
    }
    texts
}

fn numbers(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.trim_start_matches('v').split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// Whether a stream with these subjects takes this one. `*` stands for a word, `>` for one or more at the end.
pub(super) fn takes(subjects: &[String], subject: &str) -> bool {
    let matches = |pattern: &str| {
        let mut words = subject.split('.');
        for part in pattern.split('.') {
            match (part, words.next()) {
                (">", Some(_)) => return true,
                ("*", Some(_)) => {}
                (part, Some(word)) if part == word => {}
                _ => return false,
            }
        }
        words.next().is_none()
    };
    subjects.iter().any(|pattern| matches(pattern))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn info(config: &Value, cluster: Option<&str>, consumers: u64) -> Info {
        let mut whole = json!({
            "name": "EVENTS", "subjects": ["hooks.>"], "retention": "limits", "discard": "new",
            "storage": "file", "num_replicas": 1, "max_bytes": -1, "max_msgs": -1,
            "max_msgs_per_subject": -1, "duplicate_window": 120_000_000_000_u64,
        });
        let more = config.as_object().unwrap().clone();
        whole.as_object_mut().unwrap().extend(more);
        let time = "2026-03-01T12:00:00Z";
        let info = json!({
            "config": whole, "created": time,
            "state": {
                "messages": 0, "bytes": 0, "first_seq": 0, "first_ts": time, "last_seq": 0,
                "last_ts": time, "consumer_count": consumers,
            },
            "cluster": {"name": cluster, "leader": "a"},
        });
        serde_json::from_value(info).unwrap()
    }

    #[test]
    fn what_is_weaker_than_promised_is_named() {
        let fine = |config: Value| findings(&info(&config, None, 0), "2.10.23");
        assert_eq!(fine(json!({})), Vec::<String>::new());
        // Without limits nothing is thrown away.
        assert_eq!(fine(json!({"discard": "old"})), Vec::<String>::new());
        for (config, version, words) in [
            (json!({}), "2.9.10", "sync_interval"),
            (json!({}), "v1.4.0-beta", "power loss"),
            (json!({"storage": "memory"}), "2.9.10", "storage memory"),
            (
                json!({"discard": "old", "max_msgs": 9}),
                "2.10.0",
                "discard old",
            ),
            (
                json!({"discard": "old", "max_bytes": 9}),
                "3.0.0",
                "discard old",
            ),
            (
                json!({"discard": "old", "max_msgs_per_subject": 1}),
                "2.10.0",
                "discard old",
            ),
            (json!({"retention": "interest"}), "2.10.0", "no consumer"),
            (json!({"duplicate_window": 0}), "2.10.0", "duplicate window"),
        ] {
            let found = findings(&info(&config, None, 0), version);
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(found[0].contains(words), "{found:?}");
        }
        let watched = info(&json!({"retention": "interest"}), None, 1);
        assert_eq!(findings(&watched, "2.10.0"), Vec::<String>::new());
        let alone = info(&json!({}), Some("C1"), 0);
        assert!(findings(&alone, "2.11.0")[0].contains("one replica"));
        let three = info(&json!({"num_replicas": 3}), Some("C1"), 0);
        assert_eq!(findings(&three, "2.11.0"), Vec::<String>::new());
    }

    #[test]
    fn a_subject_is_found_under_wildcards() {
        let takes = |pattern: &str, subject: &str| takes(&[pattern.to_owned()], subject);
        for (pattern, subject) in [
            ("a.b", "a.b"),
            ("a.*", "a.b"),
            ("*.b", "a.b"),
            ("a.>", "a.b.c"),
            (">", "a"),
        ] {
            assert!(takes(pattern, subject), "{pattern} {subject}");
        }
        for (pattern, subject) in [
            ("a.b", "a"),
            ("a", "a.b"),
            ("a.*", "a.b.c"),
            ("a.>", "a"),
            ("*", "a.b"),
            ("b", "a"),
        ] {
            assert!(!takes(pattern, subject), "{pattern} {subject}");
        }
    }
}
