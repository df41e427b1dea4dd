//! Topics: which are any, how several of one resource combine to one entry, how entries are spread over channels.

use std::collections::BTreeMap;

/// Entries of one channel: "1,000 topics a socket (400 past it)".
pub(crate) const TOPICS_A_CHANNEL: usize = 1000;

/// Channels of one client: the next one evicts one of these. Some are left for the new sockets that take over from old
/// ones, and for whoever else uses the client.
pub(crate) const CHANNELS: usize = 20;

/// Of those so many may be a source's: each may need a second one for a while.
pub(crate) const CHANNELS_OF_A_SOURCE: usize = CHANNELS / 2;

/// The longest entry: "combine as `prefix?suf1&suf2`, ≤ 200 chars".
const ENTRY: usize = 200;

/// The longest topic that is taken as one.
const TOPIC: usize = ENTRY;

/// What is subscribed as one: a topic, or several of one resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// As it is sent.
    pub(crate) id: String,
    /// The topics that it stands for.
    pub(crate) topics: Vec<String>,
}

/// Checks a topic as it is written in a configuration.
///
/// # Errors
/// What would be right.
pub(crate) fn check(topic: &str) -> Result<(), String> {
    let is_of_one = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if topic.contains(['{', '}']) {
        return Err(format!(
            "{topic:?} is a template: put the id of what you mean in place of the braces"
        ));
    }
    if topic.starts_with("v2.system.") || topic.starts_with("channel.") {
        return Err(format!(
            "{topic:?} comes unasked and cannot be subscribed to"
        ));
    }
    if topic.contains('?') {
        return Err(format!(
            "{topic:?} is several at once: name each topic of its own; Forebay combines them"
        ));
    }
    if topic.len() > TOPIC {
        return Err(format!("a topic has at most {TOPIC} characters"));
    }
    let starts = topic.starts_with("v2.") || topic.starts_with("v3.");
    if !(starts && topic.chars().all(is_of_one) && topic.split('.').all(|part| !part.is_empty())) {
        return Err(format!(
            "{topic:?} is no topic, which is such as \"v2.users.ID.presence\"; `forebay genesys topics` lists them"
        ));
    }
    Ok(())
}

/// Combines topics of one resource: `v2.users.ID.presence` and `v2.users.ID.routingStatus` are the one entry
/// `v2.users.ID?presence&routingStatus`. In order of the resources, so that the same topics always make the same
/// entries; each topic once.
pub(crate) fn combine(topics: &[String]) -> Vec<Entry> {
    let mut resources: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut entries = Vec::new();
    let mut alone: Vec<&str> = Vec::new();
    for topic in topics {
        match apart(topic) {
            Some((resource, rest)) => {
                let known = resources.entry(resource).or_default();
                if !known.contains(&rest) {
                    known.push(rest);
                }
            }
            None if !alone.contains(&topic.as_str()) => alone.push(topic),
            None => {}
        }
    }
    for (resource, mut rests) in resources {
        rests.sort_unstable();
        let mut next: Vec<&str> = Vec::new();
        let mut length = resource.len();
        for rest in rests {
            if !next.is_empty() && length + 1 + rest.len() > ENTRY {
                entries.push(entry(resource, &next));
                next.clear();
                length = resource.len();
            }
            length += 1 + rest.len();
            next.push(rest);
        }
        entries.push(entry(resource, &next));
    }
    alone.sort_unstable();
    entries.extend(alone.into_iter().map(|topic| Entry {
        id: topic.to_owned(),
        topics: vec![topic.to_owned()],
    }));
    entries
}

fn entry(resource: &str, rests: &[&str]) -> Entry {
    let topic = |rest: &&str| format!("{resource}.{rest}");
    let id = match rests {
        [one] => topic(one),
        several => format!("{resource}?{}", several.join("&")),
    };
    Entry {
        id,
        topics: rests.iter().map(topic).collect(),
    }
}

/// The resource of a topic, up to and with its id, and what of it is meant; `None` if it has no id, or nothing behind it.
fn apart(topic: &str) -> Option<(&str, &str)> {
    let mut end = 0;
    for part in topic.split('.') {
        end += part.len();
        if is_id(part) {
            return topic.get(end + 1..).map(|rest| (&topic[..end], rest));
        }
        end += 1;
    }
    None
}

/// Ids are UUIDs.
fn is_id(part: &str) -> bool {
    let dashes = [8, 13, 18, 23];
    let fits = |(at, c): (usize, char)| match dashes.contains(&at) {
        true => c == '-',
        false => c.is_ascii_hexdigit(),
    };
    part.len() == 36 && part.char_indices().all(fits)
}

/// Spreads entries over channels.
pub(crate) fn spread(entries: Vec<Entry>) -> Vec<Vec<Entry>> {
    let mut entries = entries.into_iter().peekable();
    let mut channels = Vec::new();
    while entries.peek().is_some() {
        channels.push(entries.by_ref().take(TOPICS_A_CHANNEL).collect());
    }
    channels
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0b2f1c1e-3c5d-4f67-8a9b-0123456789ab";

    #[test]
    fn topics_of_one_resource_are_one_entry() {
        let topics: Vec<String> = [
            format!("v2.users.{ID}.routingStatus"),
            format!("v2.users.{ID}.presence"),
            format!("v2.users.{ID}.presence"),
            format!("v2.users.{ID}.conversations.calls"),
            "v2.users.other.presence".into(),
            format!("v2.routing.queues.{ID}.conversations"),
            format!("v2.things.{ID}"),
        ]
        .into();
        let ids: Vec<String> = combine(&topics).into_iter().map(|entry| entry.id).collect();
        assert_eq!(
            ids,
            [
                format!("v2.routing.queues.{ID}.conversations"),
                format!("v2.users.{ID}?conversations.calls&presence&routingStatus"),
                format!("v2.things.{ID}"),
                "v2.users.other.presence".into(),
            ]
        );
    }

    proptest::proptest! {
        #[test]
        fn no_topic_is_lost_or_doubled_and_no_entry_too_long(
            picks in proptest::collection::vec((0u8..4, "[a-z]{1,40}"), 0..200),
        ) {
            let topics: Vec<String> = picks
                .iter()
                .map(|(user, rest)| format!("v2.users.{user}b2f1c1e-3c5d-4f67-8a9b-0123456789ab.{rest}"))
                .collect();
            let entries = combine(&topics);
            let mut all: Vec<String> = entries.iter().flat_map(|entry| entry.topics.clone()).collect();
            all.sort_unstable();
            let mut expected = topics;
            expected.sort_unstable();
            expected.dedup();
            proptest::prop_assert_eq!(all, expected);
            for entry in &entries {
                proptest::prop_assert!(entry.id.len() <= ENTRY);
            }
        }
    }

    #[test]
    fn more_than_a_channel_takes_is_spread_over_several() {
        let topics: Vec<String> = (0..2001).map(|n| format!("v2.things.t{n}")).collect();
        let channels = spread(combine(&topics));
        let sizes: Vec<usize> = channels.iter().map(Vec::len).collect();
        assert_eq!(sizes, [1000, 1000, 1]);
    }

    #[test]
    fn what_is_no_topic_is_refused_with_what_would_be_right() {
        check("v2.users.0b2f1c1e-3c5d-4f67-8a9b-0123456789ab.presence").unwrap();
        for (wrong, told) in [
            ("v2.users.{id}.presence", "is a template"),
            ("v2.system.socket_closing", "comes unasked"),
            ("channel.metadata", "comes unasked"),
            ("v2.users.1?presence&x", "name each topic"),
            ("users.1.presence", "is no topic"),
            ("v2.users..presence", "is no topic"),
            ("v2.users. .presence", "is no topic"),
            ("", "is no topic"),
        ] {
            let error = check(wrong).unwrap_err();
            assert!(error.contains(told), "{wrong}: {error}");
        }
        assert!(check(&format!("v2.{}", "a".repeat(300))).is_err());
    }
}
